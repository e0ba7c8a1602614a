from __future__ import annotations

from functools import partial
import math

from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
import optuna
from optuna.trial import FixedTrial
from optuna.trial import TrialState
import pytest
from sklearn.datasets import load_digits
import torch
from torch import nn
from torch.optim.optimizer import register_optimizer_step_post_hook
from torch.utils.data import DataLoader
from torch.utils.data import TensorDataset

from optuna_perfpred.nas import _train as train_module
from optuna_perfpred.nas import Architecture
from optuna_perfpred.nas import build
from optuna_perfpred.nas import train


MAKE_NETWORK = partial(
    build, Architecture.parse("[C(8,3,1), P(2,2), FC(32), SM(10)]", input_shape=(1, 8, 8))
)
LEARNING_RATE = 0.01


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def digits():
    images, labels = load_digits(return_X_y=True)
    images = torch.tensor(images, dtype=torch.float32).view(-1, 1, 8, 8) / 16
    labels = torch.tensor(labels)
    training = TensorDataset(images[:600], labels[:600])
    validation = TensorDataset(images[600:900], labels[600:900])
    return DataLoader(training, batch_size=64, shuffle=True), DataLoader(validation, 128)


def new_trial(metric="accuracy", pruner=None):
    direction = {"accuracy": "maximize", "perplexity": "minimize"}[metric]
    pruner = pruner or optuna.pruners.NopPruner()
    return optuna.create_study(direction=direction, pruner=pruner).ask()


def reports(trial):
    return trial.study.trials[trial.number].intermediate_values


@pytest.fixture
def learning_rates():
    """Learning rates of all steps of all optimizers."""
    rates = []
    hook = register_optimizer_step_post_hook(
        lambda optimizer, args, kwargs: rates.append(optimizer.param_groups[0]["lr"])
    )
    yield rates
    hook.remove()


def dead(network):
    for parameter in network.parameters():
        nn.init.zeros_(parameter)
    return network


class Factory:
    """Makes networks of which the first ones are dead, and remembers them."""

    def __init__(self, num_dead=0, make_network=MAKE_NETWORK):
        self.num_dead = num_dead
        self.make_network = make_network
        self.networks = []

    def __call__(self):
        network = self.make_network()
        self.networks.append(dead(network) if len(self.networks) < self.num_dead else network)
        return network


def test_learns_and_reports_each_epoch_once(digits):
    trial = new_trial()
    factory = Factory()
    value = train(trial, factory, *digits, num_epochs=5, learning_rate=LEARNING_RATE, seed=0)
    values = reports(trial)
    assert list(values) == [1, 2, 3, 4, 5]
    assert values[5] == value > 0.7
    assert len(factory.networks) == 1
    assert "num_restarts" not in trial.user_attrs
    network = factory.networks[0]
    assert not network.training
    images, labels = digits[1].dataset.tensors
    assert value == pytest.approx((network(images).argmax(dim=1) == labels).float().mean().item())


def test_same_seed_gives_the_same_curve_bit_for_bit_and_leaves_the_generator_alone(digits):
    curves = []
    for seed in (7, 7, 8):
        torch.rand(len(curves))
        state = torch.get_rng_state()
        trial = new_trial()
        train(trial, MAKE_NETWORK, *digits, num_epochs=2, seed=seed)
        assert torch.get_rng_state().equal(state)
        curves.append(reports(trial))
    assert curves[0] == curves[1] != curves[2]


def test_without_a_seed_the_generator_of_the_caller_is_used(digits):
    curves = []
    for _ in range(2):
        torch.manual_seed(3)
        trial = new_trial()
        train(trial, MAKE_NETWORK, *digits, num_epochs=1)
        curves.append(reports(trial))
    assert curves[0] == curves[1]
    assert not torch.get_rng_state().equal(torch.Generator().manual_seed(3).get_state())


def test_the_pruner_ends_the_trial(digits):
    prunes_after_three = optuna.pruners.ThresholdPruner(upper=0.0, n_warmup_steps=3)
    trial = new_trial(pruner=prunes_after_three)
    state = torch.get_rng_state()
    with pytest.raises(optuna.TrialPruned):
        train(trial, MAKE_NETWORK, *digits, learning_rate=LEARNING_RATE, seed=0)
    assert list(reports(trial)) == [1, 2, 3]
    assert torch.get_rng_state().equal(state)


def test_learning_rate_is_a_fifth_every_five_epochs(digits, learning_rates):
    train(new_trial(), MAKE_NETWORK, *digits, num_epochs=11, seed=0)
    num_batches = len(digits[0])
    expected = [1e-3 * 0.2 ** (epoch // 5) for epoch in range(11) for _ in range(num_batches)]
    assert learning_rates == pytest.approx(expected)


def test_dead_networks_are_replaced_and_trained_with_a_smaller_learning_rate(
    digits, learning_rates
):
    trial = new_trial()
    factory = Factory(num_dead=2)
    value = train(trial, factory, *digits, num_epochs=2, learning_rate=0.05, seed=0)
    assert len(factory.networks) == 3
    assert trial.user_attrs["num_restarts"] == 2
    assert list(reports(trial)) == [1, 2]
    assert value > 0.3
    rates = [0.05, 0.05 * 0.4, 0.05 * 0.4**2, 0.05 * 0.4**2]
    assert learning_rates == pytest.approx([rate for rate in rates for _ in digits[0]])


@pytest.mark.parametrize("max_restarts", [0, 5])
def test_after_the_last_restart_training_goes_on(digits, max_restarts):
    trial = new_trial()
    factory = Factory(num_dead=100)
    value = train(trial, factory, *digits, num_epochs=3, max_restarts=max_restarts, seed=0)
    assert len(factory.networks) == 1 + max_restarts
    assert trial.user_attrs.get("num_restarts", 0) == max_restarts
    assert list(reports(trial)) == [1, 2, 3]
    labels = digits[1].dataset.tensors[1]
    assert value <= labels.bincount().max() / len(labels)


def test_chance_can_be_given(digits):
    factory = Factory()
    train(new_trial(), factory, *digits, num_epochs=1, chance=1.0, max_restarts=2)
    assert len(factory.networks) == 3
    factory = Factory(num_dead=1)
    train(new_trial(), factory, *digits, num_epochs=1, chance=0.0)
    assert len(factory.networks) == 1


def test_language_model_reports_its_perplexity():
    text = torch.arange(1200) % 6
    tokens, following = text[:-1].view(-1, 11), text[1:].view(-1, 11)
    training = list(zip(tokens[:80].split(16), following[:80].split(16), strict=True))
    validation = [(tokens[80:], following[80:])]
    architecture = Architecture.parse("[E(8), GRU(16,0.2), SM(6)]", input_shape=(6,))
    factory = Factory(1, partial(build, architecture))
    trial = new_trial("perplexity")
    value = train(
        trial,
        factory,
        training,
        validation,
        metric="perplexity",
        num_epochs=5,
        learning_rate=0.05,
        seed=0,
    )
    assert len(factory.networks) == 2
    assert trial.user_attrs["num_restarts"] == 1
    values = list(reports(trial).values())
    assert 6 > values[0] > values[-1] == value
    logits = factory.networks[-1](tokens[80:])
    loss = nn.functional.cross_entropy(logits.flatten(0, 1), following[80:].flatten())
    assert value == pytest.approx(math.exp(loss.item()), rel=1e-5)


@settings(max_examples=40)
@given(
    data=st.data(),
    metric=st.sampled_from(["accuracy", "perplexity"]),
    is_sequence=st.booleans(),
    num_classes=st.integers(2, 6),
    size=st.integers(1, 20),
    seed=st.integers(0, 2**32 - 1),
)
def test_value_is_of_all_targets_however_they_are_batched(
    data, metric, is_sequence, num_classes, size, seed
):
    generator = torch.Generator().manual_seed(seed)
    shape = (size, 3) if is_sequence else (size,)
    inputs = torch.randint(9, shape, generator=generator)
    targets = torch.randint(num_classes, shape, generator=generator)
    networks = Factory(0, partial(nn.Embedding, 9, num_classes))
    batch_size = data.draw(st.integers(1, size))
    batches = DataLoader(TensorDataset(inputs, targets), batch_size)
    trial = new_trial(metric)
    value = train(trial, networks, batches, batches, metric=metric, num_epochs=1, seed=0)
    logits = networks.networks[-1](inputs).detach().view(-1, num_classes)
    if metric == "accuracy":
        expected = (logits.argmax(dim=1) == targets.flatten()).float().mean().item()
    else:
        expected = nn.functional.cross_entropy(logits, targets.flatten()).exp().item()
    assert value == pytest.approx(expected, rel=1e-5)


class Diverges(nn.Module):
    """Gives NaN after some training batches."""

    def __init__(self, num_batches):
        super().__init__()
        self.linear = nn.Linear(64, 10)
        self.num_batches_left = num_batches

    def forward(self, images):
        self.num_batches_left -= self.training
        logits = self.linear(images.flatten(1))
        return logits if self.num_batches_left >= 0 else logits * math.nan


@pytest.mark.parametrize("metric", ["accuracy", "perplexity"])
def test_diverged_network_is_pruned_with_a_value(digits, metric):
    def objective(trial):
        make_network = partial(Diverges, 2 * len(digits[0]))
        return train(
            trial, make_network, *digits, metric=metric, learning_rate=LEARNING_RATE, seed=0
        )

    study = new_trial(metric).study
    study.optimize(objective, n_trials=1)
    trial = study.trials[-1]
    assert trial.state == TrialState.PRUNED
    assert list(trial.intermediate_values) == [1, 2, 3]
    assert trial.value == math.inf if metric == "perplexity" else 0 <= trial.value < 0.2


@pytest.mark.parametrize("metric", ["accuracy", "perplexity"])
def test_network_that_diverges_at_once_is_started_again(digits, metric):
    batches_left = iter([0, 0, 10_000])
    trial = new_trial(metric)
    train(
        trial,
        lambda: Diverges(next(batches_left)),
        *digits,
        metric=metric,
        num_epochs=1,
        learning_rate=0.1,
        seed=0,
    )
    assert trial.user_attrs["num_restarts"] == 2
    assert list(reports(trial)) == [1]


def test_infinite_perplexity_of_a_finite_loss_is_not_divergence():
    # The network is so sure of what is wrong that the exponential of its loss overflows.
    def make_network():
        return nn.Sequential(nn.Embedding.from_pretrained(torch.tensor([[1e4, 0.0]])), Free())

    class Free(nn.Identity):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.ones(()))

        def forward(self, logits):
            return logits * self.scale

    batches = [(torch.tensor([0]), torch.tensor([1]))]
    trial = new_trial("perplexity")
    assert train(trial, make_network, batches, batches, metric="perplexity", num_epochs=2) == (
        math.inf
    )
    assert list(reports(trial)) == [1, 2]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_on_the_cpu(digits, monkeypatch, dtype):
    # With float16 gradients are scaled, as on an older GPU.
    monkeypatch.setattr(train_module, "_half_precision", lambda device: dtype)
    dtypes = set()

    def make_network():
        network = MAKE_NETWORK()
        network.register_forward_hook(lambda module, args, logits: dtypes.add(logits.dtype))
        return network

    curves = []
    for _ in range(2):
        trial = new_trial()
        train(
            trial,
            make_network,
            *digits,
            num_epochs=3,
            learning_rate=LEARNING_RATE,
            amp=True,
            device="cpu",
            seed=0,
        )
        curves.append(reports(trial))
    assert dtypes == {dtype}
    assert curves[0] == curves[1]
    assert curves[0][3] > 0.7


def test_full_precision_on_the_cpu_by_default(digits):
    dtypes = set()

    def make_network():
        network = MAKE_NETWORK()
        network.register_forward_hook(lambda module, args, logits: dtypes.add(logits.dtype))
        return network

    train(new_trial(), make_network, *digits, num_epochs=1, device="cpu")
    assert dtypes == {torch.float32}


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_learns_on_a_gpu_in_half_precision_and_restores_its_settings(digits, monkeypatch, dtype):
    monkeypatch.setattr(train_module, "_half_precision", lambda device: dtype)
    factory = Factory()
    states = torch.get_rng_state(), torch.cuda.get_rng_state()
    benchmark = torch.backends.cudnn.benchmark
    value = train(new_trial(), factory, *digits, num_epochs=5, learning_rate=LEARNING_RATE, seed=0)
    assert value > 0.85
    weights = next(factory.networks[0].parameters())
    assert weights.is_cuda
    assert torch.get_rng_state().equal(states[0])
    assert torch.cuda.get_rng_state().equal(states[1])
    assert torch.backends.cudnn.benchmark == benchmark


def test_a_fixed_trial_can_be_trained(digits):
    assert train(FixedTrial({}), MAKE_NETWORK, *digits, num_epochs=1, seed=0) > 0.0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_epochs": 0}, "`num_epochs` must be an integer of at least 1, but got 0"),
        ({"num_epochs": 1.5}, "`num_epochs` must be an integer of at least 1, but got 1.5"),
        ({"max_restarts": -1}, "`max_restarts` must be an integer of at least 0, but got -1"),
        ({"learning_rate": 0.0}, "`learning_rate` must be positive, but got 0.0"),
        ({"learning_rate": math.nan}, "`learning_rate` must be positive, but got nan"),
        ({"metric": "loss"}, r"one of \['accuracy', 'perplexity'\], but got 'loss'"),
        ({"metric": "perplexity"}, r"direction='minimize', but this one has \['maximize'\]"),
        ({"training_batches": []}, "`training_batches` must not be empty"),
        ({"validation_batches": []}, "`validation_batches` must not be empty"),
        ({"training_batches": iter([1])}, "`training_batches` are iterated over once per epoch"),
        ({"validation_batches": iter([])}, "`validation_batches` are iterated over once per"),
    ],
)
def test_bad_arguments_are_named(digits, arguments, message):
    given_arguments = {
        "training_batches": digits[0],
        "validation_batches": digits[1],
        **arguments,
    }
    with pytest.raises(ValueError, match=message):
        train(new_trial(), MAKE_NETWORK, **given_arguments)
