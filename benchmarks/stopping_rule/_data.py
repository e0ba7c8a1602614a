"""Data sets that need no download, as tensors in a training and a validation part."""

from __future__ import annotations

from functools import cache
import gzip
from pathlib import Path
import re
import subprocess
from typing import NamedTuple

import numpy as np
from sklearn import datasets
import torch
from torch import Tensor
from torch.nn import functional


FASHION = Path("/usr/share/datasets/fashion-mnist")  # Debian package dataset-fashion-mnist.


class Split(NamedTuple):
    """Training and validation examples."""

    x: Tensor
    y: Tensor
    x_valid: Tensor
    y_valid: Tensor


def split(x: np.ndarray, y: np.ndarray, n_train: int, n_valid: int, seed: int = 0) -> Split:
    """Draws disjoint training and validation examples. Labels stay integers, targets floats."""
    order = np.random.default_rng(seed).permutation(len(x))
    train, valid = order[:n_train], order[n_train : n_train + n_valid]
    inputs = torch.as_tensor(x, dtype=torch.float32)
    kind = torch.int64 if np.issubdtype(np.asarray(y).dtype, np.integer) else torch.float32
    targets = torch.as_tensor(y, dtype=kind)
    return Split(inputs[train], targets[train], inputs[valid], targets[valid])


def standardize(x: np.ndarray) -> np.ndarray:
    """Columns with mean 0 and variance 1."""
    return (x - x.mean(0)) / (x.std(0) + 1e-9)


@cache
def digits(n_train: int = 1000, n_valid: int = 597, seed: int = 0) -> Split:
    """Scikit-learn's 8x8 digits, flat."""
    x, y = datasets.load_digits(return_X_y=True)
    return split(x / 8.0 - 0.6, y, n_train, n_valid, seed)


@cache
def table(name: str, n_train: int, n_valid: int, seed: int = 0) -> Split:
    """One of scikit-learn's bundled tables, standardized."""
    x, y = getattr(datasets, f"load_{name}")(return_X_y=True)
    if name == "diabetes":
        y = standardize(y)
    return split(standardize(x), y, n_train, n_valid, seed)


def _idx(name: str, offset: int) -> np.ndarray:
    return np.frombuffer(gzip.decompress((FASHION / name).read_bytes()), np.uint8, offset=offset)


@cache
def _fashion_images(size: int) -> tuple[Tensor, Tensor]:
    images = _idx("train-images-idx3-ubyte.gz", 16).reshape(-1, 1, 28, 28)[:20000]
    scaled = torch.tensor(images, dtype=torch.float32) / 255.0
    if size != 28:
        scaled = functional.interpolate(scaled, size=(size, size), mode="area")
    labels = torch.tensor(_idx("train-labels-idx1-ubyte.gz", 8)[:20000].astype(np.int64))
    return (scaled - 0.286) / 0.32, labels


@cache
def fashion(
    n_train: int = 2000, n_valid: int = 1000, size: int = 14, seed: int = 0, flat: bool = True
) -> Split:
    """Fashion-MNIST, scaled down to size x size, flat or as images."""
    x, y = _fashion_images(size)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))
    train, valid = order[:n_train], order[n_train : n_train + n_valid]
    x = x.flatten(1) if flat else x
    return Split(x[train], y[train], x[valid], y[valid])


def with_label_noise(data: Split, share: float, n_classes: int = 10) -> Split:
    """Replaces a share of the training labels by random ones; the validation part stays clean."""
    generator = torch.Generator().manual_seed(1)
    wrong = torch.rand(len(data.y), generator=generator) < share
    random = torch.randint(n_classes, (len(data.y),), generator=generator)
    return data._replace(y=torch.where(wrong, random, data.y))


@cache
def bible_text(n_chars: int = 300_000) -> str:
    """The start of the King James Bible, lower case, without verse numbers (bible-kjv)."""
    command = ["bible", "-f", "gen1:1-lev27:34"]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    text = re.sub(r"(?m)^\S+ ", "", lines).lower().replace("\n", " ")
    return re.sub(r"[^a-z .,:;]", "", text)[:n_chars]


@cache
def characters(n_chars: int = 300_000) -> tuple[Tensor, Tensor, int]:
    """The Bible as integers: a training part, a held-out part, and the vocabulary size."""
    text = bible_text(n_chars)
    vocabulary = {char: i for i, char in enumerate(sorted(set(text)))}
    codes = torch.tensor([vocabulary[char] for char in text])
    cut = int(0.9 * len(codes))
    return codes[:cut], codes[cut:], len(vocabulary)


@cache
def classification(
    n_train: int, n_valid: int, n_classes: int, positives: float, seed: int
) -> Split:
    """A synthetic table; `positives` is the share of the second class (0: balanced)."""
    x, y = datasets.make_classification(
        n_train + n_valid,
        n_features=20,
        n_informative=8,
        n_classes=n_classes,
        weights=[1 - positives] if positives else None,
        flip_y=0.03,
        class_sep=0.8,
        random_state=seed,
    )
    return split(standardize(x), y, n_train, n_valid)


@cache
def friedman(n_train: int, n_valid: int) -> Split:
    """Friedman's first regression problem."""
    x, y = datasets.make_friedman1(n_train + n_valid, noise=0.3, random_state=0)
    return split(x, standardize(y), n_train, n_valid)


def arrays(data: Split) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """A split for scikit-learn."""
    return data.x.numpy(), data.y.numpy(), data.x_valid.numpy(), data.y_valid.numpy()
