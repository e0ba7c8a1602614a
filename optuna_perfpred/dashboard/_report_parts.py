from __future__ import annotations

from datetime import datetime
from html import escape
import logging
from typing import TYPE_CHECKING

from optuna.trial import TrialState

from optuna_perfpred.dashboard._words import duration
from optuna_perfpred.dashboard._words import percent
from optuna_perfpred.explanation import explain
from optuna_perfpred.history import gone_on_with
from optuna_perfpred.history import stopped_trial
from optuna_perfpred.pruners._audit import audit_study
from optuna_perfpred.pruners._recorded_decision import read_decision
from optuna_perfpred.visualization._studies import best_trial
from optuna_perfpred.visualization._studies import metric_label


if TYPE_CHECKING:
    from collections.abc import Iterable
    from collections.abc import Sequence

    from optuna.study import Study
    from optuna.trial import FrozenTrial

    from optuna_perfpred.visualization import Savings

_logger = logging.getLogger(__name__)
_MAX_AUDITED = 50
_N_CLOSE = 3
_N_LATEST = 2
_N_CONTINUING = 2
_MAX_WRONG = 3


def describe_study(study: Study) -> str:
    """Tell of the objective, and when it was looked at."""
    return f"{metric_label(study)}. As it was on {datetime.now():%Y-%m-%d at %H:%M}."


def describe_tiles(study: Study, saved: Savings) -> str:
    """Give the numbers that are looked at first, in HTML."""
    trials = study.get_trials(deepcopy=False)
    audit = audit_study(study)
    gone_on = gone_on_with(trials)
    n_pruned = sum(trial.state == TrialState.PRUNED for trial in trials) - len(gone_on)
    tiles = [(f"{len(trials) - len(gone_on):,}", f"trials, {n_pruned:,} of them pruned")]
    best = best_trial(study, trials)
    if best is not None:
        tiles.append((f"{best.value:.4g}", f"the best value, of trial {best.number}"))
    tiles.append((percent(saved.share), f"of the training saved, {saved.steps_saved:,} steps"))
    if saved.money_saved is not None:
        tiles.append((f"{saved.money_saved:,.2f}", f"saved, {saved.cost or 0.0:,.2f} spent"))
    elif saved.hours_saved is not None:
        spent = f"{duration(saved.hours or 0.0)} spent"
        tiles.append((duration(saved.hours_saved), f"of work saved, {spent}"))
    if audit.rate is not None and audit.interval is not None:
        low, high = audit.interval
        tiles.append(
            (
                percent(audit.rate),
                f"of prunings wrong, by the audit ({percent(low)} to {percent(high)})",
            )
        )
    return '<div class="tiles">{}</div>'.format(
        "".join(
            f'<div class="tile"><b>{escape(number)}</b><span>{escape(text)}</span></div>'
            for number, text in tiles
        )
    )


def table_of_audited(study: Study) -> str:
    """Give the audited trials as an HTML table; nothing if there are none."""
    wrong = {false.number for false in audit_study(study).false_prunes}
    rows = [
        _audited_row(trial, trial.number in wrong)
        for trial in reversed(study.get_trials(deepcopy=False))
        if (decision := read_decision(trial)) is not None and decision.audit
    ]
    if not rows:
        return ""
    # Those that were wrong are all told.
    shown = [row for i, row in enumerate(rows) if i < _MAX_AUDITED or row[-1]]
    head = ("Trial", "At step", "Predicted", "±", "Chance to become best", "Ended at", "Became")
    text = "Trials that a forecast would have stopped, and that were let finish to check it."
    if len(shown) < len(rows):
        text += f" The latest of {len(rows):,}, and those that became the best."
    body = "".join(f"<tr>{_cells(row, 'td')}</tr>" for row in shown)
    return (
        f'<p>{text}</p><div class="table"><table><thead><tr>{_cells(head, "th")}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def explanations(study: Study) -> str:
    """Explain the most interesting stopped trials in HTML; nothing if there are none.

    Those that went on with stopped ones are among them.
    """
    parts: list[str] = []
    for trial, kind in _interesting(study):
        try:
            text = str(explain(study, trial.number))
        except Exception as error:  # What is in a study is up to others.
            _logger.warning(f"Trial {trial.number} could not be explained: {error}")
            continue
        is_open = "" if parts else " open"
        parts.append(
            f"<details{is_open}><summary>Trial {trial.number}, {escape(kind)}</summary>"
            f"<pre>{escape(text)}</pre></details>"
        )
    return "".join(parts)


def _interesting(study: Study) -> list[tuple[FrozenTrial, str]]:
    trials = study.get_trials(deepcopy=False)
    by_number = {trial.number: trial for trial in trials}
    stopped = [
        (decision.probability or 0.0, trial)
        for trial in trials
        if trial.state == TrialState.PRUNED
        and (decision := read_decision(trial)) is not None
        and decision.probability is not None
    ]
    continuing = [trial for trial in trials if stopped_trial(trial, trials) is not None]
    wrong = [by_number[false.number] for false in audit_study(study).false_prunes]
    closest = sorted(stopped, key=lambda pair: -pair[0])[:_N_CLOSE]
    chosen: dict[int, tuple[FrozenTrial, str]] = {}
    for group, kind in (
        (wrong[-_MAX_WRONG:], "which became the best as it was let finish"),
        (continuing[-_N_CONTINUING:], "which went on with a stopped one"),
        ([trial for _, trial in closest], "one of the closest decisions"),
        ([trial for _, trial in stopped[-_N_LATEST:]], "one of the latest"),
    ):
        for trial in group:
            chosen.setdefault(trial.number, (trial, kind))
    return list(chosen.values())


def _audited_row(trial: FrozenTrial, became_best: bool) -> tuple[str, ...]:
    decision = read_decision(trial)
    assert decision is not None
    return (
        str(trial.number),
        str(decision.step),
        _number(decision.predicted_value, ".4g"),
        _number(decision.predicted_std, ".2g"),
        "" if decision.probability is None else percent(decision.probability),
        _number(trial.value, ".4g") if trial.values else trial.state.name.lower(),
        "the best" if became_best else "",
    )


def _number(value: float | None, spec: str) -> str:
    return "" if value is None else format(value, spec)


def _cells(texts: Sequence[str] | Iterable[str], tag: str) -> str:
    return "".join(f"<{tag}>{escape(text)}</{tag}>" for text in texts)
