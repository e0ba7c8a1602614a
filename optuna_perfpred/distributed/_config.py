from __future__ import annotations

import logging
from pathlib import Path
import sys
from typing import Any
from typing import TYPE_CHECKING

import optuna
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler

import optuna_perfpred
from optuna_perfpred._files import read_text


if TYPE_CHECKING:
    from types import ModuleType

    from optuna.storages import BaseStorage

_logger = logging.getLogger(__name__)
_DIRECTIONS = ("minimize", "maximize")
_KEYS = ("direction", "sampler", "pruner")


def read_config(file: str | Path | None) -> dict[str, Any]:
    """Read a study's configuration.

    The file gives the ``direction``, and tables ``sampler`` and ``pruner``, each with the name of
    a ``class`` and the class's arguments; a table with a ``class`` among these makes an object::

        direction = "maximize"

        [sampler]
        class = "optuna.samplers.TPESampler"
        n_startup_trials = 20

        [pruner]
        class = "optuna.pruners.PatientPruner"
        patience = 2
        wrapped_pruner = { class = "optuna_perfpred.PerformancePredictionPruner" }

    Args:
        file:
            The TOML file, or :obj:`None` for the defaults.

    Returns:
        What is given of ``"direction"``, ``"sampler"`` and ``"pruner"``, the last two made.

    Raises:
        ValueError:
            If the file is no TOML or holds anything else.
        OSError:
            If the file cannot be read.
    """
    if file is None:
        return {}
    config = _read_toml(Path(file))
    try:
        return _make_all(config)
    except ValueError as error:
        raise ValueError(f"{str(file)!r}: {error}") from error


def create_configured_study(
    storage: BaseStorage, study_name: str, config: dict[str, Any]
) -> optuna.Study:
    """Create a study, or load it if it exists.

    Args:
        storage:
            The storage.
        study_name:
            The study's name.
        config:
            What :func:`read_config` gives. Without a sampler Optuna's default is taken, without
            a pruner :class:`~optuna_perfpred.PerformancePredictionPruner`.

    Returns:
        The study.

    Raises:
        ValueError:
            If the study does not exist and no direction is given, or it has another direction.
    """
    sampler = config.get("sampler") or optuna.samplers.TPESampler()
    pruner = config.get("pruner") or optuna_perfpred.PerformancePredictionPruner()
    direction = config.get("direction")
    if direction is None:
        try:
            return optuna.load_study(
                study_name=study_name, storage=storage, sampler=sampler, pruner=pruner
            )
        except KeyError:
            raise no_study_yet(study_name) from None
    study = optuna.create_study(
        storage=storage,
        study_name=study_name,
        sampler=sampler,
        pruner=pruner,
        direction=direction,
        load_if_exists=True,
    )
    found = [d.name.lower() for d in study.directions]
    if found != [direction]:
        raise ValueError(
            f"The study {study_name!r} exists and has the direction {', '.join(found)}, "
            f"but the configuration says {direction}."
        )
    return study


def no_study_yet(study_name: str) -> ValueError:
    """Tell that there is no study, and how to get one."""
    return ValueError(
        f"There is no study {study_name!r} yet. To have it created, give its direction in a "
        "configuration file, or define create_study(storage, study_name) beside the objective."
    )


def _read_toml(file: Path) -> dict[str, Any]:
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    text = read_text(file)
    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ValueError(f"{str(file)!r} is no TOML file: {error}") from None


def _make_all(config: dict[str, Any]) -> dict[str, Any]:
    if unknown := sorted(config.keys() - set(_KEYS)):
        raise ValueError(f"it may hold {', '.join(_KEYS)}, but holds {unknown}.")
    direction = config.get("direction", _DIRECTIONS[0])
    if direction not in _DIRECTIONS:
        raise ValueError(f"`direction` must be one of {_DIRECTIONS}, but got {direction!r}.")
    for key in ("sampler", "pruner"):
        table = config.get(key, {"class": None})
        if not isinstance(table, dict) or "class" not in table:
            raise ValueError(f"`{key}` must be a table with a class, but got {table!r}.")
    if "seed" in config.get("sampler", {}):
        _logger.warning(
            "Workers whose samplers have the same seed draw the same first trials: "
            "give a sampler no seed where several workers run."
        )
    for key, base in (("sampler", BaseSampler), ("pruner", BasePruner)):
        if key in config:
            config[key] = _make(key, config[key])
            if not isinstance(config[key], base):
                raise ValueError(f"`{key}` must be a {key}, but {config[key]!r} is none.")
    return config


def _make(key: str, value: Any) -> Any:
    """Make the objects that tables with a class describe, the inner ones first."""
    if isinstance(value, list):
        return [_make(f"{key}[{i}]", item) for i, item in enumerate(value)]
    if not isinstance(value, dict):
        return value
    arguments = {k: _make(f"{key}.{k}", v) for k, v in value.items() if k != "class"}
    if "class" not in value:
        return arguments
    made = _find_class(key, value["class"])
    try:
        return made(**arguments)
    except (TypeError, ValueError) as error:
        raise ValueError(f"`{key}` cannot be made: {error}") from error


def _find_class(key: str, name: object) -> Any:
    namespaces: dict[str, ModuleType] = {
        "optuna.samplers": optuna.samplers,
        "optuna.pruners": optuna.pruners,
        "optuna_perfpred": optuna_perfpred,
    }
    module, _, attribute = str(name).rpartition(".")
    if module not in namespaces:
        raise ValueError(
            f"The class of `{key}` must be one of {', '.join(f'{n}.*' for n in namespaces)}, "
            f"but got {name!r}."
        )
    names = namespaces[module].__all__
    if attribute not in names:
        raise ValueError(f"{name!r} does not exist; {module} has {', '.join(sorted(names))}.")
    return getattr(namespaces[module], attribute)
