from __future__ import annotations

import math
from typing import NamedTuple
from typing import TYPE_CHECKING

import numpy as np

from optuna_perfpred.explanation._evidence import Mixed
from optuna_perfpred.explanation._shapley import shapley


if TYPE_CHECKING:
    import numpy.typing as npt

    from optuna_perfpred.explanation._evidence import Evidence
    from optuna_perfpred.explanation._others import Others
    from optuna_perfpred.history import Configuration


# A trial is compared with this many others,
_N_OTHERS = 16
# or fewer where that would ask for more forecasts than this: there may be many parameters.
_MAX_FORECASTS = 1000
# What the names of features begin with, see `optuna_perfpred.history.read_configuration`.
_KINDS = ("choice attr ", "choice ", "log ", "param ", "attr ")


class Contribution(NamedTuple):
    """What one part of a trial contributed to what was foreseen of it.

    Attributes:
        name:
            The part, in plain words, or the name of a parameter.
        effect:
            By how much it changed what was foreseen, in comparison with the finished trials that
            came as far: the log-odds of beating the best value with a stopping rule, the
            predicted value with a predictor.
        is_parameter:
            Whether it is a parameter, or a user attribute used as one.
        value:
            The parameter's value, of a choice as Python writes it; :obj:`None` if the trial does
            not have the parameter.
    """

    name: str
    effect: float
    is_parameter: bool = False
    value: float | str | None = None

    def __str__(self) -> str:
        if not self.is_parameter:
            return self.name
        if self.value is None:
            return f"{self.name}, which it does not have"
        value = self.value if isinstance(self.value, str) else f"{self.value:.6g}"
        return f"{self.name} = {value}"


def find_contributions(
    evidence: Evidence, others: Others
) -> tuple[float, tuple[Contribution, ...]] | None:
    """Tell what drove an assessment.

    Args:
        evidence:
            What the assessment is based on.
        others:
            The finished trials that came as far.

    Returns:
        What would be foreseen of the others on average, and what each part of the trial added to
        it, the largest contributions first; :obj:`None` if there is no other trial, or what is
        foreseen is not finite.
    """
    if len(others.records) == 0:
        return None
    keys = sorted(
        {key for r in others.records for key in r.configuration} | set(evidence.configuration)
    )
    n_curve = len(evidence.parts)
    n_walks = min(_N_OTHERS, max(2, _MAX_FORECASTS // (2 * (n_curve + len(keys) + 1))))
    some = others.some(n_walks)
    n_walks -= n_walks % len(some.records)  # Each of them counts the same.

    def foresee(
        own: npt.NDArray[np.bool_], whose: npt.NDArray[np.intp]
    ) -> npt.NDArray[np.float64]:
        configurations = []
        for is_own, who in zip(own[:, n_curve:], whose, strict=True):
            sources = (some.records[who].configuration, evidence.configuration)
            mixed = ((key, sources[int(o)].get(key)) for key, o in zip(keys, is_own, strict=True))
            configurations.append({key: v for key, v in mixed if v is not None})
        return evidence.foresee(some, Mixed(own[:, :n_curve], configurations, whose))

    typical, effects = shapley(foresee, n_curve + len(keys), len(some.records), n_walks)
    if not np.isfinite([typical, *effects]).all():
        return None
    found = [
        *map(Contribution, evidence.parts, map(float, effects)),
        *(
            _of_parameter(key, float(effect), evidence.configuration)
            for key, effect in zip(keys, effects[n_curve:], strict=True)
        ),
    ]
    return typical, tuple(sorted(found, key=lambda c: -abs(c.effect)))


def _of_parameter(key: str, effect: float, configuration: Configuration) -> Contribution:
    value = configuration.get(key)
    if key.startswith("log ") and isinstance(value, float):
        value = math.exp(value)
    kind = next((kind for kind in _KINDS if key.startswith(kind)), "")
    return Contribution(key.removeprefix(kind), effect, is_parameter=True, value=value)
