from __future__ import annotations

from bisect import bisect_right
from itertools import accumulate
from typing import Any
from typing import TYPE_CHECKING

from optuna_perfpred._arguments import check_at_least


if TYPE_CHECKING:
    from collections.abc import Sequence


# Baker et al. 2017, "Designing Neural Network Architectures", table 2: how many unique
# architectures are trained at each probability of exploring.
_PUBLISHED = (
    (1.0, 1500),
    *((epsilon, 100) for epsilon in (0.9, 0.8, 0.7)),
    *((epsilon, 150) for epsilon in (0.6, 0.5, 0.4, 0.3, 0.2, 0.1)),
)

# Shares of a study's trials. The published schedule explores at random for more than half of its
# length, which suits thousands of trials; scaled down to 500, on recorded networks of the same
# space, it proposes worse architectures in the end and finds none better on the way.
_SHORT = (
    (1.0, 0.2),
    *((epsilon, 0.1) for epsilon in (0.8, 0.6, 0.5, 0.4, 0.3, 0.2)),
    (0.1, 0.2),
)


class EpsilonSchedule:
    """The probability of exploring by the number of unique architectures trained so far.

    Args:
        schedule:
            ``"auto"``, ``"published"``, or pairs of a probability and a number of architectures,
            see :class:`~optuna_perfpred.QLearningSampler`.
        n_trials:
            The length to which ``"auto"`` is scaled, and to which pairs must sum unless it is
            :obj:`None`.
        default_n_trials:
            The length to which ``"auto"`` is scaled if ``n_trials`` is :obj:`None`.

    Raises:
        :exc:`ValueError`:
            If the schedule is not one of these, a probability is outside [0, 1], a number is not
            a positive integer, or the numbers do not sum to ``n_trials``.
    """

    def __init__(
        self,
        schedule: str | Sequence[tuple[float, int]],
        n_trials: int | None,
        default_n_trials: int,
    ) -> None:
        if n_trials is not None:
            check_at_least("n_trials", n_trials, 1)
        if schedule == "auto":
            length = n_trials or default_n_trials
            pairs: Sequence[tuple[float, float]] = [(e, share * length) for e, share in _SHORT]
        else:
            pairs = _PUBLISHED if schedule == "published" else _check_pairs(schedule, n_trials)
        self._epsilons = [epsilon for epsilon, _ in pairs]
        self._ends = [round(end) for end in accumulate(number for _, number in pairs)]

    def epsilon(self, n_architectures: int) -> float:
        """The probability of exploring; after the end of the schedule, the last one.

        Args:
            n_architectures:
                Number of unique architectures trained so far.
        """
        index = bisect_right(self._ends, n_architectures)
        return self._epsilons[min(index, len(self._epsilons) - 1)]


def _check_pairs(schedule: Any, n_trials: int | None) -> list[tuple[float, int]]:
    try:
        pairs = [(float(epsilon), check_at_least("", n, 1)) for epsilon, n in schedule]
    except (TypeError, ValueError):
        pairs = []
    if not pairs or not all(0.0 <= epsilon <= 1.0 for epsilon, _ in pairs):
        raise ValueError(
            "`epsilon_schedule` must be 'auto', 'published', or pairs of a probability in [0, 1] "
            f"and a positive number of architectures, but got {schedule!r}."
        )
    total = sum(number for _, number in pairs)
    if n_trials is not None and total != n_trials:
        raise ValueError(
            f"The numbers of `epsilon_schedule` must sum to {n_trials=}, but sum to {total}."
        )
    return pairs
