"""The figures of a study, and the note on it, as optuna-dashboard shows them."""

from __future__ import annotations

import hashlib
import logging
import re
import textwrap
from typing import Any
from typing import NamedTuple
from typing import TYPE_CHECKING

from optuna_perfpred import visualization
from optuna_perfpred._arguments import check_single_objective
from optuna_perfpred._imports import import_extra
from optuna_perfpred.dashboard._words import as_markdown
from optuna_perfpred.dashboard._words import tell
from optuna_perfpred.samplers import QLearningSampler


if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Iterator

    from optuna.study import Study
    import plotly.graph_objects as go

_logger = logging.getLogger(__name__)
# Characters below one of two plots in half a page.
_WIDTH = 36
# Markdown that is not shown: a definition of a link that nothing refers to.
_BEGIN = "[//]: # (optuna-perfpred {}: written anew as trials end, write above or below it)"
_END = "[//]: # (end of optuna-perfpred)"
_BEGIN_LINE = re.escape(_BEGIN).replace(r"\{\}", r"(?P<digest>[0-9a-f]{12})")
# Somebody may have deleted the end of one, which then does not reach to that of the next.
_LINES = rf"(?:(?!{re.escape(_BEGIN.partition('{')[0])}).*\n)*?"
_SECTION = re.compile(
    rf"^{_BEGIN_LINE}[ \t]*\r?\n(?P<text>{_LINES}){re.escape(_END)}[ \t]*\r?$", re.MULTILINE
)


def publish_figures(study: Study) -> None:
    """Write our figures and a note into a study, where any optuna-dashboard shows them.

    The figures replace those of the last call. The note tells what was saved, what was risked
    and which trials were audited; it is a section of the study's note, and what a person wrote
    above and below it is kept. optuna-dashboard stores a figure in pieces of 2 kB, each written by
    itself: this takes some seconds on a database, and a browser that reads meanwhile may leave
    out a figure until it reads again. So let only one process publish, and not often: at the end
    of a study, or on a host that runs no worker. ``optuna-perfpred dashboard`` shows the same
    figures, kept current, without writing anything.

    Example:

        .. code-block:: python

            study.optimize(objective, n_trials=100)
            publish_figures(study)

    Args:
        study:
            A single-objective study in any storage. If its sampler is a
            :class:`~optuna_perfpred.QLearningSampler`, its policy is shown as well.

    Raises:
        ImportError:
            If optuna-dashboard or plotly is not installed; names the extra to install.
        ValueError:
            If the study has several objectives.
    """
    dashboard = import_optuna_dashboard()
    check_single_objective(study, "drawn")
    for name, figure in panels(study).items():
        dashboard.save_plotly_graph_object(study, figure, graph_object_id=name)
    text = as_markdown(tell(study))
    # Read and written at once, so that next to no edit in a browser can come between.
    dashboard.save_note(study, with_section(dashboard.get_note(study), text))


def import_optuna_dashboard(module: str = "optuna_dashboard") -> Any:
    """Import optuna-dashboard, or a module of it, or tell which extra has it."""
    return import_extra(module, "dashboard", "This")


class Drawing(NamedTuple):
    """A figure of a study.

    Attributes:
        name: Its identifier, of which optuna-dashboard makes that of an HTML element.
        title: Its heading in the report.
        text: What it shows, in a sentence.
        figure: The figure.
    """

    name: str
    title: str
    text: str
    figure: go.Figure


def draw_all(study: Study) -> Iterator[Drawing]:
    """Draw the figures of a study, in the order in which they are shown.

    One that fails is left out, and told in the log. If the study's sampler is a
    :class:`~optuna_perfpred.QLearningSampler`, its policy is among them.
    """
    choice: list[tuple[str, str, str, Callable[[Study], go.Figure]]] = [
        (
            "perfpred-forecasts",
            "What was foreseen",
            "Learning curves. Those of stopped trials go on with their forecast. A circle is "
            "where a trial was stopped that another one went on with.",
            visualization.plot_forecasts,
        ),
        (
            "perfpred-savings",
            "What was saved",
            "Steps that were trained, and steps that pruning saved, as the trials ended.",
            visualization.plot_savings,
        ),
        (
            "perfpred-calibration",
            "How far forecasts can be trusted",
            "Forecasts against what the trials came to, and stated chances against what "
            "happened. Only trials that were let finish can tell.",
            visualization.plot_calibration,
        ),
    ]
    sampler = study.sampler
    if isinstance(sampler, QLearningSampler):
        choice.append(
            (
                "perfpred-policy",
                "What the search has learned",
                "The rewards of the trials, and the layers that Q-learning prefers.",
                lambda study: visualization.plot_policy(study, sampler),
            )
        )
    for name, title, text, draw in choice:
        try:
            yield Drawing(name, title, text, draw(study))
        except ImportError:
            raise
        except Exception as error:  # What is in a study is up to others.
            _logger.warning(
                f"The figure {name} of study {study.study_name!r} could not be drawn: "
                f"{type(error).__name__}: {error}"
            )


def panels(study: Study) -> dict[str, go.Figure]:
    """Draw the figures, fitted into the half page that optuna-dashboard has for each."""
    return {drawing.name: _as_panel(drawing.figure) for drawing in draw_all(study)}


def _as_panel(figure: go.Figure) -> go.Figure:
    # What stands below the title is told by the note, and would be cut off here.
    title = (figure.layout.title.text or "").partition("<br>")[0]
    figure.update_layout(
        margin={"l": 60, "r": 20, "t": 70},
        title={"text": title, "font": {"size": 15}, "x": 0.02},
    )
    figure.for_each_xaxis(_wrap_title)
    figure.update_xaxes(title_font_size=12)
    figure.update_yaxes(title_font_size=12)
    figure.update_annotations(font_size=13)
    return figure


def _wrap_title(axis: Any) -> None:
    text = axis.title.text or ""
    if "<" not in text:
        axis.title.text = "<br>".join(textwrap.wrap(text, _WIDTH))


def with_section(note: str, text: str) -> str:
    """Put our section into a study's note, in the place of the one that is there.

    Nothing that a person has written is lost: all else is kept as it is, and a section that
    somebody has edited becomes a part of his text, with the new one below.

    Args:
        note:
            The note as it is, with our section or without.
        text:
            The text of the section, in Markdown.

    Returns:
        The new note.
    """
    own, place = _without_section(note)
    text = text.strip()
    section = f"{_BEGIN.format(_digest(text))}\n\n{text}\n\n{_END}"
    before, after = own[:place].rstrip(), own[place:].strip("\r\n")
    return "\n\n".join(part for part in (before, section, after) if part)


def _without_section(note: str) -> tuple[str, int]:
    """Give the note without our sections, and the place of the last of them, else the end."""
    kept: list[str] = []
    length, place, end = 0, None, 0
    for match in _SECTION.finditer(note):
        edited = _digest(match["text"]) != match["digest"]
        piece = note[end : match.start()] + (match["text"] if edited else "")
        kept.append(piece)
        length += len(piece)
        place, end = length, match.end()
    kept.append(note[end:])
    own = "".join(kept)
    return own, len(own) if place is None else place


def _digest(text: str) -> str:
    # Editors change the ends of lines, but no words.
    plain = "\n".join(line.rstrip() for line in text.strip().splitlines())
    return hashlib.sha256(plain.encode()).hexdigest()[:12]
