"""Architectures for the tests: how to draw them, and the published rules told a second time."""

from __future__ import annotations

from dataclasses import dataclass
import re

from hypothesis import strategies as st

from optuna_perfpred.nas import Architecture
from optuna_perfpred.nas import ConvNetSpace
from optuna_perfpred.nas import Convolution
from optuna_perfpred.nas import Dropout
from optuna_perfpred.nas import Embedding
from optuna_perfpred.nas import FullyConnected
from optuna_perfpred.nas import GlobalAveragePooling
from optuna_perfpred.nas import GRU
from optuna_perfpred.nas import Layer
from optuna_perfpred.nas import LSTM
from optuna_perfpred.nas import Pooling
from optuna_perfpred.nas import RecurrentSpace
from optuna_perfpred.nas import Softmax


counts = st.integers(1, 600)
recurrent_layers = st.sampled_from([LSTM, GRU]).flatmap(
    lambda kind: st.builds(kind, counts, st.floats(0.0, 1.0, exclude_max=True))
)
dropouts = st.integers(1, 9).flatmap(
    lambda total: st.builds(Dropout, st.integers(1, total), st.just(total))
)
image_layers = st.one_of(
    st.builds(Convolution, counts, st.sampled_from([1, 3, 5, 7]), st.integers(1, 3)),
    st.builds(Pooling, st.integers(1, 3), st.integers(1, 3)),
    dropouts,
)
layers = st.one_of(
    image_layers,
    st.builds(FullyConnected, counts),
    st.builds(GlobalAveragePooling, counts),
    st.builds(Softmax, counts),
    st.builds(Embedding, counts),
    recurrent_layers,
)


@st.composite
def conv_nets(draw: st.DrawFn) -> Architecture:
    """Networks for images, most of them outside of the published space."""
    body: list[Layer] = draw(st.lists(image_layers, max_size=6))
    classes = draw(st.integers(2, 100))
    if draw(st.booleans()):
        body += [GlobalAveragePooling(classes)]
    else:
        body += draw(st.lists(st.builds(FullyConnected, counts), max_size=3))
    # Six poolings of stride 3 leave something of the larger side only.
    side = draw(st.integers(1100, 1200))
    return Architecture((*body, Softmax(classes)), (draw(st.integers(1, 4)), side, side + 7))


@st.composite
def language_models(draw: st.DrawFn) -> Architecture:
    tokens = draw(st.integers(2, 300))
    body = draw(st.lists(recurrent_layers, min_size=1, max_size=4))
    return Architecture((Embedding(draw(counts)), *body, Softmax(tokens)), (tokens,))


@dataclass
class ConvNetRules:
    """The published rules (Baker et al. 2017, section 4), read from an architecture's notation.

    It shares nothing with the package, so that what the package calls legal is checked.
    """

    shape: tuple[int, int, int] = (3, 32, 32)
    classes: int = 10
    max_depth: int = 12
    filters: tuple[int, ...] = (64, 128, 256, 512)
    filter_sizes: tuple[int, ...] = (1, 3, 5)
    strides: tuple[int, ...] = (1,)
    poolings: tuple[tuple[int, int], ...] = ((5, 3), (3, 2), (2, 2))
    fully_connected: tuple[int, ...] = (512, 256, 128)
    max_fully_connected: int = 2
    max_fully_connected_size: int = 8
    terminations: tuple[str, ...] = ("GAP", "SM")

    def space(self) -> ConvNetSpace:
        return ConvNetSpace(
            self.shape,
            self.classes,
            max_depth=self.max_depth,
            filters=self.filters,
            filter_sizes=self.filter_sizes,
            strides=self.strides,
            poolings=self.poolings,
            fully_connected=self.fully_connected,
            max_fully_connected=self.max_fully_connected,
            max_fully_connected_size=self.max_fully_connected_size,
            terminations=self.terminations,
        )

    def is_legal(self, notation: str) -> bool:
        read = re.findall(r"([A-Z]+)\(([0-9,]+)\)", notation)
        layers = [(code, tuple(map(int, arguments.split(",")))) for code, arguments in read]
        if f"[{', '.join(f'{code}({arguments})' for code, arguments in read)}]" != notation:
            return False
        if layers[-1] != ("SM", (self.classes,)):
            return False
        body, end = layers[:-1], "SM"
        if body and body[-1] == ("GAP", (self.classes,)):
            body, end = body[:-1], "GAP"
        if end not in self.terminations or not 1 <= len(body) <= self.max_depth:
            return False
        _, height, width = self.shape
        before, wide = "", []
        for code, arguments in body:
            size = min(height, width)
            if code == "C":
                filters, filter_size, stride = arguments
                ok = filters in self.filters and filter_size in self.filter_sizes
                ok &= stride in self.strides and filter_size <= size and before != "FC"
                height, width = (height + stride - 1) // stride, (width + stride - 1) // stride
            elif code == "P":
                window, stride = arguments
                ok = arguments in self.poolings and window <= size and before in ("C",)
                height = max(0, (height - window + 1 + stride - 1) // stride)
                width = max(0, (width - window + 1 + stride - 1) // stride)
            elif code == "FC":
                wide.append(arguments[0])
                ok = arguments[0] in self.fully_connected
                ok &= len(wide) <= self.max_fully_connected
                ok &= sorted(wide, reverse=True) == wide
                ok &= before == "FC" or size <= self.max_fully_connected_size
            else:
                return False
            if not ok:
                return False
            before = code
        return end == "SM" or before != "FC"


@dataclass
class RecurrentRules:
    """What a language model may be, read from its notation."""

    tokens: int = 65
    max_depth: int = 3
    embeddings: tuple[int, ...] = (64, 128, 256)
    cells: tuple[str, ...] = ("LSTM", "GRU")
    units: tuple[int, ...] = (64, 128, 256, 512)
    dropouts: tuple[float, ...] = (0.0, 0.2, 0.5)

    def space(self) -> RecurrentSpace:
        return RecurrentSpace(
            self.tokens,
            max_depth=self.max_depth,
            embeddings=self.embeddings,
            cells=self.cells,
            units=self.units,
            dropouts=self.dropouts,
        )

    def is_legal(self, notation: str) -> bool:
        embedding = "|".join(map(str, self.embeddings))
        units = "|".join(map(str, self.units))
        dropouts = "|".join(f"{dropout:g}".replace(".", r"\.") for dropout in self.dropouts)
        cell = rf"({'|'.join(self.cells)})\(({units}),({dropouts})\), "
        pattern = rf"\[E\(({embedding})\), ({cell}){{1,{self.max_depth}}}SM\({self.tokens}\)\]"
        return re.fullmatch(pattern, notation) is not None
