from __future__ import annotations

import copy
import math
from typing import Any
from typing import TYPE_CHECKING

from optuna.study import Study
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial
from optuna.trial import TrialState

from optuna_perfpred._arguments import check_at_least
from optuna_perfpred._arguments import check_single_objective
from optuna_perfpred._attributes import finite
from optuna_perfpred._attributes import read_number
from optuna_perfpred._attributes import read_step
from optuna_perfpred.forecasts import Curve
from optuna_perfpred.forecasts import StoppingRule
from optuna_perfpred.forecasts import StudyForecast
from optuna_perfpred.forecasts import StudySettings
from optuna_perfpred.history import FinishedTrials
from optuna_perfpred.history import StudyHistory
from optuna_perfpred.pruners import PerformancePredictionPruner
from optuna_perfpred.pruners._assessment import PREDICTED_VALUE
from optuna_perfpred.pruners._assessment import PREDICTED_VALUES
from optuna_perfpred.pruners._assessment import STEP


if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Container
    from collections.abc import Sequence

    from optuna_perfpred.forecasts import Learned
    from optuna_perfpred.history import CurveRecord


_LEARNED_FROM = (TrialState.COMPLETE, TrialState.PRUNED)


def predicted_study(study: Study, *, n_startup_trials: int = 5) -> Study:
    """Show a study as it would be if its pruned trials had finished at their predicted values.

    Optuna's importances and figures ask for completed trials, and most of what a study with a
    pruner has found out is in those that were stopped: a parameter that is bad in most of its
    range is hardly varied among the ones that were left. Give them this view instead of the
    study. It reads the study anew each time it is asked, and neither the study nor its storage is
    changed. Which pruned trials stay so, and which are not shown, is as for
    :class:`~optuna_perfpred.PredictedValueSampler`.

    Example:

        .. testcode::

            import optuna

            from optuna_perfpred import PerformancePredictionPruner
            from optuna_perfpred.samplers import predicted_study


            def objective(trial):
                x = trial.suggest_float("x", -1.0, 1.0)
                y = trial.suggest_float("y", -1.0, 1.0)
                for step in range(20):
                    value = x**2 + 0.1 * y + 0.9**step
                    trial.report(value, step)
                    if trial.should_prune():
                        raise optuna.TrialPruned()
                return value


            study = optuna.create_study(pruner=PerformancePredictionPruner())
            study.optimize(objective, n_trials=30)
            print(optuna.importance.get_param_importances(predicted_study(study)))

    Args:
        study:
            A study with one objective, whichever pruner it was stopped by. If its pruner is a
            :class:`~optuna_perfpred.PerformancePredictionPruner`, its rule and its features are
            used; after :func:`optuna.load_study`, that is the one it was given.
        n_startup_trials:
            Pruned trials stay pruned until this many trials are complete: less tells little of
            where others would have ended.

    Returns:
        The view.

    Raises:
        ValueError:
            If ``study`` is not a study with one objective, or ``n_startup_trials`` is negative.
    """
    if not isinstance(study, Study):
        raise ValueError(f"`study` must be an Optuna study, but got {study!r}.")
    check_single_objective(study, "shown with predicted values")
    check_at_least("n_startup_trials", n_startup_trials, 0)
    return PredictedStudy(study, StoppedTrials(study, n_startup_trials))


class StoppedTrials:
    """The stopped trials of one study at the values that they would end at. Safe with threads.

    What is forecast of them is renewed as the study learns, see
    :class:`~optuna_perfpred.forecasts.StudyForecast`: what was foreseen when they were stopped,
    with one or two trials complete, is hardly related to what they would have reached.

    Args:
        study:
            The study, whose pruner may tell how to forecast.
        n_startup_trials:
            The number of completed trials from which on they are shown.
    """

    def __init__(self, study: Study, n_startup_trials: int) -> None:
        self._n_startup_trials = n_startup_trials
        self._forecast, feature_attrs = _forecast_of(study)
        self._completed = StudyHistory(feature_attrs)
        self._stopped = StudyHistory(feature_attrs)
        # What was last known, each continued trial once, and the stopped ones that are left out.
        self._known = _Known()
        # What was foreseen of each, by its number, from what was learned then. Two threads may
        # find the same one at once: it doesn't matter whose is kept.
        self._values: tuple[Learned | None, dict[int, float]] = (None, {})

    def show(self, trials: list[FrozenTrial]) -> list[FrozenTrial]:
        """Replace the stopped trials whose end can be foreseen by completed ones.

        Those that others have gone on with, see :meth:`FinishedTrials.of`, are left out: they
        have the same parameters once more.

        Args:
            trials:
                All completed and pruned trials of the study, maybe among others. They are not
                changed.

        Returns:
            The trials in the same order.
        """
        completed = [trial for trial in trials if trial.state == TrialState.COMPLETE]
        stopped = [trial for trial in trials if trial.state == TrialState.PRUNED]
        known = self._know(completed, stopped)
        if known.left_out:
            trials = [trial for trial in trials if trial.number not in known.left_out]
        if len(completed) < max(1, self._n_startup_trials):
            return trials
        values = self._foresee(known.finished)
        # An objective may set its constraints after the training. Samplers refuse completed
        # trials of which some lack them.
        constraints = set(completed[-1].constraints)
        shown = []
        for trial in trials:
            if trial.state == TrialState.PRUNED and set(trial.constraints) == constraints:
                value = values.get(trial.number)
                value = _read_predicted_value(trial) if value is None else value
                if value is not None:
                    trial = copy.copy(trial)
                    trial.state = TrialState.COMPLETE
                    trial.values = [value]
            shown.append(trial)
        return shown

    def _know(self, completed: Sequence[FrozenTrial], stopped: Sequence[FrozenTrial]) -> _Known:
        self._completed.update(completed)
        self._stopped.update(stopped)
        # A bracket of Hyperband may hold fewer trials than are known, and others.
        records = self._completed.add(completed), self._stopped.add(stopped)
        known = self._known
        if known.completed is not records[0] or known.pruned is not records[1]:
            known = self._known = _Known(*records)
        return known

    def _foresee(self, finished: FinishedTrials) -> dict[int, float]:
        learned = self._forecast.learned_from(finished)
        known_from, values = self._values
        if learned is None:
            return {}
        if known_from is not learned:
            values = {}
        new = [record for record in finished.pruned if record.number not in values]
        if new:
            values = values | self._forecast_ends(finished, new)
        self._values = learned, values
        return values

    def _forecast_ends(
        self, finished: FinishedTrials, records: Sequence[CurveRecord]
    ) -> dict[int, float]:
        forecasts = self._forecast.of(finished, [Curve.of(record) for record in records])
        if forecasts is None:
            return {}
        return {
            record.number: float(mean)
            for record, mean in zip(records, forecasts.mean, strict=True)
            if math.isfinite(mean)
        }


class StoppedOfSeveralObjectives:
    """The stopped trials of a study with several objectives at what they were predicted to end at.

    What :class:`~optuna_perfpred.pruners.MultiObjectivePruning` has left on them when it stopped
    them.

    Args:
        study:
            The study.
    """

    def __init__(self, study: Study) -> None:
        self._n_objectives = len(study.directions)

    def show(self, trials: list[FrozenTrial]) -> list[FrozenTrial]:
        """Replace the stopped trials. See :meth:`StoppedTrials.show`."""
        completed = [trial for trial in trials if trial.state == TrialState.COMPLETE]
        constraints = set(completed[-1].constraints) if completed else set()
        shown = []
        for trial in trials:
            values = trial.user_attrs.get(PREDICTED_VALUES)
            if trial.state == TrialState.PRUNED and isinstance(values, list):
                known = [v for v in map(finite, values) if v is not None]
                if len(known) == self._n_objectives and set(trial.constraints) == constraints:
                    trial = copy.copy(trial)
                    trial.state = TrialState.COMPLETE
                    trial.values = known
            shown.append(trial)
        return shown


class _Known:
    """The finished trials that are known.

    Attributes:
        finished: The trials, each continued one once.
        left_out: The numbers of the stopped ones that others have gone on with.
    """

    def __init__(
        self, completed: tuple[CurveRecord, ...] = (), pruned: tuple[CurveRecord, ...] = ()
    ) -> None:
        self.completed = completed
        self.pruned = pruned
        self.finished = FinishedTrials.of(completed, pruned)
        self.left_out = {r.number for r in pruned} - {r.number for r in self.finished.pruned}


class PredictedStudy(Study):
    """A study as it would be if its pruned trials had finished at their predicted values.

    Reading trials is what differs. All else is the study itself, also what is written to it or to
    its storage; the best trial is the best one that was completed.

    Args:
        study:
            The study, or what a pruner shows of it.
        stopped:
            Its stopped trials.
    """

    def __init__(self, study: Study, stopped: StoppedTrials | StoppedOfSeveralObjectives) -> None:
        # The attributes of a study are looked up in the one that is shown, by `__getattr__`.
        self.__dict__.update(_shown=study, _stopped=stopped)

    def get_trials(
        self, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        """Give the trials. See :meth:`optuna.Study.get_trials`."""
        return self._read(self._shown.get_trials, deepcopy, states)

    def _get_trials(
        self,
        deepcopy: bool = True,
        states: Container[TrialState] | None = None,
        use_cache: bool = False,
    ) -> list[FrozenTrial]:
        # Of a bracket of Hyperband, this gives the trials of all brackets.
        return self._read(self._shown._get_trials, deepcopy, states, use_cache=use_cache)

    def stop(self) -> None:
        """Stop the study itself. See :meth:`optuna.Study.stop`."""
        self._shown.stop()

    def _read(
        self,
        read: Callable[..., list[FrozenTrial]],
        deepcopy: bool,
        states: Container[TrialState] | None,
        **options: bool,
    ) -> list[FrozenTrial]:
        if states is None:
            trials = self._stopped.show(read(deepcopy=False, **options))
        elif any(state in states for state in _LEARNED_FROM):
            wanted = tuple(s for s in TrialState if s in states or s in _LEARNED_FROM)
            trials = self._stopped.show(read(deepcopy=False, states=wanted, **options))
            trials = [trial for trial in trials if trial.state in states]
        else:
            return read(deepcopy=deepcopy, states=states, **options)
        return copy.deepcopy(trials) if deepcopy else trials

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["_shown"], name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._shown, name, value)


def _read_predicted_value(trial: FrozenTrial) -> float | None:
    # A retried trial starts with the attributes of the one that died, which may have got further.
    step = read_step(trial.user_attrs, STEP)
    if step is not None and (trial.last_step is None or step > trial.last_step):
        return None
    return read_number(trial.user_attrs, PREDICTED_VALUE)


def _forecast_of(study: Study) -> tuple[StudyForecast, Sequence[str]]:
    """Give a forecast as of the study's pruner, and the user attributes that are its features.

    If the pruner is not ours, or forecasts by a predictor, by the rule of the package.
    """
    pruner = getattr(study, "pruner", None)
    rule: StoppingRule | None = None
    feature_attrs: Sequence[str] = ()
    if isinstance(pruner, PerformancePredictionPruner):
        feature_attrs = pruner._feature_attrs
        rule = pruner._predictor if isinstance(pruner._predictor, StoppingRule) else None
    settings = StudySettings(
        sign=1.0 if study.direction == StudyDirection.MAXIMIZE else -1.0,
        n_startup_trials=1,
        top_n=1,
        offset=0.0,
        horizon=None,
        feature_attrs=feature_attrs,
        earlier=FinishedTrials(),
    )
    return StudyForecast(StoppingRule() if rule is None else rule, settings), feature_attrs
