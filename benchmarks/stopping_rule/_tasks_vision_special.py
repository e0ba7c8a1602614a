"""Images: autoencoders, fine-tuning, forgetting, slow winners, narrow spaces, noisy validation."""

from __future__ import annotations

from functools import cache
from functools import partial

from _data import digits
from _data import fashion
from _data import Split
from _models import autoencoder
from _models import mlp
from _study import Config
from _study import Draw
from _study import Study
from _training import classifier
from _training import evaluate
from _training import fit
from _training import make_optimizer
from _training import number
from _training import regressor
import torch
from torch import nn
from torch.nn import functional


def _autoencoder_space(draw: Draw) -> Config:
    optimizer = draw.choice("sgd", "momentum", "adam", "rmsprop", "adadelta")
    return {
        "optimizer": optimizer,
        "lr": draw.log(1e-5, 1.0) if optimizer in ("adam", "rmsprop") else draw.log(1e-3, 100.0),
        "width": draw.log_integer(8, 96),
        "code": draw.log_integer(2, 32),
        "activation": draw.choice("relu", "tanh", "sigmoid", "gelu"),
        "init_scale": draw.log(0.3, 3.0),
        "weight_decay": draw.log(1e-7, 1e-2),
        "batch_size": draw.choice(32, 64),
        "epoch_size": 500,
    }


@cache
def _images_to_rebuild() -> Split:
    data = fashion(1500, 500, seed=20)
    return Split(data.x, data.x, data.x_valid, data.x_valid)


@cache
def _shifted(n_train: int, n_valid: int, seed: int) -> Split:
    """Images moved by one pixel and a little darkened."""
    data = fashion(n_train, n_valid, seed=seed, flat=False)
    x, x_valid = ((0.85 * part.roll(1, 3)).flatten(1) for part in (data.x, data.x_valid))
    return Split(x, data.y, x_valid, data.y_valid)


@cache
def _turned(n_train: int, n_valid: int, seed: int) -> Split:
    """Images turned by 90 degrees."""
    data = fashion(n_train, n_valid, seed=seed, flat=False)
    x, x_valid = (part.rot90(1, (2, 3)).flatten(1) for part in (data.x, data.x_valid))
    return Split(x, data.y, x_valid, data.y_valid)


def _pretrained() -> nn.Module:
    """A network of two hidden layers trained on 8000 images."""
    net = mlp({"width": 64, "depth": 2}, fashion(8000, 1000, seed=21))
    net.load_state_dict(_pretrained_weights())
    return net


@cache
def _pretrained_weights() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    data = fashion(8000, 1000, seed=21)
    net = mlp({"width": 64, "depth": 2}, data)
    fit(net, data, {"optimizer": "adam", "lr": 2e-3}, 0, 8)
    return net.state_dict()


def _fine_tuning_space(draw: Draw) -> Config:
    optimizer = draw.choice("adamw", "momentum")
    return {
        "optimizer": optimizer,
        "lr": draw.log(1e-5, 0.03) if optimizer == "adamw" else draw.log(1e-4, 0.3),
        "weight_decay": draw.log(1e-5, 0.3),
        "schedule": draw.choice("constant", "linear", "cosine"),
        "warmup": draw.choice(0.0, 0.1),
        "batch_size": draw.choice(8, 16, 32),
        "frozen": draw.integer(0, 2),
        "epoch_size": 400,
    }


def _freeze(net: nn.Module, n_layers: int) -> None:
    linear = [module for module in net.modules() if isinstance(module, nn.Linear)]
    for module in linear[:n_layers]:
        module.requires_grad_(False)


def _fine_tune(config: Config, seed: int, n_steps: int) -> list[float]:
    net = _pretrained()
    _freeze(net, int(number(config, "frozen")))
    return fit(net, _shifted(500, 1500, 22), config, seed, n_steps)


def _forgetting(config: Config, seed: int, n_steps: int) -> list[float]:
    """Mean accuracy on upright and turned images while only turned ones are trained."""
    net = _pretrained()
    _freeze(net, int(number(config, "frozen")))
    new, old = _turned(800, 700, 23), fashion(8000, 1000, seed=21)
    optimizer = make_optimizer(config, net.parameters())
    generator = torch.Generator().manual_seed(seed)
    size = int(number(config, "batch_size"))
    curve = []
    for _ in range(n_steps):
        for chosen in torch.randperm(800, generator=generator)[:256].split(size):
            loss = functional.cross_entropy(net(new.x[chosen]), new.y[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        curve.append(0.5 * (evaluate(net, new, "accuracy") + evaluate(net, old, "accuracy")))
    return curve


def _slow_dropout_space(draw: Draw) -> Config:
    """Strong dropout and small rates start slowly, and end best where others overfit."""
    return {
        "width": draw.log_integer(32, 160),
        "depth": draw.integer(1, 2),
        "optimizer": "adam",
        "lr": draw.log(2e-4, 0.01),
        "dropout": draw.uniform(0.0, 0.85),
        "input_dropout": draw.choice(None, 0.2, 0.5),
        "weight_decay": draw.choice(0.0, 1e-4, 1e-3),
        "batch_size": draw.choice(32, 64),
        "epoch_size": 300,
    }


def _delayed_space(draw: Draw) -> Config:
    """Large initial weights generalise only once weight decay has shrunk them."""
    return {
        "optimizer": "adamw",
        "lr": draw.log(3e-4, 0.02),
        "weight_decay": draw.log(0.01, 10.0),
        "init_scale": draw.log(1.0, 8.0),
        "width": draw.log_integer(32, 128),
        "depth": draw.integer(1, 2),
        "batch_size": draw.choice(50, 100, 200),
        "epoch_size": 400,
    }


def _narrow_space(draw: Draw) -> Config:
    return {
        "optimizer": "adam",
        "lr": draw.normal_log(4e-3, 0.15),
        "width": draw.integer(60, 70),
        "dropout": draw.uniform(0.15, 0.25),
        "weight_decay": draw.normal_log(1e-4, 0.5),
        "batch_size": 32,
        "epoch_size": 450,
    }


def _sampler_space(draw: Draw) -> Config:
    """A third from all over the space, the others around a good region, as TPE suggests."""
    wide = draw.chance(0.33)
    return {
        "optimizer": "nesterov",
        "lr": draw.log(1e-4, 1.0) if wide else draw.normal_log(0.04, 0.3),
        "momentum": draw.uniform(0.0, 0.99) if wide else draw.uniform(0.85, 0.93),
        "width": draw.log_integer(4, 96) if wide else draw.integer(64, 96),
        "depth": draw.integer(1, 3) if wide else 2,
        "schedule": "linear",
        "batch_size": draw.choice(16, 64) if wide else 32,
        "epoch_size": 500,
    }


_FEW = (
    {"optimizer": "adam", "lr": 3e-3, "width": 32, "dropout": 0.0},
    {"optimizer": "adam", "lr": 1e-3, "width": 64, "dropout": 0.2},
    {"optimizer": "adam", "lr": 3e-2, "width": 32, "dropout": 0.2},
    {"optimizer": "momentum", "lr": 0.03, "width": 48, "dropout": 0.0},
    {"optimizer": "momentum", "lr": 0.01, "width": 64, "dropout": 0.3},
    {"optimizer": "momentum", "lr": 0.3, "width": 32, "dropout": 0.0},
    {"optimizer": "sgd", "lr": 0.1, "width": 64, "dropout": 0.1},
    {"optimizer": "rmsprop", "lr": 2e-3, "width": 40, "dropout": 0.3},
)


def _duplicates_space(draw: Draw) -> Config:
    """Eight configurations, each with many seeds."""
    return {**draw.choice(*_FEW), "depth": 1, "batch_size": 20, "epoch_size": 400}


def _ties_space(draw: Draw) -> Config:
    return {
        "optimizer": draw.choice("adam", "momentum"),
        "lr": draw.log(1e-3, 0.05),
        "width": draw.log_integer(16, 96),
        "depth": draw.integer(1, 2),
        "dropout": draw.uniform(0.0, 0.4),
        "batch_size": draw.choice(16, 32),
        "epoch_size": 500,
    }


def _noisy_space(draw: Draw) -> Config:
    return {
        "optimizer": draw.choice("adam", "adagrad", "sgd"),
        "lr": draw.log(5e-4, 0.1),
        "width": draw.log_integer(6, 64),
        "depth": draw.integer(1, 2),
        "weight_decay": draw.log(1e-6, 1e-2),
        "batch_size": draw.choice(16, 32, 64),
        "epoch_size": 500,
    }


class _Resampled(nn.Module):
    """Sees 100 other validation examples at each evaluation."""

    def __init__(self, net: nn.Module, data: Split, seed: int) -> None:
        super().__init__()
        self.net, self._data = net, data
        self._generator = torch.Generator().manual_seed(seed)

    def score(self) -> float:
        """Accuracy on the next sample."""
        n = len(self._data.x_valid)
        chosen = torch.randperm(n, generator=self._generator)[:100]
        part = self._data._replace(
            x_valid=self._data.x_valid[chosen], y_valid=self._data.y_valid[chosen]
        )
        return evaluate(self.net, part, "accuracy")


def _noisy_validation(config: Config, seed: int, n_steps: int) -> list[float]:
    torch.manual_seed(seed)
    data = fashion(2000, 2000, seed=26)
    sampled = _Resampled(mlp(config, data), data, seed)
    optimizer = make_optimizer(config, sampled.net.parameters())
    generator = torch.Generator().manual_seed(seed)
    size = int(number(config, "batch_size"))
    curve = []
    for _ in range(n_steps):
        for chosen in torch.randperm(2000, generator=generator)[:300].split(size):
            loss = functional.cross_entropy(sampled.net(data.x[chosen]), data.y[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        curve.append(sampled.score())
    return curve


def _few_points_space(draw: Draw) -> Config:
    return {
        "optimizer": "momentum",
        "lr": draw.log(1e-3, 0.6),
        "schedule": "step",
        "drop_1": 0.6,
        "drop_2": 0.85,
        "drop_factor": 0.1,
        "width": draw.log_integer(12, 96),
        "depth": draw.integer(1, 3),
        "norm": draw.choice("none", "batch"),
        "weight_decay": draw.log(1e-5, 3e-2),
        "batch_size": draw.choice(16, 32),
        "epoch_size": 1200,
    }


_FASHION = "Fashion-MNIST at 14x14"
STUDIES = (
    Study(
        "fashion_dropout_slow_logloss",
        "minimize",
        "validation log loss",
        f"{_FASHION}, 400 images, MLP with dropout, slow starters end best",
        100,
        _slow_dropout_space,
        classifier(partial(fashion, 400, 1000, seed=24), mlp, "log_loss"),
    ),
    Study(
        "fashion_fine_tuning",
        "maximize",
        "validation accuracy",
        f"{_FASHION}, a pretrained MLP fine-tuned on 500 moved images",
        15,
        _fine_tuning_space,
        _fine_tune,
    ),
    Study(
        "digits_narrow_logloss",
        "minimize",
        "validation log loss",
        "digits, MLP in a narrow space around good values",
        50,
        _narrow_space,
        classifier(partial(digits, 900, 800, seed=9), mlp, "log_loss"),
    ),
    Study(
        "fashion_autoencoder_mse",
        "minimize",
        "validation mean squared error",
        f"{_FASHION}, dense autoencoder, wide optimizer search",
        40,
        _autoencoder_space,
        regressor(_images_to_rebuild, autoencoder),
    ),
    Study(
        "digits_seeds",
        "maximize",
        "validation accuracy",
        "digits, eight configurations of an MLP, each with many seeds",
        40,
        _duplicates_space,
        classifier(partial(digits, 500, 600, seed=10), mlp),
    ),
    Study(
        "fashion_forgetting",
        "maximize",
        "mean accuracy on the old and the new task",
        f"{_FASHION}, a pretrained MLP fine-tuned on turned images forgets upright ones",
        30,
        _fine_tuning_space,
        _forgetting,
    ),
    Study(
        "fashion_noisy_validation",
        "maximize",
        "accuracy on 100 validation images that change at each step",
        f"{_FASHION}, MLP",
        60,
        _noisy_space,
        _noisy_validation,
    ),
    Study(
        "digits_ties",
        "maximize",
        "validation accuracy",
        "digits, MLP, 80 validation examples",
        25,
        _ties_space,
        classifier(partial(digits, 1000, 80, seed=11), mlp),
    ),
    Study(
        "digits_delayed_generalization",
        "maximize",
        "validation accuracy",
        "digits, 200 images, MLP with large initial weights and weight decay",
        110,
        _delayed_space,
        classifier(partial(digits, 200, 800, seed=12), mlp),
    ),
    Study(
        "fashion_sampler_error",
        "minimize",
        "validation error rate",
        f"{_FASHION}, MLP, most configurations around a good region",
        40,
        _sampler_space,
        classifier(partial(fashion, 2500, 1500, seed=27), mlp, "error"),
    ),
    Study(
        "fashion_few_points_drops",
        "maximize",
        "validation accuracy",
        f"{_FASHION}, MLP, 12 evaluations, rate drops at 60 % and 85 %",
        12,
        _few_points_space,
        classifier(partial(fashion, 3000, 1000, seed=28), mlp),
    ),
)
