"""A figure is described once, as plotly's schema has it: plotly and matplotlib draw the same."""

from __future__ import annotations

from html import escape
import math
import textwrap
from typing import Any
from typing import NamedTuple
from typing import TYPE_CHECKING

from optuna_perfpred._imports import import_extra


if TYPE_CHECKING:
    from collections.abc import Collection
    from collections.abc import Iterable
    from collections.abc import Sequence

    import plotly.graph_objects as go


# Okabe and Ito, "Color Universal Design", 2008: told apart with every kind of colour vision.
BLACK = "#000000"
ORANGE = "#E69F00"
SKY_BLUE = "#56B4E9"
GREEN = "#009E73"
BLUE = "#0072B2"
VERMILLION = "#D55E00"
PURPLE = "#CC79A7"
GREY = "#999999"

# Neighbours in it also differ in lightness.
CYCLE = (BLUE, ORANGE, GREEN, VERMILLION, PURPLE, SKY_BLUE, BLACK, GREY)

# A sequential map that is the same with every kind of colour vision, in both libraries.
COLOR_MAP = "cividis"

_FEW = 6
# At the lower edge, whatever the height of the figure.
_LEGEND_BELOW = {
    "orientation": "h",
    "yref": "container",
    "yanchor": "bottom",
    "y": 0.01,
    "xanchor": "left",
    "x": 0.0,
}
_ROOT_TICKS = (0.0, *(digit * 10.0**power for power in range(-3, 7) for digit in (1, 2, 5)))

Settings = dict[str, Any]


class Panel(NamedTuple):
    """A plot of a figure.

    Attributes:
        data: Its traces, in the order in which they are drawn: scatter plots of plotly's schema.
        xaxis: Its horizontal axis, likewise.
        yaxis: Its vertical axis.
        title: Its title, if there are several.
        message: Why there is nothing to see.
    """

    data: Sequence[Settings] = ()
    xaxis: Settings = {}  # noqa: RUF012
    yaxis: Settings = {}  # noqa: RUF012
    title: str = ""
    message: str = ""


class Figure(NamedTuple):
    """A figure, as it is described once for both libraries.

    Attributes:
        title: Its title.
        panels: One plot, or two beside each other.
        widths: The shares of the width that they take.
        subtitle: What is written small below the title.
        hovermode: As of plotly.
    """

    title: str
    panels: Sequence[Panel]
    widths: Sequence[float] = (1.0,)
    subtitle: str = ""
    hovermode: str = "closest"


def import_to_plot(module: str) -> Any:
    """Import a module of plotly or matplotlib, or tell which extra has it."""
    return import_extra(module, "plot", "The figure")


def line(
    x: Sequence[Any],
    y: Sequence[Any],
    color: str,
    width: float,
    *,
    dash: str = "solid",
    **more: Any,
) -> Settings:
    """Describe a line."""
    style = {"color": color, "width": width, "dash": dash}
    return {"x": x, "y": y, "mode": "lines", "line": style, **more}


def dots(
    x: Sequence[Any],
    y: Sequence[Any],
    color: Any,
    size: Any,
    marker: Settings | None = None,
    **more: Any,
) -> Settings:
    """Describe dots."""
    style = {"color": color, "size": size, **(marker or {})}
    return {"x": x, "y": y, "mode": "markers", "marker": style, **more}


def draw(figure: Figure) -> go.Figure:
    """Have plotly draw a figure."""
    title = figure.title
    if figure.subtitle:
        title += f"<br><sup>{wrap(figure.subtitle, 120)}</sup>"
    data: list[Settings] = []
    annotations: list[Settings] = []
    layout: Settings = {
        "title": {"text": title},
        "template": "plotly_white",
        "legend": _LEGEND_BELOW,
        "hovermode": figure.hovermode,
        "annotations": annotations,
    }
    domains = ([0.0, figure.widths[0]], [1.0 - figure.widths[-1], 1.0])
    for panel, domain, n in zip(figure.panels, domains, ("", "2"), strict=False):
        layout[f"xaxis{n}"] = {"domain": domain, "anchor": f"y{n}", **panel.xaxis}
        layout[f"yaxis{n}"] = {"anchor": f"x{n}", **panel.yaxis}
        data += ({**trace, "xaxis": f"x{n}", "yaxis": f"y{n}"} for trace in panel.data)
        text = {"showarrow": False, "xref": f"x{n} domain", "yref": f"y{n} domain", "x": 0.5}
        text["font"] = {"size": 16, "color": BLACK}
        if panel.message:
            layout[f"xaxis{n}"]["visible"] = layout[f"yaxis{n}"]["visible"] = False
            annotations.append({**text, "text": panel.message.replace("\n", "<br>"), "y": 0.5})
        if panel.title:
            annotations.append({**text, "text": panel.title, "y": 1.0, "yanchor": "bottom"})
    return import_to_plot("plotly.graph_objects").Figure(data=data, layout=layout)


def rgba(color: str, alpha: float) -> str:
    """Give a colour as plotly writes a translucent one."""
    red, green, blue = (int(color[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},{alpha:.3g})"


def integer_ticks(values: Collection[int]) -> Settings:
    """Keep plotly from writing fractions at an axis of few integers."""
    low, high = min(values, default=0), max(values, default=0)
    return {"dtick": 1} if high - low < _FEW else {}


def value_axis(title: str, ends: tuple[float, float] | None, *, log: bool) -> Settings:
    """Give an axis that shows values of the objective between two of them."""
    places = ends if ends is None or not log else tuple(math.log10(end) for end in ends)
    return {"title": {"text": title}, "type": "log" if log else "linear", "range": places}


def wrap(text: str, width: int = 60) -> str:
    """Break a sentence into lines for a hover text, in which only our tags are tags."""
    lines = textwrap.wrap(
        escape(text, quote=False), width, break_long_words=False, break_on_hyphens=False
    )
    return "<br>".join(lines)


def square_roots(values: Iterable[float]) -> list[float]:
    """Give the places of values on an axis that tells small ones apart, and on which 0 is."""
    return [math.sqrt(max(0.0, value)) for value in values]


def root_axis(title: str, largest: float, places: tuple[float, float]) -> Settings:
    """Give an axis of square roots, whose ticks are at least a tenth of its length apart.

    Args:
        title:
            Its title.
        largest:
            The largest value on it.
        places:
            Where it begins and ends.
    """
    ticks: list[float] = []
    for value in _ROOT_TICKS:
        if value > largest:
            break
        if not ticks or math.sqrt(value) - math.sqrt(ticks[-1]) >= 0.1 * math.sqrt(largest):
            ticks.append(value)
    return {
        "title": {"text": title},
        "range": places,
        "tickvals": square_roots(ticks),
        "ticktext": [f"{value:.4g}" for value in ticks],
    }
