"""The predictors that are compared, by name."""

from __future__ import annotations

from functools import lru_cache
import hashlib
from importlib import import_module
from importlib.util import find_spec
import inspect
import re
from typing import NamedTuple
from typing import TYPE_CHECKING

import baselines

from optuna_perfpred import SequentialRegression


if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Iterable

    from optuna_perfpred import CurvePredictor


FAST, MEDIUM, SLOW = "fast", "medium", "slow"
OURS = "default"
LAST_SEEN_VALUE = "last_seen_value"
REGRESSORS = ("ols", "ridge", "kernel_ridge", "nu_svr_linear", "nu_svr_rbf", "random_forest")
PUBLISHED = {f"published_{name}": name for name in REGRESSORS if name != "kernel_ridge"}


class Entry(NamedTuple):
    """A predictor of the comparison.

    Attributes:
        label: Its name in tables.
        make: Makes it.
        cost: Of a fit with the forecasts of all test curves: `FAST` (far below a second),
            `MEDIUM` (seconds) or `SLOW` (seconds for each curve, or minutes).
        packages: What must be installed.
        per_trial: Whether its forecast of a trial takes nothing from others but their range.
    """

    label: str
    make: Callable[[], CurvePredictor]
    cost: str
    packages: tuple[str, ...] = ()
    per_trial: bool = False


def _regressor(name: str, *, published: bool) -> Entry:
    label = f"`{name}`" + (" as published" if published else "")
    cost = FAST if name in ("ols", "ridge", "kernel_ridge") else MEDIUM
    return Entry(label, lambda: SequentialRegression(name, published=published), cost)


PREDICTORS: dict[str, Entry] = {
    LAST_SEEN_VALUE: Entry("`LastSeenValue()`", baselines.LastSeenValue, FAST),
    **{name: _regressor(name, published=False) for name in REGRESSORS},
    OURS: Entry("**ours (default)**", SequentialRegression, FAST),
    **{name: _regressor(regressor, published=True) for name, regressor in PUBLISHED.items()},
    "parametric_ensemble": Entry(
        "`ParametricEnsemble()` (LCE)",
        lambda: baselines.ParametricEnsemble(),
        SLOW,
        ("emcee",),
        per_trial=True,
    ),
    "bayesian_network": Entry(
        "`BayesianCurveNetwork()` (LC-Net)",
        lambda: baselines.BayesianCurveNetwork(),
        SLOW,
        ("torch",),
    ),
    "ft_pfn": Entry("`InContextPredictor()` (FT-PFN)", baselines.InContextPredictor, SLOW),
    "lc_pfn": Entry(
        '`InContextPredictor("lc-pfn")`', lambda: baselines.InContextPredictor("lc-pfn"), SLOW
    ),
}


def available(names: Iterable[str] | None) -> list[str]:
    """Give those predictors that can be used here, and print why others are left out.

    Args:
        names: Their names; `None`: all.
    """
    usable = []
    for name in PREDICTORS if names is None else names:
        reason = _why_not(name)
        if reason is None:
            usable.append(name)
        else:
            print(f"Left out: {PREDICTORS[name].label}: {reason}")
    return usable


@lru_cache  # Who looks for pretrained weights may wait for a download.
def _why_not(name: str) -> str | None:
    entry = PREDICTORS[name]
    absent = [package for package in entry.packages if find_spec(package) is None]
    if absent:
        return f"{', '.join(absent)} is not installed."
    try:
        entry.make()
    except (AttributeError, ImportError) as error:
        return str(error)
    except OSError:
        return "its weights are not here and cannot be downloaded from here."
    return None


def of_cost(names: Iterable[str], *costs: str) -> list[str]:
    return [name for name in names if PREDICTORS[name].cost in costs]


@lru_cache
def source_digest(name: str) -> str:
    """Tell a predictor from its earlier and later versions, by the modules it is made of."""
    sources: dict[str, str] = {}
    queue = [type(PREDICTORS[name].make()).__module__]
    while queue:
        module = queue.pop()
        if module not in sources:
            sources[module] = inspect.getsource(import_module(module))
            queue += re.findall(
                r"from ((?:optuna_perfpred\.predictors|baselines)[.\w]+) import", sources[module]
            )
    return hashlib.sha256("".join(sources[m] for m in sorted(sources)).encode()).hexdigest()[:12]
