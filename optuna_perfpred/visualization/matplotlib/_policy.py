from __future__ import annotations

from typing import TYPE_CHECKING

from optuna_perfpred.visualization._imports import import_to_plot
from optuna_perfpred.visualization._policy import dot_size
from optuna_perfpred.visualization._policy import GREEDY
from optuna_perfpred.visualization._policy import node_size
from optuna_perfpred.visualization._policy import REWARD_AXIS
from optuna_perfpred.visualization._policy import REWARDS
from optuna_perfpred.visualization._policy_info import _get_policy_info
from optuna_perfpred.visualization._style import BLACK
from optuna_perfpred.visualization._style import BLUE
from optuna_perfpred.visualization._style import COLOR_MAP
from optuna_perfpred.visualization._style import GREY
from optuna_perfpred.visualization._style import ORANGE
from optuna_perfpred.visualization._style import VERMILLION
from optuna_perfpred.visualization.matplotlib._axes import new_axes
from optuna_perfpred.visualization.matplotlib._axes import say_across
from optuna_perfpred.visualization.matplotlib._axes import use_integers


if TYPE_CHECKING:
    from matplotlib.axes import Axes
    import numpy as np
    import numpy.typing as npt
    from optuna.study import Study

    from optuna_perfpred.samplers import QLearningSampler
    from optuna_perfpred.visualization._policy_info import _PolicyInfo


def plot_policy(study: Study, sampler: QLearningSampler) -> npt.NDArray[np.object_]:
    """Plot what :class:`~optuna_perfpred.QLearningSampler` has learned.

    See :func:`optuna_perfpred.visualization.plot_policy`.

    Args:
        study:
            A study of networks.
        sampler:
            The sampler, or a new one with the same arguments: it learns from the study.

    Returns:
        Two :class:`matplotlib.axes.Axes`, of the rewards and of the layers.

    Raises:
        ValueError:
            If the study has several objectives or the sampler is another one.
        ImportError:
            If matplotlib is not installed.
    """
    import_to_plot("matplotlib.pyplot")
    return _draw(_get_policy_info(study, sampler))


def _draw(info: _PolicyInfo) -> npt.NDArray[np.object_]:
    axes: npt.NDArray[np.object_] = new_axes(2)
    rewards, graph = axes
    rewards.figure.suptitle(info.title)
    if info.message is not None:
        say_across(axes, info.message)
        return axes
    _draw_rewards(rewards, info)
    _draw_graph(graph, info)
    return axes


def _draw_rewards(ax: Axes, info: _PolicyInfo) -> None:
    rewards = info.rewards
    ax.set_title(REWARDS)
    ax.set_xlabel("Trial")
    use_integers(ax)
    ax.set_ylabel(REWARD_AXIS)
    ax.set_ylim(-0.02, 1.02)
    ax.scatter(
        rewards.numbers,
        rewards.rewards,
        s=dot_size(len(rewards.numbers)) ** 2,
        color=BLUE,
        alpha=0.4,
        linewidth=0,
        label="reward",
    )
    ax.plot(rewards.numbers, rewards.means, color=BLACK, label=f"mean of {rewards.window}")
    ax.step(rewards.numbers, rewards.epsilons, where="post", color=ORANGE, label="ε")
    ax.legend(loc="best", fontsize=9)


def _draw_graph(ax: Axes, info: _PolicyInfo) -> None:
    collections = import_to_plot("matplotlib.collections")
    ax.set_title(info.graph_title)
    ax.set_xlabel("Position in the network")
    ax.set_xticks(range(1, max(node.position for node in info.nodes) + 1))
    ax.set_yticks(range(len(info.layers)), info.layers)
    if info.edges:
        most = max(edge.n_trials for edge in info.edges)
        ax.add_collection(
            collections.LineCollection(
                [
                    [(edge.position, edge.row), (edge.position + 1, edge.next_row)]
                    for edge in info.edges
                ],
                linewidths=[0.4 + 3.6 * edge.n_trials / most for edge in info.edges],
                color=GREY,
                alpha=0.5,
                zorder=1,
            )
        )
    positions, rows = zip(*info.greedy, strict=True)
    ax.plot(positions, rows, color=VERMILLION, linewidth=3.0, zorder=2, label=GREEDY)
    largest = max(node.n_trials for node in info.nodes)
    dots = ax.scatter(
        [node.position for node in info.nodes],
        [node.row for node in info.nodes],
        s=[node_size(node.n_trials, largest) ** 2 for node in info.nodes],
        c=[node.q_value for node in info.nodes],
        cmap=COLOR_MAP,
        edgecolors=[VERMILLION if node.is_greedy else GREY for node in info.nodes],
        linewidths=[2.0 if node.is_greedy else 0.5 for node in info.nodes],
        zorder=3,
    )
    ax.figure.colorbar(dots, ax=ax, label="Q")
    ax.legend(loc="best", fontsize=9)
