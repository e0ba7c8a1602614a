from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from scipy import special

from optuna_perfpred.pruners._stopping_rule._features import FEATURE_NAMES
from optuna_perfpred.pruners._stopping_rule._features import features
from optuna_perfpred.pruners._stopping_rule._trees import BoostedTrees


if TYPE_CHECKING:
    import numpy.typing as npt

    from optuna_perfpred.pruners._stopping_rule._completed_trials import CompletedTrials


class StoppingRule:
    """A pretrained rule: the probability that a running trial will end as the best of its study.

    A gradient-boosted classifier, trained on simulated histories of recorded studies, asks for
    features of the trial and of the completed ones that have no unit: distances and gains in the
    spread of the final values, ranks, what ranks have meant for the end, lags, and the forecast
    of a regression fitted on the completed trials. It knows from other studies what these mean
    when only few trials of the own one are complete. What it was trained on, and with what
    success on studies it was not trained on, is told in the README.

    Args:
        path:
            A file written by ``benchmarks/stopping_rule/train.py``. If :obj:`None`, the rule that
            comes with the package.

    Raises:
        ValueError:
            If the file is not such a file, or was written by a version with other features.
    """

    def __init__(self, path: str | Path | None = None) -> None:
        self.path = path
        file = resources.files(__package__) / "stopping_rule.npz" if path is None else Path(path)
        try:
            with file.open("rb") as stream:
                self._trees = BoostedTrees.load(stream)
        except (OSError, KeyError, ValueError) as error:
            raise ValueError(f"`path` must be a stopping rule's file, but got {path=}.") from error
        if tuple(self._trees.feature_names) != FEATURE_NAMES:
            raise ValueError(
                "`path` must be a rule that was trained for the features of this version, but "
                f"got {path=}. Train it again."
            )

    def __repr__(self) -> str:
        return f"{type(self).__name__}(path={self.path!r})"

    def probability_of_beating_best(
        self,
        completed: CompletedTrials,
        curve: npt.NDArray[np.float64],
        configuration: npt.NDArray[np.float64],
        recent: npt.NDArray[np.float64],
        n_finished: int,
    ) -> float:
        """Give the probability that a trial's final value will beat the best completed one.

        Args:
            completed:
                The completed trials.
            curve:
                The trial's learning curve so far, without gaps. Shape: ``(t,)``, ``t < n_steps``.
            configuration:
                Its encoded configuration. Shape: ``(n_features,)``.
            recent:
                The curves of the trials that finished last, NaN after the end of a pruned one, at
                most :data:`N_RECENT`. Shape: ``(n_recent, n_steps)``.
            n_finished:
                The number of all trials that have finished.

        Returns:
            The probability.
        """
        at = np.array([len(curve) - 1])
        described = features(completed, curve, configuration, recent, n_finished, at)
        return float(self._trees.predict(described)[0])

    def log_odds(self, rows: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Give the log-odds of that probability for rows of :func:`features`. Shape: ``(n,)``."""
        odds: npt.NDArray[np.float64] = special.logit(self._trees.predict(rows))
        return odds


def relative_chance(
    probability: npt.NDArray[np.float64] | float,
    remaining: npt.NDArray[np.float64] | float,
    n_finished: int,
) -> npt.NDArray[np.float64] | float:
    """Compare a trial with a new one: the chance of a new best for each step still to train.

    If trials are exchangeable, a new one will be the best of all with probability
    ``1 / (n_finished + 1)`` and costs a full curve; this one with the given probability and costs
    what remains. To prune below a constant ratio is optimal in the long run: a trial that becomes
    the best now is still the best after ``N`` trials with probability ``(n_finished + 1) / N``.

    Args:
        probability:
            The probability that the trial will end as the best.
        remaining:
            The share of a full curve that it still has to train.
        n_finished:
            The number of trials that have finished.

    Returns:
        The chance per step as a multiple of a new trial's.
    """
    return probability * (n_finished + 1) / remaining
