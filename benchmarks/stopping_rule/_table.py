"""A table of what rules are worth on the families that they were not trained on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from sklearn.metrics import roc_auc_score


if TYPE_CHECKING:
    from collections.abc import Mapping
    from collections.abc import Sequence

    from _histories import Decisions
    import numpy.typing as npt


CHANCES = (0.01, 0.05, 0.1)


def table(
    decisions: Decisions,
    family: npt.NDArray[np.str_],
    probabilities: Sequence[npt.NDArray[np.float64]],
    n_sets: Mapping[str, int],
) -> str:
    """Format a table in Markdown.

    Args:
        decisions:
            The decisions of all families.
        family:
            The family of each.
        probabilities:
            For each family, by name, those that a rule trained without it gives its decisions.
        n_sets:
            The number of sets of each family.

    Returns:
        A line for each family and one for all: the area under the curve, and of the decisions
        with at most some chance by the rule, the share at which the trial did become the best.
    """
    head = ["left-out family", "sets", "AUC", *[f"records at chance ≤ {c:g}" for c in CHANCES]]
    rows = [head, ["---", *["---:"] * (len(head) - 1)]]
    names = np.unique(family)
    everything = np.empty(len(family))
    for name, probability in zip(names, probabilities, strict=True):
        of = family == name
        everything[of] = probability
        rows.append([name, str(n_sets[name]), *_worth(decisions.part(of), probability)])
    worth = _worth(decisions, everything)
    rows.append(["all", str(sum(n_sets.values())), *worth])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _worth(decisions: Decisions, probability: npt.NDArray[np.float64]) -> list[str]:
    best, weight = decisions.best, decisions.weight
    # Without any record, or with records only, there is nothing to tell apart.
    known = 0 < np.count_nonzero(best) < len(best)
    auc = f"{roc_auc_score(best, probability, sample_weight=weight):.3f}" if known else "-"
    shares = []
    for chance in CHANCES:
        low = probability <= chance
        shares.append(f"{np.average(best[low], weights=weight[low]):.4f}" if low.any() else "-")
    return [auc, *shares]
