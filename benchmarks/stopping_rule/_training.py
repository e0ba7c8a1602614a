"""A lean training loop: a configuration tells the optimizer, the schedule and their parameters."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
import math
from typing import Any

from _data import Split
from _study import Config
from _study import Train
import numpy as np
from sklearn.metrics import f1_score
from sklearn.metrics import roc_auc_score
import torch
from torch import nn
from torch import Tensor
from torch.nn import functional


torch.set_num_threads(1)
CEILING = 1e6  # Losses of diverged trainings are cut here.
Loss = Callable[[Tensor, Tensor], Tensor]
ModelMaker = Callable[[Config, Split], nn.Module]


def number(config: Config, key: str, default: float = 0.0) -> float:
    """A numeric hyperparameter, or the default where it is absent or does not apply."""
    value = config.get(key)
    return default if value is None else float(value)


def make_optimizer(config: Config, parameters: Iterable[Tensor]) -> torch.optim.Optimizer:
    """The optimizer that the configuration names."""
    kind = config.get("optimizer", "sgd")
    lr, decay = number(config, "lr", 0.1), number(config, "weight_decay")
    if kind in ("sgd", "momentum", "nesterov"):
        momentum = number(config, "momentum", 0.0 if kind == "sgd" else 0.9)
        nesterov = kind == "nesterov" and momentum > 0
        return torch.optim.SGD(
            parameters, lr, momentum, weight_decay=decay, nesterov=nesterov, fused=True
        )
    if kind in ("adam", "adamw"):
        betas = (number(config, "beta1", 0.9), number(config, "beta2", 0.999))
        cls = torch.optim.Adam if kind == "adam" else torch.optim.AdamW
        return cls(
            parameters, lr, betas, number(config, "eps", 1e-8), weight_decay=decay, fused=True
        )
    if kind == "rmsprop":
        alpha, momentum = number(config, "alpha", 0.99), number(config, "momentum")
        return torch.optim.RMSprop(parameters, lr, alpha, weight_decay=decay, momentum=momentum)
    classes = {
        "adagrad": torch.optim.Adagrad,
        "adadelta": torch.optim.Adadelta,
        "adamax": torch.optim.Adamax,
        "nadam": torch.optim.NAdam,
        "radam": torch.optim.RAdam,
    }
    return classes[str(kind)](parameters, lr=lr, weight_decay=decay)


def _steps(config: Config, t: float) -> float:
    drops = [key for key in ("drop_1", "drop_2", "drop_3") if config.get(key) is not None]
    return number(config, "drop_factor", 0.1) ** sum(t >= number(config, key) for key in drops)


def _one_cycle(config: Config, t: float) -> float:
    peak = number(config, "peak", 0.3)
    start = 1.0 / number(config, "div", 25.0)
    if t < peak:
        return start + (1.0 - start) * 0.5 * (1.0 - math.cos(math.pi * t / peak))
    return 0.5 * (1.0 + math.cos(math.pi * (t - peak) / (1.0 - peak))) + 1e-4


def rate(config: Config, t: float) -> float:
    """Factor of the learning rate after a share t of the training."""
    kind = config.get("schedule", "constant")
    warmup = number(config, "warmup")
    if t < warmup:
        return (t + 1e-3) / warmup
    if kind == "step":
        return _steps(config, t)
    if kind == "cosine":
        return 0.5 * (1.0 + math.cos(math.pi * (t - warmup) / (1.0 - warmup)))
    if kind == "one_cycle":
        return _one_cycle(config, t)
    if kind == "restarts":
        return 0.5 * (1.0 + math.cos(math.pi * ((t * number(config, "cycles", 3.0)) % 1.0)))
    if kind == "exponential":
        return number(config, "final_rate", 0.01) ** t
    if kind == "linear":
        return (1.0 - t) / (1.0 - warmup)
    return 1.0


def measure(metric: str, outputs: Tensor, targets: Tensor) -> float:
    """The value that a user's script would report, cut to a finite range."""
    if metric in ("accuracy", "error"):
        accuracy = (outputs.argmax(1) == targets).float().mean().item()
        return accuracy if metric == "accuracy" else 1.0 - accuracy
    if metric in ("log_loss", "perplexity", "bits"):
        loss = functional.cross_entropy(outputs, targets).item()
        if metric == "perplexity":
            loss = math.exp(min(loss, 50.0)) if math.isfinite(loss) else CEILING
        elif metric == "bits":
            loss /= math.log(2.0)
        return min(loss, CEILING) if math.isfinite(loss) else CEILING
    if metric in ("auc", "f1"):
        score = np.nan_to_num((outputs[:, 1] - outputs[:, 0]).numpy(), posinf=1e9, neginf=-1e9)
        if metric == "auc":
            return float(roc_auc_score(targets.numpy(), score))
        return float(f1_score(targets.numpy(), score > 0, zero_division=0.0))
    error = functional.mse_loss(outputs.reshape(targets.shape), targets).item()
    error = error if math.isfinite(error) else CEILING
    if metric == "r2":
        return max(1.0 - error / targets.var(correction=0).item(), -CEILING)
    return min(math.sqrt(error) if metric == "rmse" else error, CEILING)


def evaluate(model: nn.Module, data: Split, metric: str) -> float:
    """Metric on the validation part."""
    model.eval()
    with torch.no_grad():
        value = measure(metric, model(data.x_valid), data.y_valid)
    model.train()
    return value


class Plateau:
    """Cuts the learning rate when the validation metric has not improved for some steps."""

    def __init__(self, config: Config, maximize: bool) -> None:
        self.factor = 1.0
        self._active = config.get("schedule") == "plateau"
        self._cut = number(config, "drop_factor", 0.5)
        self._patience = number(config, "patience", 1.0)
        self._sign = 1.0 if maximize else -1.0
        self._best, self._stalled = -math.inf, 0

    def report(self, value: float) -> None:
        """Takes the newest validation metric."""
        if self._sign * value > self._best:
            self._best, self._stalled = self._sign * value, 0
            return
        self._stalled += 1
        if self._active and self._stalled >= self._patience:
            self.factor *= self._cut
            self._stalled = 0


def batches(n: int, size: int, count: int, generator: torch.Generator) -> Tensor:
    """Index batches: shuffled without repetition where the data suffices."""
    if size * count <= n:
        return torch.randperm(n, generator=generator)[: size * count].view(count, size)
    return torch.randint(n, (count, size), generator=generator)


class Epochs(Iterator[float]):
    """Trains for `n_steps` steps, and gives the validation metric after each as it is measured.

    A step is a training on `epoch_size` examples. Once the loss is not finite the training is
    over, and the value that it had then is given for the steps that remain. No value is above
    the ceiling.
    """

    def __init__(
        self,
        model: nn.Module,
        data: Split,
        config: Config,
        seed: int,
        n_steps: int,
        metric: str = "accuracy",
        loss: Loss | None = None,
        ceiling: float = math.inf,
    ) -> None:
        self._model, self._data, self._config = model, data, config
        self._n_steps, self._metric, self._ceiling = n_steps, metric, ceiling
        self._generator = torch.Generator().manual_seed(seed)
        self._optimizer = make_optimizer(config, model.parameters())
        smoothing = number(config, "label_smoothing")
        self._criterion = loss or (
            lambda out, y: functional.cross_entropy(out, y, label_smoothing=smoothing)
        )
        self._size = min(int(number(config, "batch_size", 64)), len(data.x))
        self._count = max(1, int(number(config, "epoch_size", len(data.x))) // self._size)
        self._plateau = Plateau(config, metric in ("accuracy", "auc", "f1", "r2"))
        self._step, self._measured, self._finite = 0, math.nan, True

    def __next__(self) -> float:
        if self._step == self._n_steps:
            raise StopIteration
        if self._finite:
            self._train_step()
            self._measured = evaluate(self._model, self._data, self._metric)
            self._plateau.report(self._measured)
        self._step += 1
        return min(self._measured, self._ceiling)

    def _train_step(self) -> None:
        config, data, count = self._config, self._data, self._count
        lr, clip = number(config, "lr", 0.1), number(config, "grad_clip")
        for i, chosen in enumerate(batches(len(data.x), self._size, count, self._generator)):
            factor = rate(config, (self._step + i / count) / self._n_steps) * self._plateau.factor
            for group in self._optimizer.param_groups:
                group["lr"] = lr * factor
            value = self._criterion(self._model(data.x[chosen]), data.y[chosen])
            self._optimizer.zero_grad()
            value.backward()
            if clip:
                nn.utils.clip_grad_norm_(self._model.parameters(), clip)
            self._optimizer.step()
            self._finite = math.isfinite(value.item())
            if not self._finite:
                break

    def state_dict(self) -> dict[str, Any]:
        """All that the training needs to go on as if it had not stopped."""
        return {
            "model": self._model.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "batches": self._generator.get_state(),
            "dropout": torch.get_rng_state(),
            "plateau": dict(vars(self._plateau)),
            "training": (self._step, self._measured, self._finite),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where a training of the same configuration was."""
        self._model.load_state_dict(state["model"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._generator.set_state(state["batches"])
        torch.set_rng_state(state["dropout"])
        vars(self._plateau).update(state["plateau"])
        self._step, self._measured, self._finite = state["training"]


def fit(
    model: nn.Module,
    data: Split,
    config: Config,
    seed: int,
    n_steps: int,
    metric: str = "accuracy",
    loss: Loss | None = None,
) -> list[float]:
    """Trains and returns the validation metric after each step of `epoch_size` examples."""
    return list(Epochs(model, data, config, seed, n_steps, metric, loss))


def classifier(data: Callable[[], Split], make: ModelMaker, metric: str = "accuracy") -> Train:
    """A training of a network on a data set."""

    def train(config: Config, seed: int, n_steps: int) -> list[float]:
        torch.manual_seed(seed)
        examples = data()
        return fit(make(config, examples), examples, config, seed, n_steps, metric)

    return train


def regressor(data: Callable[[], Split], make: ModelMaker, metric: str = "mse") -> Train:
    """A training of a network on squared error."""

    def squared(outputs: Tensor, targets: Tensor) -> Tensor:
        return functional.mse_loss(outputs.reshape(targets.shape), targets)

    def train(config: Config, seed: int, n_steps: int) -> list[float]:
        torch.manual_seed(seed)
        examples = data()
        return fit(make(config, examples), examples, config, seed, n_steps, metric, squared)

    return train
