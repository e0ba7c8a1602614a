from __future__ import annotations

import math
from typing import Any
from typing import TYPE_CHECKING

from optuna_perfpred.visualization._imports import import_to_plot
from optuna_perfpred.visualization._plotly import empty_figure
from optuna_perfpred.visualization._plotly import graph_objects
from optuna_perfpred.visualization._plotly import integer_ticks
from optuna_perfpred.visualization._plotly import LEGEND_BELOW
from optuna_perfpred.visualization._policy_info import _get_policy_info
from optuna_perfpred.visualization._style import BLACK
from optuna_perfpred.visualization._style import BLUE
from optuna_perfpred.visualization._style import COLOR_MAP
from optuna_perfpred.visualization._style import GREY
from optuna_perfpred.visualization._style import ORANGE
from optuna_perfpred.visualization._style import VERMILLION


if TYPE_CHECKING:
    from collections.abc import Iterable

    from optuna.study import Study
    import plotly.graph_objects as go

    from optuna_perfpred.samplers import QLearningSampler
    from optuna_perfpred.visualization._policy_info import _EdgeInfo
    from optuna_perfpred.visualization._policy_info import _PolicyInfo


REWARDS = "Rewards"
REWARD_AXIS = "Reward (share of the trials so far that it beats), ε"
GREEDY = "greedy network"
# Traces of plotly have one width each, so edges are drawn in these.
_WIDTHS = (0.5, 1.0, 2.0, 4.0)


def plot_policy(study: Study, sampler: QLearningSampler) -> go.Figure:
    """Plot what :class:`~optuna_perfpred.QLearningSampler` has learned.

    On the left, the reward of each trial with its running mean and ε, the probability of a random
    layer. On the right, the layers by their position in the network: the more often one was
    chosen there, the larger its dot; its colour is the mean of its Q-values over the states in
    which it was chosen. Lines lead to the layers that followed, the bold one along the greedy
    network.

    Args:
        study:
            A study of networks.
        sampler:
            The sampler, or a new one with the same arguments: it learns from the study.

    Returns:
        A :class:`plotly.graph_objects.Figure`.

    Raises:
        ValueError:
            If the study has several objectives or the sampler is another one.
        ImportError:
            If plotly is not installed.
    """
    graph_objects()
    return _draw(_get_policy_info(study, sampler))


def _draw(info: _PolicyInfo) -> go.Figure:
    if info.message is not None:
        return empty_figure(info.title, info.message)
    figure = import_to_plot("plotly.subplots").make_subplots(
        rows=1,
        cols=2,
        subplot_titles=(REWARDS, info.graph_title),
        horizontal_spacing=0.14,
        column_widths=[0.4, 0.6],
    )
    figure.update_layout(title=info.title, template="plotly_white", legend=LEGEND_BELOW)
    figure.update_xaxes(title="Trial", **integer_ticks(info.rewards.numbers), row=1, col=1)
    figure.update_yaxes(title=REWARD_AXIS, range=[-0.02, 1.02], row=1, col=1)
    figure.add_traces(list(_rewards(info)), rows=1, cols=1)
    figure.update_xaxes(title="Position in the network", dtick=1, row=1, col=2)
    rows = list(range(len(info.layers)))
    figure.update_yaxes(tickvals=rows, ticktext=info.layers, row=1, col=2)
    figure.add_traces(list(_graph(info)), rows=1, cols=2)
    return figure


def _rewards(info: _PolicyInfo) -> Iterable[Any]:
    go, rewards = graph_objects(), info.rewards
    yield go.Scatter(
        x=rewards.numbers,
        y=rewards.rewards,
        mode="markers",
        marker={"color": BLUE, "size": dot_size(len(rewards.numbers)), "opacity": 0.4},
        name="reward",
    )
    yield go.Scatter(
        x=rewards.numbers,
        y=rewards.means,
        mode="lines",
        line={"color": BLACK, "width": 2},
        name=f"mean of {rewards.window}",
    )
    yield go.Scatter(
        x=rewards.numbers,
        y=rewards.epsilons,
        mode="lines",
        line={"color": ORANGE, "width": 2, "shape": "hv"},
        name="ε",
    )


def _graph(info: _PolicyInfo) -> Iterable[Any]:
    go = graph_objects()
    for width in _WIDTHS:
        edges = [edge for edge in info.edges if _width(edge, info) == width]
        yield go.Scatter(
            x=[x for edge in edges for x in (edge.position, edge.position + 1, None)],
            y=[y for edge in edges for y in (edge.row, edge.next_row, None)],
            mode="lines",
            line={"color": GREY, "width": width},
            opacity=0.5,
            hoverinfo="skip",
            showlegend=False,
        )
    yield go.Scatter(
        x=[position for position, _ in info.greedy],
        y=[row for _, row in info.greedy],
        mode="lines",
        line={"color": VERMILLION, "width": 4},
        name=GREEDY,
    )
    largest = max(node.n_trials for node in info.nodes)
    yield go.Scatter(
        x=[node.position for node in info.nodes],
        y=[node.row for node in info.nodes],
        mode="markers",
        marker={
            "size": [node_size(node.n_trials, largest) for node in info.nodes],
            "color": [node.q_value for node in info.nodes],
            "colorscale": COLOR_MAP,
            "colorbar": {"title": "Q"},
            "opacity": 1.0,
            "line": {
                "color": [VERMILLION if node.is_greedy else GREY for node in info.nodes],
                "width": [2.5 if node.is_greedy else 0.5 for node in info.nodes],
            },
        },
        customdata=[(info.layers[node.row], node.n_trials) for node in info.nodes],
        hovertemplate=(
            "Layer %{x}: %{customdata[0]}<br>Q = %{marker.color:.3f}, chosen in "
            "%{customdata[1]} trials<extra></extra>"
        ),
        showlegend=False,
    )


def dot_size(n: int) -> float:
    """Give the diameter of one of many dots in pixels or points."""
    return max(3.0, 8.0 - math.log2(max(1, n)) / 2.0)


def node_size(count: int, largest: int) -> float:
    """Give the diameter of a dot in pixels or points, its area by the number of trials."""
    return 5.0 + 13.0 * math.sqrt(count / largest)


def _width(edge: _EdgeInfo, info: _PolicyInfo) -> float:
    share = edge.n_trials / max(other.n_trials for other in info.edges)
    return _WIDTHS[min(len(_WIDTHS) - 1, int(share * len(_WIDTHS)))]
