from __future__ import annotations

from dataclasses import replace
from typing import get_args
from typing import Literal
from typing import TYPE_CHECKING
import zlib

import numpy as np
from optuna.pruners import BasePruner

from optuna_perfpred._arguments import check_at_least
from optuna_perfpred.forecasts import StoppingRule
from optuna_perfpred.history import CHECKPOINT
from optuna_perfpred.history import continued_number
from optuna_perfpred.history import identify
from optuna_perfpred.history import is_due
from optuna_perfpred.history import last_step
from optuna_perfpred.history import PerStudy
from optuna_perfpred.history import stopped_trial
from optuna_perfpred.predictors import CurvePredictor
from optuna_perfpred.pruners._assessment import REASON
from optuna_perfpred.pruners._audit import audit_study
from optuna_perfpred.pruners._constraints import ConstraintForecasts
from optuna_perfpred.pruners._forecasters import PredictorForecaster
from optuna_perfpred.pruners._forecasters import RuleForecaster
from optuna_perfpred.pruners._forecasting_pruner import ForecastingPruner
from optuna_perfpred.pruners._recorded_decision import Decisions
from optuna_perfpred.pruners._relative_costs import check_cost
from optuna_perfpred.pruners._relative_costs import Cost
from optuna_perfpred.pruners._relative_costs import RelativeCosts
from optuna_perfpred.pruners._retries import original_number
from optuna_perfpred.pruners._risk_budget import check_max_risk
from optuna_perfpred.pruners._risk_budget import MIN_COMPLETED
from optuna_perfpred.pruners._second_chance import first_to_go_on
from optuna_perfpred.pruners._second_chance import SecondChances


if TYPE_CHECKING:
    from collections.abc import Sequence

    from optuna.study import Study
    from optuna.trial import FrozenTrial
    from optuna.trial import Trial

    from optuna_perfpred.history import FinishedTrials
    from optuna_perfpred.history import Identity
    from optuna_perfpred.pruners._assessment import Assessment
    from optuna_perfpred.pruners._audit import AuditReport


_SecondChance = Literal["auto", "checkpoint", "retrain", "never"]

# Assessments of this many trials are kept for those who ask.
_N_REMEMBERED = 1000


class PerformancePredictionPruner(ForecastingPruner):
    """Pruner that stops trials which will hardly become the best, by a forecast of their end.

    By default, a rule that was trained on other studies tells, from the second trial on, with
    which probability a running trial will end better than the best completed one. It asks for the
    learning curve so far, those of the finished trials, and regressions of the final value on the
    curve and the parameters, which are fitted as trials are completed. A trial is pruned if the
    steps it still has to train are better spent on new trials: if, per step, its chance to become
    the best is less than a fraction of a new trial's, a small one as long as few trials have
    finished, a larger one where the sampler's proposals have become better. It is less careful
    from the start with a sampler that learns, if trials are all as long and return their last
    report: such a sampler comes back to what was promising. Where several workers
    begin together, the worst of their trials are stopped before the first one is complete.

    What the objective returns is learned from the completed trials. If it is the best report, as
    in half of the public studies, a curve counts as its best value so far. If it is something
    else, nothing is pruned until eight completed trials show that the reports order the trials as
    the returned values do; if they do not, or do so the other way round, nothing is pruned and a
    warning says so once: which of the two is meant is for the user to say.

    With a predictor given, a trial is pruned if the probability that its own final value will
    beat the best ones so far is less than ``1 - confidence``. This is early stopping by
    performance prediction of Baker et al., "Accelerating Neural Architecture Search using
    Performance Prediction", `arXiv:1705.10823 <https://arxiv.org/abs/1705.10823>`__, section 4.

    A stopped trial that has saved a :class:`~optuna_perfpred.Checkpoint` is not lost: it is
    assessed again as the study learns, and goes on once it is worth more than a new trial, see
    ``second_chance``.

    Trials that break a constraint, see :meth:`optuna.trial.Trial.set_constraint`, are never what
    others are compared with. One that has broken it is pruned once a feasible trial is complete,
    and so is one that will break it by the forecast of what
    :func:`~optuna_perfpred.pruners.report_constraints` tells.

    It suits every single-objective study: either direction, any storage, any parameters, also
    conditional ones, and curves with different, irregular or missing steps. It never prunes
    before it can forecast, never raises into an objective (what fails is warned of once), and
    takes the same decision in every process that reads the same storage with the same sampler.
    Where reading is slow and steps are short, it reads once in several steps, which costs a tenth
    of the time at most.

    On a trial that it prunes, it leaves the user attributes ``perfpred:predicted_value``,
    ``perfpred:predicted_std``, ``perfpred:probability_of_beating_best``, ``perfpred:step`` and
    ``perfpred:reason``, a sentence that tells why. Optuna-dashboard shows them as columns.

    .. note::
        An infinite intermediate value counts as the worst one known; NaN counts as not reported.
        A trial that reports only NaN is never pruned; ``wrapped_pruner=ThresholdPruner(...)`` or
        :class:`~optuna.pruners.MedianPruner` prunes it.

    Example:

        .. testcode::

            import optuna
            from sklearn.datasets import load_digits
            from sklearn.model_selection import train_test_split
            from sklearn.neural_network import MLPClassifier

            from optuna_perfpred import PerformancePredictionPruner

            X, y = load_digits(return_X_y=True)
            X_train, X_valid, y_train, y_valid = train_test_split(X / 16, y, random_state=0)


            def objective(trial):
                lr = trial.suggest_float("lr", 1e-5, 1e-1, log=True)
                network = MLPClassifier((32,), learning_rate_init=lr, random_state=0)
                for epoch in range(20):
                    network.partial_fit(X_train, y_train, classes=range(10))
                    accuracy = network.score(X_valid, y_valid)
                    trial.report(accuracy, epoch)
                    if trial.should_prune():
                        raise optuna.TrialPruned()
                return accuracy


            study = optuna.create_study(
                direction="maximize", pruner=PerformancePredictionPruner()
            )
            study.optimize(objective, n_trials=30)

    Args:
        predictor:
            If :obj:`None`, the pretrained :class:`~optuna_perfpred.StoppingRule` that comes with
            the package; another one can be given. Or a
            :class:`~optuna_perfpred.predictors.CurvePredictor` to forecast with, such as
            :class:`~optuna_perfpred.predictors.SequentialRegression`, which learns from this
            study alone.
        n_startup_trials:
            No trial is pruned until this many trials are complete. If :obj:`None`, with a stopping
            rule, which has learned elsewhere, 1, or 0 where at least four trials that began
            together can be compared at equal steps; and 10 with a predictor, whose estimate of its
            own error is too rough to prune by with fewer. The paper runs 100 trials in full, which
            costs most of what there is to save.
        n_warmup_steps:
            No trial is pruned before this step.
        interval_steps:
            Interval in number of steps between the pruning checks, offset by the warm-up steps.
            If no value has been reported at the time of a check, the check is postponed until a
            value is reported. After 200 intervals it grows, to at most a hundredth of the steps
            so far, so that the checks of a training of many short steps take little of it.
        confidence:
            Between 0 and 1; the larger, the more careful. With a stopping rule, a trial is pruned
            if the next best value will come from new trials rather than from it with at least this
            probability, both trained for the same number of steps: at 0.5 the steps go where they
            are worth more. If :obj:`None`, it follows the study: 0.94 after the first trial, 0.8
            after ten, 0.56 after 100, and less where the sampler's proposals have become better
            since the study began. With a predictor, Δ of the paper: a trial is pruned if it will
            fail to beat the reference with at least this probability; if :obj:`None`, 0.99, so
            close to 1 because the risk of pruning a good trial adds up over the checks of its
            curve.
        max_risk:
            Between 0 and 1, instead of ``confidence``: the probability that a stopped trial would
            have become the best of the study is to stay below it, whenever it ends. What each
            stop risks is the probability, as it is foreseen then, that the trial would have
            become the best, with a margin; the budget grows with each trial that ends, and nothing
            is stopped that would overspend it. It holds on average over studies like those of
            ``benchmarks/max_risk.py``, as long as trials are no worse later than at first, as they
            are after good ones were enqueued or where the data change. A sampler that learns makes
            the risk smaller. Trials let finish by ``audit_rate`` test the forecasts, and stops
            cost more if they were too small. What a wrapped pruner stops is paid for, but not held
            back; a trial that goes on after all costs nothing. Nothing is pruned before five
            trials are complete. Several workers see what the others have spent; those that stop
            trials at the same moment, each taking half of what is left at most, may together
            overspend it, which the next ones make up for. Not together with a predictor or
            ``warm_start``.
        offset:
            δ of the paper, in the unit of the objective: the value to beat is the reference made
            worse by this much, so that trials which end about as well are kept.
        top_n:
            The value to beat is the n-th best of the completed trials. If :obj:`None`, 1 with a
            stopping rule and 5 with a predictor: more than 1 protects the trials whose final
            values are predicted a little too low, as those of the best often are.
        horizon:
            The step at which a full curve ends; trials are not pruned from there on. If
            :obj:`None`, the last step that a completed trial reached.
        feature_attrs:
            Names of user attributes (numbers, booleans or strings, such as ``"num_weights"`` and
            ``"num_layers"``) that are features beside the parameters. Set them with
            :meth:`optuna.trial.Trial.set_user_attr` before the first report.
        audit_rate:
            Share, between 0 and 1, of the trials that would be pruned which are chosen at random
            to finish nevertheless. They get the user attribute ``perfpred:audit`` and show how
            often the pruner is wrong. The default of 0 spends nothing on it.
        warm_start:
            Earlier single-objective studies whose completed trials are learned from too, the less
            the more the new study has. They count as start-up trials: a stopping rule prunes from
            the first trial on. Parameters may differ. Left out with a warning are studies of the
            other direction; and all, once values are far better than theirs (another scale) or
            trials begin worse than chance allows for. Read here, once.
        wrapped_pruner:
            A pruner that may prune as well: alone as long as there is no forecast, and beside it
            afterwards.
        shadow:
            If :obj:`True`, forecast and record, but never prune: each trial that would be pruned
            gets the user attributes of a pruned one and ``perfpred:audit``.
        seed:
            Seed of the choice of audited trials. If :obj:`None`, a hash of the study's name, so
            that the choice is the same in every process.
        second_chance:
            What becomes of stopped trials that are worth more than new ones by now, for each step
            that going on costs. With a stopping rule, whenever a trial has ended, they are
            assessed again, and the best ones are enqueued: the next ``ask`` gets a new trial with
            the parameters of the stopped one, whose number is its user attribute
            ``perfpred:continues``, and ``perfpred:second_chance`` tells why. ``"retrain"``: it is
            trained from its first step, and what was trained before decides nothing again;
            ``"checkpoint"``: it goes on where it was stopped, as
            :class:`~optuna_perfpred.Checkpoint` does, so that only what is left is the price.
            ``"auto"``, the default: ``"checkpoint"`` for the trials that have saved one, and for
            the others ``"never"``, as to train from the first step again has not found more for
            the same number of steps, see ``benchmarks/in_loop.py``. A trial goes on once at most,
            whoever asks. Not while several trials run in SQLite, where Optuna may give a waiting
            trial to two workers, unless all are ``optuna-perfpred worker``.
        cost:
            What a step costs, where the steps of one trial cost more than those of another: wider
            networks, smaller batches, another machine. With a stopping rule, a trial is then
            pruned if its chance for each unit of cost still to spend, instead of for each step,
            is less than a fraction of that of a new trial, which costs what those that finished
            last did, less what is saved if the dear ones among them are given up at once.
            ``"time"``: the seconds that a step takes, learned from when trials begin, first ask
            whether to stop (one user attribute for each trial, ``perfpred:first_check``) and end.
            Or a function of a trial and a step that gives the cost of what is trained for the
            report at that step, a positive number in any unit: ``lambda trial, step:
            trial.user_attrs["dollars_per_epoch"]``. A trial whose cost is not known counts as any
            other one. If :obj:`None`, all steps cost the same.

    Raises:
        ValueError:
            If an argument is out of its range.
    """

    def __init__(
        self,
        predictor: CurvePredictor | StoppingRule | None = None,
        *,
        n_startup_trials: int | None = None,
        n_warmup_steps: int = 0,
        interval_steps: int = 1,
        confidence: float | None = None,
        max_risk: float | None = None,
        offset: float = 0.0,
        top_n: int | None = None,
        horizon: int | None = None,
        feature_attrs: Sequence[str] = (),
        audit_rate: float = 0.0,
        warm_start: Sequence[Study] = (),
        wrapped_pruner: BasePruner | None = None,
        shadow: bool = False,
        seed: int | None = None,
        second_chance: _SecondChance = "auto",
        cost: Cost | None = None,
    ) -> None:
        self._uses_peers = n_startup_trials is None and max_risk is None
        is_predictor = isinstance(predictor, CurvePredictor)
        if n_startup_trials is None:
            n_startup_trials = 10 if is_predictor else 1 if max_risk is None else MIN_COMPLETED
        if top_n is None:
            top_n = 5 if is_predictor else 1
        if wrapped_pruner is not None and not isinstance(wrapped_pruner, BasePruner):
            raise ValueError(
                f"`wrapped_pruner` must be an Optuna pruner or None, but got {wrapped_pruner=}."
            )
        check_at_least("n_startup_trials", n_startup_trials, 0)
        if max_risk is not None:
            check_max_risk(max_risk, confidence, is_predictor, n_startup_trials, warm_start)
        if confidence is None and is_predictor:
            confidence = 0.99
        check_at_least("n_warmup_steps", n_warmup_steps, 0)
        check_at_least("interval_steps", interval_steps, 1)
        check_at_least("top_n", top_n, 1)
        if horizon is not None:
            check_at_least("horizon", horizon, 1)
        if seed is not None:
            check_at_least("seed", seed, 0)
        if second_chance not in get_args(_SecondChance):
            raise ValueError(
                f"`second_chance` must be one of {', '.join(map(repr, get_args(_SecondChance)))}, "
                f"but got {second_chance=}."
            )
        if cost is not None:
            check_cost(cost, is_predictor)
        if not 0.0 <= audit_rate <= 1.0:
            raise ValueError(f"`audit_rate` must be in [0, 1], but got {audit_rate=}.")

        self._n_startup_trials = n_startup_trials
        self._n_warmup_steps = n_warmup_steps
        self._interval_steps = interval_steps
        self._confidence = confidence
        self._max_risk = max_risk
        self._top_n = top_n
        self._horizon = horizon
        self._audit_rate = audit_rate
        self._wrapped_pruner = wrapped_pruner
        self._shadow = shadow
        self._seed = seed
        self.second_chance = second_chance
        self.cost = cost
        self._set_forecast(
            predictor, 0.5 if confidence is None else confidence, offset, feature_attrs, warm_start
        )

    def assessment(self, study: Study, trial: Trial | FrozenTrial) -> Assessment | None:
        """Tell what was foreseen of a running trial when it last asked whether to stop.

        Args:
            study:
                The study.
            trial:
                The trial.

        Returns:
            The latest assessment of the trial by this instance, or :obj:`None` if there was none
            yet or it was long ago.
        """
        whole_study: Study = getattr(study, "_study", study)
        return self._latest.of(whole_study).get(identify(trial))

    def enqueue_stopped(self, study: Study) -> None:
        """Have a stopped trial wait to go on, if it is worth it now that no new ones come.

        While a study runs, the pruner does so itself at the first check after a trial has ended.
        At its end whoever runs it may do it, as ``optuna-perfpred worker`` does: a stopped trial
        is then compared with what a trial of the study has been worth, and it, and whatever waits
        to go on already, is stopped again later than others, by the user attribute
        ``perfpred:least_ratio``. :func:`~optuna_perfpred.finish` does the same. What fails is
        warned of once.

        Args:
            study:
                The study.
        """
        if self._gives_second_chances:
            reader = self._finished.of(study)
            self._enqueue_stopped(study, reader.read_now(study), reader.trials, at_end=True)

    def audit(self, study: Study) -> AuditReport:
        """Estimate how often trials are wrongly pruned, from those that finished on purpose.

        Args:
            study:
                A study in which trials were let finish by ``audit_rate`` or ``shadow``.

        Returns:
            The report. ``print`` gives its summary.
        """
        return audit_study(study)

    def _prune(self, study: Study, trial: FrozenTrial) -> bool:
        whole_study: Study = getattr(study, "_study", study)  # HyperbandPruner shows a bracket.
        decisions = self._decisions.of(whole_study)
        if decisions.lets_finish(whole_study, trial):
            return False
        if continued_number(trial) is not None:
            known = self._prune_continued(whole_study, trial, decisions)
            if known is not None:
                return known
        if self.cost == "time":
            self._forecasters.of(whole_study).costs.note_check(whole_study, trial)
        assessment = self._assess(whole_study, trial) if self._is_due(trial) else None
        if assessment is not None and assessment.is_hopeless:
            let_finish = self._shadow or self._is_audited(whole_study, trial)
            attributes = assessment.attributes()
            decisions.record(whole_study, trial, attributes, let_finish=let_finish)
            return not let_finish
        if self._wrapped_pruner is not None and self._wrapped_pruner.prune(study, trial):
            attributes = assessment.attributes() if assessment is not None else {}
            attributes[REASON] = f"Pruned by the wrapped {type(self._wrapped_pruner).__name__}."
            decisions.record(whole_study, trial, attributes, let_finish=self._shadow)
            return not self._shadow
        return False

    def _is_due(self, trial: FrozenTrial) -> bool:
        reports = trial.intermediate_values
        return is_due(reports, self._n_warmup_steps, self._interval_steps) and (
            self._horizon is None or last_step(reports) < self._horizon
        )

    def _assess(self, study: Study, trial: FrozenTrial) -> Assessment | None:
        reader = self._finished.of(study)
        finished = reader.read(study, trial)
        if self._gives_second_chances:
            self._enqueue_stopped(study, finished, reader.trials)
        forecaster = self._forecasters.of(study)
        assessment = self._assess_by(
            forecaster, study, trial, finished, reader.trials, reader.running
        )
        if self._max_risk is not None and assessment is not None and assessment.is_hopeless:
            # What other workers have spent by now must not be spent again.
            finished = reader.read_now(study)
            assessment = self._assess_by(
                forecaster, study, trial, finished, reader.trials, reader.running
            )
        if assessment is not None:
            latest = self._latest.of(study)
            latest[identify(trial)] = replace(assessment, inputs=None)
            # A study may go on for weeks; who has not asked by now will not.
            while len(latest) > _N_REMEMBERED:
                latest.pop(next(iter(latest)), None)
        return assessment

    def _prune_continued(
        self, study: Study, trial: FrozenTrial, decisions: Decisions
    ) -> bool | None:
        """Judge a trial that goes on with a stopped one by what was known of that."""
        reader = self._finished.of(study)
        reader.read(study, trial)
        stopped = stopped_trial(trial, reader.trials)
        if stopped is None:
            return None
        first = first_to_go_on(trial, reader.trials)
        if first is not None:
            reason = f"Trial {first} goes on with trial {stopped.number} already."
            decisions.record(study, trial, {REASON: reason}, let_finish=self._shadow)
            return not self._shadow
        if trial.last_step is None or stopped.last_step is None:
            return None
        # It was trained before: that decides nothing again.
        return False if trial.last_step <= stopped.last_step else None

    def _enqueue_stopped(
        self,
        study: Study,
        finished: FinishedTrials,
        trials: Sequence[FrozenTrial],
        *,
        at_end: bool = False,
    ) -> None:
        try:
            self._chances.of(study).enqueue(study, finished, trials, at_end=at_end)
        except Exception as error:
            # Whoever cannot add a trial can still be told whether to stop.
            self._warn_once("No stopped trial could be gone on with", error)

    def _goes_on_from(self, trial: FrozenTrial) -> Literal["checkpoint", "retrain"] | None:
        if self.second_chance == "auto":
            return "checkpoint" if trial.user_attrs.get(CHECKPOINT) is True else None
        return None if self.second_chance == "never" else self.second_chance

    @property
    def _gives_second_chances(self) -> bool:
        # A predictor that learns from one study alone tells nothing of chances per step.
        return (
            self.second_chance != "never"
            and not self._shadow
            and isinstance(self._predictor, StoppingRule)
        )

    def _assess_by(
        self,
        forecaster: RuleForecaster | PredictorForecaster,
        study: Study,
        trial: FrozenTrial,
        finished: FinishedTrials,
        trials: Sequence[FrozenTrial],
        # Which trials ran beside it, and how far they were, is not known afterwards.
        running: Sequence[FrozenTrial] = (),
    ) -> Assessment | None:
        assessment = forecaster.assess(finished, trial, trials, running)
        return self._constraints.of(study).weigh(assessment, trial, finished, trials)

    def _new_forecaster(self, study: Study) -> RuleForecaster | PredictorForecaster:
        settings = self._settings(study, self._n_startup_trials, self._top_n, self._horizon)
        cost, n_warmup_steps = self.cost, self._n_warmup_steps
        if isinstance(self._predictor, StoppingRule):
            return RuleForecaster(
                self._predictor,
                settings,
                confidence=self._confidence,
                max_risk=self._max_risk,
                sampler=study.sampler,
                uses_peers=self._uses_peers,
                warn=self._warn_once,
                costs=cost and RelativeCosts(cost, n_warmup_steps, self._warn_once),
            )
        assert self._confidence is not None
        return PredictorForecaster(self._predictor, settings, self._confidence)

    def _new_chances(self, study: Study) -> SecondChances:
        forecaster = self._forecasters.of(study)
        return SecondChances(forecaster.forecast, self._goes_on_from, forecaster.costs)

    def _new_constraints(self, study: Study) -> ConstraintForecasts:
        settings = self._settings(study, self._n_startup_trials, horizon=self._horizon)
        return ConstraintForecasts(self._predictor, settings, self._warn_once)

    def _is_audited(self, study: Study, trial: FrozenTrial) -> bool:
        if self._audit_rate == 0.0:
            return False
        seed = zlib.crc32(study.study_name.encode()) if self._seed is None else self._seed
        draw = np.random.default_rng([seed, original_number(trial)]).random()
        return bool(draw < self._audit_rate)

    def _begin(self) -> None:
        super()._begin()
        self._latest: PerStudy[dict[Identity, Assessment]] = PerStudy(lambda _: {})
        self._decisions = PerStudy(lambda _: Decisions(self._warn_once))
        self._chances = PerStudy(self._new_chances)
        self._constraints = PerStudy(self._new_constraints)
