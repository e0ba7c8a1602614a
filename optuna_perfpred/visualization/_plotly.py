"""What the plotly figures share."""

from __future__ import annotations

import math
from typing import Any
from typing import TYPE_CHECKING

from optuna_perfpred.visualization._imports import import_to_plot
from optuna_perfpred.visualization._style import BLACK


if TYPE_CHECKING:
    from collections.abc import Collection

    import plotly.graph_objects as go


_FEW = 6
# At the lower edge, whatever the height of the figure.
LEGEND_BELOW = {
    "orientation": "h",
    "yref": "container",
    "yanchor": "bottom",
    "y": 0.01,
    "xanchor": "left",
    "x": 0.0,
}


def graph_objects() -> Any:
    """Import plotly's graph objects, or tell which extra has them."""
    return import_to_plot("plotly.graph_objects")


def empty_figure(title: str, message: str) -> go.Figure:
    """Make a figure that says why there is nothing to see."""
    figure = graph_objects().Figure(layout={"title": title, "template": "plotly_white"})
    figure.update_xaxes(visible=False)
    figure.update_yaxes(visible=False)
    figure.add_annotation(
        text=message.replace("\n", "<br>"),
        showarrow=False,
        xref="paper",
        yref="paper",
        x=0.5,
        y=0.5,
        font={"size": 16, "color": BLACK},
    )
    return figure


def integer_ticks(values: Collection[int]) -> dict[str, Any]:
    """Keep plotly from writing fractions at an axis of few integers."""
    low, high = min(values, default=0), max(values, default=0)
    return {"dtick": 1} if high - low < _FEW else {}


def log10_range(values: tuple[float, float] | None, *, log: bool) -> list[float] | None:
    """Give the range of an axis as plotly wants it."""
    if values is None:
        return None
    if not log:
        return list(values)
    return [math.log10(value) for value in values]


def wrap(text: str, width: int = 60) -> str:
    """Break a sentence into lines for a hover text, in which only our tags are tags."""
    lines, line = [], ""
    for word in text.replace("&", "&amp;").replace("<", "&lt;").split():
        if line and len(line) + 1 + len(word) > width:
            lines.append(line)
            line = word
        else:
            line = f"{line} {word}".strip()
    return "<br>".join([*lines, line])
