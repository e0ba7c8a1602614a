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
from optuna_perfpred.pruners._risk_budget import risk_spent
from optuna_perfpred.visualization import savings
from optuna_perfpred.visualization._savings import tell_saved
from optuna_perfpred.visualization._studies import best_trial
from optuna_perfpred.visualization._studies import count


if TYPE_CHECKING:
    from collections.abc import Iterable
    from collections.abc import Sequence

    from optuna.study import Study
    from optuna.trial import FrozenTrial

    from optuna_perfpred.pruners import AuditReport
    from optuna_perfpred.pruners._recorded_decision import Decision
    from optuna_perfpred.pruners._risk_budget import RiskSpent
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
    saved = savings(study, price_per_hour=price_per_hour)
    audit = audit_study(study)
    continuing = [trial for trial in trials if stopped_trial(trial, trials) is not None]
    return [
        Paragraph("Trials", _trials(study, trials)),
        *([_second_chances(study, trials, continuing)] if continuing else []),
        Paragraph("Saved", tell_saved(saved)),
        Paragraph("Risked", _risked(saved, audit, risk_spent(trials))),
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
    return Paragraph("Second chances", text, (*items, *_more(len(continuing))))


def _risked(saved: Savings, audit: AuditReport, risk: RiskSpent | None) -> str:
    if risk is not None:
        return f"{risk} {saved.audit}".strip()
    if saved.audit:
        return saved.audit
    if audit.n_pruned == 0:
        return "Nothing: no trial was pruned by a forecast."
    return (
        f"Not known: no trial was audited yet. Some of {count(audit.n_pruned, 'pruned trial')} "
        "would perhaps have become the best."
    )


def audited_trials(trials: Iterable[FrozenTrial]) -> list[tuple[FrozenTrial, Decision]]:
    """Give the trials that were let finish to check a forecast, each with its decision."""
    return [
        (trial, decision)
        for trial in trials
        if (decision := read_decision(trial)) is not None and decision.audit
    ]


def _audited(trials: Sequence[FrozenTrial], audit: AuditReport) -> tuple[str, tuple[str, ...]]:
    wrong = {false.number for false in audit.false_prunes}
    audited = audited_trials(trials)
    if not audited:
        return "No trial was let finish to check a forecast.", ()
    text = (
        f"{count(len(audited), 'trial')} would have been pruned, and was let finish to check the "
        if len(audited) == 1
        else f"{len(audited):,} trials would have been pruned, and were let finish to check the "
    )
    text += f"forecasts, which took {count(audit.audit_steps, 'step')}."
    # What went wrong first, then the latest.
    audited.sort(key=lambda pair: (pair[0].number not in wrong, -pair[0].number))
    items = []
    for trial, decision in audited[:_MAX_LISTED]:
        item = f"Trial {trial.number}: at step {decision.step}"
        if decision.predicted_value is not None:
            item += f" predicted to end at {decision.predicted_value:.4g}"
        if decision.predicted_std is not None:
            item += f" ± {decision.predicted_std:.2g}"
        value = finite(trial.value)
        item += f", {_STATES[trial.state]}" if value is None else f", ended at {value:.4g}"
        items.append(f"{item}, and became the best." if trial.number in wrong else f"{item}.")
    return text, (*items, *_more(len(audited)))


def _more(n: int) -> tuple[str, ...]:
    return (f"And {n - _MAX_LISTED:,} more.",) if n > _MAX_LISTED else ()
