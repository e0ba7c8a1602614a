from __future__ import annotations

from dataclasses import dataclass
from functools import partial
import logging
import threading
from typing import TYPE_CHECKING

from optuna.pruners import HyperbandPruner
from optuna.study import StudyDirection

from optuna_perfpred._arguments import check_at_least
from optuna_perfpred._attributes import read_step
from optuna_perfpred.history import identify
from optuna_perfpred.history import is_due
from optuna_perfpred.history import last_step
from optuna_perfpred.history import PerStudy
from optuna_perfpred.predictors import CurvePredictor
from optuna_perfpred.pruners._brackets import Brackets
from optuna_perfpred.pruners._brackets import Competition
from optuna_perfpred.pruners._forecasting_pruner import ForecastingPruner
from optuna_perfpred.pruners._recorded_decision import void_decision
from optuna_perfpred.pruners._retries import halve
from optuna_perfpred.pruners._retries import with_original_number
from optuna_perfpred.pruners._rungs import find_rung
from optuna_perfpred.pruners._rungs import horizons
from optuna_perfpred.pruners._rungs import RungForecaster


if TYPE_CHECKING:
    from collections.abc import Sequence

    from optuna.study import Study
    from optuna.trial import FrozenTrial

    from optuna_perfpred.forecasts import StoppingRule
    from optuna_perfpred.history import FinishedTrials
    from optuna_perfpred.history import Identity
    from optuna_perfpred.pruners._assessment import Assessment
    from optuna_perfpred.pruners._rungs import Rung


# A system attribute of a trial that was cut. Upstream takes the result of a rung, which such a
# trial has too, for a promotion if the trial goes on nevertheless.
CUT = "perfpred:cut"
# Trials are forgotten after this many others have asked; one that asks again is looked up.
_N_REMEMBERED = 1000

_logger = logging.getLogger(__name__)


class FastHyperbandPruner(ForecastingPruner, HyperbandPruner):
    """Hyperband that stops a trial as soon as it will hardly be promoted from its rung.

    Between two rungs :class:`~optuna.pruners.HyperbandPruner` trains every trial to the next one.
    This one forecasts, at each step (after 200 steps, at most a hundredth of them later), the
    value that the trial will have there, and cuts it if it will hardly be among the best that
    this rung promotes, or hardly become the best of all
    brackets. This is f-Hyperband of Baker et al., "Accelerating Neural Architecture Search using
    Performance Prediction", `arXiv:1705.10823 <https://arxiv.org/abs/1705.10823>`__, section 5,
    with the pseudo-code of its first author's thesis (MIT, chapter 4). Brackets, rungs and
    promotions are those of Hyperband, and samplers see the trials of one bracket as they do with
    it.

    The published algorithm compares a trial with the best of all brackets only after the last
    rung, by the forecast of the final value. So does this one with a predictor. A stopping rule
    is asked in every rung for the trial's chance to become the best, for each step that it still
    has to train: a trial that is promoted and will not win is what Hyperband spends most on.

    The published algorithm is synchronous: it knows how many trials of a rung will be promoted.
    Optuna's halving is not. Here, a rung's results are those known so far in its bracket, and the
    number of trials that it promotes is that by which Optuna would judge the trial if it were at
    the horizon now: one in ``reduction_factor`` of them and itself, at least one. A trial is cut
    only if as many results exist. As published, a cut trial counts with its predicted value as
    its result of the rung, so that the rung promotes as many as it would without cuts; it never
    counts for more than the value that it was not to reach.

    It learns from every curve that ever reached a rung's horizon, in any bracket, whatever became
    of the trial later, and refits when their number has grown by a tenth.

    A trial that it cuts gets the user attributes ``perfpred:predicted_value`` and
    ``perfpred:predicted_std`` (of the final value, or of that at the end of its rung),
    ``perfpred:probability_of_beating_best`` (of beating what decides there), ``perfpred:step``
    and ``perfpred:reason``. What fails is warned of once, and the trial goes on as with
    Hyperband. Threads may share it.

    Example:

        .. testcode::

            import optuna

            from optuna_perfpred import FastHyperbandPruner


            def objective(trial):
                rate = trial.suggest_float("rate", 0.01, 1.0, log=True)
                for step in range(81):
                    trial.report(rate * 0.9**step, step)
                    if trial.should_prune():
                        raise optuna.TrialPruned()
                return rate * 0.9**80


            study = optuna.create_study(pruner=FastHyperbandPruner(max_resource=81))
            study.optimize(objective, n_trials=30)

    Args:
        min_resource:
            As of :class:`~optuna.pruners.HyperbandPruner`, as are the next three.
        max_resource:
            The number of steps of a full training, or ``"auto"``.
        reduction_factor:
            η of Hyperband.
        bootstrap_count:
            Number of results that a rung needs before a trial is promoted.
        confidence:
            Δ of the paper, between 0 and 1: a trial is cut if it will not be promoted with at
            least this probability. By a stopping rule, also if its chance to become the best, for
            each step still to train, is less than that of a new trial, as with
            :class:`~optuna_perfpred.PerformancePredictionPruner`, or for a confidence above 0.95
            less than ``19 * (1 - confidence) / confidence`` times that. On recorded curves the
            default of 0.95 trains three fifths of Hyperband's steps, for a best value that is
            mostly the same; at 0.9 it no longer is (``benchmarks/hyperband.py``).
        offset:
            δ of the paper, in the unit of the objective: the value to reach is made worse by this
            much.
        n_train:
            d of the paper: no trial is cut in a rung before this many curves have reached its
            horizon, those of ``warm_start`` included. If :obj:`None`, 1 with a stopping rule,
            which has learned elsewhere, and 10 with a predictor. The paper's 100 is more than
            most studies complete.
        keep:
            κ of the paper, in (0, 1]: the share of the trials to be promoted that a trial must be
            predicted to be among. 1 keeps what Hyperband would promote; with less, the rung cuts
            also some that would be promoted.
        predictor:
            If :obj:`None`, the pretrained :class:`~optuna_perfpred.StoppingRule` that comes with
            the package; another one can be given. Or a
            :class:`~optuna_perfpred.predictors.CurvePredictor`, of which copies are fitted for
            each horizon. It cuts only where there are at least 10 curves and its forecasts of
            those that it did not learn from are closer than their median by a fifth: noise, even
            with an honest standard error, cuts nothing.
        warm_start:
            Earlier single-objective studies whose curves are learned from too. Read here, once.
            In a rung, trials are compared with those of the new study alone; the best of all is
            at first that of a few earlier trials, as in
            :class:`~optuna_perfpred.PerformancePredictionPruner`, so that a new study of the same
            problem may end without a completed trial where the earlier study's best one is
            better. Left out with a warning are studies of the other direction, and all if values
            or first reports tell that the new study is another problem.
        feature_attrs:
            Names of user attributes (numbers, booleans or strings) that are features beside the
            parameters.

    Raises:
        ValueError:
            If an argument is out of its range.
    """

    def __init__(
        self,
        min_resource: int = 1,
        max_resource: str | int = "auto",
        reduction_factor: int = 3,
        bootstrap_count: int = 0,
        *,
        confidence: float = 0.95,
        offset: float = 0.0,
        n_train: int | None = None,
        keep: float = 1.0,
        predictor: CurvePredictor | StoppingRule | None = None,
        warm_start: Sequence[Study] = (),
        feature_attrs: Sequence[str] = (),
    ) -> None:
        # Optuna finds these only when the first trial is judged, inside the objective.
        check_at_least("min_resource", min_resource, 1)
        check_at_least("reduction_factor", reduction_factor, 2)
        check_at_least("bootstrap_count", bootstrap_count, 0)
        HyperbandPruner.__init__(
            self, min_resource, max_resource, reduction_factor, bootstrap_count
        )
        if isinstance(max_resource, int) and max_resource < min_resource:
            raise ValueError(
                f"`max_resource` must be at least `min_resource`, but got {max_resource=} and "
                f"{min_resource=}."
            )
        if n_train is None:
            n_train = 10 if isinstance(predictor, CurvePredictor) else 1
        check_at_least("n_train", n_train, 1)
        if not 0.0 < keep <= 1.0:
            raise ValueError(f"`keep` must be in (0, 1], but got {keep=}.")
        self._confidence = confidence
        self._n_train = n_train
        self._keep = keep
        self._set_forecast(predictor, confidence, offset, feature_attrs, warm_start)

    def _prune(self, study: Study, trial: FrozenTrial) -> bool:
        whole_study: Study = getattr(study, "_study", study)
        asked = self._asked.of(whole_study)
        known = asked.get(identify(trial))
        if known is None:
            known = asked[identify(trial)] = _Asked(self._was_cut(study, trial))
            while len(asked) > _N_REMEMBERED:
                asked.pop(next(iter(asked)), None)
        if known.was_cut:
            return True
        self._try_initialization(study)
        if len(self._pruners) == 0 or len(trial.intermediate_values) == 0:
            return False
        if known.bracket is None:
            known.bracket = self._get_bracket_id(study, trial)
        step = last_step(trial.intermediate_values)
        rung = find_rung(known.bracket, step, **self._resources())
        if rung.number > known.n_passed:

            def read_others() -> list[FrozenTrial]:
                self._finished.of(whole_study).read_now(whole_study)
                competition = self._competition(whole_study)
                return self._brackets.of(whole_study).others(rung.bracket, trial, competition)

            if halve(self._pruners[rung.bracket], study, trial, read_others):
                return True
            known.n_passed = rung.number
        # Hyperband decides at the end of a rung, the forecast before it.
        if self._is_due(trial):
            self._cut(whole_study, trial, rung, known)
        return known.was_cut

    @staticmethod
    def _is_due(trial: FrozenTrial) -> bool:
        return is_due(trial.intermediate_values)

    def _was_cut(self, study: Study, trial: FrozenTrial) -> bool:
        cut_at = read_step(trial.system_attrs, CUT)
        if trial.system_attrs.get(CUT) is None:
            return False
        if cut_at is not None and trial.last_step is not None and cut_at <= trial.last_step:
            return True
        # Not this trial was cut, but the one that it retries.
        study._storage.set_trial_system_attr(trial._trial_id, CUT, None)
        void_decision(study, trial)
        return False

    def _cut(self, study: Study, trial: FrozenTrial, rung: Rung, known: _Asked) -> None:
        _logger.debug(
            "Trial %d is in bracket %d, rung %d, which ends at %s",
            trial.number,
            rung.bracket,
            rung.number,
            "the end of the training" if rung.horizon is None else f"step {rung.horizon}",
        )
        finished = self._finished.of(study).read(study, trial)
        results = self._brackets.of(study).results(rung, trial, self._competition(study))
        assessment = self._forecasters.of(study).assess(finished, trial, rung, results)
        if assessment is None or not assessment.is_hopeless:
            return
        known.was_cut = True
        _logger.info("Trial %d. %s", trial.number, assessment.reason)
        storage = study._storage
        storage.set_trial_system_attr(trial._trial_id, CUT, assessment.step)
        for key, value in assessment.attributes().items():
            storage.set_trial_user_attr(trial._trial_id, key, value)
        if assessment.horizon is not None:
            # The value at the rung's end counts as the trial's result, but not for more than the
            # one that it was not to reach.
            worse = min if study.direction == StudyDirection.MAXIMIZE else max
            result = worse(assessment.predicted_value, assessment.reference)
            storage.set_trial_system_attr(trial._trial_id, rung.key, result)

    def _competition(self, study: Study) -> Competition:
        reader = self._finished.of(study)
        return Competition(reader.ended, reader.running, partial(self._get_bracket_id, study))

    def _assess_by(
        self,
        forecaster: RungForecaster,
        study: Study,
        trial: FrozenTrial,
        finished: FinishedTrials,
        trials: Sequence[FrozenTrial],
    ) -> Assessment | None:
        self._try_initialization(study)
        if len(self._pruners) == 0 or trial.last_step is None:
            return None
        rung = self._rung(study, trial, trial.last_step)
        competition = Competition((), trials, partial(self._get_bracket_id, study))
        results = Brackets().results(rung, trial, competition)
        return forecaster.assess(finished, trial, rung, results)

    def _rung(self, study: Study, trial: FrozenTrial, step: int) -> Rung:
        return find_rung(self._get_bracket_id(study, trial), step, **self._resources())

    def _get_bracket_id(self, study: Study, trial: FrozenTrial) -> int:
        # A retried trial goes on in the bracket of the one that died.
        return super()._get_bracket_id(study, with_original_number(trial))

    def _resources(self) -> dict[str, int]:
        assert isinstance(self._max_resource, int)
        return {
            "min_resource": self._min_resource,
            "max_resource": self._max_resource,
            "reduction_factor": self._reduction_factor,
        }

    def _try_initialization(self, study: Study) -> None:
        # Optuna fills these lists one by one, and threads that meet them half-filled fail.
        with self._lock:
            if len(self._pruners) > 0:
                return
            made = HyperbandPruner(
                self._min_resource,
                self._max_resource,
                self._reduction_factor,
                self._bootstrap_count,
            )
            made._try_initialization(study)
            if len(made._pruners) == 0:
                return
            self._max_resource = made._max_resource
            self._n_brackets = made._n_brackets
            self._total_trial_allocation_budget = made._total_trial_allocation_budget
            self._trial_allocation_budgets = made._trial_allocation_budgets
            self._pruners = made._pruners  # The last one: it tells that the others are there.
            for bracket in range(len(self._pruners)):
                ends = horizons(bracket, **self._resources())
                _logger.debug("Bracket %d has its rungs at %s", bracket, ends)

    def _new_forecaster(self, study: Study) -> RungForecaster:
        return RungForecaster(
            self._predictor,
            self._settings(study, self._n_train),
            confidence=self._confidence,
            keep=self._keep,
            reduction_factor=self._reduction_factor,
        )

    def _begin(self) -> None:
        super()._begin()
        self._lock = threading.Lock()
        self._brackets = PerStudy(lambda _: Brackets())
        self._asked: PerStudy[dict[Identity, _Asked]] = PerStudy(lambda _: {})


@dataclass
class _Asked:
    """What is known of a running trial: its system attributes are in the storage, not in it."""

    was_cut: bool
    bracket: int | None = None
    n_passed: int = 0
