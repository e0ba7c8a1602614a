from __future__ import annotations

import importlib
import importlib.util
import os
from pathlib import Path
import sys
import traceback
from typing import TYPE_CHECKING

import optuna

from optuna_perfpred.distributed._config import create_configured_study
from optuna_perfpred.distributed._config import read_config
from optuna_perfpred.distributed._patient_storage import is_storage_error


if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

    from optuna.storages import BaseStorage

_HOOK = "create_study"


class UserModule:
    """The module that the user names, with the objective and, maybe, a hook.

    A function ``create_study(storage, study_name)`` that is defined in the module (not one that
    it imports) creates the study or loads it, with the sampler and the pruner of a worker.

    Args:
        name:
            ``"module:function"`` or ``"path/file.py:function"``. A module is looked for in the
            working directory first; a file finds the modules beside it, like ``python file.py``.

    Raises:
        ValueError:
            If there is no such module or no such function, or the module cannot be imported.
    """

    def __init__(self, name: str) -> None:
        self._source, separator, function = name.rpartition(":")
        if not separator or not self._source or not function.isidentifier():
            raise ValueError(
                "The objective must be given as MODULE:FUNCTION or path/FILE.py:FUNCTION, "
                f"but got {name!r}."
            )
        module = _import(self._source)
        objective = getattr(module, function, None)
        if not callable(objective):
            raise ValueError(f"{self._source!r} has no function {function!r}.")
        self.objective: Callable[[optuna.Trial], float] = objective
        hook = getattr(module, _HOOK, None)
        # `from optuna import create_study` is no hook.
        if getattr(hook, "__module__", None) != module.__name__:
            hook = None
        self._hook = hook
        self.has_hook = hook is not None

    def create_study(
        self, storage: BaseStorage, study_name: str, config: str | Path | None
    ) -> optuna.Study:
        """Create or load the study by the configuration, the hook, or the defaults.

        Args:
            storage:
                The storage.
            study_name:
                The study's name.
            config:
                A TOML file. If it is given, the module's hook isn't called.

        Returns:
            The study.

        Raises:
            ValueError:
                If the study neither exists nor can be created.
        """
        if config is not None or self._hook is None:
            return create_configured_study(storage, study_name, read_config(config))
        try:
            study = self._hook(storage=storage, study_name=study_name)
        except optuna.exceptions.DuplicatedStudyError:
            raise ValueError(
                f"The study {study_name!r} exists: `{_HOOK}` in {self._source!r} must load it, "
                "with optuna.create_study(..., load_if_exists=True)."
            ) from None
        except Exception as error:
            if is_storage_error(error):
                raise
            raise ValueError(f"`{_HOOK}` in {self._source!r} failed: {_told(error)}") from error
        if isinstance(study, optuna.Study) and study.study_name == study_name:
            used = study._storage
            # Optuna wraps a database storage in a cache.
            if storage in (used, getattr(used, "_backend", None)):
                return study
        raise ValueError(
            f"`{_HOOK}` in {self._source!r} must return the study {study_name!r} in the storage "
            f"that it is given, but returned {study!r}."
        )


def _import(source: str) -> ModuleType:
    is_file = source.endswith(".py")
    if is_file and not Path(source).is_file():
        raise ValueError(f"There is no file {source!r}.")
    folder = str(Path(source).resolve().parent) if is_file else os.getcwd()
    # As Python does for the script that it runs; `python -P` asks for the contrary.
    if not getattr(sys.flags, "safe_path", False) and folder not in sys.path:
        sys.path.insert(0, folder)
    try:
        return _import_file(Path(source)) if is_file else importlib.import_module(source)
    except (Exception, SystemExit) as error:
        raise ValueError(f"{source!r} cannot be imported: {_told(error)}") from error


def _import_file(file: Path) -> ModuleType:
    # Its own name, as processes that the objective starts import the module by it.
    name = file.stem
    if name in sys.modules:
        if getattr(sys.modules[name], "__file__", None) == str(file.resolve()):
            return sys.modules[name]
        name = f"optuna_perfpred_objective_{name}"
    spec = importlib.util.spec_from_file_location(name, file.resolve())
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _told(error: BaseException) -> str:
    """Tell an error and the line that raised it."""
    told = f"{type(error).__name__}: {error}"
    frames = traceback.extract_tb(error.__traceback__)
    if not frames or frames[-1].filename.startswith("<frozen"):
        return told
    return f"{told} ({frames[-1].filename}, line {frames[-1].lineno})"
