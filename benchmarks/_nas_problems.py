"""What `nas.py` searches: recorded networks, and networks that are trained."""

from __future__ import annotations

from functools import cache
from functools import partial
import gzip
import hashlib
from pathlib import Path
import time
from typing import Any
from typing import NamedTuple
from typing import TYPE_CHECKING

from _nas_surrogate import notation_agreement
from _nas_surrogate import Surrogate
import numpy as np
import optuna

from optuna_perfpred.nas import BlockSpace
from optuna_perfpred.nas import ConvNetSpace
from optuna_perfpred.nas import ConvolutionBlock
from optuna_perfpred.nas import Embedding
from optuna_perfpred.nas import GlobalPooling
from optuna_perfpred.nas import InvertedBottleneck
from optuna_perfpred.nas import LayerNormalization
from optuna_perfpred.nas import Linear
from optuna_perfpred.nas import Positions
from optuna_perfpred.nas import ResidualBlock
from optuna_perfpred.nas import SeparableConvolution
from optuna_perfpred.nas import TransformerBlock


if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from optuna_perfpred.nas import Architecture
    from optuna_perfpred.nas import LayerSpace


class Curve(NamedTuple):
    """What the training of a network gives.

    Attributes:
        values: The validation accuracy after each epoch.
        seconds: What an epoch takes of the processor.
    """

    values: list[float]
    seconds: float


class Problem(NamedTuple):
    """What is searched.

    Attributes:
        space: The architectures.
        curve: Trains an architecture, always with the same seed.
        checkpoints: Numbers of epochs at which the best value is noted.
    """

    space: LayerSpace[Any]
    curve: Callable[[Architecture], Curve]
    checkpoints: tuple[int, ...]


def load(args: argparse.Namespace) -> Problem:
    """Load a problem; what was loaded and trained before in this process is kept."""
    if args.problem == "surrogate":
        return _surrogate(args.curves)
    make = {"digits": _digits, "fashion": _fashion, "text": _text}[args.problem]
    return make(args.n_epochs, args.share)


@cache
def _surrogate(folder: Path) -> Problem:
    surrogate = Surrogate(folder)
    print(f"Surrogate: R² of the final value {surrogate.r2:.2f} in 5-fold cross-validation,")
    low, high = min(surrogate.r2_by_epoch), max(surrogate.r2_by_epoch)
    print(f"{low:.2f} to {high:.2f} after single epochs; best recorded value ", end="")
    print(f"{surrogate.recorded_values.max():.4f}.\n{notation_agreement(folder)}", flush=True)

    def curve(architecture: Architecture) -> Curve:
        return Curve(surrogate.curve(architecture).tolist(), 1.0)

    return Problem(surrogate.space, curve, (500, 1000, 2000))


@cache
def _digits(n_epochs: int, share: float) -> Problem:
    """Scikit-learn's digits and small networks of the published layers."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    images = images.reshape(-1, 1, 8, 8) / 16.0
    order = np.random.default_rng(0).permutation(len(labels))
    half = int(share * (len(labels) // 2))
    space = ConvNetSpace(
        (1, 8, 8),
        10,
        max_depth=5,
        filters=(2, 4, 8, 16),
        poolings=((3, 2), (2, 2)),
        fully_connected=(32, 16, 8),
        max_fully_connected_size=4,
    )
    parts = (
        images[order[:half]],
        labels[order[:half]],
        images[order[half : 2 * half]],
        labels[order[half : 2 * half]],
    )
    return _trained(space, parts, n_epochs, batch_size=32)


@cache
def _fashion(n_epochs: int, share: float) -> Problem:
    """Fashion-MNIST at half its resolution, residual and separable blocks."""
    n_train, n_valid = int(share * 2000), int(share * 1000)
    folder = Path("/usr/share/datasets/fashion-mnist")  # Debian's dataset-fashion-mnist.
    read = {}
    for name, offset in (("images-idx3", 16), ("labels-idx1", 8)):
        content = gzip.decompress((folder / f"train-{name}-ubyte.gz").read_bytes())
        read[name] = np.frombuffer(content, np.uint8, offset=offset)
    images = read["images-idx3"].reshape(-1, 1, 14, 2, 14, 2)[: n_train + n_valid]
    images = images.mean(axis=(3, 5)) / 255.0
    labels = read["labels-idx1"][: n_train + n_valid].astype(np.int64)
    widths = (8, 16, 32)
    space = BlockSpace(
        (1, 14, 14),
        stem=[ConvolutionBlock(8)],
        blocks=[
            *(ResidualBlock(width, 3, stride) for width in widths for stride in (1, 2)),
            *(SeparableConvolution(width, 3, stride) for width in widths for stride in (1, 2)),
            *(InvertedBottleneck(width, size, 1, 2) for width in widths for size in (3, 5)),
        ],
        heads=[[GlobalPooling(), Linear(10)]],
        max_depth=6,
    )
    parts = images[:n_train], labels[:n_train], images[n_train:], labels[n_train:]
    return _trained(space, parts, n_epochs, batch_size=64, learning_rate=5e-3)


@cache
def _text(n_epochs: int, share: float, length: int = 40) -> Problem:
    """The next character of the reference of the Python language, transformer blocks."""
    from pydoc_data.topics import topics

    text = "\n\n".join(topics.values())[: int(share * 40_000)]
    characters = sorted(set(text))
    tokens = np.array([characters.index(character) for character in text])
    pieces = np.lib.stride_tricks.sliding_window_view(tokens, length + 1)[::length]
    n_train = len(pieces) * 4 // 5
    space = BlockSpace(
        (len(characters),),
        stem=[Embedding(32), Positions()],
        blocks=[
            *(TransformerBlock(heads, ratio) for heads in (1, 2, 4, 8) for ratio in (1, 2, 4)),
            LayerNormalization(),
        ],
        heads=[[Linear(len(characters))]],
        max_depth=5,
    )
    train, valid = pieces[:n_train].copy(), pieces[n_train:].copy()
    parts = train[:, :-1], train[:, 1:], valid[:, :-1], valid[:, 1:]
    return _trained(space, parts, n_epochs, batch_size=32, learning_rate=5e-3)


class _RecordingTrial(optuna.trial.FixedTrial):
    def __init__(self) -> None:
        super().__init__({})
        self.values: list[float] = []

    def report(self, value: float, step: int) -> None:
        self.values.append(float(value))


def _trained(
    space: LayerSpace[Any],
    parts: tuple[np.ndarray, ...],
    n_epochs: int,
    *,
    batch_size: int,
    learning_rate: float = 1e-3,
) -> Problem:
    import torch
    from torch.utils.data import DataLoader
    from torch.utils.data import TensorDataset

    from optuna_perfpred.nas import build
    from optuna_perfpred.nas import train

    torch.set_num_threads(1)
    X, y, X_valid, y_valid = (
        torch.tensor(part, dtype=torch.float32 if part.dtype.kind == "f" else torch.int64)
        for part in parts
    )
    training = DataLoader(TensorDataset(X, y), batch_size=batch_size, shuffle=True)
    validation = DataLoader(TensorDataset(X_valid, y_valid), batch_size=256)

    @cache
    def curve(architecture: Architecture) -> Curve:
        trial = _RecordingTrial()
        seed = int.from_bytes(hashlib.sha256(str(architecture).encode()).digest()[:4], "big")
        make_network = partial(build, architecture, bias=True)
        start = time.process_time()
        train(
            trial,
            make_network,
            training,
            validation,
            num_epochs=n_epochs,
            learning_rate=learning_rate,
            seed=seed,
        )
        return Curve(trial.values, (time.process_time() - start) / n_epochs)

    return Problem(space, curve, (10 * n_epochs, 20 * n_epochs))
