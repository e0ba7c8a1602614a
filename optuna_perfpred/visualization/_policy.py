from __future__ import annotations

from bisect import bisect_left
from bisect import bisect_right
from bisect import insort
from collections import Counter
from collections import defaultdict
from itertools import pairwise
import math
from typing import Any
from typing import NamedTuple
from typing import TYPE_CHECKING

import numpy as np

from optuna_perfpred._arguments import check_single_objective
from optuna_perfpred.samplers import QLearningSampler
from optuna_perfpred.visualization import _drawing as drawing
from optuna_perfpred.visualization import _studies as studies


if TYPE_CHECKING:
    from collections.abc import Sequence

    from optuna.study import Study
    import plotly.graph_objects as go

    from optuna_perfpred.samplers._q_learner import Experience


# What a page shows legibly.
_MAX_POINTS = 1000
_MAX_LAYERS = 24
_MAX_EDGES = 200
# Lines of one trace have one width, so that edges are drawn in these.
_WIDTHS = (0.5, 1.0, 2.0, 4.0)


class _RewardsInfo(NamedTuple):
    """What each trial taught when it was learned from, in the order of the numbers.

    Attributes:
        numbers: The numbers of the trials.
        rewards: The share of the trials so far that each beat, ties counted half.
        means: The means of the rewards of the latest ``window`` trials.
        epsilons: The probability of a random layer.
        window: That number.
    """

    numbers: list[int]
    rewards: list[float]
    means: list[float]
    epsilons: list[float]
    window: int


class _NodeInfo(NamedTuple):
    """A layer at a position, over all states in which it was chosen there.

    Attributes:
        position: Its number in the network, from 1.
        row: The place of the layer in ``layers`` of the graph.
        q_value: The mean of its Q-values, weighted by how often it was chosen in each state.
        n_trials: How many trials chose it.
        is_greedy: Whether the greedy network has it.
    """

    position: int
    row: int
    q_value: float
    n_trials: int
    is_greedy: bool


class _EdgeInfo(NamedTuple):
    """How many trials have a layer follow another one, of which position and row are told."""

    position: int
    row: int
    next_row: int
    n_trials: int


class _PolicyInfo(NamedTuple):
    rewards: _RewardsInfo
    layers: list[str]
    nodes: list[_NodeInfo]
    edges: list[_EdgeInfo]
    greedy: list[tuple[int, int]]
    graph_title: str


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
    return drawing.draw(describe_policy(study, sampler))


def describe_policy(study: Study, sampler: QLearningSampler) -> drawing.Figure:
    """Describe the figure."""
    info = _get_policy_info(study, sampler)
    title = f"What Q-learning has learned from trials{studies.of_study(study.study_name)}"
    if info is None:
        message = "No trial has finished yet with a network of the sampler's space."
        return drawing.Figure(title, [drawing.Panel(message=message)])
    return drawing.Figure(title, [_rewards(info.rewards), _graph(info)], (0.344, 0.516))


def _rewards(rewards: _RewardsInfo) -> drawing.Panel:
    numbers = rewards.numbers
    size = max(3.0, 8.0 - math.log2(len(numbers)) / 2.0)
    marker, mean = {"opacity": 0.4}, f"mean of {rewards.window}"
    epsilons = drawing.line(numbers, rewards.epsilons, drawing.ORANGE, 2, name="ε")
    epsilons["line"]["shape"] = "hv"
    data = [
        drawing.dots(numbers, rewards.rewards, drawing.BLUE, size, marker=marker, name="reward"),
        drawing.line(numbers, rewards.means, drawing.BLACK, 2, name=mean),
        epsilons,
    ]
    x = {"title": {"text": "Trial"}, **drawing.integer_ticks(numbers)}
    text = "Reward (share of the trials so far that it beats), ε"
    return drawing.Panel(data, x, {"title": {"text": text}, "range": (-0.02, 1.02)}, "Rewards")


def _graph(info: _PolicyInfo) -> drawing.Panel:
    most = max((edge.n_trials for edge in info.edges), default=1)
    data: list[drawing.Settings] = []
    unlisted: drawing.Settings = {"showlegend": False}
    for place, width in enumerate(_WIDTHS):
        edges = [
            edge
            for edge in info.edges
            if min(len(_WIDTHS) - 1, edge.n_trials * len(_WIDTHS) // most) == place
        ]
        xs = [x for edge in edges for x in (edge.position, edge.position + 1, None)]
        ys = [y for edge in edges for y in (edge.row, edge.next_row, None)]
        data.append(drawing.line(xs, ys, drawing.GREY, width, opacity=0.5, **unlisted))
        data[-1]["hoverinfo"] = "skip"
    positions, rows = zip(*info.greedy, strict=True)
    data.append(drawing.line(positions, rows, drawing.VERMILLION, 4, name="greedy network"))
    largest = max(node.n_trials for node in info.nodes)
    rim = {
        "color": [drawing.VERMILLION if node.is_greedy else drawing.GREY for node in info.nodes],
        "width": [2.5 if node.is_greedy else 0.5 for node in info.nodes],
    }
    colors = {"colorscale": drawing.COLOR_MAP, "colorbar": {"title": {"text": "Q"}}}
    data.append(
        drawing.dots(
            [node.position for node in info.nodes],
            [node.row for node in info.nodes],
            [node.q_value for node in info.nodes],
            # The area tells the number of trials.
            [5.0 + 13.0 * math.sqrt(node.n_trials / largest) for node in info.nodes],
            marker={**colors, "opacity": 1.0, "line": rim},
            customdata=[(info.layers[node.row], node.n_trials) for node in info.nodes],
            hovertemplate=(
                "Layer %{x}: %{customdata[0]}<br>Q = %{marker.color:.3f}, chosen in "
                "%{customdata[1]} trials<extra></extra>"
            ),
            **unlisted,
        )
    )
    x = {"title": {"text": "Position in the network"}, "dtick": 1}
    y = {"tickvals": list(range(len(info.layers))), "ticktext": info.layers}
    return drawing.Panel(data, x, y, info.graph_title)


def _get_policy_info(study: Study, sampler: QLearningSampler) -> _PolicyInfo | None:
    check_single_objective(study, "drawn")
    if not isinstance(sampler, QLearningSampler):
        raise ValueError(f"`sampler` must be a QLearningSampler, but got {sampler!r}.")
    with sampler._lock:
        experiences = list(sampler._learner_of(study)._experiences)
    if not experiences:
        return None
    return _PolicyInfo(
        _read_rewards(experiences, sampler), *_read_graph(study, sampler, experiences)
    )


def _read_rewards(experiences: Sequence[Experience], sampler: QLearningSampler) -> _RewardsInfo:
    rewards, epsilons = [], []
    values: list[float] = []
    architectures: set[Any] = set()
    for experience in experiences:
        epsilons.append(sampler._schedule.epsilon(len(architectures)))
        architectures.add(experience.layers)
        insort(values, experience.value)
        ties = bisect_left(values, experience.value) + bisect_right(values, experience.value)
        rewards.append(ties / (2 * len(values)))
    window = max(10, len(experiences) // 20)
    sums = np.concatenate([[0.0], np.cumsum(rewards)])
    ends = np.arange(1, len(sums))
    starts = np.maximum(0, ends - window)
    means = ((sums[ends] - sums[starts]) / (ends - starts)).tolist()
    shown = studies.evenly(range(len(experiences)), _MAX_POINTS)
    return _RewardsInfo(
        numbers=[experiences[place].number for place in shown],
        rewards=[rewards[place] for place in shown],
        means=[means[place] for place in shown],
        epsilons=[epsilons[place] for place in shown],
        window=window,
    )


def _read_graph(
    study: Study, sampler: QLearningSampler, experiences: Sequence[Experience]
) -> tuple[list[str], list[_NodeInfo], list[_EdgeInfo], list[tuple[int, int]], str]:
    table = sampler.q_table(study)
    space = sampler._space
    # By position and layer: in how many trials, and the sum of its Q-values there.
    counts: Counter[tuple[int, str]] = Counter()
    sums: defaultdict[tuple[int, str], float] = defaultdict(float)
    follows: Counter[tuple[int, str, str]] = Counter()
    for experience in experiences:
        names = [str(layer) for layer in experience.layers]
        for position, (step, name) in enumerate(zip(experience.trajectory, names, strict=True), 1):
            counts[position, name] += 1
            sums[position, name] += table[step.state][name]
        for position, (name, following) in enumerate(pairwise(names), 1):
            follows[position, name, following] += 1
    q_values = {place: sums[place] / count for place, count in counts.items()}
    greedy_names = []
    for position, (state, layer) in enumerate(
        space.trajectory(sampler.best_architecture(study)), 1
    ):
        greedy_names.append(str(layer))
        # The greedy network may be one that was never trained.
        if (position, str(layer)) not in q_values:
            values = table.get(space.agent_state(state), {})
            q_values[position, str(layer)] = values.get(str(layer), sampler._initial_q)
    rows = _choose_layers(counts, greedy_names, [str(layer) for layer in space.vocabulary])
    row_of = {name: row for row, name in enumerate(rows)}
    nodes = [
        _NodeInfo(
            position=position,
            row=row_of[name],
            q_value=q_value,
            n_trials=counts[position, name],
            is_greedy=position <= len(greedy_names) and greedy_names[position - 1] == name,
        )
        for (position, name), q_value in sorted(q_values.items())
        if name in row_of
    ]
    edges = [
        _EdgeInfo(position, row_of[name], row_of[following], count)
        for (position, name, following), count in follows.most_common()
        if name in row_of and following in row_of
    ][:_MAX_EDGES]
    chosen = {name for _, name in q_values}
    title = "Layers that were chosen, and their Q-values"
    if len(rows) < len(chosen):
        title += f" ({len(rows)} of {len(chosen)} layers)"
    greedy = [(position, row_of[name]) for position, name in enumerate(greedy_names, 1)]
    return rows, nodes, edges, greedy, title


def _choose_layers(
    counts: Counter[tuple[int, str]], greedy: Sequence[str], vocabulary: Sequence[str]
) -> list[str]:
    """Choose the layers that were chosen most, and the greedy ones, in the vocabulary's order."""
    totals: Counter[str] = Counter()
    for (_, name), count in counts.items():
        totals[name] += count
    chosen = dict.fromkeys([*greedy, *(name for name, _ in totals.most_common())])
    kept = list(chosen)[: max(_MAX_LAYERS, len(set(greedy)))]
    return sorted(kept, key=vocabulary.index)
