from __future__ import annotations

from typing import NamedTuple
from typing import TYPE_CHECKING

import numpy as np


if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from optuna_perfpred.history._records import Configuration
    from optuna_perfpred.history._records import CurveRecord


# A positive attribute that spans two decades, such as a number of weights, is a quantity of
# scale: its logarithm is what relates to performance.
_LOG_RATIO = 100.0
# Longer curves are read at this many steps: a forecast hardly gains from more, and each step at
# which a decision may fall costs a model.
_MAX_STEPS = 100
# Encoded trials that are kept: those that were stopped, and those that run at the same time.
_MAX_ENCODED = 5000
# Diverged runs report values whose squares overflow.
_LARGEST = 1e100


class ConfigurationEncoder:
    """Encode configurations as rows of a finite matrix.

    Columns are learned from the configurations given to :meth:`fit`: one for each number, one for
    each choice that was seen (one-hot), and, for each number that some of them lack (a
    conditional parameter, or one that appeared later in the study), one that tells its absence. A
    number that is absent takes its mean. What :meth:`fit` did not see is ignored by
    :meth:`transform`.
    """

    def __init__(self) -> None:
        self._columns: dict[str, int] = {}
        self._log_attrs: set[str] = set()
        self._means: npt.NDArray[np.float64] | None = None
        self._incomplete = np.empty(0, dtype=np.intp)
        self._is_number = np.empty(0, dtype=bool)

    def fit_transform(self, configurations: Sequence[Configuration]) -> npt.NDArray[np.float64]:
        """Learn the columns, and encode what they are learned from.

        Args:
            configurations:
                Configurations as given by :func:`~optuna_perfpred.history.read_configuration`.

        Returns:
            As :meth:`transform`.
        """
        values: dict[str, list[float]] = {}
        choices = set()
        for configuration in configurations:
            for name, value in configuration.items():
                if isinstance(value, str):
                    choices.add(f"{name}={value}")
                else:
                    values.setdefault(name, []).append(value)
        self._log_attrs = {
            name
            for name in values
            if name.startswith("attr ")
            and min(values[name]) > 0.0
            and max(values[name]) >= _LOG_RATIO * min(values[name])
        }
        self._columns = {name: column for column, name in enumerate(sorted([*values, *choices]))}
        self._is_number = np.array([name in values for name in self._columns], dtype=bool)
        matrix = self._fill(configurations)
        self._incomplete = np.flatnonzero(np.isnan(matrix).any(axis=0))
        self._means = np.nanmean(matrix, axis=0) if self._columns else None
        return self._without_gaps(matrix)

    def transform(self, configurations: Sequence[Configuration]) -> npt.NDArray[np.float64]:
        """Encode configurations.

        Args:
            configurations:
                ``n`` configurations.

        Returns:
            A finite matrix of shape ``(n, d)``; ``d`` is 0 if there were no features.
        """
        return self._without_gaps(self._fill(configurations))

    def _without_gaps(self, matrix: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        if self._means is None:
            return np.empty((len(matrix), 0))
        absent = np.isnan(matrix)
        return np.hstack([np.where(absent, self._means, matrix), absent[:, self._incomplete]])

    def _fill(self, configurations: Sequence[Configuration]) -> npt.NDArray[np.float64]:
        """Give a row each, NaN where a number is absent and 0 where a choice is another one."""
        matrix = np.zeros((len(configurations), len(self._columns)))
        matrix[:, self._is_number] = np.nan
        for row, configuration in zip(matrix, configurations, strict=True):
            columns, numbers = [], []
            for name, value in configuration.items():
                if isinstance(value, str):
                    column, value = self._columns.get(f"{name}={value}"), 1.0
                else:
                    column = self._columns.get(name)
                if column is not None:
                    columns.append(column)
                    numbers.append(value)
            row[columns] = numbers
        for name in self._log_attrs:
            column = self._columns[name]
            matrix[:, column] = np.log(
                matrix[:, column], where=matrix[:, column] > 0.0, out=np.full(len(matrix), np.nan)
            )
        return matrix


class _Encoded(NamedTuple):
    """A trial in the columns of a training set, and what it was encoded from."""

    configuration: Configuration
    row: npt.NDArray[np.float64]
    values: npt.NDArray[np.float64] | None = None
    curve: npt.NDArray[np.float64] | None = None


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
        self.encoder = ConfigurationEncoder()
        self._encoded: dict[int, _Encoded] = {}
        self.configurations = self.encoder.fit_transform([r.configuration for r in records])
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
        trials: Sequence[tuple[Configuration, npt.NDArray[np.int64], npt.NDArray[np.float64]]],
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Bring trials into the columns of this set.

        Args:
            trials:
                Of each of ``n`` trials its parameters and feature attributes, the steps at which
                it reported, ascending, and the values, as reported.

        Returns:
            Their configurations of shape ``(n, n_features)`` and their curves of shape
            ``(n, n_steps)``.
        """
        # A running trial asks at each of its steps, with the same configuration, and stopped ones
        # are asked of with the same curves. These are kept as well, so that no others take their
        # places in the memory.
        known = self._encoded
        new = [configuration for configuration, _, _ in trials if id(configuration) not in known]
        if len(known) + len(new) > max(_MAX_ENCODED, len(trials)):
            # Another thread may read the one before.
            known = self._encoded = {}
            new = [configuration for configuration, _, _ in trials]
        for configuration, row in zip(new, self.encoder.transform(new), strict=True):
            known[id(configuration)] = _Encoded(configuration, row)
        configurations = np.empty((len(trials), self.configurations.shape[1]))
        curves = np.empty((len(trials), len(self.steps)))
        for at, (configuration, steps, values) in enumerate(trials):
            encoded = known[id(configuration)]
            if encoded.values is not values:
                encoded = _Encoded(configuration, encoded.row, values, self.align(steps, values))
                known[id(configuration)] = encoded
            configurations[at], curves[at] = encoded.row, encoded.curve
        return configurations, curves

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
        oriented = self._sign * values
        # Most curves have neither gaps nor infinities; NaN is not within the bounds.
        if len(values) and oriented.min() >= -_LARGEST and oriented.max() <= _LARGEST:
            return np.interp(self.steps, steps, oriented, left=np.nan, right=np.nan)
        known = ~np.isnan(values)
        if not known.any():
            return np.full(len(self.steps), np.nan)
        oriented = oriented[known]
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
