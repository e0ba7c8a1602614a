from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from optuna.study import StudyDirection

from optuna_perfpred.explanation._evidence import PredictorEvidence
from optuna_perfpred.explanation._evidence import RuleEvidence
from optuna_perfpred.explanation._history import time_of_report
from optuna_perfpred.forecasts import StoppingRule
from optuna_perfpred.history import read_configuration
from optuna_perfpred.history import read_curve
from optuna_perfpred.predictors._base import fill_gaps
from optuna_perfpred.predictors._base import observed_lengths
from optuna_perfpred.pruners import FastHyperbandPruner
from optuna_perfpred.pruners._assessment import RelativeAssessment
from optuna_perfpred.pruners._rule_assessor import RuleAssessor
from optuna_perfpred.pruners._rung_assessment import RungAssessment
from optuna_perfpred.pruners._rung_forecasts import RuleForecasts


if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from optuna.study import Study
    from optuna.trial import FrozenTrial

    from optuna_perfpred.explanation._evidence import Evidence
    from optuna_perfpred.history import FinishedTrials
    from optuna_perfpred.pruners import PerformancePredictionPruner
    from optuna_perfpred.pruners._assessment import Assessment
    from optuna_perfpred.pruners._forecast_assessor import FittedModels
    from optuna_perfpred.pruners._forecast_assessor import ForecastAssessor
    from optuna_perfpred.pruners._rung_assessor import RungAssessor


@dataclass(frozen=True)
class RuleJudge:
    """Judges trials as a pruner with a stopping rule does, and shows the evidence."""

    rule: StoppingRule
    assessor: RuleAssessor
    feature_attrs: Sequence[str]

    def judge(
        self, finished: FinishedTrials, trial: FrozenTrial, time: datetime
    ) -> Evidence | None:
        """Assess a trial; :obj:`None` if nothing can be told."""
        assessment = self.assessor.assess(finished, trial)
        situation = self.assessor.situation(finished, trial)
        if assessment is None or situation is None:
            return None
        configuration = read_configuration(trial, self.feature_attrs)
        return RuleEvidence(assessment, configuration, situation, self.rule)

    def stops(self, assessment: Assessment) -> bool:
        """Whether the pruner stops a trial of which this is foreseen."""
        return assessment.is_hopeless


@dataclass(frozen=True)
class PredictorJudge:
    """Judges trials as a pruner with a predictor does, and shows the evidence."""

    assessor: ForecastAssessor
    sign: float
    feature_attrs: Sequence[str]

    def judge(
        self, finished: FinishedTrials, trial: FrozenTrial, time: datetime
    ) -> Evidence | None:
        """Assess a trial; :obj:`None` if nothing can be told."""
        assessment = self.assessor.assess(finished, trial)
        models = self.assessor.models(finished, trial)
        if assessment is None or models is None:
            return None
        return _evidence_of(assessment, models, trial, self.sign, self.feature_attrs)

    def stops(self, assessment: Assessment) -> bool:
        """Whether the pruner stops a trial of which this is foreseen."""
        return assessment.is_hopeless


@dataclass(frozen=True)
class RungJudge:
    """Judges trials as f-Hyperband does, and shows the evidence of its cuts."""

    pruner: FastHyperbandPruner
    assessor: RungAssessor
    study: Study
    trials: Sequence[FrozenTrial]
    sign: float

    def judge(
        self, finished: FinishedTrials, trial: FrozenTrial, time: datetime
    ) -> Evidence | None:
        """Assess a trial; :obj:`None` if nothing can be told."""
        pruner, assessor = self.pruner, self.assessor
        pruner._try_initialization(self.study)
        if len(pruner._pruners) == 0 or trial.last_step is None:
            return None
        rung = pruner._rung(self.study, trial, trial.last_step)
        ended = [
            other
            for other in self.trials
            if rung.key in other.system_attrs and _reached(other, rung.horizon) < time
        ]
        results = pruner._results(self.study, trial, ended, rung)
        assessment = assessor.find_failing(finished, trial, rung, results)
        attrs = pruner._feature_attrs
        if not isinstance(assessment, RungAssessment) and assessor.of_all is not None:
            assert isinstance(pruner._predictor, StoppingRule)
            judge = RuleJudge(pruner._predictor, assessor.of_all, attrs)
            return judge.judge(finished, trial, time)
        asked = assessor.question(finished, trial, rung, results)
        if assessment is None or asked is None:
            return None
        question, _ = asked
        if not isinstance(assessor.forecasts, RuleForecasts):
            models = assessor.forecasts.models(question)
            if models is None:
                return None
            return _evidence_of(assessment, models, trial, self.sign, attrs)
        situation = assessor.forecasts.situation(question)
        if situation is None:
            return None
        assert isinstance(pruner._predictor, StoppingRule)
        return RuleEvidence(
            assessment,
            read_configuration(trial, attrs),
            situation,
            pruner._predictor,
            log_ratio=assessor.forecasts.log_ratio(question),
        )

    def stops(self, assessment: Assessment) -> bool:
        """Whether the pruner stops a trial of which this is foreseen."""
        # Of what will hardly be promoted, it tells only if it will not.
        return not isinstance(assessment, RelativeAssessment) or self.assessor.will_hardly_win(
            assessment
        )


Judge = RuleJudge | PredictorJudge | RungJudge


def make_judge(
    pruner: PerformancePredictionPruner | FastHyperbandPruner,
    study: Study,
    trials: Sequence[FrozenTrial],
) -> Judge:
    """Give a judge that knows nothing yet, whatever the pruner knows."""
    sign = 1.0 if study.direction == StudyDirection.MAXIMIZE else -1.0
    if isinstance(pruner, FastHyperbandPruner):
        return RungJudge(pruner, pruner._new_assessor(study), study, trials, sign)
    assessor = pruner._new_assessor(study)
    if isinstance(assessor, RuleAssessor):
        assert isinstance(pruner._predictor, StoppingRule)
        return RuleJudge(pruner._predictor, assessor, pruner._feature_attrs)
    return PredictorJudge(assessor, sign, pruner._feature_attrs)


def _evidence_of(
    assessment: Assessment,
    models: FittedModels,
    trial: FrozenTrial,
    sign: float,
    feature_attrs: Sequence[str],
) -> Evidence | None:
    configuration = read_configuration(trial, feature_attrs)
    _, aligned = models.training_set.encode(configuration, *read_curve(trial))
    length = int(observed_lengths(aligned)[0])
    if length == 0:
        return None
    return PredictorEvidence(
        assessment,
        configuration,
        models.training_set,
        fill_gaps(aligned[:, :length])[0],
        models.predictor,
        sign,
    )


def _reached(trial: FrozenTrial, horizon: int | None) -> datetime:
    """Estimate when a trial came to the end of its rung, or was cut before."""
    steps = [step for step in trial.intermediate_values if horizon and step >= horizon]
    return time_of_report(trial, min(steps, default=None))
