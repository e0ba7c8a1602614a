from __future__ import annotations

import logging
import textwrap
from typing import Any
from typing import NamedTuple
from typing import TYPE_CHECKING

from optuna_perfpred import visualization
from optuna_perfpred.samplers import QLearningSampler


if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Iterator

    from optuna.samplers import BaseSampler
    from optuna.study import Study
    import plotly.graph_objects as go

_logger = logging.getLogger(__name__)
# Characters below one of two plots in half a page.
_WIDTH = 36


class Drawing(NamedTuple):
    """A figure that can be drawn of any single-objective study.

    Attributes:
        name: Its identifier, of which optuna-dashboard makes that of an HTML element.
        title: Its heading in the report.
        text: What it shows, in a sentence.
        draw: Draws it.
    """

    name: str
    title: str
    text: str
    draw: Callable[[Study], go.Figure]


def drawings(sampler: BaseSampler | None = None) -> list[Drawing]:
    """Give the figures that can be drawn of a study, in the order in which they are shown.

    Args:
        sampler:
            The study's sampler; if it is a :class:`~optuna_perfpred.QLearningSampler`, its policy
            is drawn as well.
    """
    found = [
        Drawing(
            "perfpred-forecasts",
            "What was foreseen",
            "Learning curves. Those of stopped trials go on with their forecast. A circle is "
            "where a trial was stopped that another one went on with.",
            visualization.plot_forecasts,
        ),
        Drawing(
            "perfpred-savings",
            "What was saved",
            "Steps that were trained, and steps that pruning saved, as the trials ended.",
            visualization.plot_savings,
        ),
        Drawing(
            "perfpred-calibration",
            "How far forecasts can be trusted",
            "Forecasts against what the trials came to, and stated chances against what "
            "happened. Only trials that were let finish can tell.",
            visualization.plot_calibration,
        ),
    ]
    if isinstance(sampler, QLearningSampler):
        found.append(
            Drawing(
                "perfpred-policy",
                "What the search has learned",
                "The rewards of the trials, and the layers that Q-learning prefers.",
                lambda study: visualization.plot_policy(study, sampler),
            )
        )
    return found


def drawn(study: Study, choice: list[Drawing]) -> Iterator[tuple[Drawing, go.Figure]]:
    """Draw figures; one that fails is left out, and told in the log."""
    for drawing in choice:
        try:
            yield drawing, drawing.draw(study)
        except ImportError:
            raise
        except Exception as error:  # What is in a study is up to others.
            _logger.warning(
                f"The figure {drawing.name} of study {study.study_name!r} could not be drawn: "
                f"{type(error).__name__}: {error}"
            )


def as_panel(figure: go.Figure) -> go.Figure:
    """Fit a figure into the half page that optuna-dashboard has for it; gives the same object."""
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
