"""Spaces of any layers: blocks, cells, budgets, and layers that the package does not know."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
import pickle
from typing import Any

from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
import optuna
from optuna.samplers import RandomSampler
from optuna.storages import BaseStorage
from optuna.storages import RDBStorage
import pytest
import torch
from torch import nn

from optuna_perfpred.nas import Architecture
from optuna_perfpred.nas import AveragePooling
from optuna_perfpred.nas import BatchNormalization
from optuna_perfpred.nas import BlockSpace
from optuna_perfpred.nas import BudgetSpace
from optuna_perfpred.nas import build
from optuna_perfpred.nas import CellSpace
from optuna_perfpred.nas import ConvNetSpace
from optuna_perfpred.nas import Convolution
from optuna_perfpred.nas import ConvolutionBlock
from optuna_perfpred.nas import Dropout
from optuna_perfpred.nas import Embedding
from optuna_perfpred.nas import GlobalPooling
from optuna_perfpred.nas import Identity
from optuna_perfpred.nas import InvertedBottleneck
from optuna_perfpred.nas import Layer
from optuna_perfpred.nas import LayerNormalization
from optuna_perfpred.nas import LayerSpace
from optuna_perfpred.nas import Linear
from optuna_perfpred.nas import PatchEmbedding
from optuna_perfpred.nas import Pooling
from optuna_perfpred.nas import Positions
from optuna_perfpred.nas import RecurrentSpace
from optuna_perfpred.nas import ResidualBlock
from optuna_perfpred.nas import SameConvolution
from optuna_perfpred.nas import SeparableConvolution
from optuna_perfpred.nas import Stem
from optuna_perfpred.nas import TransformerBlock
from optuna_perfpred.nas import Zero


HEAD = [GlobalPooling(), Linear(3)]


@dataclass(frozen=True)
class Shuffle(Layer):
    """A layer of a user's own, with arguments of several types."""

    groups: int
    mode: str = "channels"
    inner: Layer | None = None

    def output_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        if input_shape[0] % self.groups:
            raise ValueError(f"{self.groups} groups do not divide {input_shape[0]} channels.")
        return input_shape

    def build(self, input_shape: tuple[int, ...], *, bias: bool) -> nn.Module:
        return nn.ChannelShuffle(self.groups)


def conv_blocks() -> BlockSpace:
    return BlockSpace(
        (2, 9, 8),
        stem=[Stem(4)],
        blocks=[
            ConvolutionBlock(4, 5),
            SeparableConvolution(6, 3, 2),
            InvertedBottleneck(4, 3, 1, 2),
            InvertedBottleneck(6, 5, 3, 3),
            ResidualBlock(4),
            ResidualBlock(6, 3, 2),
            AveragePooling(3, 2),
            BatchNormalization(),
            LayerNormalization(),
            Pooling(2, 2),
            Shuffle(2, "all", Convolution(4, 3, 1)),
        ],
        heads=[HEAD, [Linear(3)]],
        max_depth=5,
    )


def transformers() -> BlockSpace:
    blocks = [TransformerBlock(2), TransformerBlock(4, 2), LayerNormalization()]
    head = [LayerNormalization(), Linear(7)]
    return BlockSpace((7,), blocks, stem=[Embedding(8), Positions()], heads=[head[1:]])


def vision_transformers() -> BlockSpace:
    blocks = [TransformerBlock(2), TransformerBlock(4, 2), Linear(8)]
    return BlockSpace((2, 9, 8), blocks, stem=[PatchEmbedding(8, 3)], heads=[HEAD], max_depth=4)


SPACES = {
    "blocks": conv_blocks,
    "transformers": transformers,
    "patches": vision_transformers,
    "cells": lambda: CellSpace((3, 8, 9), 3, num_cells=2),
    "small cells": lambda: CellSpace(
        (2, 9, 8),
        3,
        operations=[Zero(), Shuffle(2), SameConvolution(3)],
        num_nodes=3,
        stages=[[Stem(4)], []],
        head=HEAD,
    ),
    "budget": lambda: BudgetSpace(conv_blocks(), max_weights=600, max_multiply_adds=15_000),
}


def suggest(space: LayerSpace[Any], seed: int = 0, **kwargs: Any) -> Architecture:
    study = optuna.create_study(sampler=RandomSampler(seed), **kwargs)
    return space.suggest(study.ask())


@pytest.mark.parametrize("name", SPACES)
@settings(max_examples=25)
@given(seed=st.integers(0, 2**32 - 1))
def test_a_network_is_parsed_back_and_built_as_counted(name: str, seed: int) -> None:
    space = SPACES[name]()
    architecture = suggest(space, seed)
    assert space.parse(str(architecture)) == architecture
    assert SPACES[name]().parse(str(architecture)) == architecture
    trajectory = space.read_layers(space.params(architecture))
    assert trajectory is not None
    assert tuple(layer for _, layer in trajectory) == space.chosen(architecture)
    network = build(architecture)
    assert sum(p.numel() for p in network.parameters()) == architecture.num_weights
    if len(space.input_shape) == 3:
        logits = network(torch.rand(3, *space.input_shape))
        assert logits.shape == (3, 3)
    else:
        logits = network(torch.randint(7, (3, 5)))
        assert logits.shape == (3, 5, 7)
    # What layers are said to give is what their modules give.
    outputs = torch.rand(2, *space.input_shape)
    if len(space.input_shape) == 3:
        for module, shape in zip(network, architecture.output_shapes, strict=True):
            outputs = module(outputs)
            assert outputs.shape == (2, *shape)


@pytest.mark.parametrize("name", SPACES)
@settings(max_examples=25)
@given(seed=st.integers(0, 2**32 - 1))
def test_a_space_tells_the_cost_of_a_network_in_advance(name: str, seed: int) -> None:
    space = SPACES[name]()
    architecture = suggest(space, seed)
    costs = [space.cost(state, layer) for state, layer in space.trajectory(architecture)]
    assert sum(cost.num_weights for cost in costs) == architecture.num_weights
    assert sum(cost.multiply_adds for cost in costs) == architecture.multiply_adds


def test_the_published_spaces_tell_it_too() -> None:
    for space in (ConvNetSpace((3, 32, 32), 10), RecurrentSpace(65)):
        for seed in range(20):
            architecture = suggest(space, seed)
            costs = [space.cost(state, layer) for state, layer in space.trajectory(architecture)]
            assert sum(cost.num_weights for cost in costs) == architecture.num_weights
            assert sum(cost.multiply_adds for cost in costs) == architecture.multiply_adds


def count_multiply_adds(network: nn.Module, inputs: torch.Tensor) -> int:
    """The weights of each module at each position that it gives, from what goes through it."""
    counted = []

    def count(module: nn.Module, _: Any, output: torch.Tensor) -> None:
        channels = output.shape[-1 if isinstance(module, nn.Linear) else 1]
        num_weights = sum(parameter.numel() for parameter in module.parameters())
        counted.append(num_weights * output.numel() // channels)

    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.BatchNorm2d | nn.Linear):
            module.register_forward_hook(count)
    network(inputs)
    return sum(counted)


@pytest.mark.parametrize(
    "layer",
    [
        Convolution(6, 3, 2),
        ConvolutionBlock(6, 5, 2),
        SeparableConvolution(6, 3),
        InvertedBottleneck(6, 3, 2, 3),
        ResidualBlock(4),
        SameConvolution(3),
        Linear(5),
        PatchEmbedding(6, 3),
    ],
    ids=str,
)
def test_multiply_adds_are_those_of_the_module(layer: Layer) -> None:
    module = layer.build((4, 9, 8), bias=False).eval()
    counted = count_multiply_adds(module, torch.rand(1, 4, 9, 8))
    assert counted == layer.multiply_adds((4, 9, 8))


# Number of parameters in the published tables, in which the last layer has ten biases.
NAS_BENCH_201 = {
    "421211": 129306,
    "334131": 802426,
    "000000": 73306,
    "333333": 1531546,
    "444444": 73306,
    "222222": 241306,
}


def test_nas_bench_201_is_one_line() -> None:
    space = CellSpace((3, 32, 32), num_classes=10)
    for digits, number in NAS_BENCH_201.items():
        operations = tuple(space.vocabulary[int(digit)] for digit in digits)
        architecture = Architecture(space.complete(operations), space.input_shape)
        assert architecture.num_weights + 10 == number
        assert space.parse(str(architecture)) == architecture
    assert list(space.params(architecture)) == [
        f"layer_0{i}[{edge}]"
        for i, edge in enumerate(["0-1", "0-2", "1-2", "0-3", "1-3", "2-3"], start=1)
    ]


def test_a_cell_computes_its_graph() -> None:
    cell = CellSpace((1, 2, 2), 2, operations=[Identity(), Zero()], stages=[[]], head=[Linear(2)])
    identity, zero = cell.vocabulary
    images = torch.rand(2, 1, 2, 2)
    # Paths from the first node to the last: directly, through either of the others, through both.
    for operations, paths in (
        ([identity] * 6, 4),
        ([identity, identity, identity, zero, zero, identity], 2),
        ([zero, zero, identity, identity, identity, identity], 1),
        ([zero] * 6, 0),
    ):
        layer = cell.complete(tuple(operations))[0]
        outputs = layer.build((1, 2, 2), bias=False)(images)
        assert outputs.allclose(paths**5 * images)


@pytest.fixture
def storage(tmp_path: Any) -> BaseStorage:
    return RDBStorage(f"sqlite:///{tmp_path}/study.db")


def test_layers_of_ones_own_are_restored_by_another_worker(storage: BaseStorage) -> None:
    study = optuna.create_study(storage=storage, sampler=RandomSampler(3))
    for _ in range(10):
        trial = study.ask()
        study.tell(trial, conv_blocks().suggest(trial).num_weights)
    assert any("Shuffle(2,all,C(4,3,1))" in t.params.values() for t in study.trials)
    space = pickle.loads(pickle.dumps(conv_blocks()))
    worker = optuna.load_study(study_name=study.study_name, storage=storage)
    for trial in worker.trials:
        trajectory = space.read_layers(trial.params)
        assert trajectory is not None
        architecture = space.parse(trial.user_attrs["architecture"])
        assert tuple(layer for _, layer in trajectory) == space.chosen(architecture)
    trial = worker.ask()
    study.tell(trial, space.suggest(trial).num_weights)


def test_a_network_may_end_with_any_head_or_none() -> None:
    heads = {suggest(conv_blocks(), seed).layers[-1] for seed in range(20)}
    assert heads == {Linear(3)}
    space = BlockSpace((2, 8, 8), [Pooling(2, 2), Identity()], max_depth=3, min_depth=3)
    ends = {str(suggest(space, seed)) for seed in range(60)}
    assert len(ends) == 8
    assert all(len(space.chosen(space.parse(end))) == 3 for end in ends)


def test_a_head_may_end_as_another_one_and_dropout_may_be_chosen() -> None:
    blocks = [Identity(), Dropout(1, 2)]
    space = BlockSpace((2, 8, 8), blocks, heads=[[Linear(3)], HEAD], max_depth=2)
    ends = {suggest(space, seed) for seed in range(60)}
    assert {str(end) for end in ends} >= {"[skip(), GP(), L(3)]", "[D(1,2), L(3)]"}
    for end in ends:
        assert space.parse(str(end)) == end


def test_blocks_are_legal_where_they_can_be_applied() -> None:
    space = BlockSpace((4, 5, 5), [Pooling(3, 3), Shuffle(3), Identity()], heads=[HEAD])
    for seed in range(20):
        assert Shuffle(3) not in suggest(space, seed).layers
    with pytest.raises(ValueError, match="3 groups do not divide 4"):
        space.parse("[Shuffle(3,channels,None), GP(), L(3)]")
    with pytest.raises(ValueError, match="is illegal: a network has at least 1 blocks"):
        space.parse("[GP(), L(3)]")
    with pytest.raises(ValueError, match="is illegal: a network has at most 8 blocks"):
        space.parse(f"[{'skip(), ' * 9}GP(), L(3)]")
    with pytest.raises(ValueError, match="does not end"):
        space.parse("[skip(), GP()]")


class Alike(Identity):
    code = "L(3)"

    def __str__(self) -> str:
        return "L(3)"


class Torn(Identity):
    def __str__(self) -> str:
        return "torn, apart"


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: BlockSpace((2, 8, 8), [Alike()], heads=[[Linear(3)]]), "print as 'L\\(3\\)'"),
        (lambda: BlockSpace((2, 8, 8), [Identity(), Identity()]), r"print as 'skip\(\)'"),
        (lambda: BlockSpace((2, 8, 8), [Identity()], heads=[HEAD, HEAD]), "no two heads"),
        (lambda: BlockSpace((2, 8, 8), [], heads=[HEAD]), "must have layers"),
        (lambda: BlockSpace((2, 8, 8), [Identity()], heads=[[]]), "must have layers"),
        (lambda: BlockSpace((2, 8, 8), [Identity()], min_depth=3, max_depth=2), "min_depth"),
        (lambda: BlockSpace((2, 8, 0), [Identity()]), "input_shape"),
        (lambda: BlockSpace((2, 8, 8), [Pooling(9, 1)]), "cannot end: no layer may be number 1"),
        (lambda: BlockSpace((2, 8, 8), [Torn()]), "cannot be parsed back: it prints as"),
        (lambda: CellSpace((3, 8, 8), 10, operations=[Pooling(2, 2)]), "keep the shape"),
        (lambda: CellSpace((3, 8, 8), 10, operations=[]), "must not be empty"),
        (lambda: CellSpace((3, 8, 8), 10, num_nodes=1), "num_nodes"),
        (lambda: BudgetSpace(ConvNetSpace((3, 8, 8), 10)), "must be given"),
        (lambda: BudgetSpace(ConvNetSpace((3, 8, 8), 10), max_weights=0), "max_weights"),
        (
            lambda: BudgetSpace(ConvNetSpace((3, 8, 8), 10), max_weights=600),
            "No network of .* keeps within max_weights=600.*: the fewest weights of one are 832,",
        ),
        (lambda: BudgetSpace(conv_blocks(), max_multiply_adds=9), "No network of"),
    ],
)
def test_a_space_that_cannot_be_searched_is_refused(make: Any, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        suggest(make())


def test_a_space_that_cannot_be_searched_spoils_no_study(storage: BaseStorage) -> None:
    study = optuna.create_study(storage=storage)
    with pytest.raises(ValueError, match="print as"):
        BlockSpace((2, 8, 8), [Identity(), Identity()]).suggest(study.ask())
    assert study.user_attrs == {}
    conv_blocks().suggest(study.ask())
    with pytest.raises(ValueError, match="searches one layer space"):
        transformers().suggest(study.ask())


def all_networks(space: LayerSpace[Any]) -> set[Architecture]:
    networks, states = set(), [((), space.initial_state)]
    while states:
        layers, state = states.pop()
        if space.is_end(state):
            networks.add(Architecture(space.complete(layers), space.input_shape))
            continue
        states += [
            ((*layers, la), space.next_state(state, la)) for la in space.legal_layers(state)
        ]
    return networks


@pytest.mark.parametrize(
    ("max_weights", "max_multiply_adds"), [(500, None), (None, 9000), (500, 9000), (170, 7000)]
)
def test_exactly_the_networks_within_the_budget_are_legal(
    max_weights: int | None, max_multiply_adds: int | None
) -> None:
    space = BlockSpace(
        (2, 6, 6),
        [Convolution(4, 3), Convolution(6, 1, 2), Pooling(2, 2), SameConvolution(3)],
        heads=[HEAD, [Linear(3)]],
        max_depth=3,
    )
    within = {
        network
        for network in all_networks(space)
        if (max_weights is None or network.num_weights <= max_weights)
        and (max_multiply_adds is None or network.multiply_adds <= max_multiply_adds)
    }
    assert 0 < len(within) < len(all_networks(space))
    budget = BudgetSpace(space, max_weights=max_weights, max_multiply_adds=max_multiply_adds)
    assert all_networks(budget) == within
    # Every parameter has the same choices whenever it is suggested, which Optuna asks for.
    study = optuna.create_study(sampler=RandomSampler(0))
    for _ in range(60):
        assert budget.suggest(study.ask()) in within
    with pytest.raises(ValueError, match="no network that begins so keeps within"):
        budget.params("[C(4,3,1), conv(3), conv(3), L(3)]")


def test_a_space_that_cannot_tell_costs_has_no_budget() -> None:
    class Chain(LayerSpace[int]):
        input_shape = (2, 4, 4)
        vocabulary = (Identity(), Linear(2))
        initial_state = 0

        def violation(self, state: int, layer: Layer) -> str | None:
            return None

        def next_state(self, state: int, layer: Layer) -> int:
            return state + 1

        def is_end(self, state: int) -> bool:
            return state == 2

        def position(self, state: int) -> int:
            return state

    chain = Chain()
    seen = {str(suggest(chain, seed)) for seed in range(40)}
    assert seen == {f"[{a}, {b}]" for a, b in product(["skip()", "L(2)"], repeat=2)}
    assert repr(chain) == "Chain(input_shape=(2, 4, 4), vocabulary=[skip(), L(2)])"
    with pytest.raises(ValueError, match="not known in advance"):
        BudgetSpace(chain, max_weights=100)
