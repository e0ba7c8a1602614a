from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING
import zipfile

import numpy as np

from optuna_perfpred._files import check_file
from optuna_perfpred.forecasts._features import FEATURE_NAMES
from optuna_perfpred.forecasts._peers import PEER_FEATURE_NAMES
from optuna_perfpred.forecasts._trees import BoostedTrees


if TYPE_CHECKING:
    import numpy.typing as npt

# Ours unpacks to a hundredth of it.
_MAX_BYTES = 2**27


class StoppingRule:
    """A pretrained rule: the probability that a running trial will end as the best of its study.

    A gradient-boosted classifier, trained on simulated histories of recorded studies, asks for
    features of the trial and of the completed ones that have no unit: distances and gains in the
    spread of the final values, ranks, what ranks have meant for the end, lags, and the forecast
    of a regression fitted on the completed trials. It knows from other studies what these mean
    when only few trials of the own one are complete. A second, smaller one compares trials that
    began together as long as none is complete. What they were trained on, and with what success
    on studies they were not trained on, is told in ``benchmarks/stopping_rule/README.md``.

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
            if isinstance(file, Path):
                check_file(file, _MAX_BYTES)
            with file.open("rb") as stream:
                with zipfile.ZipFile(stream) as archive:
                    if sum(member.file_size for member in archive.infolist()) > _MAX_BYTES:
                        raise ValueError("it is too large")
                stream.seek(0)
                with np.load(stream, allow_pickle=False) as arrays:
                    self._trees = BoostedTrees.of_arrays(arrays)
                    self._peer_trees = BoostedTrees.of_arrays(arrays, prefix="peers_")
        # A damaged archive raises whatever its part that is damaged leads to.
        except Exception as error:
            raise ValueError(
                f"`path` must be a stopping rule's file, but got {path=}: {error!r}"
            ) from error
        for trees, names in (
            (self._trees, FEATURE_NAMES),
            (self._peer_trees, PEER_FEATURE_NAMES),
        ):
            if tuple(trees.feature_names) != names:
                raise ValueError(
                    "`path` must be a rule that was trained for the features of this version, "
                    f"but got {path=}. Train it again."
                )

    def __repr__(self) -> str:
        return f"{type(self).__name__}(path={self.path!r})"

    def log_odds(self, rows: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Give the log-odds of ending better than the best completed trial.

        Args:
            rows:
                Rows of :func:`~optuna_perfpred.forecasts.features`. Shape: ``(n, n_features)``.

        Returns:
            The log-odds of shape ``(n,)``.
        """
        return self._trees.log_odds(rows)

    def peer_log_odds(self, rows: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Give the log-odds of ending as the best of those that have come as far.

        Args:
            rows:
                Rows of :func:`~optuna_perfpred.forecasts.peer_features`. Shape:
                ``(n, n_features)``.

        Returns:
            The log-odds of shape ``(n,)``.
        """
        return self._peer_trees.log_odds(rows)


def relative_chance(
    probability: npt.NDArray[np.float64], remaining: npt.NDArray[np.float64], n_finished: int
) -> npt.NDArray[np.float64]:
    """Compare a trial with a new one: the chance of a new best for each step still to train.

    If trials are exchangeable, a new one will be the best of all with probability
    ``1 / (n_finished + 1)`` and costs a full curve; this one with the given probability and costs
    what remains. To prune below a constant ratio is optimal in the long run: a trial that becomes
    the best now is still the best after ``N`` trials with probability ``(n_finished + 1) / N``.

    Args:
        probability:
            The probability that the trial will end as the best.
        remaining:
            What it still has to train, in trainings of average length.
        n_finished:
            The number of trials that have finished.

    Returns:
        The chance per step as a multiple of a new trial's.
    """
    return probability * (n_finished + 1) / remaining
