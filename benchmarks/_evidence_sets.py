"""Recorded sets of curves as arrays, with the kinds of features told apart."""

from __future__ import annotations

import dataclasses
from functools import lru_cache
import hashlib
from pathlib import Path
from typing import NamedTuple
from typing import TYPE_CHECKING

import numpy as np
import optuna
from optuna.study import StudyDirection
from optuna.trial import TrialState

from optuna_perfpred.history import LAYER_PARAMETER
from optuna_perfpred.history import read_record
from optuna_perfpred.history import TrainingSet
from optuna_perfpred.replay import load_curves


if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from optuna_perfpred.history import Configuration


N_TRAIN = 100  # Of all the paper's experiments.
ALL_FEATURES = "TS+AP+HP"
# The architecture's parameters (AP) of each set; all other columns are hyperparameters (HP).
ARCHITECTURE = {
    "metaqnn_cifar10": ("num_params", "depth"),
    "deep_resnets_tinyimagenet": ("num_blocks", "num_filters", "filter_size"),
    "lstm_ptb": ("n_layer", "n_inputs"),
    "naap440": (
        *("NumParams", "NumMACs", "NumLayers", "NumStages", "FirstLayerWidth", "LastLayerWidth"),
        *("NumSkipConnections", "NumPartialRFLayers"),
    ),
    "fashion_convnets": ("num_layers", "num_weights"),
    "kjv_language_models": ("num_layers", "num_weights"),
    "diamonds_perceptrons": ("width", "depth", "activation"),
}
_ARCHITECTURE = frozenset(name for names in ARCHITECTURE.values() for name in names)


class CurveSet(NamedTuple):
    """Completed curves, oriented so that larger is better.

    Attributes:
        configurations: Encoded parameters of the kinds asked for. Shape: ``(n, d)``.
        curves: NaN where nothing was reported. Shape: ``(n, t)``.
        finals: Final values. Shape: ``(n,)``.
        unit: Their standard deviation, by which errors of all sets compare.
    """

    configurations: np.ndarray
    curves: np.ndarray
    finals: np.ndarray
    unit: float

    def first(self, fraction: float, rows: np.ndarray) -> np.ndarray:
        """Give the beginnings of curves, NaN from there on."""
        seen = self.curves[rows]
        seen[:, n_seen(fraction, seen.shape[1]) :] = np.nan
        return seen

    def split(self, n_train: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Draw training curves, at most two thirds of all, and give the others as test curves."""
        n = len(self.finals)
        order = np.random.default_rng(seed).permutation(n)
        n_train = min(n_train, 2 * n // 3)
        return order[:n_train], order[n_train:]


def n_seen(fraction: float, n_steps: int) -> int:
    """Give the number of steps that are a fraction of a curve, at least one."""
    return max(1, round(fraction * n_steps))


@lru_cache(maxsize=4)
def load_set(folder: str, features: str = ALL_FEATURES) -> CurveSet:
    """Read a folder of curves; of the configurations only those kinds that are asked for."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return as_arrays(load_curves(folder), features)


def as_arrays(study: optuna.Study, features: str = ALL_FEATURES) -> CurveSet:
    """Give the completed trials of a study as arrays."""
    trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    kinds = features.split("+")
    records = [
        dataclasses.replace(record, configuration=_only(record.configuration, kinds))
        for record in map(read_record, trials)
    ]
    sign = 1.0 if study.direction == StudyDirection.MAXIMIZE else -1.0
    training_set = TrainingSet(records, sign=sign)
    finals = training_set.finals
    return CurveSet(training_set.configurations, training_set.curves, finals, finals.std() or 1.0)


def parameter(folder: str, name: str) -> np.ndarray:
    """Give one parameter of each completed curve. Shape: ``(n,)``."""
    trials = load_curves(folder).get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return np.array([trial.params[name] for trial in trials])


def columns(folder: str) -> dict[str, list[str]]:
    """Give the names of the architecture parameters and of the hyperparameters of a set."""
    names: dict[str, list[str]] = {"AP": [], "HP": []}
    trials = load_curves(folder).get_trials(deepcopy=False)
    for name in sorted({name for trial in trials for name in trial.params}):
        if not LAYER_PARAMETER.fullmatch(name):  # No feature, see read_configuration().
            names[_kind(name)].append(name)
    return names


def _only(configuration: Configuration, kinds: Sequence[str]) -> Configuration:
    # The key is the kind of the distribution and the name of the parameter.
    return {
        key: value for key, value in configuration.items() if _kind(key.split(" ", 1)[1]) in kinds
    }


def _kind(name: str) -> str:
    return "AP" if name in _ARCHITECTURE else "HP"


def add_set_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--curves", nargs="+", type=Path, required=True, metavar="DIR")
    parser.add_argument("--sets", nargs="*", metavar="NAME", help="default: all folders in DIRs")


def find_sets(args: argparse.Namespace) -> dict[str, str]:
    """Give the folders of the sets that are asked for, by name."""
    found = {
        file.parent.name: str(file.parent.resolve())
        for curves in args.curves
        for file in sorted(curves.glob("*/meta.json"))
    }
    unknown = set(args.sets or ()) - found.keys()
    if unknown:
        raise SystemExit(f"There are no sets {sorted(unknown)} in {list(map(str, args.curves))}.")
    return {name: found[name] for name in args.sets or found}


@lru_cache
def digest(folder: str) -> str:
    """Tell the contents of a set from those of its other versions."""
    hashed = hashlib.sha256()
    for file in sorted(Path(folder).glob("*.csv*")):
        hashed.update(file.read_bytes())
    return hashed.hexdigest()[:12]
