from __future__ import annotations

import math
from typing import NamedTuple
from typing import TYPE_CHECKING

from optuna.trial import TrialState
from scipy.optimize import brentq

from optuna_perfpred._attributes import read_number
from optuna_perfpred.history import gone_on_with
from optuna_perfpred.history import RISK
from optuna_perfpred.pruners._assessment import MAX_RISK
from optuna_perfpred.pruners._assessment import percent
from optuna_perfpred.pruners._recorded_decision import read_decision


if TYPE_CHECKING:
    from collections.abc import Sequence

    from optuna.study import Study
    from optuna.trial import FrozenTrial

    from optuna_perfpred.history import CurveRecord
    from optuna_perfpred.history import FinishedTrials


# With fewer completed trials, it is not known what kind of study it is.
MIN_COMPLETED = 5
# On kinds of studies that the rule does not know, it is too sure where it gives a trial some
# chance rather than where it gives it hardly any. With half of this, two families of such
# studies have lost more than was promised: see `benchmarks/README.md`.
_CAUTION = 10.0
# What one stop may take of what is left. All workers that stop at the same moment, before one
# sees the other's, take this share each.
_LARGEST_SHARE = 0.5
# The test of the forecasts: what it bets on is, before it has seen anything, that new bests come
# about ten times as often as foreseen, and it is believed at odds of ten to one.
_BET = 0.1
_EVIDENCE = 10.0
_LARGEST_FACTOR = 1e6


class RiskBudget:
    """What the stopped trials of a study may risk, and what they have risked.

    The risk is the probability that a stopped trial would have ended better than all others of
    the study, as many as have finished: it is to stay below ``max_risk`` whenever the study ends.

    A trial that beats the best of ``n`` finished trials with probability ``p`` is the best of
    ``m >= n + 1`` with probability ``p (n + 1) / m``: of exchangeable trials, each new best is
    the best of all ``m`` with probability ``(n + 1) / m``. By Boole's inequality, the risk is at
    most the sum of these over the stopped trials. So a stop costs ``p (n + 1)``, each trial that
    finishes adds ``max_risk`` to the budget, and nothing is stopped that the budget cannot pay:
    the bound then holds at every ``m``. That a trial is looked at many times costs nothing, as
    ``p`` is the probability at the time of the stop (optional stopping). As a new best counts
    which beats the *completed* trials, stopped ones make the bound too large rather than too
    small.

    It assumes that the probabilities are right on average where trials are stopped, or too small
    by no more than is allowed for: the price of a chance ``c = p (n + 1)`` is ``c (1 + 10 c)``.
    The trials that were let finish on purpose, by ``audit_rate`` or ``shadow``, test that: an
    e-process, which is valid whenever one looks, bets on more of them becoming the best than was
    foreseen, and from odds of ten to one on all prices rise by the factor that it rejects
    (Ville's inequality: with forecasts that are right, they ever rise with a probability of at
    most a tenth). Without such trials there is nothing to see that by. And it assumes that trials
    are exchangeable. A sampler that learns proposes better trials later, which makes the risk
    smaller. It is larger than promised where trials become worse: after good ones were enqueued
    first, or where the data or the objective change.

    Args:
        max_risk:
            The largest risk.
        sign:
            ``1.0`` if the study maximizes, ``-1.0`` if it minimizes.
    """

    def __init__(self, max_risk: float, sign: float) -> None:
        self.max_risk = max_risk
        self._sign = sign
        self._known: tuple[FinishedTrials | None, float, float] = (None, 0.0, 1.0)

    def price(self, chance: float, finished: FinishedTrials) -> float:
        """Give what it costs to stop a trial, in trials.

        Args:
            chance:
                Its probability of ending better than the best completed one.
            finished:
                The finished trials.
        """
        _, factor = self._spent_and_factor(finished)
        multiple = chance * (len(finished) + 1)
        return factor * multiple * (1.0 + _CAUTION * multiple)

    def affordable_multiple(
        self, finished: FinishedTrials, running: Sequence[FrozenTrial], remaining: float
    ) -> float:
        """Give the largest chance that a trial may have to be stopped, in those of a new one.

        Args:
            finished:
                The finished trials.
            running:
                Those that run: those of them that have been told to stop have spent already.
            remaining:
                What the trial still has to train, in trainings of average length. The budget goes
                where it saves most: a stop may cost the more the more of the trial is left.
        """
        spent, factor = self._spent_and_factor(finished)
        left = self.max_risk * (len(finished) + 1) - spent
        left -= math.fsum(_risk_of(trial) for trial in running)
        largest = _LARGEST_SHARE * max(0.0, left) * min(1.0, remaining) / factor
        return (math.sqrt(1.0 + 4.0 * _CAUTION * largest) - 1.0) / (2.0 * _CAUTION)

    def _spent_and_factor(self, finished: FinishedTrials) -> tuple[float, float]:
        if self._known[0] is not finished:
            spent = math.fsum(record.risk for record in finished.pruned)
            self._known = finished, spent, self._factor(finished.completed)
        return self._known[1:]

    def _factor(self, completed: Sequence[CurveRecord]) -> float:
        """Give how many times too small the audited trials show the probabilities to be."""
        best, n_best, foreseen = -math.inf, 0, 0.0
        for record in completed:
            value = self._sign * record.value if record.feasible else -math.inf
            if record.audited_chance is not None:
                foreseen += record.audited_chance
                n_best += value > best
            best = max(best, value)
        return least_factor(n_best, foreseen)


def least_factor(n_happened: int, foreseen: float) -> float:
    """Give the factor by which foreseen numbers are at least too small; 1 if they may be right.

    If events happen with at most the probabilities whose sum is ``x``, whatever was before, the
    bet that they happen ``1 + s`` times as often multiplies what was set by at most
    ``(1 + s)^n exp(-s x)`` after ``n`` of them. Its mean over an exponential prior of ``s`` is an
    e-process. See Ramdas et al. 2023, "Game-Theoretic Statistics and Safe Anytime-Valid
    Inference".

    Args:
        n_happened:
            How often it happened.
        foreseen:
            The sum of the probabilities.

    Returns:
        The largest factor of the probabilities that is rejected, at least 1.
    """

    def log_evidence(factor: float) -> float:
        rate = _BET + factor * foreseen
        terms = [
            math.log(math.comb(n_happened, k)) + math.lgamma(k + 1) - (k + 1) * math.log(rate)
            for k in range(n_happened + 1)
        ]
        largest = max(terms)
        total = largest + math.log(math.fsum(math.exp(term - largest) for term in terms))
        return math.log(_BET / _EVIDENCE) + total

    if n_happened == 0 or log_evidence(1.0) < 0.0:
        return 1.0
    most = 2.0
    while log_evidence(most) > 0.0 and most < _LARGEST_FACTOR:
        most *= 2.0
    return float(brentq(log_evidence, 1.0, most)) if log_evidence(most) <= 0.0 else most


class RiskSpent(NamedTuple):
    """What the stopped trials of a study have risked.

    Attributes:
        risks:
            What each of them has spent, by its number: the probability that it would have become
            the best of the finished trials.
        max_risk:
            The largest sum that was allowed.
        n_trials:
            The number of finished trials.
    """

    risks: dict[int, float]
    max_risk: float
    n_trials: int

    @property
    def total(self) -> float:
        """The sum."""
        return math.fsum(self.risks.values())

    def __str__(self) -> str:
        return (
            f"The chance that a stopped trial would have become the best of all {self.n_trials:,} "
            f"is foreseen as {percent(self.total)} at most; `max_risk` allows "
            f"{percent(self.max_risk)}."
        )


def risk_spent(trials: Sequence[FrozenTrial]) -> RiskSpent | None:
    """Read what stopping trials has risked.

    Args:
        trials:
            All trials of a study.

    Returns:
        The risk, or :obj:`None` if no trial was stopped under a largest risk. A stopped trial
        that another one has gone on with risks nothing.
    """
    gone_on = gone_on_with(trials)
    stopped = [
        trial
        for trial in trials
        if trial.state == TrialState.PRUNED
        and trial.number not in gone_on
        and trial.user_attrs.get(RISK) is not None
    ]
    allowed = [read_number(trial.user_attrs, MAX_RISK) for trial in stopped]
    known = [max_risk for max_risk in allowed if max_risk is not None]
    if not known:
        return None
    states = (TrialState.COMPLETE, TrialState.PRUNED)
    n_trials = sum(trial.state in states for trial in trials) - len(gone_on)
    risks = {trial.number: _risk_of(trial) / n_trials for trial in stopped}
    return RiskSpent(risks, known[-1], n_trials)


def _risk_of(trial: FrozenTrial) -> float:
    decision = read_decision(trial) if trial.user_attrs.get(RISK) is not None else None
    if decision is None or decision.audit:
        return 0.0
    return max(0.0, read_number(trial.user_attrs, RISK) or 0.0)


def check_max_risk(
    max_risk: float,
    confidence: float | None,
    is_predictor: bool,
    n_startup_trials: int,
    warm_start: Sequence[Study],
) -> None:
    """Raise a :exc:`ValueError` unless ``max_risk`` can be kept, and stands alone."""
    if not isinstance(max_risk, int | float) or not 0.0 < max_risk < 1.0:
        raise ValueError(f"`max_risk` must be between 0 and 1 or None, but got {max_risk=}.")
    if confidence is not None:
        raise ValueError(
            f"Only one of `max_risk` and `confidence` can be given, but got {max_risk=} and "
            f"{confidence=}."
        )
    if is_predictor:
        raise ValueError(
            "`max_risk` needs a stopping rule, whose probabilities were checked on other studies; "
            "leave `predictor` out."
        )
    if n_startup_trials < MIN_COMPLETED:
        raise ValueError(
            f"`max_risk` prunes nothing until {MIN_COMPLETED} trials are complete, so "
            f"`n_startup_trials` must be at least {MIN_COMPLETED} or None, but got "
            f"{n_startup_trials=}."
        )
    if len(warm_start) > 0:
        raise ValueError(
            "`max_risk` is of the trials of one study; `warm_start`, by which trials are compared "
            "with those of others, cannot be given with it."
        )
