"""Language models of the King James Bible: windows, recurrent networks, a small transformer."""

from __future__ import annotations

from functools import cache
from functools import partial
import math

from _data import characters
from _data import Split
from _study import Config
from _study import Draw
from _study import Study
from _training import fit
from _training import number
import torch
from torch import nn
from torch import Tensor
from torch.nn import functional


@cache
def _windows(length: int, n_train: int, n_valid: int) -> Split:
    """The characters before, and the next character."""
    train, valid, _ = characters()
    generator = torch.Generator().manual_seed(0)
    parts = []
    for codes, n in ((train, n_train), (valid, n_valid)):
        starts = torch.randint(len(codes) - length - 1, (n,), generator=generator)
        rows = codes[starts[:, None] + torch.arange(length + 1)]
        parts += [rows[:, :-1], rows[:, -1]]
    return Split(*parts)


@cache
def sequences(length: int, n_train: int, n_valid: int) -> Split:
    """Sequences, and the same sequences moved by one character."""
    windows = _windows(length + 1, n_train, n_valid)
    return Split(
        windows.x[:, :-1], windows.x[:, 1:], windows.x_valid[:, :-1], windows.x_valid[:, 1:]
    )


class _WindowModel(nn.Module):
    """Embeddings of the last characters, one hidden layer."""

    def __init__(self, config: Config, length: int, n_symbols: int) -> None:
        super().__init__()
        size, width = int(number(config, "embedding")), int(number(config, "width"))
        self.embedding = nn.Embedding(n_symbols, size)
        self.head = nn.Sequential(
            nn.Linear(length * size, width),
            nn.ReLU() if config.get("activation") == "relu" else nn.Tanh(),
            nn.Dropout(number(config, "dropout")),
            nn.Linear(width, n_symbols),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.embedding(x).flatten(1))


class _Recurrent(nn.Module):
    """LSTM, GRU or plain recurrent network over characters."""

    def __init__(self, config: Config, n_symbols: int) -> None:
        super().__init__()
        cell = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}[str(config.get("cell", "lstm"))]
        width = int(number(config, "width"))
        self.embedding = nn.Embedding(n_symbols, int(number(config, "embedding", 16)))
        layers = int(number(config, "n_layers", 1))
        self.rnn = cell(self.embedding.embedding_dim, width, layers, batch_first=True)
        self.dropout = nn.Dropout(number(config, "dropout"))
        self.head = nn.Linear(width, n_symbols)

    def forward(self, x: Tensor) -> Tensor:
        states, _ = self.rnn(self.embedding(x))
        return self.head(self.dropout(states)).transpose(1, 2)


class _Transformer(nn.Module):
    """A decoder with causal attention."""

    def __init__(self, config: Config, length: int, n_symbols: int) -> None:
        super().__init__()
        width, heads = int(number(config, "width")), int(number(config, "n_heads"))
        self.embedding = nn.Embedding(n_symbols, width)
        self.position = nn.Parameter(0.02 * torch.randn(length, width))
        self.blocks = nn.ModuleList(
            nn.TransformerEncoderLayer(
                width,
                heads,
                2 * width,
                number(config, "dropout"),
                batch_first=True,
                norm_first=config.get("norm") == "pre",
            )
            for _ in range(int(number(config, "n_layers")))
        )
        self.head = nn.Linear(width, n_symbols)
        mask = torch.full((length, length), -math.inf).triu(1)
        self.register_buffer("mask", mask)

    def forward(self, x: Tensor) -> Tensor:
        states = self.embedding(x) + self.position
        for block in self.blocks:
            states = block(states, src_mask=self.mask)
        return self.head(states).transpose(1, 2)


def _train(kind: str, metric: str, config: Config, seed: int, n_steps: int) -> list[float]:
    torch.manual_seed(seed)
    n_symbols = characters()[2]
    if kind == "window":
        data, model = _windows(5, 40000, 2500), _WindowModel(config, 5, n_symbols)
    elif kind == "transformer":
        data, model = sequences(24, 12000, 150), _Transformer(config, 24, n_symbols)
    else:
        data, model = sequences(24, 12000, 200), _Recurrent(config, n_symbols)
    return fit(model, data, config, seed, n_steps, metric, functional.cross_entropy)


def _wide_window(draw: Draw) -> Config:
    optimizer = draw.choice("sgd", "momentum", "adam", "rmsprop", "adagrad")
    adaptive = optimizer in ("adam", "rmsprop", "adagrad")
    return {
        "optimizer": optimizer,
        "lr": draw.log(1e-5, 1.0) if adaptive else draw.log(1e-3, 30.0),
        "embedding": draw.log_integer(2, 24),
        "width": draw.log_integer(8, 96),
        "dropout": draw.choice(0.0, 0.2),
        "weight_decay": draw.log(1e-7, 1e-2),
        "activation": draw.choice("relu", "tanh"),
        "batch_size": draw.choice(32, 64, 128),
        "epoch_size": 1200,
    }


def _plateau_window(draw: Draw) -> Config:
    return {
        "optimizer": "momentum",
        "lr": draw.log(0.3, 5.0),
        "schedule": "plateau",
        "patience": draw.integer(1, 3),
        "drop_factor": draw.choice(0.1, 0.25, 0.5),
        "embedding": draw.log_integer(4, 24),
        "width": draw.log_integer(16, 96),
        "batch_size": draw.choice(16, 32),
        "grad_clip": 1.0,
        "epoch_size": 400,
    }


def _lstm(draw: Draw) -> Config:
    return {
        "cell": draw.choice("lstm", "gru", "rnn"),
        "optimizer": draw.choice("sgd", "adam"),
        "lr": draw.log(3e-3, 10.0),
        "schedule": "plateau",
        "drop_factor": draw.choice(0.25, 0.5),
        "patience": draw.integer(1, 2),
        "width": draw.log_integer(8, 64),
        "n_layers": draw.choice(1, 1, 2),
        "dropout": draw.choice(0.0, 0.2, 0.5),
        "grad_clip": draw.choice(None, 0.25, 5.0),
        "batch_size": 16,
        "epoch_size": 16 * 6,
    }


def _narrow_gru(draw: Draw) -> Config:
    return {
        "cell": "gru",
        "optimizer": "adam",
        "lr": draw.normal_log(0.02, 0.12),
        "beta1": draw.uniform(0.85, 0.92),
        "width": draw.integer(36, 44),
        "embedding": draw.integer(12, 16),
        "schedule": "linear",
        "batch_size": 16,
        "epoch_size": 16 * 5,
    }


def _transformer(draw: Draw) -> Config:
    return {
        "optimizer": draw.choice("adam", "adamw"),
        "lr": draw.log(3e-4, 0.1),
        "schedule": draw.choice("constant", "linear", "cosine"),
        "warmup": draw.choice(0.0, 0.1, 0.4),
        "width": draw.choice(8, 16, 32, 48),
        "n_heads": draw.choice(1, 2, 4),
        "n_layers": draw.integer(1, 2),
        "norm": draw.choice("pre", "post"),
        "dropout": draw.choice(0.0, 0.1, 0.3),
        "grad_clip": draw.choice(None, 1.0),
        "batch_size": 16,
        "epoch_size": 16 * 7,
    }


STUDIES = (
    Study(
        "kjv_window_perplexity",
        "minimize",
        "validation perplexity per character",
        "King James Bible, embedding MLP over 5 characters, wide optimizer search",
        40,
        _wide_window,
        partial(_train, "window", "perplexity"),
    ),
    Study(
        "kjv_plateau_drops",
        "minimize",
        "validation log loss per character",
        "King James Bible, embedding MLP, high rate that is cut when validation stalls",
        60,
        _plateau_window,
        partial(_train, "window", "log_loss"),
    ),
    Study(
        "kjv_recurrent_perplexity",
        "minimize",
        "validation perplexity per character",
        "King James Bible, LSTM, GRU and plain RNN, rate cut when validation stalls",
        20,
        _lstm,
        partial(_train, "recurrent", "perplexity"),
    ),
    Study(
        "kjv_gru_narrow_bits",
        "minimize",
        "validation bits per character",
        "King James Bible, GRU in a narrow space around good values",
        24,
        _narrow_gru,
        partial(_train, "recurrent", "bits"),
    ),
    Study(
        "kjv_transformer_logloss",
        "minimize",
        "validation log loss per character",
        "King James Bible, small transformers",
        25,
        _transformer,
        partial(_train, "transformer", "log_loss"),
    ),
)
