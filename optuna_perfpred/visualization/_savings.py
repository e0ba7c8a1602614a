from __future__ import annotations

from typing import TYPE_CHECKING

from optuna_perfpred.visualization._plotly import empty_figure
from optuna_perfpred.visualization._plotly import graph_objects
from optuna_perfpred.visualization._plotly import LEGEND_BELOW
from optuna_perfpred.visualization._plotly import wrap
from optuna_perfpred.visualization._savings_info import _get_savings_info
from optuna_perfpred.visualization._savings_info import AUDITED
from optuna_perfpred.visualization._savings_info import FORECAST
from optuna_perfpred.visualization._savings_info import OTHER
from optuna_perfpred.visualization._savings_info import REPEATED
from optuna_perfpred.visualization._savings_info import TRAINED
from optuna_perfpred.visualization._savings_info import WRAPPED
from optuna_perfpred.visualization._style import BLUE
from optuna_perfpred.visualization._style import GREEN
from optuna_perfpred.visualization._style import ORANGE
from optuna_perfpred.visualization._style import PURPLE
from optuna_perfpred.visualization._style import rgba
from optuna_perfpred.visualization._style import SKY_BLUE
from optuna_perfpred.visualization._style import VERMILLION


if TYPE_CHECKING:
    from optuna.study import Study
    import plotly.graph_objects as go

    from optuna_perfpred.visualization._savings_info import _SavingsInfo


COLORS = {
    TRAINED: BLUE,
    AUDITED: GREEN,
    REPEATED: ORANGE,
    FORECAST: VERMILLION,
    WRAPPED: PURPLE,
    OTHER: SKY_BLUE,
}
ALPHA = 0.5


def plot_savings(study: Study) -> go.Figure:
    """Plot the steps that were trained and those that pruning has saved, over time.

    Both are cumulative and stacked, so that the upper edge is what the same trials would have
    cost without pruning. Saved steps are told apart by who has pruned. If trials were let finish
    on purpose, a sentence tells how many of the others were wrongly pruned by their example.
    What was trained again to go on with stopped trials is taken from what they had saved.

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
    graph_objects()
    return _draw(_get_savings_info(study))


def _draw(info: _SavingsInfo) -> go.Figure:
    if info.message is not None:
        return empty_figure(info.title, info.message)
    go = graph_objects()
    title = info.title
    if info.audit:
        title += f"<br><sup>{wrap(info.audit, 120)}</sup>"
    figure = go.Figure(
        layout={
            "title": title,
            "template": "plotly_white",
            "legend": LEGEND_BELOW,
            "hovermode": "x unified",
        }
    )
    figure.update_xaxes(title="Time")
    figure.update_yaxes(title="Steps, cumulative", rangemode="tozero")
    for band, steps in info.steps.items():
        figure.add_trace(
            go.Scatter(
                x=info.times,
                y=steps,
                name=band,
                mode="lines",
                line={"color": COLORS[band], "width": 1},
                fillcolor=rgba(COLORS[band], ALPHA),
                stackgroup="steps",
                hovertemplate="%{y:.0f}",
            )
        )
    return figure
