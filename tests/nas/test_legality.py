"""Any stock sampler suggests legal architectures only, and they can be trained.

What is legal is told a second time in ``architectures.py``. In the suite each sampler suggests as
many architectures as a minute for all of them allows, and a part of them is built. The whole
check, 10,000 suggestions of each sampler (1,000 of the Gaussian process) in each space, all of
them built, takes about ten minutes of one core::

    PERFPRED_ALL_ARCHITECTURES=1 pytest -rA tests/nas/test_legality.py
"""

from __future__ import annotations

from itertools import count
import math
import os
from typing import Any
from typing import TYPE_CHECKING

import optuna
from optuna.samplers import BaseSampler
from optuna.samplers import BruteForceSampler
from optuna.samplers import CmaEsSampler
from optuna.samplers import GPSampler
from optuna.samplers import GridSampler
from optuna.samplers import NSGAIIISampler
from optuna.samplers import NSGAIISampler
from optuna.samplers import PartialFixedSampler
from optuna.samplers import QMCSampler
from optuna.samplers import RandomSampler
from optuna.samplers import TPESampler
import pytest
import torch

from optuna_perfpred.nas import Architecture
from optuna_perfpred.nas import build
from tests.nas.architectures import ConvNetRules
from tests.nas.architectures import RecurrentRules


if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Iterator

    from optuna_perfpred.nas import LayerSpace

    Rules = ConvNetRules | RecurrentRules


# Some samplers are experimental.
pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")

ALL = os.environ.get("PERFPRED_ALL_ARCHITECTURES") == "1"
BAR = 10_000

# The published rules and depth with few filters, so that thousands of networks can be built.
SCALED = ConvNetRules((1, 16, 16), 3, filters=(2, 3), fully_connected=(4, 3, 2))
# The same with other rules: strides, images that are no squares, three fully connected layers.
VARIED = ConvNetRules(
    (2, 12, 17),
    3,
    max_depth=6,
    filters=(2,),
    filter_sizes=(1, 3, 7),
    strides=(1, 2),
    poolings=((4, 1), (2, 3)),
    fully_connected=(2, 4),
    max_fully_connected=3,
    max_fully_connected_size=5,
)
LANGUAGE = RecurrentRules(5, 3, embeddings=(2, 3), units=(2, 3, 4), dropouts=(0.0, 0.2))
SPACES = {"images": SCALED, "other rules": VARIED, "language": LANGUAGE}

# How to make a sampler from a seed, how many trials a study of it has, how many it suggests in
# the suite, and how many in the whole check. Studies are short because TPE and the Gaussian
# process grow slower with each trial, and still longer than what they draw at random first.
SAMPLERS: dict[str, tuple[Callable[[int], BaseSampler], int, int, int]] = {
    "random": (lambda seed: RandomSampler(seed), 100, BAR, BAR),
    "TPE": (lambda seed: TPESampler(seed=seed, n_startup_trials=5), 25, 2_000, BAR),
    # By default they mutate one of the parameters that all trials share, which is all there is to
    # inherit where the first layer alone is shared.
    "NSGA-II": (
        lambda seed: NSGAIISampler(seed=seed, population_size=10, mutation_prob=0.1),
        50,
        4_000,
        BAR,
    ),
    "NSGA-III": (
        lambda seed: NSGAIIISampler(seed=seed + 10**6, population_size=10, mutation_prob=0.1),
        50,
        1_000,
        BAR,
    ),
    "QMC": (
        lambda seed: QMCSampler(seed=seed, scramble=True, warn_independent_sampling=False),
        50,
        1_000,
        BAR,
    ),
    # It leaves choices to its independent sampler, and so architectures to a random one.
    "CMA-ES": (
        lambda seed: CmaEsSampler(seed=seed + 2 * 10**6, warn_independent_sampling=False),
        50,
        1_000,
        BAR,
    ),
    # It needs 20 to 50 ms for a trial, so that 10,000 in each space would take half an hour.
    "GP": (
        lambda seed: GPSampler(seed=seed, n_startup_trials=5, warn_independent_sampling=False),
        15,
        30,
        1_000,
    ),
}
BUILT_IN_SUITE = 60


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def value_of(architecture: Architecture) -> float:
    """Something to search for: the samplers that learn prefer deep networks with few weights."""
    return architecture.num_layers - 0.1 * math.log(architecture.num_weights)


def suggestions(
    space: LayerSpace[Any], make: Callable[[int], BaseSampler], n_trials: int
) -> Iterator[Architecture]:
    """Suggest without end, in studies of ``n_trials`` trials."""
    for seed in count():
        study = optuna.create_study(direction="maximize", sampler=make(seed))
        for _ in range(n_trials):
            trial = study.ask()
            architecture = space.suggest(trial)
            study.tell(trial, value_of(architecture))
            yield architecture


_trained: set[Architecture] = set()


def assert_trains(architecture: Architecture) -> None:
    """Build a network and run it forward and backward, once for each architecture."""
    if architecture in _trained:
        return
    _trained.add(architecture)
    network = build(architecture)
    parameters = list(network.parameters())
    assert sum(parameter.numel() for parameter in parameters) == architecture.num_weights
    if len(architecture.input_shape) == 3:
        inputs, targets = torch.rand(2, *architecture.input_shape), torch.tensor([0, 1])
        logits = network(inputs)
    else:
        tokens = torch.randint(architecture.input_shape[0], (2, 4))
        inputs, targets = tokens[:, :-1], tokens[:, 1:].flatten()
        logits = network(inputs).flatten(end_dim=1)
    assert logits.shape == (len(targets), *architecture.output_shapes[-1])
    loss = torch.nn.functional.cross_entropy(logits, targets)
    loss.backward()
    assert math.isfinite(loss.item())
    for parameter in parameters:
        assert parameter.grad is not None
        assert bool(parameter.grad.isfinite().all())


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("rules", SPACES.values(), ids=list(SPACES))
def test_every_sampler_suggests_legal_architectures_that_train(rules: Rules, sampler: str) -> None:
    make, n_trials, in_suite, in_all = SAMPLERS[sampler]
    asked = in_all if ALL else in_suite
    space = rules.space()
    seen: dict[Architecture, None] = {}
    for _, architecture in zip(range(asked), suggestions(space, make, n_trials), strict=False):
        if architecture not in seen:
            assert rules.is_legal(str(architecture)), str(architecture)
            seen[architecture] = None
    by_depth = sorted(seen, key=lambda architecture: architecture.num_layers)
    built = by_depth[:: 1 if ALL else math.ceil(len(seen) / BUILT_IN_SUITE)]
    assert len(built) > 10
    for architecture in built:
        assert_trains(architecture)
    # The whole check reports it (pytest -rA).
    print(f"{asked} suggested, {len(seen)} different, {len(built)} built")


def test_random_architectures_have_every_depth_and_every_layer() -> None:
    space = SCALED.space()
    make, n_trials, *_ = SAMPLERS["random"]
    drawn = [a for _, a in zip(range(1000), suggestions(space, make, n_trials), strict=False)]
    layers = {layer for architecture in drawn for layer in architecture.layers}
    assert layers == set(space.vocabulary)
    bodies = {len(space.chosen(architecture)) - 1 for architecture in drawn}
    assert bodies == set(range(1, SCALED.max_depth + 1))


def test_architectures_of_the_published_space_are_legal_and_train() -> None:
    rules = ConvNetRules()
    space = rules.space()
    make, n_trials, *_ = SAMPLERS["random"]
    drawn = [a for _, a in zip(range(500), suggestions(space, make, n_trials), strict=False)]
    assert all(rules.is_legal(str(architecture)) for architecture in drawn)
    # The largest have hundreds of millions of weights.
    small = [a for a in drawn if a.num_weights < 1_000_000]
    for architecture in small[: len(small) if ALL else 12]:
        assert_trains(architecture)


def all_architectures(space: LayerSpace[Any]) -> set[str]:
    """All of a finite space, by walking what is legal."""
    found = set()
    stack: list[tuple[Any, tuple[Any, ...]]] = [(space.initial_state, ())]
    while stack:
        state, layers = stack.pop()
        if space.is_end(state):
            found.add(str(Architecture(space.complete(layers), space.input_shape)))
            continue
        stack.extend(
            (space.next_state(state, layer), (*layers, layer))
            for layer in space.legal_layers(state)
        )
    return found


FINITE = {
    "images": ConvNetRules(
        (1, 8, 8),
        3,
        max_depth=3,
        filters=(2,),
        filter_sizes=(3,),
        poolings=((5, 3), (2, 2)),
        fully_connected=(3, 2),
    ),
    "language": RecurrentRules(5, 2, (2,), ("LSTM", "GRU"), (2, 3), (0.0, 0.2)),
}


@pytest.mark.parametrize("rules", FINITE.values(), ids=list(FINITE))
def test_brute_force_suggests_each_architecture_exactly_once(rules: Rules) -> None:
    space = rules.space()
    every = all_architectures(space)
    assert all(map(rules.is_legal, every))
    suggested = []

    def objective(trial: optuna.Trial) -> float:
        architecture = space.suggest(trial)
        suggested.append(str(architecture))
        assert_trains(architecture)
        return value_of(architecture)

    study = optuna.create_study(sampler=BruteForceSampler(seed=0))
    study.optimize(objective, n_trials=len(every) + 10)
    assert len(suggested) == len(every)  # It stops when it has been everywhere.
    assert set(suggested) == every


def test_a_grid_over_the_names_of_the_layers_gives_every_architecture() -> None:
    rules = ConvNetRules((1, 4, 4), 3, max_depth=2, filters=(2,), poolings=(), fully_connected=())
    space = rules.space()
    every = all_architectures(space)
    grid: dict[str, list[str]] = {}
    for notation in every:
        for state, _ in space.trajectory(space.parse(notation)):
            grid[space.parameter_name(state)] = list(map(str, space.legal_layers(state)))
    suggested = set()

    def objective(trial: optuna.Trial) -> float:
        architecture = space.suggest(trial)
        suggested.add(str(architecture))
        return value_of(architecture)

    # A grid has a point for each combination of names, and so architectures more than once.
    study = optuna.create_study(sampler=GridSampler(grid, seed=0))
    study.optimize(objective)
    assert all(map(rules.is_legal, suggested))
    assert suggested == every


def test_a_layer_may_be_fixed_by_a_sampler() -> None:
    space = SCALED.space()
    first = {"layer_01[input,>8]": "C(3,5,1)"}
    study = optuna.create_study(sampler=PartialFixedSampler(first, RandomSampler(seed=0)))
    for _ in range(100):
        trial = study.ask()
        architecture = space.suggest(trial)
        assert str(architecture).startswith("[C(3,5,1), ")
        assert SCALED.is_legal(str(architecture))
        study.tell(trial, 0.0)
