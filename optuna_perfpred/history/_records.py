from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
import math
import re
from typing import Any
from typing import TYPE_CHECKING

import numpy as np

from optuna_perfpred._attributes import read_flag
from optuna_perfpred._attributes import read_number
from optuna_perfpred.history._continued import continued_number
from optuna_perfpred.history._thinning import thin


if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    import numpy.typing as npt
    from optuna.trial import FrozenTrial
    from optuna.trial import Trial


Configuration = Mapping[str, float | str]
"""A trial's parameters and feature attributes: numbers stay numbers, choices become strings."""


Identity = tuple[int, "datetime | None"]
"""What tells a trial from all others, see :func:`identify`."""


LAYER_PARAMETER = re.compile(r"layer_(\d+)\[.*\]")
"""Names of the parameters that choose a network's layers, see :mod:`optuna_perfpred.nas`."""

# Of a trial that was to be stopped: the probability that it beats the best one, what that risked,
# and whether it was let finish on purpose.
PROBABILITY_OF_BEATING_BEST = "perfpred:probability_of_beating_best"
RISK = "perfpred:risk"
AUDIT = "perfpred:audit"

_ARCHITECTURE_ATTRS = ("num_layers", "num_weights")
# How the names of features begin that are attributes.
_ATTR = ("attr ", "choice attr ")
# The configurations that are kept: those of the trials that run in this process.
_N_LATEST = 16


@dataclass(frozen=True, eq=False)  # What is learned is known by what it was learned from.
class CurveRecord:
    """What is remembered of one completed or pruned trial.

    Attributes:
        number:
            The trial's number in its study.
        trial_id:
            The trial's identifier in its storage.
        completed:
            The time at which the trial was completed or pruned, without time zone.
        configuration:
            The trial's parameters and feature attributes.
        steps:
            The steps at which it reported, ascending, thinned if there are more than 200. Shape:
            ``(n_reports,)``.
        values:
            The reported values in the same order; NaN and infinities are kept.
        value:
            The value returned by the objective, the first one of several; of a pruned trial, the
            last one reported. NaN if there is none.
        feasible:
            Whether the trial satisfies all constraints, as :attr:`optuna.Study.best_trial` asks.
        continues:
            The number of the stopped trial that it says to go on with.
        risk:
            What stopping it has spent of what may be risked, see
            :class:`~optuna_perfpred.pruners.PerformancePredictionPruner`.
        audited_chance:
            Of one that was let finish on purpose, the probability of beating the best one that
            was foreseen.
    """

    number: int
    trial_id: int
    completed: datetime
    configuration: Configuration
    steps: npt.NDArray[np.int64]
    values: npt.NDArray[np.float64]
    value: float
    feasible: bool
    continues: int | None = None
    risk: float = 0.0
    audited_chance: float | None = None

    @property
    def order(self) -> tuple[datetime, int]:
        """What orders trials by their ends."""
        return self.completed, self.number

    def supersedes(self, stopped: CurveRecord) -> bool:
        """Whether it has gone on with a stopped trial, at least as far as that one came.

        What a trial says of itself may be written by anybody: the other one is to have the same
        parameters, as far as both have one. Attributes may differ from one training to the next;
        those of an architecture stand for its layers.
        """
        common = {
            name
            for name in self.configuration.keys() & stopped.configuration.keys()
            if not name.startswith(_ATTR) or name.removeprefix(_ATTR[0]) in _ARCHITECTURE_ATTRS
        }
        if any(self.configuration[name] != stopped.configuration[name] for name in common):
            return False
        if len(stopped.steps) == 0 or (not math.isnan(self.value) and len(self.steps) == 0):
            return True
        return len(self.steps) > 0 and bool(self.steps[-1] >= stopped.steps[-1])


_latest: deque[tuple[tuple[Any, ...], Configuration]] = deque(maxlen=_N_LATEST)


def identify(trial: FrozenTrial | Trial) -> Identity:
    """Tell a trial from all others of its storage, also from those of deleted studies.

    A storage may give the identifiers of a deleted study's trials to those of a new one.

    Args:
        trial:
            A trial.

    Returns:
        Its identifier and the time at which it was started.
    """
    return trial._trial_id, trial.datetime_start


def read_record(trial: FrozenTrial, feature_attrs: Sequence[str] = ()) -> CurveRecord:
    """Read a finished trial.

    Args:
        trial:
            A trial in the state ``COMPLETE`` or ``PRUNED``.
        feature_attrs:
            Names of user attributes that are features beside the parameters.

    Returns:
        The trial's record.
    """
    assert trial.datetime_complete is not None
    steps, values = read_curve(trial)
    attrs = trial.user_attrs
    return CurveRecord(
        number=trial.number,
        trial_id=trial._trial_id,
        # Trials added by hand may carry a time zone, which does not compare with those without.
        completed=trial.datetime_complete.replace(tzinfo=None),
        configuration=read_configuration(trial, feature_attrs),
        steps=steps,
        values=values,
        value=trial.values[0] if trial.values else math.nan,
        feasible=all(constraint <= 0.0 for constraint in trial.constraints.values()),
        continues=continued_number(trial),
        risk=max(0.0, read_number(attrs, RISK) or 0.0),
        audited_chance=(
            read_number(attrs, PROBABILITY_OF_BEATING_BEST) if read_flag(attrs, AUDIT) else None
        ),
    )


def read_curve(trial: FrozenTrial) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Read a trial's intermediate values, which storages keep in the order of their reporting.

    Args:
        trial:
            A trial in any state.

    Returns:
        The steps, ascending, and the values reported at them. Both of shape ``(n_reports,)``,
        about 200 at most: more are thinned evenly.
    """
    reports = trial.intermediate_values
    steps = np.fromiter(reports.keys(), dtype=np.int64, count=len(reports))
    values = np.fromiter(reports.values(), dtype=np.float64, count=len(reports))
    if np.any(steps[1:] < steps[:-1]):
        order = np.argsort(steps)
        steps, values = steps[order], values[order]
    return thin(steps, values)


def read_configuration(trial: FrozenTrial, feature_attrs: Sequence[str] = ()) -> Configuration:
    """Read a trial's parameters and feature attributes.

    A parameter with a log distribution is given as its logarithm. The kind of a feature is part
    of its name, so that one name used with different distributions gives different features
    instead of one column in which kinds are mixed.

    Of an architecture that was suggested layer by layer the numbers of layers and weights are
    read, as in Baker et al. 2017 (section 3.1), instead of the layers, of which there are more
    than trials to learn from.

    Args:
        trial:
            A trial in any state.
        feature_attrs:
            Names of user attributes to read beside the parameters. Numbers, booleans and strings
            are read; a missing attribute, or one of another type, is absent from the result.

    Returns:
        The value of each feature by its name. Values are finite numbers or strings.
    """
    # A trial asks at each of its steps, and may have thousands of parameters. Who it is comes
    # first, as values of other types may be equal.
    attrs = (*feature_attrs, *_ARCHITECTURE_ATTRS)
    key = (
        identify(trial),
        trial.params,
        [getattr(distribution, "log", None) for distribution in trial.distributions.values()],
        attrs,
        [(type(attr), attr) for attr in map(trial.user_attrs.get, attrs)],
    )
    for known, configuration in tuple(_latest):
        if known == key:
            return configuration
    configuration = _read_configuration(trial, feature_attrs)
    _latest.append(((key[0], dict(trial.params), *key[2:]), configuration))
    return configuration


def _read_configuration(trial: FrozenTrial, feature_attrs: Sequence[str]) -> Configuration:
    configuration: dict[str, float | str] = {}
    attrs = dict.fromkeys(feature_attrs)
    distributions = trial.distributions
    for name, value in trial.params.items():
        if name.startswith("layer_") and LAYER_PARAMETER.fullmatch(name):
            attrs.update(dict.fromkeys(_ARCHITECTURE_ATTRS))
            continue
        log = getattr(distributions[name], "log", None)
        if log is None:
            configuration[f"choice {name}"] = repr(value)
        elif log:
            # Optuna guarantees that it is positive.
            _set_number(configuration, f"log {name}", math.log(value))
        else:
            _set_number(configuration, f"param {name}", value)
    for name in attrs:
        attr = trial.user_attrs.get(name)
        if isinstance(attr, bool | str):
            configuration[_ATTR[1] + name] = repr(attr)
        elif isinstance(attr, int | float):
            _set_number(configuration, _ATTR[0] + name, attr)
    return configuration


def _set_number(configuration: dict[str, float | str], name: str, value: Any) -> None:
    try:
        number = float(value)
    except OverflowError:  # Python integers have no bound, floats do.
        return
    if math.isfinite(number):
        configuration[name] = number
