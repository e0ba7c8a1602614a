from __future__ import annotations

from typing import NamedTuple
from typing import TYPE_CHECKING

from optuna.trial import TrialState

from optuna_perfpred._attributes import finite
from optuna_perfpred.pruners._audit import audit_study
from optuna_perfpred.visualization._savings_info import AUDITED
from optuna_perfpred.visualization._savings_info import BANDS
from optuna_perfpred.visualization._savings_info import describe_audit
from optuna_perfpred.visualization._savings_info import FORECAST
from optuna_perfpred.visualization._savings_info import OTHER
from optuna_perfpred.visualization._savings_info import read_spent
from optuna_perfpred.visualization._savings_info import REPEATED
from optuna_perfpred.visualization._savings_info import TRAINED
from optuna_perfpred.visualization._savings_info import WRAPPED
from optuna_perfpred.visualization._studies import check_single_objective


if TYPE_CHECKING:
    from collections.abc import Sequence

    from optuna.study import Study

    from optuna_perfpred.visualization._savings_info import _Spent


_TRAINED = (TRAINED, AUDITED, REPEATED)


class Savings(NamedTuple):
    """What pruning has saved in a study.

    Attributes:
        study_name:
            The study's name.
        n_trials:
            The number of finished trials that have reported. One that has gone on with a stopped
            trial is one with it.
        n_pruned:
            The number of pruned ones among them.
        steps_trained:
            The number of steps that finished trials have trained, failed ones included. What was
            reported again from a checkpoint was not trained again.
        steps_saved:
            The number of reports that pruned trials did not make, less the steps that were
            trained again. Each would have made as many as the completed ones made on the average
            after the step at which it was pruned. May be negative.
        steps_saved_by_forecasts:
            Those of them that were saved by forecasts.
        steps_saved_by_wrapped_pruner:
            Likewise by the pruner that ours wraps.
        steps_saved_otherwise:
            Likewise by other pruners or by the objective.
        steps_audited:
            The number of trained steps that were trained only for the audit, ``audit_rate`` or
            ``shadow``.
        steps_repeated:
            The number of trained steps that were trained again, by trials that went on with
            stopped ones without a checkpoint.
        share:
            Steps saved, as a share of those trained and saved; 0 if there are none.
        hours:
            The hours that finished trials took by their timestamps, added up over all workers;
            :obj:`None` if no trial has them.
        hours_saved:
            The saved steps at the pace of the completed trials, or of all if none is complete;
            :obj:`None` likewise.
        cost:
            The price of the hours; :obj:`None` if no price was given, or no hours are known.
        money_saved:
            The price of the hours saved, likewise.
        audit:
            What the audit tells of wrongly pruned trials, in one sentence; empty if no trial was
            audited.
    """

    study_name: str
    n_trials: int
    n_pruned: int
    steps_trained: int
    steps_saved: int
    steps_saved_by_forecasts: int
    steps_saved_by_wrapped_pruner: int
    steps_saved_otherwise: int
    steps_audited: int
    steps_repeated: int
    share: float
    hours: float | None
    hours_saved: float | None
    cost: float | None
    money_saved: float | None
    audit: str

    def __str__(self) -> str:
        lines = [
            f"Study {self.study_name!r}: {self.n_pruned} of {self.n_trials} finished trials were "
            f"pruned.",
            f"Steps trained: {self.steps_trained}; saved: {self.steps_saved} ({self.share:.1%}), "
            f"of these {self.steps_saved_by_forecasts} by forecasts, "
            f"{self.steps_saved_by_wrapped_pruner} by the wrapped pruner, "
            f"{self.steps_saved_otherwise} otherwise.",
        ]
        if self.hours is not None and self.hours_saved is not None:
            lines.append(f"Hours: {self.hours:.3g}; saved: {self.hours_saved:.3g}.")
        if self.cost is not None and self.money_saved is not None:
            lines.append(f"Money: {self.cost:.2f}; saved: {self.money_saved:.2f}.")
        if self.steps_audited > 0:
            lines.append(f"Steps trained for the audit: {self.steps_audited}.")
        if self.steps_repeated > 0:
            lines.append(
                f"Steps trained again to go on with stopped trials: {self.steps_repeated}."
            )
        return "\n".join([*lines, *([self.audit] if self.audit else [])])


def savings(study: Study, *, price_per_hour: float | None = None) -> Savings:
    """Tell how many steps, hours and how much money pruning has saved.

    Running trials are counted when they end.

    Args:
        study:
            A study, finished or not.
        price_per_hour:
            What an hour of one worker costs, in any currency.

    Returns:
        The savings. ``print`` gives them in words.

    Raises:
        ValueError:
            If the study has several objectives, or the price is negative or not finite.
    """
    check_single_objective(study)
    price = finite(price_per_hour)
    if price_per_hour is not None and (price is None or price < 0.0):
        raise ValueError(
            f"`price_per_hour` must be a finite number >= 0 or None, but got {price_per_hour=}."
        )
    trials = study.get_trials(deepcopy=False)
    spent = read_spent(trials)
    steps = {band: sum(trial.steps.get(band, 0.0) for trial in spent) for band in BANDS}
    trained = sum(steps[band] for band in _TRAINED)
    saved = steps[FORECAST] + steps[WRAPPED] + steps[OTHER]
    hours, pace = _hours(spent), _hours_per_step(spent)
    hours_saved = None if pace is None else pace * saved
    return Savings(
        study_name=study.study_name,
        n_trials=sum(trial.counts for trial in spent),
        n_pruned=sum(trial.counts and trial.state == TrialState.PRUNED for trial in spent),
        steps_trained=round(trained),
        steps_saved=round(saved),
        steps_saved_by_forecasts=round(steps[FORECAST]),
        steps_saved_by_wrapped_pruner=round(steps[WRAPPED]),
        steps_saved_otherwise=round(steps[OTHER]),
        steps_audited=round(steps[AUDITED]),
        steps_repeated=round(steps[REPEATED]),
        share=saved / (trained + saved) if trained + saved > 0 else 0.0,
        hours=hours,
        hours_saved=hours_saved,
        cost=None if price is None or hours is None else price * hours,
        money_saved=None if price is None or hours_saved is None else price * hours_saved,
        audit=describe_audit(audit_study(study)),
    )


def _hours(spent: Sequence[_Spent]) -> float | None:
    seconds = [trial.seconds for trial in spent if trial.seconds is not None]
    return sum(seconds) / 3600.0 if seconds else None


def _hours_per_step(spent: Sequence[_Spent]) -> float | None:
    """Give the pace of completed trials: a pruned one's own is mostly that of starting it."""
    timed = [trial for trial in spent if trial.seconds is not None]
    timed = [trial for trial in timed if trial.state == TrialState.COMPLETE] or timed
    n_steps = sum(trial.steps.get(band, 0.0) for trial in timed for band in _TRAINED)
    hours = _hours(timed)
    return None if hours is None or n_steps == 0.0 else hours / n_steps
