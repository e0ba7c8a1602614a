from __future__ import annotations

from bisect import bisect_left
from bisect import bisect_right
from bisect import insort
from collections import Counter
from collections import defaultdict
from itertools import pairwise
from typing import Any
from typing import NamedTuple
from typing import TYPE_CHECKING

import numpy as np

from optuna_perfpred.samplers import QLearningSampler
from optuna_perfpred.visualization._studies import check_single_objective
from optuna_perfpred.visualization._studies import of_study
from optuna_perfpred.visualization._thinning import evenly


if TYPE_CHECKING:
    from collections.abc import Sequence

    from optuna.study import Study

    from optuna_perfpred.samplers._q_learner import Lesson


# What a page shows legibly.
_MAX_POINTS = 1000
_MAX_LAYERS = 24
_MAX_EDGES = 200


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
    title: str
    rewards: _RewardsInfo
    layers: list[str]
    nodes: list[_NodeInfo]
    edges: list[_EdgeInfo]
    greedy: list[tuple[int, int]]
    graph_title: str
    message: str | None


def _get_policy_info(study: Study, sampler: QLearningSampler) -> _PolicyInfo:
    check_single_objective(study)
    if not isinstance(sampler, QLearningSampler):
        raise ValueError(f"`sampler` must be a QLearningSampler, but got {sampler!r}.")
    title = f"What Q-learning has learned from trials{of_study(study.study_name)}"
    with sampler._lock:
        lessons = list(sampler._learner_of(study)._lessons)
    if not lessons:
        message = "No trial has finished yet with a network of the sampler's space."
        return _PolicyInfo(title, _read_rewards([], sampler), [], [], [], [], "", message)
    graph = _read_graph(study, sampler, lessons)
    return _PolicyInfo(title, _read_rewards(lessons, sampler), *graph, None)


def _read_rewards(lessons: Sequence[Lesson], sampler: QLearningSampler) -> _RewardsInfo:
    rewards, epsilons = [], []
    values: list[float] = []
    architectures: set[Any] = set()
    for lesson in lessons:
        epsilons.append(sampler._schedule.epsilon(len(architectures)))
        architectures.add(lesson.layers)
        insort(values, lesson.value)
        ties = bisect_left(values, lesson.value) + bisect_right(values, lesson.value)
        rewards.append(ties / (2 * len(values)))
    window = max(10, len(lessons) // 20)
    sums = np.concatenate([[0.0], np.cumsum(rewards)])
    ends = np.arange(1, len(sums))
    starts = np.maximum(0, ends - window)
    means = ((sums[ends] - sums[starts]) / (ends - starts)).tolist()
    shown = evenly(range(len(lessons)), _MAX_POINTS)
    return _RewardsInfo(
        numbers=[lessons[place].number for place in shown],
        rewards=[rewards[place] for place in shown],
        means=[means[place] for place in shown],
        epsilons=[epsilons[place] for place in shown],
        window=window,
    )


def _read_graph(
    study: Study, sampler: QLearningSampler, lessons: Sequence[Lesson]
) -> tuple[list[str], list[_NodeInfo], list[_EdgeInfo], list[tuple[int, int]], str]:
    table = sampler.q_table(study)
    space = sampler._space
    # By position and layer: in how many trials, and the sum of its Q-values there.
    counts: Counter[tuple[int, str]] = Counter()
    sums: defaultdict[tuple[int, str], float] = defaultdict(float)
    follows: Counter[tuple[int, str, str]] = Counter()
    for lesson in lessons:
        names = [str(layer) for layer in lesson.layers]
        for position, (step, name) in enumerate(zip(lesson.trajectory, names, strict=True), 1):
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
