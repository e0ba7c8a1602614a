from __future__ import annotations

from dataclasses import dataclass
import math
import subprocess
import sys

from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
import optuna
import pytest
import torch
from torch import nn

from optuna_perfpred.nas import Architecture
from optuna_perfpred.nas import build
from optuna_perfpred.nas import ConvNetSpace
from optuna_perfpred.nas import Layer
from optuna_perfpred.nas import RecurrentSpace
from optuna_perfpred.nas import Softmax


# Published networks of Baker et al. 2017 on CIFAR-10, and their `num_params`.
# Only networks with global average pooling: of the others, the published number is another one.
PUBLISHED = {
    "[C(64,5,1), GAP(10), SM(10)]": 5440,
    "[C(64,5,1), C(256,3,1), D(1,1), GAP(10), SM(10)]": 154_816,
    "[C(64,1,1), C(128,1,1), D(1,3), P(2,2), C(64,1,1), D(2,3), C(128,5,1), C(128,3,1), D(3,3), "
    "GAP(10), SM(10)]": 370_112,
}

CONV_NETS = ConvNetSpace(
    (2, 9, 11),
    num_classes=3,
    max_depth=5,
    filters=(2, 3),
    strides=(1, 2),
    fully_connected=(5, 4),
    max_fully_connected_size=5,
)
RECURRENT_NETS = RecurrentSpace(7, embeddings=(2, 3), units=(4, 5))


def random_architecture(space, seed):
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed))
    return space.suggest(study.ask())


def count_weights(network):
    return sum(parameter.numel() for parameter in network.parameters())


def dropouts(network):
    return [module.p for module in network.modules() if isinstance(module, nn.Dropout)]


@settings(max_examples=60)
@given(seed=st.integers(0, 2**32 - 1), size=st.integers(1, 3))
def test_convolutional_network_is_as_described(seed, size):
    architecture = random_architecture(CONV_NETS, seed)
    network = build(architecture)
    assert count_weights(network) == architecture.num_weights
    logits = network(torch.rand(size, 2, 9, 11))
    assert logits.shape == (size, 3)
    logits.sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


@settings(max_examples=60)
@given(seed=st.integers(0, 2**32 - 1), size=st.integers(1, 3), length=st.integers(1, 6))
def test_recurrent_network_is_as_described(seed, size, length):
    architecture = random_architecture(RECURRENT_NETS, seed)
    network = build(architecture)
    assert count_weights(network) == architecture.num_weights
    logits = network(torch.randint(7, (size, length)))
    assert logits.shape == (size, length, 7)
    logits.sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


@pytest.mark.parametrize(("notation", "num_params"), PUBLISHED.items())
def test_published_networks_have_their_published_number_of_weights(notation, num_params):
    architecture = Architecture.parse(notation)
    assert count_weights(build(architecture)) == architecture.num_weights == num_params


@pytest.mark.parametrize(
    ("notation", "expected"),
    [
        ("[C(2,1,1), C(2,1,1), P(2,2), C(2,1,1), C(2,1,1), FC(3), SM(2)]", [1 / 6, 2 / 6, 3 / 6]),
        ("[C(2,1,1), GAP(2), SM(2)]", []),
        ("[C(2,1,1), D(2,5), C(2,1,1), SM(2)]", [0.2]),
        ("[E(2), LSTM(2,0.25), GRU(3,0.5), SM(4)]", [0.25, 0.5]),
    ],
)
def test_dropout_follows_the_schedule_unless_the_architecture_has_its_own(notation, expected):
    input_shape = (4,) if "E(" in notation else (1, 4, 4)
    network = build(Architecture.parse(notation, input_shape))
    assert dropouts(network) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("notation", "input_shape"),
    [
        ("[C(16,3,1), P(2,2), FC(32), SM(10)]", (3, 8, 8)),
        ("[E(32), LSTM(24,0), GRU(16,0), SM(40)]", (40,)),
    ],
)
def test_weights_are_drawn_by_xavier_initialisation(notation, input_shape):
    network = build(Architecture.parse(notation, input_shape))
    for weights in network.parameters():
        fan_in, fan_out = nn.init._calculate_fan_in_and_fan_out(weights)
        bound = math.sqrt(6 / (fan_in + fan_out))
        assert 0.9 * bound < weights.abs().max() <= bound
        assert abs(weights.mean()) < 0.2 * bound


@pytest.mark.parametrize(
    ("notation", "input_shape", "num_biases"),
    [
        ("[C(4,3,1), P(2,2), FC(5), SM(3)]", (1, 4, 4), 4 + 5 + 3),
        ("[C(4,3,1), GAP(3), SM(3)]", (1, 4, 4), 4 + 3),
        # PyTorch gives each gate of a recurrent layer two biases.
        ("[E(2), LSTM(4,0), GRU(5,0), SM(6)]", (6,), 2 * 4 * 4 + 2 * 3 * 5 + 6),
    ],
)
def test_biases_are_there_only_if_asked_for_and_zero(notation, input_shape, num_biases):
    architecture = Architecture.parse(notation, input_shape)
    assert not any("bias" in name for name, _ in build(architecture).named_parameters())
    network = build(architecture, bias=True)
    biases = [value for name, value in network.named_parameters() if "bias" in name]
    assert count_weights(network) == architecture.num_weights + num_biases
    assert sum(value.numel() for value in biases) == num_biases
    assert all((value == 0).all() for value in biases)


def test_weights_come_from_the_generator_of_pytorch():
    architecture = Architecture.parse("[C(4,3,1), GAP(3), SM(3)]")
    networks = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        networks.append(nn.utils.parameters_to_vector(build(architecture).parameters()))
    assert networks[0].equal(networks[1])
    assert not networks[0].equal(networks[2])


def test_a_layer_without_a_module_is_named():
    @dataclass(frozen=True)
    class Identity(Layer):
        code = "ID"

        def output_shape(self, input_shape):
            return input_shape

    with pytest.raises(ValueError, match=r"No module is known for the layer ID\(\)"):
        build(Architecture((Identity(), Softmax(2)), (1, 2, 2)))


def test_without_pytorch_the_extra_is_named():
    script = """
import sys

class WithoutTorch:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name == "torch":
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, WithoutTorch)
from optuna_perfpred import nas
assert nas.Architecture.parse("[C(4,3,1), SM(3)]").num_weights > 0
for name in ("build", "train"):
    try:
        getattr(nas, name)
    except ImportError as error:
        assert "pip install optuna_perfpred[nas]" in str(error)
    else:
        raise AssertionError(name)
assert not hasattr(nas, "nonsense")
"""
    completed = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert completed.returncode == 0, completed.stderr
