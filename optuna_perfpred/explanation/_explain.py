from __future__ import annotations

import copy
import math
from typing import Any
from typing import TYPE_CHECKING

import numpy as np
from optuna.study import StudyDirection
from optuna.trial import TrialState
from scipy import special

from optuna_perfpred._arguments import check_single_objective
from optuna_perfpred._attributes import read_step
from optuna_perfpred._attributes import read_text
from optuna_perfpred.explanation._contributions import Background
from optuna_perfpred.explanation._contributions import find_contributions
from optuna_perfpred.explanation._explanation import Explanation
from optuna_perfpred.explanation._explanation import NearTrial
from optuna_perfpred.explanation._explanation import Standing
from optuna_perfpred.explanation._known_trials import KnownTrials
from optuna_perfpred.explanation._known_trials import time_of_report
from optuna_perfpred.explanation._outcome import best_of
from optuna_perfpred.explanation._outcome import tell_outcome
from optuna_perfpred.explanation._outcome import tell_second_chances
from optuna_perfpred.explanation._outcome import why_not_assessed
from optuna_perfpred.forecasts import RuleInputs
from optuna_perfpred.history import read_configuration
from optuna_perfpred.history import stopped_trial
from optuna_perfpred.pruners import FastHyperbandPruner
from optuna_perfpred.pruners import PerformancePredictionPruner
from optuna_perfpred.pruners._assessment import percent
from optuna_perfpred.pruners._assessment import REASON
from optuna_perfpred.pruners._assessment import STEP
from optuna_perfpred.pruners._fast_hyperband import CUT
from optuna_perfpred.pruners._forecasters import PredictorForecaster
from optuna_perfpred.pruners._recorded_decision import read_decision
from optuna_perfpred.pruners._risk_budget import risk_spent


if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from optuna.study import Study
    from optuna.trial import FrozenTrial

    from optuna_perfpred.history import Configuration
    from optuna_perfpred.history import CurveRecord
    from optuna_perfpred.history import FinishedTrials
    from optuna_perfpred.pruners import Assessment
    from optuna_perfpred.pruners._recorded_decision import Decision


# A trial that was never to be stopped is assessed at this many of its steps at most; by a
# predictor, which may take seconds to fit for each, at few.
_MAX_STEPS = 50
_MAX_STEPS_OF_PREDICTOR = 3
_N_NEAREST = 3
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
    found again from the study: from the trials that had ended by then. What was foreseen of a
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
    check_single_objective(study, "explained")
    trials = study.get_trials(deepcopy=False)
    trial = _find(study, trials, trial_number)
    used = _pruner(study, trial, pruner)
    sign = 1.0 if study.direction == StudyDirection.MAXIMIZE else -1.0
    known = KnownTrials(trials, used._feature_attrs)
    decision = read_decision(trial)
    stopped = stopped_trial(trial, trials)
    # What was trained before decides nothing again.
    repeats_until = None if stopped is None else stopped.last_step
    forecaster = used._new_forecaster(study)
    steps = _steps(
        used,
        trial,
        decision,
        repeats_until,
        _MAX_STEPS_OF_PREDICTOR if isinstance(forecaster, PredictorForecaster) else _MAX_STEPS,
    )
    assessment, finished = _assess_again(used, forecaster, study, trials, trial, steps, known)
    before_end = known.at(time_of_report(trial), trial.number)
    told: dict[str, Any] = {}
    known_then = finished
    if decision is not None:
        known_then = known.at(time_of_report(trial, decision.step), trial.number)
        told = {
            "step": decision.step,
            "predicted_value": decision.predicted_value,
            "predicted_std": decision.predicted_std,
            "predicted_step": decision.horizon,
            "probability_of_beating_best": decision.probability,
        }
    elif assessment is not None:
        names = ("step", "predicted_value", "predicted_std", "probability_of_beating_best")
        told = {name: getattr(assessment, name) for name in names}
    if told:
        best = best_of(known_then, sign)
        told["n_completed"], told["n_pruned"] = map(len, (known_then.completed, known_then.pruned))
        if best is not None:
            told["best_value"], told["best_number"] = best.value, best.number
    if assessment is not None:
        configuration = read_configuration(trial, used._feature_attrs)
        chance = told["probability_of_beating_best"]
        told |= _compare(assessment, chance, configuration, finished, trials, sign)
    return Explanation(
        study_name=study.study_name,
        number=trial.number,
        state=trial.state,
        reason=_reason(trial, decision, assessment)
        or why_not_assessed(trial, before_end, repeats_until),
        outcome=tell_outcome(
            trial,
            decision,
            assessment,
            horizon=told.get("horizon"),
            best_before=best_of(before_end, sign),
            sign=sign,
        ),
        second_chances=tell_second_chances(trial, trials),
        is_recorded=decision is not None,
        risk=_risk(trials, trial),
        notes=tuple(_notes(known, trial, decision, assessment)),
        **told,
    )


def _find(study: Study, trials: Sequence[FrozenTrial], number: int) -> FrozenTrial:
    trial = next((trial for trial in trials if trial.number == number), None)
    if trial is not None:
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
    was_cut = read_step(trial.system_attrs, CUT) is not None
    return FastHyperbandPruner() if was_cut else PerformancePredictionPruner()


def _steps(
    pruner: PerformancePredictionPruner | FastHyperbandPruner,
    trial: FrozenTrial,
    decision: Decision | None,
    repeats_until: int | None,
    n_max: int,
) -> Sequence[int]:
    """Give the steps at which a trial is assessed again: that of the decision on it, if any.

    Without one, its last step; of a completed trial, those at which it was to be judged.
    """
    if decision is not None:
        return [decision.step]
    steps = sorted(trial.intermediate_values)
    if repeats_until is not None:
        steps = [step for step in steps if step > repeats_until]
    if trial.state != TrialState.COMPLETE or not steps:
        return steps[-1:]
    then = _as_of(trial, steps[0] - 1)
    reports, steps = trial.intermediate_values, []
    for step in sorted(reports.keys() - then.intermediate_values.keys()):
        then.intermediate_values[step] = reports[step]
        if pruner._is_due(then):
            steps.append(step)
    if len(steps) > n_max:
        # In between: the last one is the end, of which nothing is left to foresee.
        steps = [steps[int(len(steps) * (i + 1) / (n_max + 1))] for i in range(n_max)]
    return steps


def _assess_again(
    pruner: PerformancePredictionPruner | FastHyperbandPruner,
    forecaster: Any,
    study: Study,
    trials: Sequence[FrozenTrial],
    trial: FrozenTrial,
    steps: Sequence[int],
    known: KnownTrials,
) -> tuple[Assessment | None, FinishedTrials]:
    """Find what was foreseen of a trial, and what was known then.

    Returns:
        The first assessment by which it is stopped, or else the one that came closest to that;
        :obj:`None` if nothing was foreseen. And the trials that had finished.
    """
    closest: Assessment | None = None
    finished_then = known.at(time_of_report(trial), trial.number)
    for step in steps:
        then, time = _as_of(trial, step), time_of_report(trial, step)
        finished = known.at(time, trial.number)
        told = _with_result(pruner, study, trials, then, time)
        assessment = pruner._assess_by(forecaster, study, then, finished, told)
        inputs = None if assessment is None else assessment.inputs
        if assessment is None or inputs is None or len(inputs.curve) == 0:
            continue
        if (
            assessment.is_hopeless
            or closest is None
            or assessment.probability < closest.probability
        ):
            closest, finished_then = assessment, finished
        if assessment.is_hopeless:
            break
    return closest, finished_then


def _with_result(
    pruner: PerformancePredictionPruner | FastHyperbandPruner,
    study: Study,
    trials: Sequence[FrozenTrial],
    trial: FrozenTrial,
    time: datetime,
) -> Sequence[FrozenTrial]:
    """Give the trials whose results were known at a time in the rung that a trial was in."""
    if not isinstance(pruner, FastHyperbandPruner) or trial.last_step is None:
        return trials
    pruner._try_initialization(study)
    if len(pruner._pruners) == 0:
        return trials
    rung = pruner._rung(study, trial, trial.last_step)

    def ended(other: FrozenTrial) -> datetime:
        """Estimate when it came to the end of the rung, or was cut before."""
        steps = [s for s in other.intermediate_values if rung.horizon and s >= rung.horizon]
        return time_of_report(other, min(steps, default=None))

    return [t for t in trials if rung.key in t.system_attrs and ended(t) < time]


def _as_of(trial: FrozenTrial, step: int) -> FrozenTrial:
    """Give a trial as it was when it had reported at a step."""
    then = copy.copy(trial)
    reports = trial.intermediate_values
    then.intermediate_values = {s: value for s, value in reports.items() if s <= step}
    return then


def _compare(
    assessment: Assessment,
    chance: float | None,
    configuration: Configuration,
    finished: FinishedTrials,
    trials: Sequence[FrozenTrial],
    sign: float,
) -> dict[str, Any]:
    """Compare a trial with the finished ones that had come as far."""
    inputs = assessment.inputs
    assert inputs is not None
    curve, training_set = inputs.curve, inputs.training_set
    background = Background.of(finished, training_set, len(curve))
    last = background.curves[:, -1]
    near = {
        background.records[row].number: row
        for row in background.nearest(curve, configuration, training_set, _N_NEAREST)
    }
    found = {trial.number: trial for trial in trials if trial.number in near}
    told: dict[str, Any] = {
        "horizon": int(training_set.steps[-1]),
        "standing": Standing(
            value=sign * float(curve[-1]),
            n_others=len(last),
            n_worse=int(np.sum(last < curve[-1])),
            median=sign * float(np.median(last)) if len(last) else None,
        ),
        "nearest": tuple(
            _near(found[number], background.records[row], sign * float(last[row]))
            for number, row in near.items()
        ),
    }
    if not isinstance(inputs, RuleInputs):
        told["scale"] = "value"
    elif chance is not None and assessment.relative_chance is not None:
        found_again = assessment.probability_of_beating_best
        told["relative_chance"] = assessment.relative_chance * (
            chance / found_again if found_again > 0.0 else 1.0
        )
    contributions = find_contributions(inputs, configuration, background, sign)
    if contributions is not None:
        told["typical"], told["contributions"] = contributions
    return told


def _near(trial: FrozenTrial, record: CurveRecord, value_then: float) -> NearTrial:
    decision = read_decision(trial) if trial.state == TrialState.PRUNED else None
    return NearTrial(
        number=trial.number,
        state=trial.state,
        value_then=value_then,
        value=record.value,
        last_step=int(record.steps[-1]),
        # What f-Hyperband predicts may be the value at the end of a rung.
        predicted_value=None
        if decision is None or decision.horizon is not None
        else decision.predicted_value,
    )


def _reason(
    trial: FrozenTrial, decision: Decision | None, assessment: Assessment | None
) -> str | None:
    attrs = trial.user_attrs
    if decision is not None:
        return decision.reason
    # What a wrapped pruner does where there is no forecast has no step.
    if (reason := read_text(attrs, REASON)) and attrs.get(STEP) is None:
        return reason
    return None if assessment is None else assessment.reason


def _risk(trials: Sequence[FrozenTrial], trial: FrozenTrial) -> str:
    """Tell what stopping a trial has risked; nothing if no largest risk was given."""
    risk = risk_spent(trials)
    if risk is None or trial.number not in risk.risks:
        return ""
    share = percent(risk.risks[trial.number])
    return f"That it would have become the best of the study: at most {share}. {risk}"


def _notes(
    known: KnownTrials,
    trial: FrozenTrial,
    decision: Decision | None,
    assessment: Assessment | None,
) -> list[str]:
    """Tell what is not exact."""
    if assessment is None:
        if decision is None:
            return []
        return ["What drove it cannot be found again: with these arguments, nothing is told."]
    notes = []
    n_meanwhile = known.n_ended_while_running(trial)
    if n_meanwhile > 0:
        notes.append(
            f"{n_meanwhile} trials of other workers ended while it ran. When it reported is not "
            f"stored, so which of them were known at step {assessment.step} is estimated."
        )
    foreseen = assessment.probability_of_beating_best
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
