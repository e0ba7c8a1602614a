"""What the matplotlib figures share."""

from __future__ import annotations

from typing import TYPE_CHECKING

from optuna_perfpred.visualization._imports import import_to_plot


if TYPE_CHECKING:
    from collections.abc import Iterable

    from matplotlib.axes import Axes
    import numpy as np
    import numpy.typing as npt


def new_axes(n_columns: int = 1) -> npt.NDArray[np.object_]:
    """Make a figure of pyplot, or tell which extra has matplotlib.

    Args:
        n_columns:
            The number of axes, beside each other.

    Returns:
        An array of the axes, as pyplot gives it.
    """
    plt = import_to_plot("matplotlib.pyplot")
    size = (8.0 if n_columns == 1 else 12.0, 5.0)
    _, axes = plt.subplots(1, n_columns, squeeze=False, layout="constrained", figsize=size)
    for ax in axes[0]:
        ax.spines[["top", "right"]].set_visible(False)
        ax.grid(visible=True, color="#dddddd", linewidth=0.6)
        ax.set_axisbelow(True)
    row: npt.NDArray[np.object_] = axes[0]
    return row


def use_integers(ax: Axes) -> None:
    """Write only integers at the horizontal axis."""
    ticker = import_to_plot("matplotlib.ticker")
    ax.xaxis.set_major_locator(ticker.MaxNLocator(integer=True))


def say(ax: Axes, message: str) -> None:
    """Write into empty axes why there is nothing to see."""
    ax.set_axis_off()
    ax.text(0.5, 0.5, message, ha="center", va="center", transform=ax.transAxes, wrap=True)


def say_across(axes: Iterable[Axes], message: str) -> None:
    """Write across several empty axes why there is nothing to see."""
    for ax in axes:
        ax.set_axis_off()
    ax.figure.text(0.5, 0.5, message, ha="center", va="center")


def legend_below(ax: Axes, n_columns: int = 3) -> None:
    """Put the legend where it hides nothing."""
    handles, labels = ax.get_legend_handles_labels()
    ax.figure.legend(
        handles, labels, loc="outside lower center", ncols=n_columns, frameon=False, fontsize=9
    )
