from __future__ import annotations

from collections import Counter
from datetime import datetime
from typing import NamedTuple
from typing import TYPE_CHECKING

from optuna.trial import TrialState

from optuna_perfpred._attributes import finite
from optuna_perfpred.explanation._outcome import tell_end
from optuna_perfpred.history import gone_on_with
from optuna_perfpred.history import stopped_trial
from optuna_perfpred.history import tell_why_continued
from optuna_perfpred.pruners._audit import audit_study
from optuna_perfpred.pruners._recorded_decision import read_decision
from optuna_perfpred.visualization import savings
from optuna_perfpred.visualization._studies import best_trial


if TYPE_CHECKING:
    from collections.abc import Iterable
    from collections.abc import Sequence

    from optuna.study import Study
    from optuna.trial import FrozenTrial

    from optuna_perfpred.pruners import AuditReport
    from optuna_perfpred.visualization import Savings


_MAX_LISTED = 10
_STATES = {
    TrialState.COMPLETE: "completed",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "running",
    TrialState.WAITING: "waiting",
}


class Paragraph(NamedTuple):
    """A part of what is told of a study.

    Attributes:
        title: Its title, a word or two.
        text: Its text.
        items: What is listed below, a sentence each.
    """

    title: str
    text: str
    items: tuple[str, ...] = ()


def tell(study: Study, *, price_per_hour: float | None = None) -> list[Paragraph]:
    """Tell in words what was saved, what was risked, and which trials were audited.

    A stopped trial that another one has gone on with counts once, as that one.

    Args:
        study:
            A single-objective study.
        price_per_hour:
            What an hour of one worker costs.
    """
    trials = study.get_trials(deepcopy=False)
    audit = audit_study(study)
    continuing = [trial for trial in trials if stopped_trial(trial, trials) is not None]
    return [
        Paragraph("Trials", _trials(study, trials)),
        *([_second_chances(study, trials, continuing)] if continuing else []),
        Paragraph("Saved", _saved(savings(study, price_per_hour=price_per_hour))),
        Paragraph("Risked", _risked(audit)),
        Paragraph("Audited", *_audited(trials, audit)),
    ]


def as_markdown(paragraphs: Iterable[Paragraph]) -> str:
    """Give the paragraphs as a note of optuna-dashboard."""
    parts = ["### What pruning did (optuna-perfpred)"]
    for paragraph in paragraphs:
        parts.append(f"**{paragraph.title}.** {paragraph.text}")
        if paragraph.items:
            parts.append("\n".join(f"* {item}" for item in paragraph.items))
    return "\n\n".join(parts)


def duration(hours: float) -> str:
    """Give a duration in the unit that a person would choose."""
    for unit, n_hours in (("hours", 1.0), ("minutes", 1 / 60)):
        if hours >= 2.0 * n_hours:
            return f"{hours / n_hours:.3g} {unit}"
    return f"{3600.0 * hours:.0f} seconds"


def percent(share: float) -> str:
    """Give a share in percent, with two digits at least."""
    value = 100.0 * share
    digits = 0 if value >= 10.0 or value == 0.0 else 1 if value >= 1.0 else 2
    return f"{value:.{digits}f} %"


def _trials(study: Study, trials: Sequence[FrozenTrial]) -> str:
    gone_on = gone_on_with(trials)
    trials = [trial for trial in trials if trial.number not in gone_on]
    states = Counter(trial.state for trial in trials)
    counts = [f"{states[state]:,} {word}" for state, word in _STATES.items() if states[state]]
    now = f"{datetime.now():%Y-%m-%d %H:%M}"
    if not counts:
        return f"There is no trial yet ({now})."
    text = f"{len(trials):,} on {now}: {', '.join(counts)}."
    best = best_trial(study, trials)
    if best is not None:
        text += f" The best value is {best.value:.4g}, of trial {best.number}."
    return text


def _second_chances(
    study: Study, trials: Sequence[FrozenTrial], continuing: Sequence[FrozenTrial]
) -> Paragraph:
    best = best_trial(study, trials)
    text = "A trial that goes on with a stopped one counts once, with it."
    if best is not None and any(trial.number == best.number for trial in continuing):
        text += f" The best trial, {best.number}, is one of them."
    latest = continuing[: -_MAX_LISTED - 1 : -1]
    items = [
        f"Trial {trial.number} {tell_end(trial)}. {tell_why_continued(trial, trials)}"
        for trial in latest
    ]
    if len(latest) < len(continuing):
        items.append(f"And {len(continuing) - len(latest):,} more.")
    return Paragraph("Second chances", text, tuple(items))


def _saved(saved: Savings) -> str:
    if saved.n_trials == 0:
        return "No trial that reports intermediate values has ended yet."
    if saved.steps_saved < 0:
        return (
            f"Nothing yet: {_n(saved.steps_repeated, 'step')} trained again to go on with stopped "
            f"trials are {-saved.steps_saved:,} more than pruning has spared."
        )
    if saved.n_pruned == 0:
        return f"Nothing: {saved.steps_trained:,} steps were trained, and no trial was pruned."
    text = (
        f"{percent(saved.share)} of the training: {_n(saved.n_pruned, 'pruned trial')} of "
        f"{saved.n_trials:,} spared about {saved.steps_saved:,} steps, "
        f"{saved.steps_trained:,} were trained."
    )
    if saved.steps_repeated > 0:
        text += (
            f" The {_n(saved.steps_repeated, 'step')} that were trained again to go on with "
            "stopped trials are taken off."
        )
    if saved.hours is not None and saved.hours_saved is not None:
        text += (
            f" That is about {duration(saved.hours_saved)} of work, beside "
            f"{duration(saved.hours)} that all workers spent."
        )
    if saved.cost is not None and saved.money_saved is not None:
        text += f" In money: {saved.money_saved:,.2f} saved, {saved.cost:,.2f} spent."
    others = saved.steps_saved - saved.steps_saved_by_forecasts
    if others > 0:
        text += (
            f" Of the steps saved, {saved.steps_saved_by_forecasts:,} were by forecasts and "
            f"{others:,} by other pruners."
        )
    return text


def _risked(audit: AuditReport) -> str:
    if audit.rate is None or audit.interval is None:
        if audit.n_pruned == 0:
            return "Nothing: no trial was pruned by a forecast."
        return (
            f"Not known: no trial was audited yet. Some of {_n(audit.n_pruned, 'pruned trial')} "
            "would perhaps have become the best."
        )
    low, high = audit.interval
    wrong = len(audit.false_prunes)
    text = (
        f"{wrong} of {_n(audit.n_audited, 'audited trial')} became the best although a forecast "
        f"had given it up: {percent(audit.rate)}, with 95 % confidence {percent(low)} to "
        f"{percent(high)}."
    )
    if audit.n_pruned == 0:
        return f"{text} No trial was pruned by a forecast."
    return (
        f"{text} So of {_n(audit.n_pruned, 'trial')} pruned by forecasts, about "
        f"{audit.rate * audit.n_pruned:.0f} were pruned wrongly, at most "
        f"{high * audit.n_pruned:.0f}."
    )


def _audited(trials: Sequence[FrozenTrial], audit: AuditReport) -> tuple[str, tuple[str, ...]]:
    wrong = {false.number for false in audit.false_prunes}
    audited = [trial for trial in trials if (d := read_decision(trial)) is not None and d.audit]
    if not audited:
        return "No trial was let finish to check a forecast.", ()
    text = (
        f"{_n(len(audited), 'trial')} would have been pruned, and was let finish to check the "
        if len(audited) == 1
        else f"{len(audited):,} trials would have been pruned, and were let finish to check the "
    )
    text += f"forecasts, which took {_n(audit.audit_steps, 'step')}."
    # What went wrong first, then the latest.
    order = sorted(audited, key=lambda trial: (trial.number not in wrong, -trial.number))
    items = [_audited_trial(trial, trial.number in wrong) for trial in order[:_MAX_LISTED]]
    if len(order) > _MAX_LISTED:
        items.append(f"And {len(order) - _MAX_LISTED:,} more.")
    return text, tuple(items)


def _audited_trial(trial: FrozenTrial, became_best: bool) -> str:
    decision = read_decision(trial)
    assert decision is not None
    text = f"Trial {trial.number}: at step {decision.step}"
    if decision.predicted_value is not None:
        text += f" predicted to end at {decision.predicted_value:.4g}"
    if decision.predicted_std is not None:
        text += f" ± {decision.predicted_std:.2g}"
    value = finite(trial.value)
    if value is not None:
        text += f", ended at {value:.4g}"
    else:
        text += f", {_STATES[trial.state]}"
    return f"{text}, and became the best." if became_best else f"{text}."


def _n(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
