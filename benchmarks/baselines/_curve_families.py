from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np


if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeAlias

    import numpy.typing as npt

    Array: TypeAlias = npt.NDArray[np.float64]
    # Steps (1, n), their logarithms (1, n) and parameters, each (m, 1), give values (m, n).
    Formula: TypeAlias = Callable[..., Array]


# The highest value that a curve may reach, on a scale on which the best known ones end below 1.
MAX_VALUE = 1.5


@dataclass(frozen=True)
class CurveFamily:
    """A parametric family of rising learning curves.

    Domhan et al. (2015), table 1. Positive parameters that span orders of magnitude, such as rates
    and exponents, are given by their logarithms.

    Attributes:
        name:
            Its name in the paper.
        formula:
            Values of shape ``(m, n)`` from steps and their logarithms, each of shape ``(1, n)``,
            and one column of shape ``(m, 1)`` for each parameter. A name that starts with
            ``ln_`` is the logarithm of a positive parameter.
        bounds:
            The lower and the upper bound of each parameter.
    """

    name: str
    formula: Formula
    bounds: dict[str, tuple[float, float]]

    @property
    def lower(self) -> Array:
        """The lower bounds. Shape: ``(p,)``."""
        return np.array([low for low, _ in self.bounds.values()])

    @property
    def upper(self) -> Array:
        """The upper bounds. Shape: ``(p,)``."""
        return np.array([high for _, high in self.bounds.values()])


def _vap(t: Array, u: Array, a: Array, b: Array, c: Array) -> Array:
    return np.exp(a + b / t + c * u)


def _pow3(t: Array, u: Array, c: Array, a: Array, ln_alpha: Array) -> Array:
    return c - a * np.exp(-np.exp(ln_alpha) * u)


def _loglog_linear(t: Array, u: Array, a: Array, b: Array) -> Array:
    return np.log(a * u + b)


def _hill3(t: Array, u: Array, theta: Array, ln_eta: Array, ln_kappa: Array) -> Array:
    return theta / (1.0 + np.exp(np.exp(ln_eta) * (ln_kappa - u)))


def _log_power(t: Array, u: Array, a: Array, b: Array, c: Array) -> Array:
    return a / (1.0 + np.exp(c * (u - b)))


def _pow4(t: Array, u: Array, c: Array, ln_a: Array, b: Array, ln_alpha: Array) -> Array:
    return c - (np.exp(ln_a) * t + b) ** -np.exp(ln_alpha)


def _mmf(t: Array, u: Array, alpha: Array, rise: Array, ln_kappa: Array, ln_delta: Array) -> Array:
    return alpha - rise / (1.0 + np.exp(np.exp(ln_delta) * (ln_kappa + u)))


def _exp4(t: Array, u: Array, c: Array, ln_a: Array, b: Array, ln_alpha: Array) -> Array:
    return c - np.exp(b - np.exp(ln_a + np.exp(ln_alpha) * u))


def _janoschek(
    t: Array, u: Array, alpha: Array, rise: Array, ln_kappa: Array, ln_delta: Array
) -> Array:
    return alpha - rise * np.exp(-np.exp(ln_kappa + np.exp(ln_delta) * u))


def _weibull(
    t: Array, u: Array, alpha: Array, rise: Array, ln_kappa: Array, ln_delta: Array
) -> Array:
    return alpha - rise * np.exp(-np.exp(np.exp(ln_delta) * (ln_kappa + u)))


def _ilog2(t: Array, u: Array, c: Array, a: Array) -> Array:
    return c - a / np.log1p(t)


# Values on the scale of accuracies: the limits of a curve, and how far it rises.
_LEVEL = (0.0, MAX_VALUE)
_LN_EXPONENT = (-2.0, 2.0)
_LN_RATE = (-7.0, 3.0)
# When half of the rise is done, from before the first step to after a thousand.
_LN_HALF_TIME = (-3.0, 7.0)
_SIGMOID = {"alpha": _LEVEL, "rise": _LEVEL, "ln_kappa": _LN_RATE, "ln_delta": _LN_EXPONENT}

# Within these bounds every curve rises: alpha - beta of the paper is ``rise``, for one.
FAMILIES = (
    CurveFamily("vap", _vap, {"a": (-3.0, 0.5), "b": (-5.0, 0.0), "c": (0.0, 0.5)}),
    CurveFamily("pow3", _pow3, {"c": _LEVEL, "a": _LEVEL, "ln_alpha": _LN_EXPONENT}),
    CurveFamily("loglog_linear", _loglog_linear, {"a": (0.0, 1.5), "b": (0.7, 2.7)}),
    CurveFamily(
        "hill3", _hill3, {"theta": _LEVEL, "ln_eta": _LN_EXPONENT, "ln_kappa": _LN_HALF_TIME}
    ),
    CurveFamily("log_power", _log_power, {"a": _LEVEL, "b": _LN_HALF_TIME, "c": (-3.0, 0.0)}),
    CurveFamily(
        "pow4",
        _pow4,
        {"c": _LEVEL, "ln_a": (-7.0, 5.0), "b": (0.0, 3.0), "ln_alpha": _LN_EXPONENT},
    ),
    CurveFamily("mmf", _mmf, _SIGMOID),
    CurveFamily(
        "exp4",
        _exp4,
        {"c": _LEVEL, "ln_a": _LN_RATE, "b": (-3.0, 1.0), "ln_alpha": _LN_EXPONENT},
    ),
    CurveFamily("janoschek", _janoschek, _SIGMOID),
    CurveFamily("weibull", _weibull, _SIGMOID),
    CurveFamily("ilog2", _ilog2, {"c": _LEVEL, "a": (0.0, 1.0)}),
)
