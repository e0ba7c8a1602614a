"""What of a trial drove its forecast, in comparison with the finished trials that came as far."""

from __future__ import annotations

import math
from typing import NamedTuple
from typing import TYPE_CHECKING

import numpy as np

from optuna_perfpred.forecasts import Observed
from optuna_perfpred.forecasts import RuleInputs
from optuna_perfpred.forecasts._features import DISTANCE
from optuna_perfpred.forecasts._features import FEATURES
from optuna_perfpred.forecasts._features import NOISE
from optuna_perfpred.forecasts._features import PARAMETERS
from optuna_perfpred.forecasts._features import PLACE
from optuna_perfpred.forecasts._features import REGRESSION
from optuna_perfpred.forecasts._features import TREND
from optuna_perfpred.predictors._base import fill_gaps


if TYPE_CHECKING:
    from collections.abc import Callable

    from optuna_perfpred._arrays import Flags
    from optuna_perfpred._arrays import Floats
    from optuna_perfpred._arrays import Places
    from optuna_perfpred.history import Configuration
    from optuna_perfpred.history import CurveRecord
    from optuna_perfpred.history import FinishedTrials
    from optuna_perfpred.history import TrainingSet
    from optuna_perfpred.pruners._forecasters import PredictorInputs

    # Which parts are those of the trial, of shape (m, n_parts), and whose the others are: (m,).
    Value = Callable[[Flags, Places], Floats]


# The configurations of this many trials with the nearest curves are compared.
_N_COMPARED = 64
# A trial is compared with this many of the background,
_N_BACKGROUND = 16
# or fewer where that would ask for more forecasts than this: there may be many parameters.
_MAX_FORECASTS = 1000
# What the names of features begin with, see `optuna_perfpred.history.read_configuration`.
_KINDS = ("choice attr ", "choice ", "log ", "param ", "attr ")

# The parts of a curve that a stopping rule is told of,
_PARTS_OF_RULE = (DISTANCE, PLACE, TREND, NOISE, REGRESSION)
_ASPECTS = np.array([*FEATURES.values()])
# what is recomputed where a trial has other parameters, or its parameters another curve,
_OF_BOTH = np.isin(_ASPECTS, (REGRESSION, PARAMETERS))
# and those that a predictor is told of.
_PARTS_OF_PREDICTOR = ("its value then", "the course of its curve")


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


class Background(NamedTuple):
    """The finished trials that came as far as a running one, pruned ones included.

    Attributes:
        records:
            The trials, in the order of their ends.
        curves:
            Their curves up to there, without gaps, oriented so that larger is better. Shape:
            ``(n, t)``.
    """

    records: tuple[CurveRecord, ...]
    curves: Floats

    @classmethod
    def of(cls, finished: FinishedTrials, training_set: TrainingSet, length: int) -> Background:
        """Find the trials that came as far.

        Args:
            finished:
                The finished trials.
            training_set:
                Gives the columns of the curves.
            length:
                The length ``t`` of the running trial's curve.
        """
        ordered = finished.latest(len(finished))
        curves = np.array(
            [training_set.align(r.steps, r.values)[:length] for r in ordered]
        ).reshape(len(ordered), length)
        came_as_far = ~np.isnan(curves[:, -1])
        records = tuple(r for r, came in zip(ordered, came_as_far, strict=True) if came)
        return cls(records, fill_gaps(curves[came_as_far]))

    def some(self, n: int) -> Background:
        """Give at most ``n`` of them, evenly spaced in the order of their ends."""
        rows = np.unique(np.linspace(0, len(self.records) - 1, n).round().astype(int))
        if len(self.records) <= n:
            return self
        return Background(tuple(self.records[row] for row in rows), self.curves[rows])

    def nearest(
        self, curve: Floats, configuration: Configuration, training_set: TrainingSet, n: int
    ) -> list[int]:
        """Find the trials that are most alike, in their curves and their configurations.

        Args:
            curve:
                The running trial's curve. Shape: ``(t,)``.
            configuration:
                Its configuration.
            training_set:
                Encodes configurations.
            n:
                How many to find.

        Returns:
            Their rows, the nearest first.
        """
        if len(self.records) == 0:
            return []
        low, high = np.quantile(self.curves, [0.2, 0.8], axis=0)
        spread = float(np.mean(high - low)) or 1.0
        with np.errstate(over="ignore"):
            of_curves = np.mean(((self.curves - curve) / spread) ** 2, axis=1)
        rows = np.argsort(of_curves, kind="stable")[:_N_COMPARED]
        scale = training_set.configurations.std(axis=0)
        scale = np.where(scale > 1e-12, scale, np.inf)  # What never varies has no distance.
        compared = [configuration, *(self.records[row].configuration for row in rows)]
        own, *encoded = training_set.encoder.transform(compared) / scale
        squares = (np.array(encoded) - own) ** 2
        distances = of_curves[rows] + squares.sum(axis=1) / max(len(own), 1)
        return [int(rows[i]) for i in np.argsort(distances, kind="stable")[:n]]


def find_contributions(
    inputs: RuleInputs | PredictorInputs,
    configuration: Configuration,
    background: Background,
    sign: float,
) -> tuple[float, tuple[Contribution, ...]] | None:
    """Tell what drove a forecast.

    Args:
        inputs:
            What it was made from.
        configuration:
            The trial's configuration.
        background:
            The finished trials that came as far.
        sign:
            ``1.0`` if values are to be maximized, ``-1.0`` if minimized.

    Returns:
        What would be foreseen of the others on average, and what each part of the trial added to
        it, the largest contributions first; :obj:`None` if there is no other trial, or what is
        foreseen is not finite.
    """
    if len(background.records) == 0:
        return None
    keys = sorted(
        {key for r in background.records for key in r.configuration} | set(configuration)
    )
    parts = _PARTS_OF_RULE if isinstance(inputs, RuleInputs) else _PARTS_OF_PREDICTOR
    n_curve = len(parts)
    n_walks = min(_N_BACKGROUND, max(2, _MAX_FORECASTS // (2 * (n_curve + len(keys) + 1))))
    some = background.some(n_walks)
    n_walks -= n_walks % len(some.records)  # Each of them counts the same.

    def foresee(own: Flags, whose: Places) -> Floats:
        mixed = []
        for is_own, who in zip(own[:, n_curve:], whose, strict=True):
            sources = (some.records[who].configuration, configuration)
            values = ((key, sources[int(o)].get(key)) for key, o in zip(keys, is_own, strict=True))
            mixed.append({key: v for key, v in values if v is not None})
        encoded = inputs.training_set.encoder.transform(mixed)
        if isinstance(inputs, RuleInputs):
            return _foresee_by_rule(inputs, some, own[:, :n_curve], encoded, whose)
        return sign * _foresee_by_predictor(inputs, some, own[:, :n_curve], encoded, whose)

    typical, effects = shapley(foresee, n_curve + len(keys), len(some.records), n_walks)
    if not np.isfinite([typical, *effects]).all():
        return None
    found = [Contribution(*told) for told in zip(parts, map(float, effects), strict=False)]
    found += [
        _of_parameter(key, float(effect), configuration)
        for key, effect in zip(keys, effects[n_curve:], strict=True)
    ]
    return typical, tuple(sorted(found, key=lambda c: -abs(c.effect)))


def _foresee_by_rule(
    inputs: RuleInputs, background: Background, own: Flags, configurations: Floats, whose: Places
) -> Floats:
    """Give the log-odds of beating the best value of mixtures of a trial and others.

    Args:
        inputs:
            What the rule was told of the trial.
        background:
            The others.
        own:
            Which parts of the curve are those of the trial. Shape: ``(m, n_parts)``.
        configurations:
            The encoded configurations. Shape: ``(m, n_features)``.
        whose:
            Whose the other parts are. Shape: ``(m,)``.
    """

    def describe(of: Places, configurations: Floats) -> Floats:
        at = np.full(len(of), len(inputs.curve) - 1)
        return inputs.describe(Observed(curves[of], configurations, np.arange(len(of)), at))

    n = len(background.records)
    curves = np.vstack([background.curves, inputs.curve])
    encoded = inputs.training_set.encoder.transform([r.configuration for r in background.records])
    described = describe(
        np.arange(n + 1), np.vstack([encoded, inputs.observed.configurations[:1]])
    )
    rows = np.tile(described[n], (len(whose), 1))
    for part, aspect in enumerate(_PARTS_OF_RULE):
        of_part = np.isin(_ASPECTS, aspect)
        theirs = described[whose][:, of_part]
        rows[:, of_part] = np.where(own[:, part, np.newaxis], rows[:, of_part], theirs)
    # The parameters also count in the regression: there the curve is one part, they another.
    of = np.where(own[:, _PARTS_OF_RULE.index(REGRESSION)], n, whose)
    mixed, inverse = np.unique(np.column_stack([of, configurations]), axis=0, return_inverse=True)
    of_both = describe(mixed[:, 0].astype(np.intp), mixed[:, 1:])[:, _OF_BOTH]
    rows[:, _OF_BOTH] = of_both[inverse.reshape(-1)]
    return inputs.rule.log_odds(rows) + inputs.log_ratio


def _foresee_by_predictor(
    inputs: PredictorInputs,
    background: Background,
    own: Flags,
    configurations: Floats,
    whose: Places,
) -> Floats:
    """Give the predicted values, oriented, of mixtures as of :func:`_foresee_by_rule`."""
    (own_value, own_course), curve, theirs = own.T, inputs.curve, background.curves[whose]
    value = np.where(own_value, curve[-1], theirs[:, -1])
    # A course is a curve without its level: what led to the last value.
    course = np.where(own_course[:, np.newaxis], curve - curve[-1], theirs - theirs[:, -1:])
    curves = np.full((len(value), len(inputs.training_set.steps)), np.nan)
    curves[:, : len(curve)] = value[:, np.newaxis] + course
    return inputs.predictor.predict(configurations, curves).mean


def shapley(value: Value, n_parts: int, n_others: int, n_walks: int) -> tuple[float, Floats]:
    """Tell what each part of a trial contributes to what is foreseen of it.

    Starting from another trial, its parts are replaced by those of the trial, one by one in a
    random order and in the reverse one, and the change of the forecast is put down to the part
    that was replaced. The means are the Shapley values (Štrumbelj and Kononenko 2014, "Explaining
    prediction models and individual predictions with feature contributions"). For a linear model
    they are the products of its coefficients and the distances to the other trials' mean, in
    whatever order.

    Args:
        value:
            Tells what is foreseen. Its arguments are which parts are those of the trial, of shape
            ``(m, n_parts)``, and whose the others are, of shape ``(m,)``.
        n_parts:
            The number of parts.
        n_others:
            The number of other trials, at least 1.
        n_walks:
            The number of orders, each of which is also reversed: a multiple of the number of
            others, so that each of these counts the same.

    Returns:
        The mean of what is foreseen of the others, and the contributions of shape ``(n_parts,)``.
        Their sum is what is foreseen of the trial.
    """
    # The same study gives the same explanation.
    rng = np.random.default_rng(0)
    orders = [rng.permutation(n_parts) for _ in range(n_walks)]
    orders = [order for one in orders for order in (one, one[::-1])]
    places = np.argsort(orders, axis=1)
    # After k replacements, the parts whose place is below k are the trial's.
    own = places[:, np.newaxis, :] < np.arange(n_parts + 1)[:, np.newaxis]
    others = np.repeat(np.arange(n_walks) % n_others, 2 * (n_parts + 1))
    foreseen = value(own.reshape(-1, n_parts), others).reshape(len(orders), n_parts + 1)
    changes = np.diff(foreseen, axis=1)
    contributions = np.take_along_axis(changes, places, axis=1).mean(axis=0)
    return float(foreseen[:, 0].mean()), contributions


def _of_parameter(key: str, effect: float, configuration: Configuration) -> Contribution:
    value = configuration.get(key)
    if key.startswith("log ") and isinstance(value, float):
        value = math.exp(value)
    kind = next((kind for kind in _KINDS if key.startswith(kind)), "")
    return Contribution(key.removeprefix(kind), effect, is_parameter=True, value=value)
