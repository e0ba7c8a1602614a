"""Decisions in simulated histories of recorded studies, to learn a stopping rule from.

A history draws the configurations of a set one after the other, by one worker or by several, and
prunes some of them. At some of its trials, other configurations are put in the place of the one
that was drawn, and described at some of their steps with the features of the stopping rule.
Whether the configuration ends better than the best completed one is known. Records, which are
rare, are drawn more often than they would occur, and weigh less.
"""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import fields
import itertools
from typing import TYPE_CHECKING

from _known_trials import KnownTrials
from _variations import crowd
from _variations import recorded_or_varied
from _variations import SHARE_AS_RECORDED
from _variations import vary_returned_value
import numpy as np


if TYPE_CHECKING:
    from collections.abc import Sequence

    from _known_trials import Probability
    from _known_trials import Running
    from _variations import Curves
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]


# Trials at which configurations are compared with the history, if it is so long.
TRIALS = (1, 2, 3, 4, 5, 6, 8, 10, 13, 17, 22, 30, 40, 55, 75, 100, 140, 190)
LONGEST_HISTORY = 200
N_CANDIDATES = 20
# Of these, at most so many that would be records.
N_RECORDS = 7
N_STEPS = 5
# Relative chances below which a history prunes.
CAUTIONS = (0.1, 0.3, 1.0, 2.0)
AUDIT_RATES = (0.0, 0.0, 0.1, 0.25)
SHARE_OF_ONE_WORKER = 0.65
WORKERS = (4, 8, 16, 64)
# While a sampler learns, what comes next resembles what the next trials of the history are.
N_NEXT = 40
# Several workers are asked for this many steps of a trial, as they take so many steps at once.
N_ASKED = 14


@dataclass(frozen=True)
class Decisions:
    """Described trials: `features` (n, f), whether each became the `best`, `weight`."""

    features: npt.NDArray[np.float32]
    best: npt.NDArray[np.bool_]
    weight: Floats

    @classmethod
    def concatenate(cls, parts: Sequence[Decisions]) -> Decisions:
        columns = [np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(cls)]
        return cls(*columns)

    @classmethod
    def of_set(cls, parts: Sequence[Decisions]) -> Decisions:
        """Put the decisions of one set together; their weights add up to 1."""
        whole = cls.concatenate(parts)
        return cls(whole.features, whole.best, whole.weight / whole.weight.sum())

    def part(self, rows: npt.NDArray[np.bool_]) -> Decisions:
        return Decisions(self.features[rows], self.best[rows], self.weight[rows])


def simulate(
    curves: Curves, probability: Probability | None, n_histories: int, seed: Sequence[int]
) -> Decisions:
    """Describe trials of histories of one set, pruned by a rule or, if `None`, ideally."""
    rng = np.random.default_rng(seed)
    decisions: list[Decisions] = []
    for _ in range(n_histories):
        study = recorded_or_varied(curves, rng, as_recorded=SHARE_AS_RECORDED, min_curves=12)
        study = vary_returned_value(study, rng, best=0.1, early_stopping=0.2)
        decisions += History(study, rng, probability).decisions()
    return Decisions.of_set(decisions)


class History:
    """A study in which the configurations of a set are drawn in some order.

    Args:
        curves:
            The set.
        rng:
            The generator.
        probability:
            The rule by which trials are pruned. If `None`, an ideal pruner, which completes the
            records, some of the other good ones and a random share.
    """

    def __init__(
        self, curves: Curves, rng: np.random.Generator, probability: Probability | None
    ) -> None:
        self._rng = rng
        self._probability = probability
        self._set = self._draw_order(curves)
        self._finals = self._set.finals
        self._n_trials = int(min(LONGEST_HISTORY, 0.8 * len(self._finals)))
        self._known = KnownTrials(self._set)
        self._caution = rng.choice(CAUTIONS)
        self._audit_rate = rng.choice(AUDIT_RATES)
        self._completion_rate = rng.choice([1.0, 0.5, 0.2, 0.08])
        self._compared = {t for t in TRIALS if t < self._n_trials and rng.random() < 0.6}
        self._compared |= set(rng.integers(1, max(2, self._n_trials), 3).tolist())
        self._decisions: list[Decisions] = []

    def decisions(self) -> list[Decisions]:
        """Run the history and describe trials."""
        rng = self._rng
        one = rng.random() < SHARE_OF_ONE_WORKER
        n_workers = 1 if one else min(int(rng.choice(WORKERS)), self._n_trials // 2)
        if n_workers <= 1:
            self._run_one_worker()
        else:
            self._run_workers(n_workers)
        return self._decisions

    def _draw_order(self, curves: Curves) -> Curves:
        """Draw the order of the trials, and return the set that it is of."""
        rng = self._rng
        drawn = rng.random()
        self._n_next = N_NEXT
        if drawn < 0.3:
            # A sampler whose proposals come closer and closer to its best trials.
            curves = crowd(curves, rng)
            self._order = _learning_order(curves.finals, rng)
        else:
            n = len(curves.finals)
            self._order = rng.permutation(n)
            if drawn < 0.45:
                # A sampler that learns: better configurations tend to come later.
                ranks = np.argsort(np.argsort(curves.finals))
                self._order = np.argsort(rng.uniform(0.0, 4.0) * ranks / n + rng.normal(size=n))
            else:
                self._n_next = n
        return curves

    def _run_one_worker(self) -> None:
        rng, known, lengths = self._rng, self._known, self._set.lengths
        for number in range(self._n_trials):
            row = self._order[number]
            if number in self._compared and known.complete:
                self._compare(self._order[number : number + self._n_next], {})
            if self._probability is None:
                stop = self._ideal_stop(row)
            elif rng.random() < self._audit_rate or not known.complete:
                stop = None
            else:
                stop = known.first_stop(row, self._probability, self._caution, {})
            known.finish(row, lengths[row] if stop is None else stop + 1, complete=stop is None)

    def _run_workers(self, n_workers: int) -> None:
        """Train several trials at the same time, each by one step at a tick."""
        known, lengths = self._known, self._set.lengths
        last = self._set.n_steps - 1
        asked = set(np.round(np.geomspace(1, last, N_ASKED)).astype(int).tolist())
        running: dict[int, int] = {}
        stops: dict[int, int | None] = {}
        audited: set[int] = set()
        waiting = iter(self._order[: self._n_trials].tolist())

        def begin(n: int) -> None:
            for row in itertools.islice(waiting, n):
                running[row] = 0
                if self._rng.random() < self._audit_rate:
                    audited.add(row)
                stops[row] = self._ideal_stop(row) if self._probability is None else None

        begin(n_workers)
        while running:
            n_finished = known.n_finished
            ended = {}
            for row in running:
                running[row] += 1
                end = running[row]
                if end >= lengths[row]:
                    ended[row] = True
                elif self._probability is None:
                    stop = stops[row]
                    if stop is not None and end > stop:
                        ended[row] = False
                elif known.complete and row not in audited and end in asked:
                    at = np.array([end - 1])
                    chance = known.relative_chance(row, at, self._probability, running)
                    if chance[0] < self._caution:
                        ended[row] = False
            for row, complete in ended.items():
                known.finish(row, running.pop(row), complete=complete)
            begin(len(ended))
            passed = range(n_finished, known.n_finished)
            if running and known.complete and not self._compared.isdisjoint(passed):
                n_begun = known.n_finished + len(running)
                following = self._order[n_begun : n_begun + self._n_next]
                self._compare(np.append(following, list(running)), running)

    def _compare(self, following: npt.NDArray[np.intp], running: Running) -> None:
        """Describe some of the trials that could come next."""
        rng, known = self._rng, self._known
        better = self._finals[following] > known.best_value
        records = rng.permutation(following[better])[:N_RECORDS]
        others = rng.permutation(following[~better])[: N_CANDIDATES - len(records)]
        for rows, n_rows in ((records, better.sum()), (others, (~better).sum())):
            for row in rows:
                n_steps = known.n_decisions(row)
                if n_steps < 1:
                    continue
                at = self._draw_steps(row, n_steps, running)
                described = known.describe(row, at, running)
                weight = n_rows / len(rows) / len(following) / len(at)
                self._decisions.append(
                    Decisions(
                        described.astype(np.float32),
                        np.full(len(at), rows is records),
                        np.full(len(at), weight),
                    )
                )

    def _draw_steps(self, row: int, n_steps: int, running: Running) -> npt.NDArray[np.intp]:
        """Draw steps, most of them before the one at which the trial would be pruned."""
        rng, probability = self._rng, self._probability
        drawn = n_steps * rng.random(N_STEPS) ** 1.3
        # Beside running trials, descriptions take longer: few are asked when they are pruned.
        if probability is not None and (not running or rng.random() < 0.3):
            bar = self._caution * rng.choice([0.3, 1.0, 1.0])
            stop = self._known.first_stop(row, probability, bar, running)
            if stop is not None:
                before = rng.random(N_STEPS) < 0.75
                drawn = np.where(before, (stop + 1) * rng.random(N_STEPS), drawn)
        return np.unique(np.minimum(drawn, n_steps - 1).astype(np.intp))

    def _ideal_stop(self, row: int) -> int | None:
        rng, known = self._rng, self._known
        finals = self._finals[known.complete]
        good = len(finals) > 3 and self._finals[row] > np.quantile(finals, 0.8)
        if (
            len(finals) < 2
            or self._finals[row] > finals.max()
            or (good and rng.random() < 0.7)
            or rng.random() < self._completion_rate
        ):
            return None
        return int(0.8 * known.n_decisions(row) * rng.random() ** 2)


def _learning_order(finals: Floats, rng: np.random.Generator) -> npt.NDArray[np.intp]:
    """Draw proposals: the best, as a sampler sees it, of some, and it sees more and more."""
    n = len(finals)
    rank = np.argsort(np.argsort(finals)) / n
    sharpness = rng.uniform(1.0, 6.0)
    left = np.ones(n, dtype=bool)
    order = np.empty(n, dtype=np.intp)
    for number in range(n):
        seen = min(1.0, number / 60) * sharpness
        candidates = np.flatnonzero(left)
        drawn = rng.choice(candidates, min(12, len(candidates)), replace=False)
        order[number] = drawn[np.argmax(seen * rank[drawn] + 0.7 * rng.normal(size=len(drawn)))]
        left[order[number]] = False
    return order
