from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from optuna_perfpred.history._encoding import ConfigurationEncoder


if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from optuna_perfpred.history._records import Configuration
    from optuna_perfpred.history._records import CurveRecord


# Longer curves are read at this many steps: a forecast hardly gains from more, and each step at
# which a decision may fall costs a model.
_MAX_STEPS = 100
# Encoded configurations that are kept: those of the trials that run at the same time.
_MAX_ENCODED = 2000
# Diverged runs report values whose squares overflow.
_LARGEST = 1e100


class TrainingSet:
    """Completed trials as arrays, and the way to bring another trial into the same columns.

    All values are oriented so that larger is better: those of a study that minimizes are negated.
    Trials need not share steps: the columns are all steps at which any of them reported (evenly
    thinned beyond 100), and a trial that skipped a step has there what linear interpolation
    between its neighbouring reports gives. There is NaN before its first and after its last
    report. An infinite value counts as the worst, or best, finite one known.

    Args:
        records:
            The completed trials.
        sign:
            ``1.0`` if the records' values are to be maximized, ``-1.0`` if to be minimized.
        horizon:
            The step at which a full curve ends; what was reported after it is not used. If
            :obj:`None`, the last step that any of the records reached.

    Attributes:
        encoder:
            Encodes configurations into the columns of this set.
        configurations:
            The encoded configurations. Shape: ``(n_records, n_features)``.
        curves:
            The learning curves. Shape: ``(n_records, n_steps)``.
        finals:
            The values that the objectives returned. Shape: ``(n_records,)``.
        steps:
            The steps of the columns, ascending; the last one is the horizon. Shape:
            ``(n_steps,)``.
    """

    def __init__(
        self, records: Sequence[CurveRecord], *, sign: float, horizon: int | None = None
    ) -> None:
        self._sign = sign
        self.encoder = ConfigurationEncoder().fit([r.configuration for r in records])
        self._encoded: dict[int, tuple[Configuration, npt.NDArray[np.float64]]] = {}
        self.configurations = self.encoder.transform([r.configuration for r in records])
        self.steps = _common_steps(records, horizon)
        reported = [r.values for r in records]
        self._bounds = _finite_bounds(sign * np.concatenate(reported)) if reported else (0.0, 0.0)
        self.curves = np.full((len(records), len(self.steps)), np.nan)
        for row, record in zip(self.curves, records, strict=True):
            row[:] = self.align(record.steps, record.values)
        finals = sign * np.array([r.value for r in records], dtype=np.float64)
        self.finals = np.clip(finals, *_finite_bounds(finals))

    def encode(
        self,
        configuration: Configuration,
        steps: npt.NDArray[np.int64],
        values: npt.NDArray[np.float64],
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Bring a trial into the columns of this set.

        Args:
            configuration:
                The trial's parameters and feature attributes.
            steps:
                The steps at which it reported, ascending. Shape: ``(n_reports,)``.
            values:
                The values it reported, as reported. Shape: ``(n_reports,)``.

        Returns:
            Its configuration of shape ``(1, n_features)`` and its curve of shape
            ``(1, n_steps)``.
        """
        # A trial asks at each of its steps, with the same configuration. That is kept as well, so
        # that no other one takes its place in the memory.
        known = self._encoded.get(id(configuration))
        if known is None:
            if len(self._encoded) >= _MAX_ENCODED:
                self._encoded.clear()
            known = configuration, self.encoder.transform([configuration])
            self._encoded[id(configuration)] = known
        return known[1], self.align(steps, values)[np.newaxis]

    def align(
        self, steps: npt.NDArray[np.int64], values: npt.NDArray[np.float64]
    ) -> npt.NDArray[np.float64]:
        """Bring a curve into the columns of this set.

        Args:
            steps:
                The steps at which was reported, ascending. Shape: ``(n_reports,)``.
            values:
                The values, as reported. Shape: ``(n_reports,)``.

        Returns:
            The curve, oriented, NaN before its first and after its last value. Shape:
            ``(n_steps,)``.
        """
        known = ~np.isnan(values)
        if not known.any():
            return np.full(len(self.steps), np.nan)
        oriented = self._sign * values[known]
        # Only infinities take the bounds: a trial may well be better than all before it.
        diverged = np.isinf(oriented)
        oriented[diverged] = np.clip(oriented[diverged], *self._bounds)
        oriented = np.clip(oriented, -_LARGEST, _LARGEST)
        return np.interp(self.steps, steps[known], oriented, left=np.nan, right=np.nan)


def _common_steps(records: Sequence[CurveRecord], horizon: int | None) -> npt.NDArray[np.int64]:
    reported = [r.steps[~np.isnan(r.values)] for r in records]
    steps = np.unique(np.concatenate([*reported, np.empty(0, dtype=np.int64)]))
    if horizon is not None:
        steps = np.append(steps[steps < horizon], horizon)
    if len(steps) > _MAX_STEPS:
        steps = steps[np.round(np.linspace(0, len(steps) - 1, _MAX_STEPS)).astype(int)]
    return steps


def _finite_bounds(values: npt.NDArray[np.float64]) -> tuple[float, float]:
    finite = values[np.isfinite(values)]
    if len(finite) == 0:
        return 0.0, 0.0
    return max(float(finite.min()), -_LARGEST), min(float(finite.max()), _LARGEST)
