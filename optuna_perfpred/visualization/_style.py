"""Colours that all figures share, and that are told apart with every kind of colour vision."""

from __future__ import annotations


# Okabe and Ito, "Color Universal Design", 2008.
BLACK = "#000000"
ORANGE = "#E69F00"
SKY_BLUE = "#56B4E9"
GREEN = "#009E73"
BLUE = "#0072B2"
VERMILLION = "#D55E00"
PURPLE = "#CC79A7"
GREY = "#999999"

# Neighbours in it also differ in lightness.
CYCLE = (BLUE, ORANGE, GREEN, VERMILLION, PURPLE, SKY_BLUE, BLACK, GREY)

# A sequential map that is the same with every kind of colour vision, in both libraries.
COLOR_MAP = "cividis"


def rgba(color: str, alpha: float) -> str:
    """Give a colour as plotly writes a translucent one."""
    red, green, blue = (int(color[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},{alpha:.3g})"
