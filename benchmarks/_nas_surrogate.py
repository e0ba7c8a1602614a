"""The validation curve of any network of Baker et al.'s space, from 1000 that were trained."""

from __future__ import annotations

from contextlib import suppress
import math
from typing import NamedTuple
from typing import TYPE_CHECKING

from _curve_model import CurveModel
import numpy as np
import pandas as pd

from optuna_perfpred.nas import Architecture
from optuna_perfpred.nas import ConvNetSpace
from optuna_perfpred.nas import Convolution
from optuna_perfpred.nas import FullyConnected
from optuna_perfpred.nas import GlobalAveragePooling
from optuna_perfpred.nas import Pooling


if TYPE_CHECKING:
    from pathlib import Path

    from optuna_perfpred.nas import LayerShapes


N_NEIGHBOURS = 20
N_ENDS = 4  # Layers at each end that are features one by one.
# Convolutions are described for each range of sizes of the image that they are given, too.
SIZE_RANGES = ((1, 32), (17, 32), (9, 16), (5, 8), (1, 4))


class Agreement(NamedTuple):
    """How many of the recorded networks the package reads as the file does.

    The file counts the weights of a softmax as if it were another layer like the one before it
    with as many inputs as outputs: c · c · f² after c filters of size f, d · d after d fully
    connected units, none after pooling. So the counts can only agree where global average pooling
    comes before the softmax, which then has no weights of its own.
    """

    n_networks: int
    printed_back: int
    legal: int
    num_layers: int
    num_weights: int
    num_weights_by_files_rule: int

    def __str__(self) -> str:
        return (
            f"Of {self.n_networks} networks, {self.printed_back} print back identically, "
            f"{self.legal} are legal, {self.num_layers} have the file's depth and "
            f"{self.num_weights} its number of weights, {self.num_weights_by_files_rule} if the "
            "softmax is counted like the layer before it, as the file does."
        )


def notation_agreement(folder: Path) -> Agreement:
    """Compare notation, depth and number of weights of the networks in ``configs.csv``."""
    table = _read(folder, "configs.csv", ("net", "depth", "num_params"))
    space = _space()
    counts = np.zeros(5, dtype=int)
    for net, depth, num_params in zip(table.net, table.depth, table.num_params, strict=True):
        network = Architecture.parse(net, space.input_shape)
        is_legal = False
        with suppress(ValueError):
            is_legal = bool(space.trajectory(network))
        num_weights = network.num_weights, _num_weights_by_files_rule(network)
        agrees = (network.num_layers == depth, *(number == num_params for number in num_weights))
        counts += (str(network) == net, is_legal, *agrees)
    return Agreement(len(table), *counts.tolist())


class Surrogate:
    """Curves of 20 epochs for all networks of the space, the same ones in every process.

    A recorded network has its recorded curve; dropout is not part of its identity, as it follows
    from the layers. The curve of any other one is a forecast plus a residual:

    - The forecast is made from features of the layers, by the average of a support vector
      regression and boosted trees for each of three principal components of the curves. The
      learning rates in the file, lowered when a network failed to learn, are an outcome and no
      feature.
    - The residual is that of a recorded network in cross-validation: what the features do not
      explain of a real training, its seed included, and no more. A hash of the notation picks it
      among the 20 networks with the nearest features, as residuals are large where networks fail.

    So a network may be better than any that was trained, as the best of a space is than the best
    of a thousand of it; that a search is lucky with residuals has its share in it.

    Args:
        folder:
            A folder with ``configs.csv``, whose column ``net`` holds the notation, and
            ``curves.csv``; see :func:`optuna_perfpred.replay.load_curves`.

    Attributes:
        space: The space.
        recorded_values: The recorded values after the last epoch.
        r2: R² of the forecast of the last value in 5-fold cross-validation.
        r2_by_epoch: The same of the value after each epoch.
        n_clipped: How many curves were clipped so far.
    """

    def __init__(self, folder: Path) -> None:
        self.space = _space()
        nets = _read(folder, "configs.csv", ("curve_id", "net")).set_index("curve_id").net
        table = _read(folder, "curves.csv", ("curve_id",)).set_index("curve_id")
        if sorted(nets.index) != sorted(table.index) or not nets.index.is_unique:
            raise ValueError(f"configs.csv and curves.csv in {folder} are not of the same curves.")
        curves = table.to_numpy(dtype=float)
        if len(curves) < N_NEIGHBOURS or not np.isfinite(curves).all():
            raise ValueError(f"{folder} must hold at least {N_NEIGHBOURS} curves, none cut short.")
        networks = [self.space.parse(str(net)).without_dropout() for net in nets.loc[table.index]]
        self.recorded_values = curves[:, -1]
        self._curves = dict(zip(networks, curves, strict=True))
        features = np.array([_features(network) for network in networks])
        self._model = CurveModel(
            features,
            curves,
            N_NEIGHBOURS,
            decimals=4,  # As recorded.
            limits=(0.0, 1.0),
        )
        self.r2_by_epoch = self._model.r2_by_step
        self.r2 = float(self.r2_by_epoch[-1])

    @property
    def n_clipped(self) -> int:
        """Number of curves so far for which no residual would do."""
        return self._model.n_clipped

    def curve(self, architecture: Architecture) -> np.ndarray:
        """The validation accuracy of a legal architecture after each epoch."""
        network = architecture.without_dropout()
        if network not in self._curves:
            self.space.trajectory(network)  # Raises if it is not legal.
            features = np.array(_features(network))
            self._curves[network] = self._model.curve(features, key=str(network))
        return self._curves[network].copy()


def _space() -> ConvNetSpace:
    return ConvNetSpace((3, 32, 32), 10, max_depth=18)


def _read(folder: Path, name: str, columns: tuple[str, ...]) -> pd.DataFrame:
    if not (folder / name).is_file():
        raise FileNotFoundError(f"There is no {name} in {str(folder)!r}.")
    table = pd.read_csv(folder / name)
    if missing := set(columns) - set(table):
        raise ValueError(f"{folder / name} has no column {', '.join(sorted(missing))}.")
    return table


def _num_weights_by_files_rule(network: Architecture) -> int:
    *_, (before, _, output_shape, _), softmax = network.without_dropout().shapes
    is_counted = isinstance(before, Convolution | FullyConnected)
    counted = before.num_weights(output_shape) if is_counted else 0
    return network.num_weights - softmax.num_weights + counted


def _features(network: Architecture) -> list[float]:
    shapes = network.without_dropout().shapes
    has_gap = isinstance(shapes[-2].layer, GlobalAveragePooling)
    body = shapes[: -2 if has_gap else -1]
    layers = [shape.layer for shape in body]
    units = [layer.units for layer in layers if isinstance(layer, FullyConnected)]
    pooled = [i for i, layer in enumerate(layers) if isinstance(layer, Pooling)]
    *_, image = (network.input_shape, *(s.output_shape for s in body if len(s.output_shape) == 3))
    sizes = [math.prod(shape.output_shape) for shape in body]
    field, step = 1, 1
    for layer in layers:
        if isinstance(layer, Convolution | Pooling):
            field, step = field + (layer.size - 1) * step, step * layer.stride
    features = [
        len(layers),
        len(layers) % 2,  # Whether dropout comes right before the end.
        has_gap,
        *(layers.count(Pooling(*pair)) for pair in ((5, 3), (3, 2), (2, 2))),
        pooled[0] if pooled else len(layers),
        len(layers) - 1 - pooled[-1] if pooled else len(layers),
        len(units),
        *np.log2([*units, 64, 64][:2]),
        *np.log2([*image[:2], sizes[-1], min(sizes), field]),
        *np.log2([network.num_weights, 1 + shapes[-1].num_weights]),
    ]
    for low, high in SIZE_RANGES:
        features += _describe_convolutions([s for s in body if low <= s.input_shape[-1] <= high])
    for end in (layers[:N_ENDS], layers[: -N_ENDS - 1 : -1]):
        pairs = [(la.size, math.log2(la.filters) - 5) for la in end if isinstance(la, Convolution)]
        features += np.ravel([*pairs, *[(0, 0)] * N_ENDS][:N_ENDS]).tolist()
    return features


def _describe_convolutions(shapes: list[LayerShapes]) -> list[float]:
    shapes = [shape for shape in shapes if isinstance(shape.layer, Convolution)]
    sizes = [shape.layer.size for shape in shapes]
    filters = np.log2([shape.layer.filters for shape in shapes] or [128])
    weights = np.array([shape.num_weights for shape in shapes])
    areas = np.array([shape.output_shape[1] ** 2 for shape in shapes])
    return [
        *(sizes.count(size) for size in (1, 3, 5)),
        *(sizes.count(size) / max(1, len(sizes)) for size in (1, 3, 5)),
        *(filters.min(), filters.mean(), filters.max()),
        math.log2(1e3 + weights.sum()),
        math.log2(1e5 + (weights * areas).sum()),
    ]
