from __future__ import annotations

from typing import Any
from typing import TYPE_CHECKING

import numpy as np
from optuna.trial import TrialState

from optuna_perfpred.explanation._contributions import find_contributions
from optuna_perfpred.explanation._evidence import RuleEvidence
from optuna_perfpred.explanation._explanation import NearTrial
from optuna_perfpred.explanation._explanation import Standing
from optuna_perfpred.explanation._others import Others
from optuna_perfpred.forecasts import relative_chance
from optuna_perfpred.pruners._assessment import RelativeAssessment
from optuna_perfpred.pruners._recorded_decision import read_decision


if TYPE_CHECKING:
    from collections.abc import Sequence

    from optuna.trial import FrozenTrial

    from optuna_perfpred.explanation._moment import Moment
    from optuna_perfpred.history import CurveRecord


_N_NEAREST = 3


def compare(
    moment: Moment, trials: Sequence[FrozenTrial], chance: float | None, sign: float
) -> dict[str, Any]:
    """Compare a trial with the finished ones that had come as far.

    Args:
        moment:
            What was foreseen of it.
        trials:
            All trials of the study.
        chance:
            The probability that is told of it.
        sign:
            ``1.0`` if the study maximizes, ``-1.0`` if it minimizes.

    Returns:
        The fields of an :class:`Explanation` that tell of it.
    """
    evidence = moment.evidence
    others = Others.of(moment.finished, evidence.training_set, len(evidence.curve))
    last = others.curves[:, -1]
    told: dict[str, Any] = {
        "horizon": int(evidence.training_set.steps[-1]),
        "standing": Standing(
            value=sign * float(evidence.curve[-1]),
            n_others=len(last),
            n_worse=int(np.sum(last < evidence.curve[-1])),
            median=sign * float(np.median(last)) if len(last) else None,
        ),
        "nearest": _nearest(moment, others, trials, sign),
    }
    if not isinstance(evidence, RuleEvidence):
        told["scale"] = "value"
    elif chance is not None and isinstance(evidence.assessment, RelativeAssessment):
        situation = evidence.situation
        (told["relative_chance"],) = relative_chance(
            np.array([chance]), situation.remaining, situation.n_finished
        ).tolist()
    contributions = find_contributions(evidence, others)
    if contributions is not None:
        told["typical"], told["contributions"] = contributions
    return told


def _nearest(
    moment: Moment, others: Others, trials: Sequence[FrozenTrial], sign: float
) -> tuple[NearTrial, ...]:
    evidence = moment.evidence
    rows = others.nearest(
        evidence.curve, evidence.configuration, evidence.training_set, _N_NEAREST
    )
    near = {others.records[row].number: row for row in rows}
    found = {trial.number: trial for trial in trials if trial.number in near}
    return tuple(
        _near(found[number], others.records[row], sign * float(others.curves[row, -1]))
        for number, row in near.items()
    )


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
