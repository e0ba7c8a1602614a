from __future__ import annotations

from typing import NamedTuple
from typing import TYPE_CHECKING

import numpy as np

from optuna_perfpred.predictors._base import fill_gaps


if TYPE_CHECKING:
    import numpy.typing as npt

    from optuna_perfpred.history import Configuration
    from optuna_perfpred.history import CurveRecord
    from optuna_perfpred.history import FinishedTrials
    from optuna_perfpred.history import TrainingSet


# The configurations of this many trials with the nearest curves are compared.
_N_COMPARED = 64
_NO_STEPS = np.empty(0, dtype=np.int64)
_NO_VALUES = np.empty(0)


class Others(NamedTuple):
    """The finished trials that came as far as a running one, pruned ones included.

    Attributes:
        records:
            The trials, in the order of their ends.
        curves:
            Their curves up to there, without gaps, oriented so that larger is better. Shape:
            ``(n, t)``.
    """

    records: tuple[CurveRecord, ...]
    curves: npt.NDArray[np.float64]

    @classmethod
    def of(cls, finished: FinishedTrials, training_set: TrainingSet, length: int) -> Others:
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

    def some(self, n: int) -> Others:
        """Give at most ``n`` of them, evenly spaced in the order of their ends."""
        rows = np.unique(np.linspace(0, len(self.records) - 1, n).round().astype(int))
        if len(self.records) <= n:
            return self
        return Others(tuple(self.records[row] for row in rows), self.curves[rows])

    def nearest(
        self,
        curve: npt.NDArray[np.float64],
        configuration: Configuration,
        training_set: TrainingSet,
        n: int,
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
        own = encode(training_set, configuration) / scale
        encoded = [encode(training_set, self.records[row].configuration) for row in rows]
        squares = (np.reshape(encoded, (len(rows), -1)) / scale - own) ** 2
        distances = of_curves[rows] + squares.sum(axis=1) / max(len(own), 1)
        return [int(rows[i]) for i in np.argsort(distances, kind="stable")[:n]]


def encode(training_set: TrainingSet, configuration: Configuration) -> npt.NDArray[np.float64]:
    """Encode a configuration. Shape: ``(n_features,)``."""
    row: npt.NDArray[np.float64] = training_set.encode(configuration, _NO_STEPS, _NO_VALUES)[0][0]
    return row
