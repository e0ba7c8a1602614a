"""Reinforcement learning: policy gradients, evolution, tabular methods, self-play."""

from __future__ import annotations

import math
import random

from _models import ACTIVATIONS
from _study import Config
from _study import Draw
from _study import Study
from _training import make_optimizer
from _training import number
import gymnasium
import numpy as np
import torch
from torch import nn
from torch.nn import functional


class _Poles:
    """Many cart poles at once, as gymnasium's CartPole-v1 with at most 120 steps."""

    limit = 120

    def __init__(self, n: int, rng: np.random.Generator) -> None:
        self.state = rng.uniform(-0.05, 0.05, size=(n, 4))

    def step(self, right: np.ndarray) -> np.ndarray:
        """Pushes each cart; tells which poles still stand."""
        _x, speed, angle, spin = self.state.T
        force, cos, sin = np.where(right, 10.0, -10.0), np.cos(angle), np.sin(angle)
        pull = (force + 0.05 * spin**2 * sin) / 1.1
        turn = (9.8 * sin - cos * pull) / (0.5 * (4.0 / 3.0 - 0.1 * cos**2 / 1.1))
        push = pull - 0.05 * turn * cos / 1.1
        change = np.stack([speed, push, spin, turn], axis=1)
        self.state = self.state + 0.02 * change
        return (np.abs(self.state[:, 0]) < 2.4) & (np.abs(self.state[:, 2]) < 0.2095)


def _policy_space(draw: Draw) -> Config:
    critic = draw.chance(0.5)
    return {
        "optimizer": draw.choice("adam", "rmsprop", "sgd"),
        "lr": draw.log(3e-4, 0.3),
        "gamma": 1.0 - draw.log(3e-3, 0.5),
        "episodes": draw.choice(2, 4, 8),
        "baseline": "critic" if critic else draw.choice("none", "mean"),
        "critic_weight": draw.log(0.05, 2.0) if critic else None,
        "entropy": draw.log(1e-5, 0.1),
        "width": draw.log_integer(4, 64),
        "activation": draw.choice("relu", "tanh"),
        "normalize": draw.chance(0.6),
    }


def _episodes(
    net: nn.Sequential, n: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """States, actions and whether the pole stood before the step, each with the time first."""
    poles, tanh = _Poles(n, rng), isinstance(net[1], nn.Tanh)
    w1, b1, w2, b2 = (p.detach().double().numpy() for p in net.parameters())
    alive = np.ones(n, dtype=bool)
    states, actions, standing = [], [], []
    while alive.any() and len(states) < _Poles.limit:
        hidden = poles.state @ w1.T + b1
        hidden = np.tanh(hidden) if tanh else hidden.clip(0.0)
        edge = np.nan_to_num(hidden @ (w2[1] - w2[0]) + b2[1] - b2[0]).clip(-50, 50)
        right = rng.random(n) < 1.0 / (1.0 + np.exp(-edge))
        states.append(poles.state.astype(np.float32))
        actions.append(right)
        standing.append(alive.copy())
        alive &= poles.step(right)
    return np.array(states), np.array(actions), np.array(standing)


def _returns(standing: np.ndarray, gamma: float) -> np.ndarray:
    """Discounted sums of the rewards to come."""
    total, sums = np.zeros(standing.shape[1]), np.zeros(standing.shape)
    for i in reversed(range(len(standing))):
        total = standing[i] * (1.0 + gamma * total)
        sums[i] = total
    return sums


def _policy_gradient(config: Config, seed: int, n_steps: int) -> list[float]:
    """Mean return of the episodes of each step, two updates a step."""
    torch.manual_seed(seed)
    rng, width = np.random.default_rng(seed), int(number(config, "width"))
    activation = ACTIVATIONS[str(config["activation"])]
    net = nn.Sequential(nn.Linear(4, width), activation(), nn.Linear(width, 3))
    optimizer = make_optimizer(config, net.parameters())
    curve = []
    for _ in range(n_steps):
        lengths = []
        for _ in range(2):
            states, actions, standing = _episodes(net, int(number(config, "episodes")), rng)
            lengths.append(standing.sum(0).mean())
            _update(net, optimizer, config, states, actions, standing)
        curve.append(float(np.mean(lengths)))
    return curve


def _update(
    net: nn.Module,
    optimizer: torch.optim.Optimizer,
    config: Config,
    states: np.ndarray,
    actions: np.ndarray,
    standing: np.ndarray,
) -> None:
    targets = torch.as_tensor(
        _returns(standing, number(config, "gamma"))[standing], dtype=torch.float32
    )
    outputs = net(torch.as_tensor(states[standing]))
    chosen = torch.as_tensor(actions[standing].astype(np.int64))
    logs = functional.log_softmax(outputs[:, :2], 1)
    advantage, extra = targets, torch.zeros(())
    if config["baseline"] == "critic":
        scale = 1.0 / (1.0 - number(config, "gamma") + 0.02)
        advantage = targets - scale * outputs[:, 2].detach()
        error = functional.mse_loss(outputs[:, 2], targets / scale)
        extra = number(config, "critic_weight") * error
    elif config["baseline"] == "mean":
        advantage = targets - targets.mean()
    if config["normalize"]:
        advantage = advantage / (advantage.std() + 1e-3)
    entropy = -(logs.exp() * logs).sum(1).mean()
    policy = -(advantage * logs.gather(1, chosen[:, None])[:, 0]).mean()
    optimizer.zero_grad()
    (policy + extra - number(config, "entropy") * entropy).backward()
    optimizer.step()


def _evolution_space(draw: Draw) -> Config:
    return {
        "lr": draw.log(1e-3, 3.0),
        "sigma": draw.log(0.003, 3.0),
        "population": draw.choice(4, 8, 16, 32),
        "ranked": draw.chance(0.5),
        "decay": draw.log(1e-4, 0.1),
    }


def _evolution(config: Config, seed: int, n_steps: int) -> list[float]:
    """Evolution strategies on a linear policy of the cart pole."""
    rng, weights = np.random.default_rng(seed), np.zeros(5)
    half, sigma = int(number(config, "population")) // 2, number(config, "sigma")
    curve = []
    for _ in range(n_steps):
        noise = rng.normal(size=(half, 5))
        noise = np.concatenate([noise, -noise, np.zeros((2, 5))])
        scores = _lengths(weights + sigma * noise, rng)
        curve.append(float(scores[-2:].mean()))
        fitness = scores[:-2].argsort().argsort() / half if config["ranked"] else scores[:-2] / 50
        step = (fitness - fitness.mean()) @ noise[:-2] / (2 * half)
        weights = weights * (1 - number(config, "decay")) + number(config, "lr") * step
    return curve


def _lengths(policies: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    poles = _Poles(len(policies), rng)
    alive, lengths = np.ones(len(policies), dtype=bool), np.zeros(len(policies))
    while alive.any() and lengths.max() < _Poles.limit:
        lengths += alive
        alive &= poles.step((policies[:, :4] * poles.state).sum(1) + policies[:, 4] > 0)
    return lengths


def _lake_space(draw: Draw) -> Config:
    rule = draw.choice("q", "sarsa", "expected")
    return {
        "rule": rule,
        "alpha": draw.log(0.003, 1.0),
        "gamma": 1.0 - draw.log(1e-3, 0.5),
        "epsilon": draw.log(0.01, 1.0),
        "epsilon_decay": draw.choice(1.0, 0.97, 0.9),
        "initial_value": draw.choice(0.0, 0.1, 1.0),
        "alpha_decay": draw.choice(1.0, 0.98),
    }


def _lake(config: Config, seed: int, n_steps: int) -> list[float]:
    """Success rate on gymnasium's FrozenLake; 15 episodes to learn and 25 to measure each step."""
    model = gymnasium.make("FrozenLake-v1", is_slippery=True).unwrapped.P
    rng = random.Random(seed)
    q = [[number(config, "initial_value") + 1e-3 * rng.random() for _ in range(4)] for _ in model]
    epsilon, alpha = number(config, "epsilon"), number(config, "alpha")
    curve = []
    for _ in range(n_steps):
        for _ in range(15):
            _lake_episode(model, q, config, alpha, epsilon, rng)
        curve.append(sum(_lake_episode(model, q, config, 0.0, 0.0, rng) for _ in range(25)) / 25)
        epsilon *= number(config, "epsilon_decay")
        alpha *= number(config, "alpha_decay")
    return curve


def _lake_action(values: list[float], epsilon: float, rng: random.Random) -> int:
    return rng.randrange(4) if rng.random() < epsilon else values.index(max(values))


def _lake_episode(
    model: dict,
    q: list[list[float]],
    config: Config,
    alpha: float,
    epsilon: float,
    rng: random.Random,
) -> float:
    rule, gamma = config["rule"], number(config, "gamma")
    state, action = 0, _lake_action(q[0], epsilon, rng)
    for _ in range(60):
        _, following, reward, done = model[state][action][rng.randrange(3)]
        values = q[following]
        chosen = _lake_action(values, epsilon, rng)
        if alpha:
            best = max(values)
            if rule == "sarsa":
                best = values[chosen]
            elif rule == "expected":
                best = (1 - epsilon) * best + epsilon * sum(values) / 4
            target = reward + (0.0 if done else gamma * best)
            q[state][action] += alpha * (target - q[state][action])
        if done:
            return float(reward)
        state, action = following, chosen
    return 0.0


def _maze_space(draw: Draw) -> Config:
    return {
        "alpha": draw.log(0.01, 1.0),
        "gamma": 1.0 - draw.log(1e-3, 0.3),
        "epsilon": draw.log(0.003, 0.5),
        "planning": draw.choice(0, 0, 2, 8),
        "initial_value": draw.choice(-10.0, 0.0, 5.0),
        "step_size_decay": draw.choice(1.0, 0.95),
    }


def _maze(config: Config, seed: int, n_steps: int) -> list[float]:
    """Steps to the exit of a windy 8x8 grid with walls, Dyna-Q, mean of 3 episodes."""
    rng = random.Random(seed)
    q = [[number(config, "initial_value")] * 4 for _ in range(64)]
    seen: list[tuple[int, int, float, int]] = []
    alpha = number(config, "alpha")
    curve = []
    for _ in range(n_steps):
        curve.append(sum(_maze_episode(q, seen, config, alpha, rng) for _ in range(3)) / 3)
        alpha *= number(config, "step_size_decay")
    return curve


def _maze_move(state: int, action: int, rng: random.Random) -> int:
    if rng.random() < 0.1:
        action = rng.randrange(4)
    row, column = divmod(state, 8)
    row = min(7, max(0, row + (1, -1, 0, 0)[action]))
    column = min(7, max(0, column + (0, 0, 1, -1)[action]))
    wall = (column == 2 and row < 6) or (column == 5 and row > 1)
    return state if wall else 8 * row + column


def _maze_episode(
    q: list[list[float]],
    seen: list[tuple[int, int, float, int]],
    config: Config,
    alpha: float,
    rng: random.Random,
) -> int:
    gamma, epsilon = number(config, "gamma"), number(config, "epsilon")
    state, steps = 0, 0
    while state != 63 and steps < 300:
        action = _lake_action(q[state], epsilon, rng)
        following = _maze_move(state, action, rng)
        seen.append((state, action, -1.0, following))
        replay = [seen[-1]] + [rng.choice(seen) for _ in range(int(number(config, "planning")))]
        for s, a, reward, f in replay:
            target = reward + (0.0 if f == 63 else gamma * max(q[f]))
            q[s][a] += alpha * (target - q[s][a])
        state, steps = following, steps + 1
    return steps


def _nim_space(draw: Draw) -> Config:
    return {
        "alpha": draw.log(0.003, 1.0),
        "epsilon": draw.log(0.01, 1.0),
        "initial_value": draw.choice(-0.5, 0.0, 0.5),
        "gamma": draw.uniform(0.6, 1.0),
        "games": draw.choice(5, 10, 20),
        "epsilon_decay": draw.choice(1.0, 0.98, 0.9),
    }


def _nim(config: Config, seed: int, n_steps: int) -> list[float]:
    """Elo rating of a self-taught player against a rated one that errs in 4 of 10 moves."""
    rng = random.Random(seed)
    q = [
        [number(config, "initial_value") + 1e-3 * rng.random() for _ in range(3)]
        for _ in range(41)
    ]
    epsilon, alpha = number(config, "epsilon"), number(config, "alpha")
    curve = []
    for _ in range(n_steps):
        for _ in range(int(number(config, "games"))):
            heap = rng.randint(10, 40)
            while heap > 0:
                move = _nim_move(q, heap, epsilon, rng)
                left = heap - move - 1
                follow = 1.0 if left <= 0 else -number(config, "gamma") * max(q[left][:left])
                q[heap][move] += alpha * (follow - q[heap][move])
                heap = left
        wins = sum(_nim_game(q, rng) for _ in range(60))
        curve.append(1200.0 + 400.0 * math.log10((wins + 0.5) / (60.5 - wins)))
        epsilon *= number(config, "epsilon_decay")
    return curve


def _nim_move(q: list[list[float]], heap: int, epsilon: float, rng: random.Random) -> int:
    allowed = min(3, heap)
    if rng.random() < epsilon:
        return rng.randrange(allowed)
    values = q[heap][:allowed]
    return values.index(max(values))


def _nim_game(q: list[list[float]], rng: random.Random) -> bool:
    heap, learner = rng.randint(20, 40), rng.random() < 0.5
    while True:
        if learner:
            heap -= 1 + _nim_move(q, heap, 0.0, rng)
        elif heap % 4 and rng.random() < 0.6:
            heap -= heap % 4
        else:
            heap -= 1 + rng.randrange(min(3, heap))
        if heap == 0:
            return learner
        learner = not learner


STUDIES = (
    Study(
        "cartpole_policy_gradient",
        "maximize",
        "mean return",
        "Cart pole, REINFORCE and actor-critic",
        40,
        _policy_space,
        _policy_gradient,
    ),
    Study(
        "frozen_lake_success",
        "maximize",
        "success rate",
        "Gymnasium's FrozenLake, tabular Q-learning and SARSA, 25 evaluation episodes",
        100,
        _lake_space,
        _lake,
    ),
    Study(
        "maze_steps",
        "minimize",
        "steps to the exit",
        "Windy grid with walls, Dyna-Q",
        60,
        _maze_space,
        _maze,
    ),
    Study(
        "nim_elo",
        "maximize",
        "Elo rating",
        "Nim, tabular self-play, rated by 60 games",
        80,
        _nim_space,
        _nim,
    ),
    Study(
        "cartpole_evolution",
        "maximize",
        "mean return of two episodes",
        "Cart pole, evolution strategies on a linear policy",
        40,
        _evolution_space,
        _evolution,
    ),
)
