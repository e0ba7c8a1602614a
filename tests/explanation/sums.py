"""What explanations add up to."""

from __future__ import annotations

import math


def total(explanation):
    """What the contributions add up to, on their scale."""
    return explanation.typical + math.fsum(c.effect for c in explanation.contributions)
