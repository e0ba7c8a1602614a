from __future__ import annotations

from typing import Any
from typing import TYPE_CHECKING

from optuna.samplers import BaseSampler
from optuna.samplers import NSGAIIISampler
from optuna.samplers import NSGAIISampler
from optuna.samplers import TPESampler

from optuna_perfpred._arguments import check_at_least
from optuna_perfpred.history import LearnsAnew
from optuna_perfpred.history import PerStudy
from optuna_perfpred.samplers._predicted_study import PredictedStudy
from optuna_perfpred.samplers._predicted_study import StoppedOfSeveralObjectives
from optuna_perfpred.samplers._predicted_study import StoppedTrials


if TYPE_CHECKING:
    from collections.abc import Sequence

    from optuna.distributions import BaseDistribution
    from optuna.study import Study
    from optuna.trial import FrozenTrial
    from optuna.trial import TrialState


_POPULATIONS = (NSGAIISampler, NSGAIIISampler)


class PredictedValueSampler(LearnsAnew, BaseSampler):
    """Sampler that lets another one learn from how stopped trials would have ended.

    Optuna's samplers do not know what a pruned trial is worth. Most of them, such as
    :class:`~optuna.samplers.GPSampler`, ignore it and propose the like again;
    :class:`~optuna.samplers.TPESampler` ranks it by the step that it reached and the last value
    that it reported, behind all completed ones. This sampler shows the wrapped one the study as if
    the pruned trials had finished: as completed trials with the values that the forecast of the
    study gives them, made anew as the study learns. It is how Baker et al. use predictions in a
    search: "Accelerating Neural Architecture Search using Performance Prediction",
    `arXiv:1705.10823 <https://arxiv.org/abs/1705.10823>`__, section 4.

    Whichever pruner has pruned them: if the study's one is a
    :class:`~optuna_perfpred.PerformancePredictionPruner`, its rule and its features are used. The
    storage is not touched: for everybody else, :attr:`optuna.Study.best_trial` included, the
    trials stay pruned. A pruned trial stays so for the wrapped sampler too

    - as long as fewer than ``n_startup_trials`` trials are complete;
    - if nothing can be foreseen of it, as when it has reported no number or the returned values
      are not what the reports tell of. If it has the user attribute
      ``perfpred:predicted_value``, that one is shown: an objective that knows better may set it,
      by :meth:`optuna.trial.Trial.set_user_attr`, before it raises :exc:`optuna.TrialPruned`;
    - if it was pruned before the objective set the constraints that completed trials have.

    A stopped trial that another one has gone on with, see ``second_chance`` of
    :class:`~optuna_perfpred.PerformancePredictionPruner`, is not shown at all once that one has
    ended: it has the same parameters.

    In multi-objective studies, stopped trials are shown at what
    :class:`~optuna_perfpred.pruners.MultiObjectivePruning` predicted when it stopped them, to all
    samplers. With one objective, :class:`~optuna.samplers.NSGAIISampler` and
    :class:`~optuna.samplers.NSGAIIISampler` are on their own: their populations are made of trials
    that were trained.

    .. note::
        Samplers that read the storage directly see the pruned trials. Of Optuna's, these are
        :class:`~optuna.samplers.GridSampler` and :class:`~optuna.samplers.BruteForceSampler`, for
        which a finished trial is a finished trial whatever its value.

    Example:

        .. testcode::

            import optuna

            from optuna_perfpred import PerformancePredictionPruner
            from optuna_perfpred import PredictedValueSampler


            def objective(trial):
                x = trial.suggest_float("x", -1.0, 1.0)
                for step in range(20):
                    value = x**2 + 0.9**step
                    trial.report(value, step)
                    if trial.should_prune():
                        raise optuna.TrialPruned()
                return value


            study = optuna.create_study(
                sampler=PredictedValueSampler(),
                pruner=PerformancePredictionPruner(),
            )
            study.optimize(objective, n_trials=30)

    Args:
        base_sampler:
            Any sampler. If :obj:`None`, Optuna's default one, a
            :class:`~optuna.samplers.TPESampler`.
        n_startup_trials:
            Pruned trials stay pruned until this many trials are complete. What is predicted from
            one or two completed trials is hardly related to what a trial would have reached, and
            on recorded curves it led the GP sampler away from good configurations: the default of
            5 avoids it.

    Raises:
        :exc:`ValueError`:
            If ``base_sampler`` is not a sampler or ``n_startup_trials`` is negative.
    """

    def __init__(
        self, base_sampler: BaseSampler | None = None, *, n_startup_trials: int = 5
    ) -> None:
        if base_sampler is not None and not isinstance(base_sampler, BaseSampler):
            raise ValueError(
                f"`base_sampler` must be an Optuna sampler or None, but got {base_sampler=}."
            )
        check_at_least("n_startup_trials", n_startup_trials, 0)
        self._base_sampler = TPESampler() if base_sampler is None else base_sampler
        self._n_startup_trials = n_startup_trials
        self._forget()

    def __str__(self) -> str:
        return f"{type(self).__name__}({self._base_sampler})"

    def reseed_rng(self) -> None:
        self._base_sampler.reseed_rng()

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        return self._base_sampler.infer_relative_search_space(self._show(study), trial)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return self._base_sampler.sample_relative(self._show(study), trial, search_space)

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        return self._base_sampler.sample_independent(
            self._show(study), trial, param_name, param_distribution
        )

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        self._base_sampler.before_trial(self._show(study), trial)

    def after_trial(
        self,
        study: Study,
        trial: FrozenTrial,
        state: TrialState,
        values: Sequence[float] | None,
    ) -> None:
        self._base_sampler.after_trial(self._show(study), trial, state, values)

    def _show(self, study: Study) -> Study:
        if study._is_multi_objective():
            return PredictedStudy(study, StoppedOfSeveralObjectives(study))
        if isinstance(self._base_sampler, _POPULATIONS):
            return study
        return PredictedStudy(study, self._stopped.of(study))

    def _begin(self) -> None:
        self._stopped = PerStudy(lambda study: StoppedTrials(study, self._n_startup_trials))
