from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from typing import TYPE_CHECKING

import numpy as np
from sklearn.feature_selection import r_regression
from sklearn.preprocessing import MinMaxScaler

from baselines._pretrained import load_network
from baselines._pretrained import MODELS
from optuna_perfpred._arguments import check_at_least
from optuna_perfpred.predictors._base import check_training_arrays
from optuna_perfpred.predictors._base import CurvePredictor
from optuna_perfpred.predictors._base import Forecast
from optuna_perfpred.predictors._base import observed_lengths
from optuna_perfpred.predictors._sequential_model import extremes


if TYPE_CHECKING:
    import os

    import numpy.typing as npt
    from typing_extensions import Self


# Both networks know values from 0 to 1. A trial may become better than all before it.
_HEADROOM = 0.1
# What FT-PFN was trained with: identifiers of curves, and parameters.
_MAX_CURVES = 1000
_MAX_PARAMETERS = 10
# Fewer do not show a curve's shape; with more of them fewer curves fit into the context.
_MIN_OBSERVATIONS = 5
# LC-PFN was trained with curves of 100 steps.
_LC_PFN_STEPS = 100


class InContextPredictor(CurvePredictor):
    """Let a pretrained transformer continue learning curves.

    A prior-data fitted network (PFN) has been trained on millions of artificial curves to give
    the posterior predictive distribution of a value from observed ones, which it reads like a
    prompt. Nothing is trained here. There are two:

    * **FT-PFN**, the surrogate of ifBO (Rakotoarison et al., "In-Context Freeze-Thaw Bayesian
      Optimization for Hyperparameter Optimization", ICML 2024), reads observations of many
      curves, each with the curve's number, its step as a share of the horizon and up to ten
      parameters. It is given the completed trials, with their final values at the horizon, and
      what was observed of the trial asked for. Of more than ten encoded parameters it is given
      those whose correlation with the final values is largest.
    * **LC-PFN** (Adriaensen et al., "Efficient Bayesian Learning Curve Extrapolation using
      Prior-Data Fitted Networks", NeurIPS 2023) reads what was observed of one curve, which
      should rise. Of the completed trials it uses nothing but their range. A column counts as an
      epoch; longer curves than the 100 epochs it knows are compressed to 100.

    Both know values from 0 to 1. The range of the training curves and final values, without
    outliers (as :class:`SequentialRegression` cuts them), is brought there linearly, with a tenth
    of it left above the best for better ones; what lies outside counts as 0 or 1. A metric that
    runs through most of its range in the first steps, such as perplexity, leaves little of it to
    tell final values apart: report its logarithm.

    The mean and the standard deviation of the network's distribution at the horizon make the
    forecast. It is NaN where nothing was observed, or if all training values are equal.

    The packages ifbo and lcpfn hold no weights: those are downloaded when a predictor is made for
    the first time, or read from a file. They are a **pickled module, and reading one can run any
    code**: name no file of unknown origin. The network runs on the CPU, and is kept in memory
    once for all predictors of a process; a pickled predictor does not contain it, so that a
    process that receives one needs the weights, too.

    Args:
        model:
            ``"ft-pfn"`` or ``"lc-pfn"``. FT-PFN by default, which learns from the study and can be
            installed beside a current PyTorch.
        weights:
            The file of the network, as the package stores it. If :obj:`None`, the place where
            its package keeps it: ``.model`` in the working directory for FT-PFN, the package's
            own folder for LC-PFN. If it is not there, it is downloaded from the address that the
            package gives, in at most two attempts, each of which may wait a minute
            (``IFBO_REQUEST_TIMEOUT`` changes that for FT-PFN).
        max_context:
            Number of observations that FT-PFN is given at most. The default is the length that it
            was trained with. A forecast then takes 0.6 seconds of one core, with 500 observations
            0.2 seconds. A tenth of them is for the trial itself, evenly spaced over what was
            observed of it. The rest is shared by the training curves, evenly spaced over each, at
            least five for a curve; of more curves than that leaves room for (180), some are drawn
            at random.
        seed:
            Seed of the draw of training curves. Equal seeds and equal training curves give equal
            forecasts.

    Raises:
        ImportError:
            If PyTorch or the model's package is missing.
        FileNotFoundError:
            If there are no weights and they could not be downloaded. The message tells where
            they were looked for and how to get them.
        ValueError:
            If ``model`` is unknown, ``max_context`` is less than 20, or the file does not hold a
            network of the model.
    """

    def __init__(
        self,
        model: str = "ft-pfn",
        *,
        weights: str | os.PathLike[str] | None = None,
        max_context: int = 1000,
        seed: int = 0,
    ) -> None:
        if model not in MODELS:
            raise ValueError(f"`model` must be one of {sorted(MODELS)}, but got {model=}.")
        check_at_least("max_context", max_context, 20)
        self.model = model
        self.weights = weights
        self.max_context = max_context
        self.seed = seed
        # What is missing shall be known before a study starts, not within its first objective.
        load_network(model, weights)

    def fit(
        self,
        configurations: npt.NDArray[np.float64],
        curves: npt.NDArray[np.float64],
        finals: npt.NDArray[np.float64],
    ) -> Self:
        """Put the training curves into the network's context. See :meth:`CurvePredictor.fit`."""
        check_training_arrays(configurations, curves, finals)
        usable = observed_lengths(curves) > 0
        self._range = _Range.of(curves[usable], finals[usable])
        self._context: _Context | None = None
        if self.model == "ft-pfn" and self._range is not None:
            self._context = _Context(
                configurations[usable],
                self._range.to_unit(curves[usable]),
                self._range.to_unit(finals[usable]),
                max_observations=self.max_context,
                rng=np.random.default_rng(self.seed),
            )
        return self

    def predict(
        self, configurations: npt.NDArray[np.float64], curves: npt.NDArray[np.float64]
    ) -> Forecast:
        """Forecast final values. See :meth:`CurvePredictor.predict`."""
        mean = np.full(len(curves), np.nan)
        std = np.full(len(curves), np.nan)
        if self._range is None:
            return Forecast(mean, std)
        network = load_network(self.model, self.weights)
        for row in np.flatnonzero(observed_lengths(curves) > 0):
            curve = self._range.to_unit(curves[row])
            if self._context is None:
                x, y = _single_curve(curve)
            else:
                x, y = self._context.prompt(configurations[row], curve)
            mean[row], std[row] = _moments(network, x, y)
        return Forecast(self._range.low + self._range.width * mean, self._range.width * std)


@dataclass(frozen=True)
class _Range:
    """The values that a network sees as 0 (``low``) to 1 (``low + width``)."""

    low: float
    width: float

    @classmethod
    def of(cls, curves: npt.NDArray[np.float64], finals: npt.NDArray[np.float64]) -> _Range | None:
        values = np.append(curves[~np.isnan(curves)], finals)
        if len(values) == 0:
            return None
        drawn_in = np.clip(values, *extremes(values))
        low, high = float(drawn_in.min()), float(drawn_in.max())
        return cls(low, (1.0 + _HEADROOM) * (high - low)) if high > low else None

    def to_unit(self, values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return np.clip((values - self.low) / self.width, 0.0, 1.0)


class _Context:
    """Observations of the training curves, as FT-PFN reads them.

    An observation is the number of the curve from 1 on, the step as a share of the horizon, and
    up to ten parameters from 0 to 1.
    """

    def __init__(
        self,
        configurations: npt.NDArray[np.float64],
        curves: npt.NDArray[np.float64],
        finals: npt.NDArray[np.float64],
        *,
        max_observations: int,
        rng: np.random.Generator,
    ) -> None:
        self._max_own = max_observations // 10
        n_shared = max_observations - self._max_own
        max_curves = min(_MAX_CURVES - 1, n_shared // min(_MIN_OBSERVATIONS, curves.shape[1]))
        rows = np.arange(len(curves))
        if len(rows) > max_curves:
            rows = np.sort(rng.choice(rows, max_curves, replace=False))
        self._n_curves = len(rows)
        self._select_parameters(configurations, finals)
        parameters = self._parameters(configurations)

        x, y = [], []
        for number, row in enumerate(rows, start=1):
            known = np.flatnonzero(~np.isnan(curves[row, :-1]))
            columns = _thin(known, n_shared // len(rows) - 1)
            x.append(_observations(number, columns, curves.shape[1], parameters[row]))
            y.append(curves[row, columns])
            # What is asked for is how a trial ends, which need not be its last report.
            last = np.array([curves.shape[1] - 1])
            x.append(_observations(number, last, curves.shape[1], parameters[row]))
            y.append(finals[[row]])
        self._x = np.concatenate(x)
        self._y = np.concatenate(y)

    def prompt(
        self, configuration: npt.NDArray[np.float64], curve: npt.NDArray[np.float64]
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Give the observations with those of one more curve, and the query as the last row."""
        columns = _thin(np.flatnonzero(~np.isnan(curve)), self._max_own)
        asked = np.append(columns, len(curve) - 1)
        parameters = self._parameters(configuration[np.newaxis])[0]
        own = _observations(self._n_curves + 1, asked, len(curve), parameters)
        return np.concatenate([self._x, own]), np.concatenate([self._y, curve[columns]])

    def _select_parameters(
        self, configurations: npt.NDArray[np.float64], finals: npt.NDArray[np.float64]
    ) -> None:
        self._columns = np.arange(configurations.shape[1])
        if len(self._columns) > _MAX_PARAMETERS:
            relevance = np.abs(r_regression(configurations, finals))
            self._columns = np.sort(np.argsort(-relevance, kind="stable")[:_MAX_PARAMETERS])
        self._scaler = MinMaxScaler(clip=True)
        if len(self._columns) > 0:
            self._scaler.fit(configurations[:, self._columns])

    def _parameters(self, configurations: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        if len(self._columns) == 0:  # FT-PFN needs at least one.
            return np.zeros((len(configurations), 1))
        scaled: npt.NDArray[np.float64] = self._scaler.transform(configurations[:, self._columns])
        return scaled


def _observations(
    number: int, columns: npt.NDArray[np.int64], n_steps: int, parameters: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    return np.column_stack(
        [
            np.full(len(columns), float(number)),
            (columns + 1) / n_steps,
            np.tile(parameters, (len(columns), 1)),
        ]
    )


def _single_curve(
    curve: npt.NDArray[np.float64],
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Give the observations of one curve as LC-PFN reads them, and the query as the last row."""
    columns = _thin(np.flatnonzero(~np.isnan(curve)), _LC_PFN_STEPS)
    asked = np.append(columns, len(curve) - 1)
    epochs = (asked + 1) * min(1.0, _LC_PFN_STEPS / len(curve))
    return epochs[:, np.newaxis], curve[columns]


def _thin(columns: npt.NDArray[np.int64], count: int) -> npt.NDArray[np.int64]:
    """Keep a number of columns, evenly spaced, the last one among them."""
    if len(columns) <= count:
        return columns
    kept = np.sort(np.round(np.linspace(len(columns) - 1, 0, count)).astype(int))
    thinned: npt.NDArray[np.int64] = columns[kept]
    return thinned


def _moments(
    network: Any, x: npt.NDArray[np.float64], y: npt.NDArray[np.float64]
) -> tuple[float, float]:
    """Give the mean and the standard deviation that a network predicts.

    Args:
        network:
            The network.
        x:
            The inputs of ``n`` observations and of one query. Shape: ``(n + 1, p)``.
        y:
            The observed values, from 0 to 1. Shape: ``(n,)``.

    Returns:
        The two. Bars, and the tails beside them, count as far as they lie between 0 and 1, and
        what lies outside as 0 or 1.
    """
    import torch

    with torch.inference_mode():
        logits = network(
            (
                torch.tensor(x, dtype=torch.float32).unsqueeze(1),
                torch.tensor(y, dtype=torch.float32).unsqueeze(1),
            ),
            single_eval_pos=len(y),
        )
        shares = logits[0, 0].double().softmax(-1)
        # Not the criterion's own moments, whose formulas for the tails are incomplete.
        borders = network.criterion.borders.double().clamp(0.0, 1.0)
        low, high = borders[:-1], borders[1:]
        mean = float(shares @ (low + high)) / 2.0
        mean_square = float(shares @ (low**2 + low * high + high**2)) / 3.0
    return mean, max(mean_square - mean**2, 0.0) ** 0.5
