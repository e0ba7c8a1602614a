from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal
from typing import NamedTuple
from typing import TYPE_CHECKING

import optuna
from optuna.study import StudyDirection
import torch
from torch import nn
from torch import Tensor

from optuna_perfpred._arguments import check_at_least


if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Iterable

    from optuna.trial import BaseTrial

    Batches = Iterable[tuple[Tensor, Tensor]]


# The schedule of Baker et al. 2017, "Designing Neural Network Architectures using Reinforcement
# Learning", section 5. Its Adam is PyTorch's default.
_DECAY = 0.2
_DECAY_EPOCHS = 5
_RESTART_DECAY = 0.4

_DIRECTIONS = {
    "accuracy": StudyDirection.MAXIMIZE,
    "perplexity": StudyDirection.MINIMIZE,
}


def train(
    trial: BaseTrial,
    make_network: Callable[[], nn.Module],
    training_batches: Batches,
    validation_batches: Batches,
    *,
    num_epochs: int = 20,
    learning_rate: float = 1e-3,
    metric: Literal["accuracy", "perplexity"] = "accuracy",
    chance: float | None = None,
    max_restarts: int = 5,
    device: torch.device | str | None = None,
    amp: bool | None = None,
    seed: int | None = None,
) -> float:
    """Train a network as Baker et al. did, and let the pruner end it early.

    Adam minimises the cross-entropy; its learning rate is multiplied by 0.2 every 5 epochs. If
    the network is no better than chance after the first epoch, training starts again from new
    weights with 0.4 times the learning rate. After every epoch the value on the validation
    batches is reported, the first epoch as step 1, and the trial's pruner is asked. See Baker et
    al. 2017, "Designing Neural Network Architectures using Reinforcement Learning", section 5.

    First epochs that are started again are not reported; the user attribute ``num_restarts``
    tells their number if there were any. After the last restart training goes on whatever the
    value is, and the pruner decides.

    On a CUDA device, convolutions run in the ``channels_last`` format and cuDNN looks for its
    fastest algorithms, unless ``torch.backends.cudnn.deterministic`` is set.

    Example:

        .. code-block:: python

            def objective(trial):
                architecture = space.suggest(trial)
                make_network = functools.partial(build, architecture)
                return train(trial, make_network, training_loader, validation_loader)

    Args:
        trial:
            The trial to report to.
        make_network:
            Called without arguments, gives a network with new weights, for instance
            ``functools.partial(build, architecture)``. The network gives logits of shape
            ``(n, num_classes)``, or ``(n, length, num_classes)`` for sequences.
        training_batches:
            Pairs of inputs and targets, iterated over once per epoch, such as a
            :class:`~torch.utils.data.DataLoader` or a list. Targets are class numbers of shape
            ``(n,)``, or ``(n, length)`` for sequences. Transfers to a GPU overlap with the
            computation if the loader pins its memory.
        validation_batches:
            Likewise.
        num_epochs:
            Number of epochs; 20 in the paper.
        learning_rate:
            Initial learning rate; 0.001 in the paper.
        metric:
            What is reported, of all validation targets: ``"accuracy"``, the share of those
            predicted right (to be maximised), or ``"perplexity"``, the exponential of the mean
            cross-entropy in nats (to be minimised).
        chance:
            The value of a network that has learned nothing. If :obj:`None`, the accuracy of
            always predicting the most common validation target, or the perplexity of a uniform
            guess, the number of classes.
        max_restarts:
            Most restarts; 5 in the paper.
        device:
            Where to train. If :obj:`None`, on the current CUDA device if there is one, else on
            the CPU.
        amp:
            Whether to compute in half precision where PyTorch deems it safe (automatic mixed
            precision): bfloat16, or float16 with scaled gradients on GPUs older than Ampere. If
            :obj:`None`, on CUDA devices only.
        seed:
            Seed of the weights, of dropout, and of the order of the batches where it comes from
            PyTorch's global generator, as a data loader's does. With it, training on a CPU is
            reproducible bit for bit for a given number of threads, and leaves the caller's
            generator as it was. If :obj:`None`, the caller's generator is used. Threads of one
            process share the generator: run trials with seeds in processes.

    Returns:
        The value after the last epoch.

    Raises:
        :exc:`optuna.TrialPruned`:
            If the pruner ends the trial, or if the network has diverged, that is, its validation
            loss is no finite number, from which it would not recover. What is reported before is
            the accuracy that it has nevertheless, or an infinite perplexity, so that samplers
            learn to avoid it; a NaN would fail the trial, and tell them nothing.
        :exc:`ValueError`:
            If an argument is out of range, if there are no batches in an epoch, or if the study
            optimizes the metric in the wrong direction.
    """
    check_at_least("num_epochs", num_epochs, 1)
    check_at_least("max_restarts", max_restarts, 0)
    if not learning_rate > 0.0:
        raise ValueError(f"`learning_rate` must be positive, but got {learning_rate!r}.")
    if metric not in _DIRECTIONS:
        raise ValueError(f"`metric` must be one of {sorted(_DIRECTIONS)}, but got {metric!r}.")
    _check_direction(trial, metric)
    for name, batches in (
        ("training_batches", training_batches),
        ("validation_batches", validation_batches),
    ):
        if isinstance(batches, Iterator):
            raise ValueError(
                f"`{name}` are iterated over once per epoch, as a list or a data loader can be, "
                f"but got {batches!r}, which can be only once."
            )
    if device is None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
    device = torch.device(device)

    with _seeded(seed, device), _fast_convolutions(device):
        for num_restarts in range(max_restarts + 1):
            training = _Training(
                make_network(), learning_rate * _RESTART_DECAY**num_restarts, device, amp
            )
            training.run_epoch(training_batches)
            result = training.evaluate(validation_batches, metric)
            if result.beats(chance, metric):
                break
        if num_restarts > 0:
            trial.set_user_attr("num_restarts", num_restarts)
        _report(trial, result, epoch=1)
        for epoch in range(2, num_epochs + 1):
            training.run_epoch(training_batches)
            result = training.evaluate(validation_batches, metric)
            _report(trial, result, epoch)
    return result.value


class _Result(NamedTuple):
    value: float
    chance: float
    has_diverged: bool

    def beats(self, chance: float | None, metric: str) -> bool:
        if chance is None:
            chance = self.chance
        is_better = self.value > chance if metric == "accuracy" else self.value < chance
        return is_better and not self.has_diverged


class _Training:
    # A network and all that changes while it is trained.

    def __init__(
        self, network: nn.Module, learning_rate: float, device: torch.device, amp: bool | None
    ) -> None:
        self._device = device
        self._network = network.to(device)
        self._is_channels_last = device.type == "cuda"
        if self._is_channels_last:
            nn.utils.convert_conv2d_weight_memory_format(self._network, torch.channels_last)
        self._optimizer = torch.optim.Adam(self._network.parameters(), lr=learning_rate)
        self._schedule = torch.optim.lr_scheduler.StepLR(self._optimizer, _DECAY_EPOCHS, _DECAY)
        self._amp = device.type == "cuda" if amp is None else amp
        self._dtype = _half_precision(device)
        self._scaler = torch.amp.GradScaler(
            device.type, enabled=self._amp and self._dtype == torch.float16
        )

    def run_epoch(self, batches: Batches) -> None:
        self._network.train()
        is_empty = True
        for inputs, targets in batches:
            is_empty = False
            logits, targets = self._apply(inputs, targets)
            self._optimizer.zero_grad()
            loss = nn.functional.cross_entropy(logits, targets)
            self._scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
            self._scaler.step(self._optimizer)
            self._scaler.update()
        if is_empty:
            raise ValueError("`training_batches` must not be empty, but gave no batch.")
        self._schedule.step()

    @torch.inference_mode()
    def evaluate(self, batches: Batches, metric: str) -> _Result:
        self._network.eval()
        # Sums stay on the device until the end, so that the host need not wait for each batch.
        losses, num_correct, counts = [], [], []
        for inputs, targets in batches:
            logits, moved_targets = self._apply(inputs, targets)
            losses.append(nn.functional.cross_entropy(logits, moved_targets, reduction="sum"))
            num_correct.append((logits.argmax(dim=1) == moved_targets).sum())
            counts.append(targets.flatten().bincount(minlength=logits.shape[1]))
        if not losses:
            raise ValueError("`validation_batches` must not be empty, but gave no batch.")
        loss, correct, count = (
            torch.stack(sums).cpu().double().sum(dim=0) for sums in (losses, num_correct, counts)
        )
        loss = loss / count.sum()
        has_diverged = not loss.isfinite().item()
        if metric == "accuracy":
            value, chance = correct / count.sum(), count.max() / count.sum()
            return _Result(value.item(), chance.item(), has_diverged)
        perplexity = float("inf") if has_diverged else loss.exp().item()
        return _Result(perplexity, len(count), has_diverged)

    def _apply(self, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        # Logits of shape `n x num_classes` and targets of shape `n`, on the device.
        inputs = inputs.to(self._device, non_blocking=True)
        targets = targets.to(self._device, non_blocking=True)
        if self._is_channels_last and inputs.dim() == 4:
            inputs = inputs.contiguous(memory_format=torch.channels_last)
        with torch.autocast(self._device.type, self._dtype, enabled=self._amp):
            logits = self._network(inputs)
        return logits.flatten(0, -2).float(), targets.flatten()


def _report(trial: BaseTrial, result: _Result, epoch: int) -> None:
    trial.report(result.value, epoch)
    if result.has_diverged:
        raise optuna.TrialPruned(f"The network had diverged after epoch {epoch}.")
    if trial.should_prune():
        raise optuna.TrialPruned


def _check_direction(trial: BaseTrial, metric: str) -> None:
    study = getattr(trial, "study", None)  # Fixed trials have none.
    if study is not None and study.directions != [_DIRECTIONS[metric]]:
        directions = [direction.name.lower() for direction in study.directions]
        raise ValueError(
            f"A study of the metric {metric!r} must be created with "
            f"direction={_DIRECTIONS[metric].name.lower()!r}, but this one has {directions}."
        )


def _half_precision(device: torch.device) -> torch.dtype:
    # Older GPUs only emulate bfloat16, slowly; `torch.cuda.is_bf16_supported` counts that.
    if device.type == "cuda" and torch.cuda.get_device_capability(device) < (8, 0):
        return torch.float16
    return torch.bfloat16


@contextmanager
def _seeded(seed: int | None, device: torch.device) -> Iterator[None]:
    devices: list[int] = []
    if device.type == "cuda":
        devices = [torch.cuda.current_device() if device.index is None else device.index]
    with torch.random.fork_rng(devices, enabled=seed is not None):
        if seed is not None:
            torch.manual_seed(seed)
        yield


@contextmanager
def _fast_convolutions(device: torch.device) -> Iterator[None]:
    previous = torch.backends.cudnn.benchmark
    if device.type == "cuda" and not torch.backends.cudnn.deterministic:
        torch.backends.cudnn.benchmark = True
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = previous
