from __future__ import annotations

import contextlib
import logging
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
from optuna_perfpred.history import SECOND_CHANCE
from optuna_perfpred.history import stopped_trial
from optuna_perfpred.pruners._assessment import percent


if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Sequence

    from optuna.study import Study
    from optuna.trial import FrozenTrial

    from optuna_perfpred.forecasts import StudyForecast
    from optuna_perfpred.history import FinishedTrials
    from optuna_perfpred.pruners._relative_costs import RelativeCosts


_logger = logging.getLogger(__name__)

# In multiples of a new trial's chance.
_LEAST_RATIO = 1.0


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
        self, study: Study, finished: FinishedTrials, trials: Sequence[FrozenTrial]
    ) -> None:
        """Enqueue the stopped trials that are worth more than new ones, if it was not done yet.

        As many as there are trials that run, less those that wait already: so many workers ask
        for a trial before the next one ends. With SQLite only as long as one trial runs: Optuna
        may give a waiting trial to two workers there, as SQLite does not lock a row.

        Args:
            study:
                The study.
            finished:
                Its finished trials. Nothing is done if they are the same as at the last call.
            trials:
                All its trials.
        """
        if finished is self._looked_at:
            return
        self._looked_at = finished
        n_running = sum(trial.state == TrialState.RUNNING for trial in trials)
        if n_running > 1 and _is_sqlite(study):
            return
        n_waiting = sum(
            trial.state == TrialState.WAITING and continued_number(trial) is not None
            for trial in trials
        )
        n = max(n_running, 1) - n_waiting
        if n <= 0:
            return
        for chance in self.of(finished, trials)[:n]:
            if chance.relative_chance > _LEAST_RATIO:
                go_on_with(study, chance)


def go_on_with(study: Study, chance: Chance) -> None:
    """Have the next trial go on with a stopped one, and no second trial with the same.

    Storages have no condition on what they add. But they number trials in one order: of trials
    that would go on with the same one, the first is it, and whoever has added another one takes
    it back, unless somebody runs it already. That one ends when it first asks.

    Args:
        study:
            The study.
        chance:
            The stopped trial, and what it is worth.
    """
    number = chance.trial.number
    attributes = {CONTINUES: number, SECOND_CHANCE: chance.reason}
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


def _is_sqlite(study: Study) -> bool:
    storage = study._storage
    storage = getattr(storage, "_backend", storage)  # Optuna puts a cache before a database.
    return isinstance(storage, RDBStorage) and storage.engine.dialect.name == "sqlite"


def _went_on(trial: FrozenTrial, trials: Sequence[FrozenTrial]) -> bool:
    """Whether a trial that has gone on with another one came further than that one."""
    stopped = stopped_trial(trial, trials)
    if stopped is None or stopped.last_step is None:
        return True
    return trial.last_step is not None and trial.last_step > stopped.last_step
