from __future__ import annotations

from contextlib import suppress
from datetime import datetime
from html import escape
from importlib import resources
import logging
import os
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING
import uuid

from optuna.trial import TrialState

import optuna_perfpred
from optuna_perfpred._arguments import check_single_objective
from optuna_perfpred.dashboard._panels import draw_all
from optuna_perfpred.dashboard._words import audited_trials
from optuna_perfpred.dashboard._words import tell
from optuna_perfpred.explanation import explain
from optuna_perfpred.history import gone_on_with
from optuna_perfpred.history import stopped_trial
from optuna_perfpred.pruners._audit import audit_study
from optuna_perfpred.pruners._recorded_decision import read_decision
from optuna_perfpred.replay._comparison import comparison_table
from optuna_perfpred.replay._comparison import describe_recording
from optuna_perfpred.visualization import plot_replay
from optuna_perfpred.visualization import savings
from optuna_perfpred.visualization._drawing import import_to_plot
from optuna_perfpred.visualization._studies import best_trial
from optuna_perfpred.visualization._studies import duration
from optuna_perfpred.visualization._studies import metric_label
from optuna_perfpred.visualization._studies import percent


if TYPE_CHECKING:
    from collections.abc import Iterable
    from collections.abc import Mapping
    from collections.abc import Sequence

    from optuna.study import Study
    from optuna.trial import FrozenTrial
    import plotly.graph_objects as go

    from optuna_perfpred.dashboard._words import Paragraph
    from optuna_perfpred.pruners import AuditReport
    from optuna_perfpred.replay import ReplayReport
    from optuna_perfpred.visualization import Savings

_logger = logging.getLogger(__name__)
# Nothing is fetched, whatever a study holds. Traces on WebGL are compiled as they are drawn.
_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval'; style-src 'unsafe-inline'; "
    "img-src data: blob:; base-uri 'none'; form-action 'none'"
)
_MAX_AUDITED = 50
_N_CLOSE = 3
_N_LATEST = 2
_N_CONTINUING = 2
_MAX_WRONG = 3
_MINUTE = "%Y-%m-%d at %H:%M"


def write_report(
    study: Study,
    path: str | Path,
    *,
    price_per_hour: float | None = None,
    replays: Mapping[str, ReplayReport] | None = None,
) -> None:
    """Write all that can be shown of a study into one page that opens without a network.

    Args:
        study:
            A single-objective study, finished or not. If its sampler is a
            :class:`~optuna_perfpred.QLearningSampler`, its policy is shown as well.
        path:
            The page. One that is there is replaced, at once and only by a whole one.
        price_per_hour:
            What an hour of one worker costs, in any currency.
        replays:
            Replays of the study (see :func:`~optuna_perfpred.replay.replay`), by the names of
            their pruners, to tell what others would have saved.

    Raises:
        ImportError:
            If plotly is not installed; names the extra to install.
        ValueError:
            If the study has several objectives, or the price is no price.
        OSError:
            If the page cannot be written.
    """
    check_single_objective(study, "drawn")
    # A link stays one.
    path = Path(path) if _is_stream(Path(path)) else Path(path).resolve()
    if path.is_dir():
        raise IsADirectoryError(f"{str(path)!r} is a folder; give the name of a file.")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"There is no folder {str(path.parent)!r}.")
    offline = import_to_plot("plotly.offline")
    trials, audit = study.get_trials(deepcopy=False), audit_study(study)
    saved = savings(study, price_per_hour=price_per_hour)
    sections = [
        ("In words", _words(tell(study, price_per_hour=price_per_hour))),
        *((title, _figure(name, text, figure)) for name, title, text, figure in draw_all(study)),
        ("What other pruners would have done", _replays(replays) if replays else ""),
        ("Audited trials", _table_of_audited(trials, audit)),
        ("Why were they stopped?", _explanations(study, trials, audit)),
    ]
    template = resources.files("optuna_perfpred.dashboard").joinpath("_report_page.html")
    page = Template(template.read_text(encoding="utf-8")).substitute(
        policy=escape(_POLICY),
        title=escape(study.study_name),
        subtitle=escape(metric_label(study) + f". As it was on {datetime.now():{_MINUTE}}."),
        plotlyjs=offline.get_plotlyjs(),
        content=_tiles(study, trials, saved, audit)
        + "".join(
            f"\n<section>\n<h2>{escape(title)}</h2>\n{html}\n</section>"
            for title, html in sections
            if html
        ),
        version=escape(optuna_perfpred.__version__),
    )
    if _is_stream(path):
        path.write_text(page, encoding="utf-8")
    else:
        _replace(path, page)


def _figure(name: str, text: str, figure: go.Figure) -> str:
    html = figure.to_html(
        full_html=False,
        include_plotlyjs=False,
        div_id=name,
        config={"displaylogo": False, "responsive": True},
        default_height="100%",
    )
    return f'<p>{escape(text)}</p><div class="figure">{html}</div>'


def _replays(replays: Mapping[str, ReplayReport]) -> str:
    text = describe_recording(next(iter(replays.values())))
    figure = _figure("perfpred-replay", text, plot_replay(replays))
    return f"{figure}<pre>{escape(comparison_table(replays))}</pre>"


def _words(paragraphs: Iterable[Paragraph]) -> str:
    parts = []
    for paragraph in paragraphs:
        items = "".join(f"<li>{escape(item)}</li>" for item in paragraph.items)
        listed = f"<ul>{items}</ul>" if items else ""
        parts.append(
            f"<dt>{escape(paragraph.title)}</dt><dd>{escape(paragraph.text)}{listed}</dd>"
        )
    return f"<dl>{''.join(parts)}</dl>"


def _tiles(study: Study, trials: Sequence[FrozenTrial], saved: Savings, audit: AuditReport) -> str:
    """Give the numbers that are looked at first, in HTML."""
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
        between = " to ".join(percent(end) for end in audit.interval)
        tiles.append((percent(audit.rate), f"of prunings wrong, by the audit ({between})"))
    shown = "".join(
        f'<div class="tile"><b>{escape(number)}</b><span>{escape(text)}</span></div>'
        for number, text in tiles
    )
    return f'<div class="tiles">{shown}</div>'


def _table_of_audited(trials: Sequence[FrozenTrial], audit: AuditReport) -> str:
    """Give the audited trials as an HTML table; nothing if there are none."""
    wrong = {false.number for false in audit.false_prunes}
    audited = audited_trials(reversed(trials))
    if not audited:
        return ""
    # Those that were wrong are all told.
    rows = [
        (
            str(trial.number),
            str(decision.step),
            _number(decision.predicted_value, ".4g"),
            _number(decision.predicted_std, ".2g"),
            "" if decision.probability is None else percent(decision.probability),
            _number(trial.value, ".4g") if trial.values else trial.state.name.lower(),
            "the best" if trial.number in wrong else "",
        )
        for i, (trial, decision) in enumerate(audited)
        if i < _MAX_AUDITED or trial.number in wrong
    ]
    head = ("Trial", "At step", "Predicted", "±", "Chance to become best", "Ended at", "Became")
    text = "Trials that a forecast would have stopped, and that were let finish to check it."
    if len(rows) < len(audited):
        text += f" The latest of {len(audited):,}, and those that became the best."
    body = "".join(f"<tr>{_cells(row, 'td')}</tr>" for row in rows)
    return (
        f'<p>{text}</p><div class="table"><table><thead><tr>{_cells(head, "th")}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def _explanations(study: Study, trials: Sequence[FrozenTrial], audit: AuditReport) -> str:
    """Explain the most interesting stopped trials in HTML; nothing if there are none.

    Those that went on with stopped ones are among them.
    """
    parts: list[str] = []
    for trial, kind in _interesting(trials, audit):
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


def _interesting(
    trials: Sequence[FrozenTrial], audit: AuditReport
) -> list[tuple[FrozenTrial, str]]:
    by_number = {trial.number: trial for trial in trials}
    stopped = [
        (decision.probability or 0.0, trial)
        for trial in trials
        if trial.state == TrialState.PRUNED
        and (decision := read_decision(trial)) is not None
        and decision.probability is not None
    ]
    continuing = [trial for trial in trials if stopped_trial(trial, trials) is not None]
    wrong = [by_number[false.number] for false in audit.false_prunes]
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


def _number(value: float | None, spec: str) -> str:
    return "" if value is None else format(value, spec)


def _cells(texts: Iterable[str], tag: str) -> str:
    return "".join(f"<{tag}>{escape(text)}</{tag}>" for text in texts)


def _is_stream(path: Path) -> bool:
    """Tell whether a path is a pipe or a device, or stands for one of this process's files."""
    is_special = path.exists() and not path.is_file() and not path.is_dir()
    return is_special or path.absolute().parts[:2] in (("/", "dev"), ("/", "proc"))


def _replace(path: Path, text: str) -> None:
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex}.partial")
    try:
        with partial.open("x", encoding="utf-8") as file:
            file.write(text)
        os.replace(partial, path)
    except BaseException:
        with suppress(OSError):
            partial.unlink()
        raise
