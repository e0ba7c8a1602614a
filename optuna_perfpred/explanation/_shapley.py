from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np


if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    Value = Callable[
        [npt.NDArray[np.bool_], npt.NDArray[np.intp]],
        npt.NDArray[np.float64],
    ]


def shapley(
    value: Value, n_parts: int, n_others: int, n_walks: int
) -> tuple[float, npt.NDArray[np.float64]]:
    """Tell what each part of a trial contributes to what is foreseen of it.

    Starting from another trial, its parts are replaced by those of the trial, one by one in a
    random order and in the reverse one, and the change of the forecast is put down to the part
    that was replaced. The means are the Shapley values (Štrumbelj and Kononenko 2014, "Explaining
    prediction models and individual predictions with feature contributions"). For a linear model
    they are the products of its coefficients and the distances to the other trials' mean, in
    whatever order.

    Args:
        value:
            Tells what is foreseen. Its arguments are which parts are those of the trial, of shape
            ``(m, n_parts)``, and whose the others are, of shape ``(m,)``.
        n_parts:
            The number of parts.
        n_others:
            The number of other trials, at least 1.
        n_walks:
            The number of orders, each of which is also reversed: a multiple of the number of
            others, so that each of these counts the same.

    Returns:
        The mean of what is foreseen of the others, and the contributions of shape ``(n_parts,)``.
        Their sum is what is foreseen of the trial.
    """
    # The same study gives the same explanation.
    rng = np.random.default_rng(0)
    orders = [rng.permutation(n_parts) for _ in range(n_walks)]
    orders = [order for one in orders for order in (one, one[::-1])]
    places = np.argsort(orders, axis=1)
    # After k replacements, the parts whose place is below k are the trial's.
    own = places[:, np.newaxis, :] < np.arange(n_parts + 1)[:, np.newaxis]
    others = np.repeat(np.arange(n_walks) % n_others, 2 * (n_parts + 1))
    foreseen = value(own.reshape(-1, n_parts), others).reshape(len(orders), n_parts + 1)
    changes = np.diff(foreseen, axis=1)
    contributions = np.take_along_axis(changes, places, axis=1).mean(axis=0)
    return float(foreseen[:, 0].mean()), contributions
