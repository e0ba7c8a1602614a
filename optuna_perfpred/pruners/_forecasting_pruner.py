from __future__ import annotations

import abc
from collections.abc import Sequence
import math
from typing import Any
from typing import TYPE_CHECKING

from optuna.exceptions import UpdateFinishedTrialError
from optuna.pruners import BasePruner
from optuna.study import Study
from optuna.study import StudyDirection
from optuna.trial import TrialState

from optuna_perfpred._arguments import check_single_objective
from optuna_perfpred._warn_once import WarnOnce
from optuna_perfpred.forecasts import StoppingRule
from optuna_perfpred.forecasts import StudySettings
from optuna_perfpred.history import FinishedTrials
from optuna_perfpred.history import FinishedTrialsReader
from optuna_perfpred.history import LearnsAnew
from optuna_perfpred.history import PerStudy
from optuna_perfpred.history import read_record
from optuna_perfpred.predictors import CurvePredictor


if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

    from optuna_perfpred.pruners._assessment import Assessment


class ForecastingPruner(LearnsAnew, BasePruner):
    """What pruners that forecast have in common.

    They learn from earlier studies, never raise into an objective, and what they have learned is
    left behind when they are sent to another process, which learns from its storage.
    """

    _predictor: CurvePredictor | StoppingRule
    _feature_attrs: tuple[str, ...]

    def _set_forecast(
        self,
        predictor: CurvePredictor | StoppingRule | None,
        confidence: float,
        offset: float,
        feature_attrs: Sequence[str],
        warm_start: Sequence[Study],
    ) -> None:
        """Check and keep the arguments of the same names, and read the earlier studies."""
        if predictor is not None and not isinstance(predictor, CurvePredictor | StoppingRule):
            raise ValueError(
                "`predictor` must be a CurvePredictor, a StoppingRule or None, but got "
                f"{predictor=}."
            )
        if not 0.0 < confidence < 1.0:
            raise ValueError(f"`confidence` must be between 0 and 1, but got {confidence=}.")
        if not 0.0 <= offset < math.inf:
            raise ValueError(f"`offset` must be finite and not negative, but got {offset=}.")
        if isinstance(feature_attrs, str) or not all(isinstance(a, str) for a in feature_attrs):
            raise ValueError(f"`feature_attrs` must be a list of strings, got {feature_attrs=}.")
        self._predictor = StoppingRule() if predictor is None else predictor
        self._offset = offset
        self._feature_attrs = tuple(feature_attrs)
        self._earlier = _read_earlier_studies(warm_start, self._feature_attrs)
        self._forget()

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        """Judge whether the trial should be pruned. See :meth:`optuna.pruners.BasePruner.prune`.

        Never raises: if anything fails, a warning tells its cause once, and the trial goes on. One
        that another process has ended meanwhile is pruned.
        """
        try:
            return self._prune(study, trial)
        except UpdateFinishedTrialError:
            self._warn_once(
                f"Trial {trial.number} is stopped, as another process marked it as finished while "
                "it trained: it has missed its heartbeats. Raise the storage's grace period"
            )
            return True
        except Exception as error:
            self._warn_once("The trial is not pruned because its forecast failed", error)
            return False

    @abc.abstractmethod
    def _prune(self, study: Study, trial: FrozenTrial) -> bool:
        raise NotImplementedError

    @abc.abstractmethod
    def _new_forecaster(self, study: Study) -> Any:
        """Give what assesses the trials of a study, and knows nothing yet."""
        raise NotImplementedError

    @abc.abstractmethod
    def _assess_by(
        self,
        forecaster: Any,
        study: Study,
        trial: FrozenTrial,
        finished: FinishedTrials,
        trials: Sequence[FrozenTrial],
    ) -> Assessment | None:
        """Assess a running trial.

        Args:
            forecaster:
                As of :meth:`_new_forecaster`.
            study:
                The study.
            trial:
                The trial, which has reported.
            finished:
                The finished trials.
            trials:
                All trials of the study as far as they are known.
        """
        raise NotImplementedError

    def _settings(
        self, study: Study, n_startup_trials: int, top_n: int = 1, horizon: int | None = None
    ) -> StudySettings:
        return StudySettings(
            sign=1.0 if study.direction == StudyDirection.MAXIMIZE else -1.0,
            n_startup_trials=n_startup_trials,
            top_n=top_n,
            offset=self._offset,
            horizon=horizon,
            feature_attrs=self._feature_attrs,
            earlier=self._join_earlier_studies(study.direction),
        )

    def _join_earlier_studies(self, direction: StudyDirection) -> FinishedTrials:
        """Join the trials of the studies given as `warm_start` that have a study's direction."""
        alike = [trials for other, trials in self._earlier if other == direction]
        for other, _ in self._earlier:
            if other != direction:
                self._warn_once(
                    f"A study given as `warm_start` is left out: its direction is {other.name}, "
                    f"that of the study is {direction.name}."
                )
        return FinishedTrials(
            tuple(record for trials in alike for record in trials.completed),
            tuple(record for trials in alike for record in trials.pruned),
        )

    def _begin(self) -> None:
        self._finished = PerStudy(lambda _: FinishedTrialsReader(self._feature_attrs))
        self._forecasters = PerStudy(self._new_forecaster)
        self._warn_once = WarnOnce()


def _read_earlier_studies(
    studies: Sequence[Study], feature_attrs: Sequence[str]
) -> list[tuple[StudyDirection, FinishedTrials]]:
    """Read the finished trials of the studies given as `warm_start`, with their directions."""
    if not isinstance(studies, Sequence) or not all(isinstance(s, Study) for s in studies):
        raise ValueError(f"`warm_start` must be a list of Optuna studies, but got {studies!r}.")
    earlier = []
    for study in studies:
        check_single_objective(study, "learned from by `warm_start`")
        completed, pruned = (
            tuple(
                read_record(trial, feature_attrs)
                for trial in study.get_trials(deepcopy=False, states=(state,))
            )
            for state in (TrialState.COMPLETE, TrialState.PRUNED)
        )
        earlier.append((study.direction, FinishedTrials.of(completed, pruned)))
    return earlier
