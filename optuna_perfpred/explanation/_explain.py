from __future__ import annotations

import math
from typing import Any
from typing import TYPE_CHECKING

from optuna.study import StudyDirection
from scipy import special

from optuna_perfpred._attributes import read_text
from optuna_perfpred.explanation._comparison import compare
from optuna_perfpred.explanation._explanation import Explanation
from optuna_perfpred.explanation._history import KnownTrials
from optuna_perfpred.explanation._history import time_of_report
from optuna_perfpred.explanation._judges import make_judge
from optuna_perfpred.explanation._moment import find_moment
from optuna_perfpred.explanation._outcome import best_of
from optuna_perfpred.explanation._outcome import tell_outcome
from optuna_perfpred.explanation._outcome import why_not_judged
from optuna_perfpred.explanation._second_chance import tell_second_chances
from optuna_perfpred.history import stopped_trial
from optuna_perfpred.pruners import FastHyperbandPruner
from optuna_perfpred.pruners import PerformancePredictionPruner
from optuna_perfpred.pruners._assessment import REASON
from optuna_perfpred.pruners._assessment import STEP
from optuna_perfpred.pruners._fast_hyperband import CUT
from optuna_perfpred.pruners._recorded_decision import read_decision


if TYPE_CHECKING:
    from collections.abc import Sequence

    from optuna.study import Study
    from optuna.trial import FrozenTrial

    from optuna_perfpred.explanation._moment import Moment
    from optuna_perfpred.history import FinishedTrials
    from optuna_perfpred.pruners._assessment import Assessment
    from optuna_perfpred.pruners._recorded_decision import Decision


# Log-odds that differ by less than this tell the same.
_SAME_LOG_ODDS = 0.1
_SMALLEST_CHANCE = 1e-4


def explain(
    study: Study,
    trial_number: int,
    *,
    pruner: PerformancePredictionPruner | FastHyperbandPruner | None = None,
) -> Explanation:
    """Tell why a trial was stopped, or what was foreseen of it if it was not.

    The numbers that a pruner has recorded on the trial are told as they are. What drove them is
    moment again from the study: from the trials that had ended by then. What was foreseen of a
    trial that no pruner has decided on is told for the step at which it came closest to being
    stopped, or, while it is running, for its last one. A trial that goes on with a stopped one,
    or that another one has gone on with, says so.

    Example:

        .. testcode::

            import optuna

            from optuna_perfpred import explain
            from optuna_perfpred import PerformancePredictionPruner


            def objective(trial):
                rate = trial.suggest_float("rate", 0.01, 1.0, log=True)
                for step in range(20):
                    trial.report(rate * 0.9**step, step)
                    if trial.should_prune():
                        raise optuna.TrialPruned()
                return rate * 0.9**19


            study = optuna.create_study(pruner=PerformancePredictionPruner())
            study.optimize(objective, n_trials=20)
            print(explain(study, 17))

    Args:
        study:
            A single-objective study in any storage, also while others work on it.
        trial_number:
            The trial's number.
        pruner:
            The pruner that was used. If :obj:`None`, that of the study if it is one of this
            package; else one with default arguments.

    Returns:
        The explanation. ``print`` tells it in some 15 lines.

    Raises:
        ValueError:
            If there is no such trial, the study has several objectives, or ``pruner`` is none
            that can be explained.
    """
    if len(study.directions) != 1:
        raise ValueError(
            f"Only trials of single-objective studies can be explained, but {study.study_name!r} "
            f"has {len(study.directions)} objectives."
        )
    trials = study.get_trials(deepcopy=False)
    trial = _find(study, trials, trial_number)
    used = _pruner(study, trial, pruner)
    sign = 1.0 if study.direction == StudyDirection.MAXIMIZE else -1.0
    known = KnownTrials(trials, used._feature_attrs)
    decision = read_decision(trial)
    decided_at = None if decision is None else decision.step
    stopped = stopped_trial(trial, trials)
    # What was trained before decides nothing again.
    repeats_until = None if stopped is None else stopped.last_step
    moment = find_moment(
        used, make_judge(used, study, trials), known, trial, decided_at, repeats_until
    )
    before_end = known.at(time_of_report(trial), trial.number)
    if decision is not None:
        numbers = _recorded(decision)
        finished = known.at(time_of_report(trial, decision.step), trial.number)
        numbers |= _best_then(finished, sign)
    elif moment is not None:
        numbers = _foreseen(moment.evidence.assessment) | _best_then(moment.finished, sign)
    else:
        numbers = {}
    if moment is not None:
        numbers |= compare(moment, trials, numbers["probability_of_beating_best"], sign)
    return Explanation(
        study_name=study.study_name,
        number=trial.number,
        state=trial.state,
        reason=_reason(trial, decision, moment)
        or why_not_judged(trial, before_end, repeats_until),
        outcome=tell_outcome(
            trial,
            decision,
            judged_at=None if moment is None else moment.step,
            stops=moment is not None and moment.stops,
            horizon=numbers.get("horizon"),
            best_before=best_of(before_end, sign),
            sign=sign,
        ),
        second_chances=tell_second_chances(trial, trials),
        is_recorded=decision is not None,
        notes=tuple(_notes(known, trial, decision, moment)),
        **numbers,
    )


def _find(study: Study, trials: Sequence[FrozenTrial], number: int) -> FrozenTrial:
    for trial in trials:
        if trial.number == number:
            return trial
    if not trials:
        raise ValueError(f"The study {study.study_name!r} has no trials.")
    raise ValueError(
        f"The study {study.study_name!r} has no trial {number!r}; its trials are "
        f"{trials[0].number} to {trials[-1].number}."
    )


def _pruner(
    study: Study,
    trial: FrozenTrial,
    given: PerformancePredictionPruner | FastHyperbandPruner | None,
) -> PerformancePredictionPruner | FastHyperbandPruner:
    ours = PerformancePredictionPruner | FastHyperbandPruner
    if given is not None:
        if not isinstance(given, ours):
            raise ValueError(
                "`pruner` must be a PerformancePredictionPruner, a FastHyperbandPruner or None, "
                f"but got {given!r}."
            )
        return given
    if isinstance(study.pruner, ours):
        return study.pruner
    return (
        FastHyperbandPruner()
        if trial.system_attrs.get(CUT) is not None
        else PerformancePredictionPruner()
    )


def _reason(trial: FrozenTrial, decision: Decision | None, moment: Moment | None) -> str | None:
    attrs = trial.user_attrs
    if decision is not None:
        return decision.reason
    # What a wrapped pruner does where there is no forecast has no step.
    if (reason := read_text(attrs, REASON)) and attrs.get(STEP) is None:
        return reason
    return None if moment is None else moment.evidence.assessment.reason


def _recorded(decision: Decision) -> dict[str, Any]:
    return {
        "step": decision.step,
        "predicted_value": decision.predicted_value,
        "predicted_std": decision.predicted_std,
        "predicted_step": decision.horizon,
        "probability_of_beating_best": decision.probability,
    }


def _foreseen(assessment: Assessment) -> dict[str, Any]:
    return {
        "step": assessment.step,
        "predicted_value": assessment.predicted_value,
        "predicted_std": assessment.predicted_std,
        "probability_of_beating_best": assessment.probability_of_beating_best,
    }


def _best_then(finished: FinishedTrials, sign: float) -> dict[str, Any]:
    best = best_of(finished, sign)
    return {
        "best_value": None if best is None else best.value,
        "best_number": None if best is None else best.number,
        "n_completed": len(finished.completed),
        "n_pruned": len(finished.pruned),
    }


def _notes(
    known: KnownTrials, trial: FrozenTrial, decision: Decision | None, moment: Moment | None
) -> list[str]:
    """Tell what is not exact."""
    notes = []
    if decision is not None and moment is None:
        notes.append("What drove it cannot be found again: with these arguments, nothing is told.")
    if moment is None:
        return notes
    n_meanwhile = known.n_ended_while_running(trial)
    if n_meanwhile > 0:
        notes.append(
            f"{n_meanwhile} trials of other workers ended while it ran. When it reported is not "
            f"stored, so which of them were known at step {moment.step} is estimated."
        )
    foreseen = moment.evidence.assessment.probability_of_beating_best
    if (
        decision is not None
        and decision.probability is not None
        and not _tell_the_same(decision.probability, foreseen)
    ):
        notes.append(
            f"Found again, the chance is {100.0 * foreseen:.2g} %: the pruner had other arguments "
            "than those assumed here, or knew other trials."
        )
    return notes


def _tell_the_same(chance: float, other: float) -> bool:
    if max(chance, other) < _SMALLEST_CHANCE:
        return True
    return math.isclose(
        special.logit(chance), special.logit(other), rel_tol=0.0, abs_tol=_SAME_LOG_ODDS
    )
