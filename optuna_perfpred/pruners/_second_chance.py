from __future__ import annotations

import contextlib
import logging
import statistics
from typing import Any
from typing import Literal
from typing import NamedTuple
from typing import TYPE_CHECKING

import numpy as np
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import RDBStorage
from optuna.trial import create_trial
from optuna.trial import TrialState

from optuna_perfpred.forecasts import Curve
from optuna_perfpred.history import continued_number
from optuna_perfpred.history import CONTINUES
from optuna_perfpred.history import find_trial
from optuna_perfpred.history import LEAST_RATIO
from optuna_perfpred.history import SECOND_CHANCE
from optuna_perfpred.history import stopped_trial
from optuna_perfpred.pruners._assessment import percent


if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Sequence

    from optuna.study import Study
    from optuna.trial import FrozenTrial

    from optuna_perfpred.forecasts import StudyForecast
    from optuna_perfpred.history import CurveRecord
    from optuna_perfpred.history import FinishedTrials
    from optuna_perfpred.pruners._relative_costs import RelativeCosts


_logger = logging.getLogger(__name__)

# A stopped trial goes on if its worth is above a new trial's,
LEAST_WORTH = 1.0
# and where no new one comes, if it is above this multiple of what a trial of the study has been
# worth: as most were stopped, one has cost less than a whole training.
_LEAST_WORTH_AT_END = 0.25
# It is stopped again below this share of it: who is patient with few finds more than who has a
# short look at many. Chosen on recorded studies of kinds that the rule had not learned from.
_STOPPED_AT_END = 0.25


class Chance(NamedTuple):
    """What a stopped trial promises by now.

    Attributes:
        trial:
            The trial.
        relative_chance:
            Its chance of a new best value for each step that going on costs, as a multiple of a
            new trial's.
        probability:
            The chance itself.
        to_beat:
            The best value so far.
    """

    trial: FrozenTrial
    relative_chance: float
    probability: float
    to_beat: float

    @property
    def reason(self) -> str:
        """The chance in one sentence."""
        return (
            f"Goes on with trial {self.trial.number}, stopped at step {self.trial.last_step}: by "
            f"now {percent(self.probability)} chance to beat {self.to_beat:.4g}; per step "
            f"{self.relative_chance:.2g} times that of a new trial."
        )


class SecondChances:
    """Finds the stopped trials of one study that are worth to be gone on with.

    Args:
        forecast:
            The forecast of the study.
        goes_on_from:
            Tells whether a stopped trial goes on from a ``"checkpoint"``, or is to ``"retrain"``
            from its first step, which costs the whole training; :obj:`None` if neither.
        costs:
            What a step of each trial costs, or :obj:`None` if all steps cost the same.
    """

    def __init__(
        self,
        forecast: StudyForecast,
        goes_on_from: Callable[[FrozenTrial], Literal["checkpoint", "retrain"] | None],
        costs: RelativeCosts | None = None,
    ) -> None:
        self._forecast = forecast
        self._goes_on_from = goes_on_from
        self._costs = costs
        self._looked_at: FinishedTrials | None = None

    def of(self, finished: FinishedTrials, trials: Sequence[FrozenTrial]) -> list[Chance]:
        """Assess all stopped trials again.

        Args:
            finished:
                The finished trials of the study.
            trials:
                All trials of the study, in any state, by ascending number.

        Returns:
            The chances, the largest relative one first. Left out are the trials that others have
            gone on with, whatever has become of these: who goes on with one that broke breaks
            again.
        """
        continued = {continued_number(trial) for trial in trials}
        stopped, starts, records = [], [], []
        for record in finished.pruned:
            if record.number in continued or len(record.steps) == 0 or not record.feasible:
                continue
            trial = find_trial(trials, record.number)
            # Asked before anything is forecast: by default only those with a checkpoint go on.
            start = None if trial is None else self._goes_on_from(trial)
            if trial is not None and start is not None and _went_on(trial, trials):
                stopped.append(trial)
                starts.append(start)
                records.append(record)
        if not records:
            return []
        forecasts = self._forecast.of(finished, [Curve.of(record) for record in records])
        if forecasts is None:
            return []
        share = np.where(np.array(starts) == "checkpoint", 1.0, forecasts.share_left)
        if self._costs is not None:
            share = share / [self._costs.of(trial, finished, trials) for trial in stopped]
        # A new trial is worth what the sampler proposes now.
        worth = share * forecasts.relative_chance / forecasts.odds_of_improvement
        chances = [
            Chance(trial, float(w), float(probability), forecasts.to_beat)
            for trial, w, probability in zip(stopped, worth, forecasts.chance, strict=True)
            if not np.isnan(w)
        ]
        return sorted(chances, key=lambda chance: -chance.relative_chance)

    def enqueue(
        self,
        study: Study,
        finished: FinishedTrials,
        trials: Sequence[FrozenTrial],
        *,
        at_end: bool = False,
    ) -> None:
        """Enqueue the stopped trials that are worth more than new ones, if it was not done yet.

        As many as there are trials that run, less those that wait already: so many workers ask
        for a trial before the next one ends. With Optuna's storage in SQLite only as long as one
        trial runs, see :func:`_may_run_twice`.

        Args:
            study:
                The study.
            finished:
                Its finished trials. Nothing is done if they are the same as at the last call.
            trials:
                All its trials.
            at_end:
                Whether no new trials come.
        """
        if finished is self._looked_at and not at_end:
            return
        self._looked_at = finished
        n_running = sum(trial.state == TrialState.RUNNING for trial in trials)
        if n_running > 1 and _may_run_twice(study):
            return
        limit = limit_at_end(finished) if at_end else LEAST_WORTH
        waiting = [
            trial
            for trial in trials
            if trial.state == TrialState.WAITING and continued_number(trial) is not None
        ]
        if at_end:
            for trial in waiting:
                with contextlib.suppress(UpdateFinishedTrialError):  # By another worker, just now.
                    be_patient_with(study, trial._trial_id, limit)
        n = max(n_running, 1) - len(waiting)
        if n <= 0:
            return
        for chance in self.of(finished, trials)[:n]:
            if chance.relative_chance > limit:
                go_on_with(study, chance, limit if at_end else None)


def limit_at_end(finished: FinishedTrials) -> float:
    """Give the least worth of a trial that goes on if no new ones come."""
    if len(finished.completed) == 0:
        return LEAST_WORTH
    trained = statistics.fmean(map(_n_steps, finished))
    whole = statistics.fmean(map(_n_steps, finished.completed))
    return min(LEAST_WORTH, _LEAST_WORTH_AT_END * max(whole, 1.0) / max(trained, 1.0))


def be_patient_with(study: Study, trial_id: int, limit: float) -> None:
    """Have a trial that goes on when no new ones come be stopped again later than others.

    Args:
        study:
            The study.
        trial_id:
            The identifier of the trial, which has not ended.
        limit:
            The least worth of a trial that goes on.
    """
    # In the storage, so that whoever runs it, or tries it again, decides the same.
    study._storage.set_trial_user_attr(trial_id, LEAST_RATIO, _STOPPED_AT_END * limit)


def go_on_with(study: Study, chance: Chance, limit: float | None = None) -> None:
    """Have the next trial go on with a stopped one, and no second trial with the same.

    Storages have no condition on what they add. But they number trials in one order: of trials
    that would go on with the same one, the first is it, and whoever has added another one takes
    it back, unless somebody runs it already. That one ends when it first asks.

    Args:
        study:
            The study.
        chance:
            The stopped trial, and what it is worth.
        limit:
            The least worth of a trial that goes on if no new ones come; :obj:`None` otherwise.
    """
    number = chance.trial.number
    attributes: dict[str, Any] = {CONTINUES: number, SECOND_CHANCE: chance.reason}
    if limit is not None:
        attributes[LEAST_RATIO] = _STOPPED_AT_END * limit
    params, known = chance.trial.params, chance.trial.system_attrs
    # As by `enqueue_trial`. GridSampler fails if it does not find at which point a trial is.
    grid: dict[str, Any] = {n: known[n] for n in ("search_space", "grid_id") if n in known}
    study.add_trial(
        create_trial(
            state=TrialState.WAITING,
            user_attrs=attributes,
            system_attrs={"fixed_params": params, **grid},
        )
    )
    added = [t for t in study.get_trials(deepcopy=False) if continued_number(t) == number]
    for trial in added[1:]:
        # Only one of all gets a waiting trial to run; another may have taken it back already.
        with contextlib.suppress(UpdateFinishedTrialError):
            if trial.state == TrialState.WAITING and study._storage.set_trial_state_values(
                trial._trial_id, TrialState.RUNNING
            ):
                # BruteForceSampler fails for good if a trial has ended without parameters.
                for name, distribution in chance.trial.distributions.items():
                    value = distribution.to_internal_repr(params[name])
                    study._storage.set_trial_param(trial._trial_id, name, value, distribution)
                study._storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)
    _logger.info("A trial waits. %s", chance.reason)


def first_to_go_on(trial: FrozenTrial, trials: Sequence[FrozenTrial]) -> int | None:
    """Give the number of the trial that went on with the same stopped one before this one did.

    Args:
        trial:
            A trial.
        trials:
            All trials of its study, by ascending number.

    Returns:
        The number, or :obj:`None` if there is none.
    """
    number = continued_number(trial)
    if number is None:
        return None
    for other in trials:
        if other.number >= trial.number:
            break
        if continued_number(other) == number and other.state != TrialState.FAIL:
            return other.number
    return None


def _n_steps(record: CurveRecord) -> int:
    return 1 + int(record.steps[-1]) if len(record.steps) else 0


def _may_run_twice(study: Study) -> bool:
    """Whether the storage may give a trial that waits to two workers that ask at once.

    Optuna reads whether the trial waits and then writes that it runs, and SQLite does not lock
    what was read; the storage of our workers does both at once. A pruner cannot mend it: it is
    asked when both run the trial, and whoever then leaves ends it for the other one as well.
    """
    storage = study._storage
    storage = getattr(storage, "_backend", storage)  # Optuna puts a cache before a database.
    return (
        isinstance(storage, RDBStorage)
        and storage.engine.dialect.name == "sqlite"
        and type(storage).set_trial_state_values is RDBStorage.set_trial_state_values
    )


def _went_on(trial: FrozenTrial, trials: Sequence[FrozenTrial]) -> bool:
    """Whether a trial that has gone on with another one came further than that one."""
    stopped = stopped_trial(trial, trials)
    if stopped is None or stopped.last_step is None:
        return True
    return trial.last_step is not None and trial.last_step > stopped.last_step
