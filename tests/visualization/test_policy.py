from __future__ import annotations

import numpy as np
import optuna
import pytest

from optuna_perfpred import QLearningSampler
from optuna_perfpred.nas import ConvNetSpace
from optuna_perfpred.visualization import matplotlib
from optuna_perfpred.visualization import plot_policy
from optuna_perfpred.visualization._policy import _get_policy_info
from tests.samplers.searches import search
from tests.samplers.searches import SPACE


@pytest.mark.parametrize("direction", ["maximize", "minimize"])
def test_rewards_and_epsilon_of_each_trial(direction):
    sampler = QLearningSampler(SPACE, n_trials=20, seed=0)
    study = search(20, sampler, direction)
    rewards = _get_policy_info(study, sampler).rewards
    assert rewards.numbers == list(range(20))
    sign = 1.0 if direction == "maximize" else -1.0
    values = [sign * trial.value for trial in study.trials]
    for number, reward in enumerate(rewards.rewards):
        so_far = np.array(values[: number + 1])
        beaten = (so_far < values[number]).sum() + 0.5 * (so_far == values[number]).sum()
        assert reward == pytest.approx(beaten / (number + 1))
    assert rewards.means[-1] == pytest.approx(np.mean(rewards.rewards[-rewards.window :]))
    assert rewards.epsilons[0] == 1.0
    assert min(rewards.epsilons) < 0.5
    assert rewards.epsilons == sorted(rewards.epsilons, reverse=True)


def test_the_graph_has_each_layer_with_its_q_value_and_the_greedy_network():
    study = search(30, direction="maximize")
    sampler = QLearningSampler(SPACE, n_trials=30, seed=7)  # One that has sampled nothing.
    info = _get_policy_info(study, sampler)
    networks = [list(SPACE.read_layers(trial.params)) for trial in study.trials]
    table = sampler.q_table(study)
    for node in info.nodes:
        q_values = [
            table[SPACE.agent_state(network[node.position - 1][0])][info.layers[node.row]]
            for network in networks
            if len(network) >= node.position
            and str(network[node.position - 1][1]) == info.layers[node.row]
        ]
        assert node.n_trials == len(q_values)
        if q_values:
            assert node.q_value == pytest.approx(np.mean(q_values))
    assert sum(node.n_trials for node in info.nodes) == sum(map(len, networks))
    assert sum(edge.n_trials for edge in info.edges) == sum(len(n) - 1 for n in networks)
    greedy = [layer for _, layer in SPACE.trajectory(sampler.best_architecture(study))]
    assert [(p, info.layers[row]) for p, row in info.greedy] == [
        (position, str(layer)) for position, layer in enumerate(greedy, 1)
    ]
    assert {(n.position, n.row) for n in info.nodes if n.is_greedy} == set(info.greedy)
    assert info.layers == [str(la) for la in SPACE.vocabulary if str(la) in info.layers]


def test_both_figures_have_the_same_content():
    sampler = QLearningSampler(SPACE, n_trials=12, seed=0)
    study = search(12, sampler, study_name="networks")
    info = _get_policy_info(study, sampler)
    figure, (rewards, graph) = plot_policy(study, sampler), matplotlib.plot_policy(study, sampler)
    title = "What Q-learning has learned from trials of networks"
    assert figure.layout.title.text == rewards.figure.get_suptitle() == title
    names = {"reward", "mean of 10", "ε", "greedy network"}
    assert {trace.name for trace in figure.data if trace.showlegend is not False} == names
    drawn = set(rewards.get_legend_handles_labels()[1]) | set(graph.get_legend_handles_labels()[1])
    assert drawn == names
    (dots,) = (t for t in figure.data if t.marker.showscale or t.marker.colorbar.title.text == "Q")
    assert list(dots.marker.color) == [node.q_value for node in info.nodes]
    assert list(figure.layout.yaxis2.ticktext) == info.layers
    assert [label.get_text() for label in graph.get_yticklabels()] == info.layers
    assert list(graph.collections[-1].get_array()) == [node.q_value for node in info.nodes]


def test_a_large_vocabulary_and_many_trials_are_thinned():
    space = ConvNetSpace((3, 32, 32), 10, max_depth=3, filters=(4, 8, 16, 32, 64, 96, 128, 256))
    sampler = QLearningSampler(space, n_trials=1100, seed=0, replay_size=0)
    study = optuna.create_study(sampler=sampler)
    rng = np.random.default_rng(0)
    for _ in range(1100):
        trial = study.ask()
        space.suggest(trial)
        study.tell(trial, rng.uniform())
    info = _get_policy_info(study, sampler)
    assert len(info.rewards.numbers) == 1000
    assert len(info.layers) == 24
    assert "(24 of " in info.graph_title
    assert len(info.edges) <= 200
    assert {row for _, row in info.greedy} <= set(range(24))


def test_one_trial_and_none():
    sampler = QLearningSampler(SPACE, seed=0)
    study = optuna.create_study(sampler=sampler)
    message = "No trial has finished yet with a network of the sampler's space."
    assert plot_policy(study, sampler).layout.annotations[0].text == message
    drawn = matplotlib.plot_policy(study, sampler)[0].figure.texts[-1]
    assert drawn.get_text() == message
    study = search(1, sampler)
    assert plot_policy(study, sampler).data
    assert matplotlib.plot_policy(study, sampler)[1].collections


def test_other_samplers_and_several_objectives_are_refused():
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler())
    with pytest.raises(ValueError, match="must be a QLearningSampler"):
        plot_policy(study, study.sampler)
    study = optuna.create_study(directions=["minimize", "maximize"])
    with pytest.raises(ValueError, match="2 objectives"):
        matplotlib.plot_policy(study, QLearningSampler(SPACE))
