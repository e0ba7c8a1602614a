from __future__ import annotations

from datetime import timedelta
from itertools import accumulate
from typing import NamedTuple
from typing import TYPE_CHECKING

import numpy as np
from optuna.trial import TrialState

from optuna_perfpred._arguments import check_single_objective
from optuna_perfpred._attributes import finite
from optuna_perfpred._attributes import read_step
from optuna_perfpred.history import gone_on_with
from optuna_perfpred.history import joined_curve
from optuna_perfpred.history import stopped_before
from optuna_perfpred.history import trained_steps
from optuna_perfpred.pruners._audit import audit_study
from optuna_perfpred.pruners._recorded_decision import is_by_wrapped_pruner
from optuna_perfpred.pruners._recorded_decision import read_decision
from optuna_perfpred.pruners._relative_costs import read_first_check
from optuna_perfpred.pruners._relative_costs import seconds_per_step
from optuna_perfpred.pruners._risk_budget import risk_spent
from optuna_perfpred.samplers._q_learning import REUSED
from optuna_perfpred.visualization import _drawing as drawing
from optuna_perfpred.visualization._studies import count
from optuna_perfpred.visualization._studies import duration
from optuna_perfpred.visualization._studies import evenly
from optuna_perfpred.visualization._studies import of_study
from optuna_perfpred.visualization._studies import percent


if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Sequence
    from collections.abc import Set
    from datetime import datetime

    from optuna.study import Study
    from optuna.trial import FrozenTrial
    import plotly.graph_objects as go

    from optuna_perfpred.pruners import AuditReport
    from optuna_perfpred.pruners._risk_budget import RiskSpent


# What a step was: trained, or who has saved it. In the order in which they are stacked.
TRAINED = "trained"
AUDITED = "trained for the audit"
REPEATED = "trained again"
FORECAST = "saved by forecasts"
WRAPPED = "saved by the wrapped pruner"
OTHER = "saved otherwise"
COLORS = {
    TRAINED: drawing.BLUE,
    AUDITED: drawing.GREEN,
    REPEATED: drawing.ORANGE,
    FORECAST: drawing.VERMILLION,
    WRAPPED: drawing.PURPLE,
    OTHER: drawing.SKY_BLUE,
}
_TRAINED = (TRAINED, AUDITED, REPEATED)
_SAVED = (FORECAST, WRAPPED, OTHER)
# No screen shows more points of a line.
_MAX_POINTS = 500


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
            The saved steps at the pace of the trial that saved them, if it was priced by its time
            (``cost="time"``), else of the completed trials, or of all if none is complete;
            :obj:`None` likewise.
        cost:
            The price of the hours, or of the trained steps; :obj:`None` if no price was given, or
            no hours are known.
        money_saved:
            The price of the hours or steps saved, likewise.
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
            "pruned.",
            tell_saved(self),
        ]
        if self.steps_audited > 0:
            lines.append(f"Steps trained for the audit: {self.steps_audited}.")
        return "\n".join([*lines, *([self.audit] if self.audit else [])])


def tell_saved(saved: Savings) -> str:
    """Tell in words what was saved."""
    if saved.n_trials == 0:
        return "No trial that reports intermediate values has ended yet."
    if saved.steps_saved < 0:
        return (
            f"Nothing yet: {count(saved.steps_repeated, 'step')} trained again to go on with "
            f"stopped trials are {-saved.steps_saved:,} more than pruning has spared."
        )
    if saved.n_pruned == 0:
        return f"Nothing: {saved.steps_trained:,} steps were trained, and no trial was pruned."
    text = (
        f"{percent(saved.share)} of the training: {count(saved.n_pruned, 'pruned trial')} of "
        f"{saved.n_trials:,} spared about {saved.steps_saved:,} steps, "
        f"{saved.steps_trained:,} were trained."
    )
    if saved.steps_repeated > 0:
        text += (
            f" The {count(saved.steps_repeated, 'step')} that were trained again to go on with "
            "stopped trials are taken off."
        )
    if saved.hours is not None and saved.hours_saved is not None:
        text += (
            f" That is about {duration(saved.hours_saved)} of work, beside "
            f"{duration(saved.hours)} that all workers spent."
        )
    if saved.cost is not None and saved.money_saved is not None:
        text += f" In money: {saved.money_saved:,.2f} saved, {saved.cost:,.2f} spent."
    if saved.steps_saved > saved.steps_saved_by_forecasts:
        text += (
            f" Of the steps saved, {saved.steps_saved_by_forecasts:,} were by forecasts, "
            f"{saved.steps_saved_by_wrapped_pruner:,} by the wrapped pruner and "
            f"{saved.steps_saved_otherwise:,} otherwise."
        )
    return text


def savings(
    study: Study,
    *,
    price_per_hour: float | None = None,
    cost: Callable[[FrozenTrial, int], float] | None = None,
) -> Savings:
    """Tell how many steps, hours and how much money pruning has saved.

    Running trials are counted when they end.

    Args:
        study:
            A study, finished or not.
        price_per_hour:
            What an hour of one worker costs, in any currency.
        cost:
            Instead, a function of a trial and a step that gives what is trained for the report at
            that step costs, as of :class:`~optuna_perfpred.PerformancePredictionPruner`, in any
            unit. Trials of which it gives no finite number of at least 0 count with the mean.

    Returns:
        The savings. ``print`` gives them in words.

    Raises:
        ValueError:
            If the study has several objectives, the price is negative or not finite, or both a
            price and a cost are given.
    """
    check_single_objective(study, "drawn")
    price = finite(price_per_hour)
    if price_per_hour is not None and (price is None or price < 0.0):
        raise ValueError(
            f"`price_per_hour` must be a finite number >= 0 or None, but got {price_per_hour=}."
        )
    if cost is not None and (price is not None or not callable(cost)):
        raise ValueError(
            "`cost` must be a function of trial and step, or None where `price_per_hour` is "
            f"given, but got {cost=} and {price_per_hour=}."
        )
    trials = study.get_trials(deepcopy=False)
    spent = _read_spent(trials)
    steps = _total(spent)
    trained, saved = (sum(steps[band] for band in bands) for bands in (_TRAINED, _SAVED))
    hours, pace = _hours(spent), _hours_per_step(spent)
    hours_saved = None if pace is None else sum(_own_pace(o, pace) * _saved(o) for o in spent)
    money = None if price is None or hours is None else price * hours
    money_saved = None if price is None or hours_saved is None else price * hours_saved
    if cost is not None:
        money, money_saved = _priced(spent, cost)
    return Savings(
        study_name=study.study_name,
        n_trials=sum(one.counts for one in spent),
        n_pruned=sum(one.counts and one.trial.state == TrialState.PRUNED for one in spent),
        steps_trained=round(trained),
        steps_saved=round(saved),
        steps_saved_by_forecasts=round(steps[FORECAST]),
        steps_saved_by_wrapped_pruner=round(steps[WRAPPED]),
        steps_saved_otherwise=round(steps[OTHER]),
        steps_audited=round(steps[AUDITED]),
        steps_repeated=round(steps[REPEATED]),
        share=_share_saved(steps),
        hours=hours,
        hours_saved=hours_saved,
        cost=money,
        money_saved=money_saved,
        audit=_describe_audit(audit_study(study)),
    )


def _total(spent: Sequence[_Spent]) -> dict[str, float]:
    return {band: sum(one.steps[band] for one in spent) for band in COLORS}


def _share_saved(steps: dict[str, float]) -> float:
    saved = sum(steps[band] for band in _SAVED)
    return saved / sum(steps.values()) if sum(steps.values()) > 0.0 else 0.0


def _hours(spent: Sequence[_Spent]) -> float | None:
    seconds = [known for one in spent if (known := _seconds(one.trial)) is not None]
    return sum(seconds) / 3600.0 if seconds else None


def _hours_per_step(spent: Sequence[_Spent]) -> float | None:
    """Give the pace of completed trials: a pruned one's own is mostly that of starting it."""
    timed = [one for one in spent if _seconds(one.trial) is not None]
    timed = [one for one in timed if one.trial.state == TrialState.COMPLETE] or timed
    n_steps = sum(one.steps[band] for one in timed for band in _TRAINED)
    hours = _hours(timed)
    return None if hours is None or n_steps == 0.0 else hours / n_steps


def _saved(one: _Spent) -> float:
    return sum(one.steps[band] for band in _SAVED)


def _own_pace(one: _Spent, pace: float) -> float:
    """Give the hours of a step: a trial's own, if what came before its first report is known."""
    own = seconds_per_step(one.trial, read_first_check(one.trial))
    return pace if own is None else own / 3600.0


def _priced(
    spent: Sequence[_Spent], cost: Callable[[FrozenTrial, int], float]
) -> tuple[float, float]:
    """Give what the trained steps cost and the saved ones would, at each trial's mean price."""
    costs = [[finite(cost(o.trial, step)) for step in o.trial.intermediate_values] for o in spent]
    prices = [
        sum(c for c in of_trial if c is not None) / len(of_trial)
        if all(c is not None and c >= 0.0 for c in of_trial)
        else None
        for of_trial in costs
    ]
    known = [price for price in prices if price is not None]
    mean = sum(known) / len(known) if known else 0.0
    priced = [(o, mean if p is None else p) for o, p in zip(spent, prices, strict=True)]
    trained = sum(price * sum(o.steps[band] for band in _TRAINED) for o, price in priced)
    return trained, sum(price * _saved(o) for o, price in priced)


def plot_savings(study: Study) -> go.Figure:
    """Plot the steps that were trained and those that pruning has saved, over time.

    Both are cumulative and stacked, so that the upper edge is what the same trials would have
    cost without pruning. Saved steps are told apart by who has pruned. If trials were let finish
    on purpose, a sentence tells how many of the others were wrongly pruned by their example.
    What was trained again to go on with stopped trials is taken from what they had saved. Under a
    largest risk (``max_risk``), beside it is what of that was spent.

    What counts as saved is told in :class:`~optuna_perfpred.visualization.Savings`.

    Args:
        study:
            A study, finished or not.

    Returns:
        A :class:`plotly.graph_objects.Figure`.

    Raises:
        ValueError:
            If the study has several objectives.
        ImportError:
            If plotly is not installed.
    """
    return drawing.draw(describe_savings(study))


def describe_savings(study: Study) -> drawing.Figure:
    """Describe the figure."""
    check_single_objective(study, "drawn")
    title = f"Steps trained and saved in trials{of_study(study.study_name)}"
    trials = study.get_trials(deepcopy=False)
    spent = _read_spent(trials)
    if not spent:
        message = "No trial has finished yet that has reported an intermediate value."
        return drawing.Figure(title, [drawing.Panel(message=message)])
    share = _share_saved(_total(spent))
    if share > 0.0:
        title += f": {share:.0%} saved"
    shown = evenly(range(len(spent)), _MAX_POINTS)
    times = [_start(trials, spent[0].ended), *(spent[place].ended for place in shown)]
    data = []
    for band, color in COLORS.items():
        total = list(accumulate(one.steps[band] for one in spent))
        if total[-1] > 0.0 or band == TRAINED:
            # An area cannot show that until then more was repeated than saved.
            steps = [0.0, *(max(0.0, total[place]) for place in shown)]
            area = {"fillcolor": drawing.rgba(color, 0.5), "stackgroup": "steps"}
            told = {"name": band, "hovertemplate": "%{y:.0f}"}
            data.append(drawing.line(times, steps, color, 1, **area, **told))
    y = {"title": {"text": "Steps, cumulative"}, "rangemode": "tozero"}
    panel = drawing.Panel(data, {"title": {"text": "Time"}, "type": "date"}, y)
    audit = _describe_audit(audit_study(study))
    risk = risk_spent(trials)
    if risk is None:
        return drawing.Figure(title, [panel], subtitle=audit, hovermode="x unified")
    panels = [panel, _describe_risk(risk, spent, shown)]
    return drawing.Figure(title, panels, (0.6, 0.32), f"{risk} {audit}".strip(), "x unified")


def _describe_risk(
    risk: RiskSpent, spent: Sequence[_Spent], shown: Sequence[int]
) -> drawing.Panel:
    """Describe what had been risked of a largest risk, after each of some trials."""
    n_ended = accumulate(one.counts and one.trial.state != TrialState.FAIL for one in spent)
    prices = (risk.n_trials * risk.risks.get(one.trial.number, 0.0) for one in spent)
    shares = [100.0 * p / max(n, 1) for p, n in zip(accumulate(prices), n_ended, strict=True)]
    times = [spent[place].ended for place in shown]
    allowed = [100.0 * risk.max_risk] * len(times)
    risked = [shares[place] for place in shown]
    data = [
        drawing.line(times, allowed, drawing.BLACK, 1, dash="dash", name="largest risk"),
        drawing.line(times, risked, drawing.VERMILLION, 2, name="risk of the stopped trials"),
    ]
    y = {"title": {"text": "Risk of having stopped the best, %"}, "rangemode": "tozero"}
    return drawing.Panel(data, {"title": {"text": "Time"}, "type": "date"}, y)


class _Spent(NamedTuple):
    """What a finished trial has cost and saved.

    Attributes:
        trial: The trial.
        ended: The time of its end.
        steps: The number of its steps by band; less than none were saved of what it repeats.
        counts: Whether it is no stopped trial that another one has gone on with.
    """

    trial: FrozenTrial
    ended: datetime
    steps: dict[str, float]
    counts: bool


def _read_spent(trials: Sequence[FrozenTrial]) -> list[_Spent]:
    """Count what the finished trials of a study have cost and saved, in the order of their ends.

    A pruned trial has saved as many reports as the completed ones made on the average after its
    last step. One that another trial has gone on with has saved nothing, and what that one has
    trained again is taken from what was saved. Trials whose value was known before and that were
    not trained are left out.

    Args:
        trials:
            All trials of the study, by ascending number.
    """
    trials = [trial for trial in trials if read_step(trial.user_attrs, REUSED) is None]
    remaining = _Remaining(trials)
    gone_on = gone_on_with(trials)
    spent = [
        _Spent(
            trial=trial,
            ended=trial.datetime_complete.replace(tzinfo=None),
            steps=_steps(trial, trials, gone_on, remaining),
            counts=trial.number not in gone_on,
        )
        for trial in trials
        if trial.datetime_complete is not None and trial.intermediate_values
    ]
    return sorted(spent, key=lambda one: one.ended)


def _describe_audit(audit: AuditReport) -> str:
    """Tell in one sentence how many trials were wrongly pruned; nothing if nobody knows."""
    if audit.rate is None or audit.interval is None:
        return ""
    low, high = audit.interval
    text = (
        f"Audit: {len(audit.false_prunes)} of {audit.n_audited} trials that would have been "
        f"pruned became the best ({low:.1%} to {high:.1%} with 95 % confidence)"
    )
    if audit.n_pruned > 0:
        text += (
            f"; of {audit.n_pruned} pruned ones, about {audit.rate * audit.n_pruned:.0f} wrongly "
            f"({low * audit.n_pruned:.0f} to {high * audit.n_pruned:.0f})"
        )
    return text + "."


def _start(trials: Sequence[FrozenTrial], first_end: datetime) -> datetime:
    starts = [t.datetime_start.replace(tzinfo=None) for t in trials if t.datetime_start]
    start = min(starts, default=first_end)
    # Trials added by hand start when they end; an area needs some width.
    return start if start < first_end else first_end - timedelta(seconds=1)


class _Remaining:
    """How many reports completed trials made after a step, on the average of those that did."""

    def __init__(self, trials: Sequence[FrozenTrial]) -> None:
        whole = [trial for trial in trials if trial.state == TrialState.COMPLETE]
        # If none is complete, others tell at least how long a training is.
        curves = [joined_curve(trial, trials) for trial in whole or trials]
        self._steps = np.sort([step for curve in curves for step in curve])
        self._ends = np.sort([max(curve) for curve in curves if curve])

    def after(self, step: int) -> float:
        n_longer = len(self._ends) - np.searchsorted(self._ends, step, side="right")
        n_steps = len(self._steps) - np.searchsorted(self._steps, step, side="right")
        return float(n_steps / n_longer) if n_longer > 0 else 0.0


def _steps(
    trial: FrozenTrial,
    trials: Sequence[FrozenTrial],
    gone_on: Set[int],
    remaining: _Remaining,
) -> dict[str, float]:
    steps = trained_steps(trial, trials)
    stopped = stopped_before(trial, trials)
    known = {step for other in stopped for step in other.intermediate_values}
    n_repeated = len(steps & known)
    spent = dict.fromkeys(COLORS, 0.0)
    spent[TRAINED] = len(steps) - n_repeated
    if n_repeated > 0:
        spent |= {REPEATED: n_repeated, _saver(stopped[0]): -n_repeated}
    decision = read_decision(trial)
    if trial.state == TrialState.PRUNED:
        assert trial.last_step is not None
        # What another trial goes on to train was not saved; of those that were stopped, the one
        # that came furthest has saved the rest.
        if trial.number not in gone_on and trial.last_step >= max(known, default=0):
            spent[_saver(trial)] += remaining.after(trial.last_step)
    elif decision is not None and decision.audit:
        spent[AUDITED] = sum(step > decision.step for step in steps - known)
        spent[TRAINED] -= spent[AUDITED]
    return spent


def _saver(trial: FrozenTrial) -> str:
    """Give the band of what a pruned trial has saved."""
    if is_by_wrapped_pruner(trial):
        return WRAPPED
    return OTHER if read_decision(trial) is None else FORECAST


def _seconds(trial: FrozenTrial) -> float | None:
    start, end = trial.datetime_start, trial.datetime_complete
    if start is None or end is None:
        return None
    # Trials added by hand may carry a time zone, or only at one end.
    return max(0.0, (end.replace(tzinfo=None) - start.replace(tzinfo=None)).total_seconds())
