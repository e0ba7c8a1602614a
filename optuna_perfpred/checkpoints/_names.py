"""Under which names a trial, and those that it goes on with, saved."""

from __future__ import annotations

import re
from typing import Any
from typing import TYPE_CHECKING

from optuna_perfpred.history import stopped_before


if TYPE_CHECKING:
    from collections.abc import Mapping
    from collections.abc import Sequence

    from optuna.trial import FrozenTrial


# The names of the checkpoints that a trial may go on from, those of its own first. A user
# attribute, because a retried trial is given those of the trial before it.
NAMES = "perfpred:checkpoint_names"
# What the storage holds is used in the names of files.
_NAME = re.compile(r"[0-9a-f]{32}")


def names_in(user_attrs: Mapping[str, Any]) -> list[str]:
    """Give the names that are in the user attributes of a trial."""
    names = user_attrs.get(NAMES)
    if not isinstance(names, list):
        return []
    return [name for name in names if isinstance(name, str) and _NAME.fullmatch(name)]


def names_in_reach(trial: FrozenTrial, trials: Sequence[FrozenTrial]) -> list[str]:
    """Give the names of all checkpoints that a trial may go on from, the best first."""
    names = names_in(trial.user_attrs)
    for stopped in stopped_before(trial, trials):
        names += (name for name in names_in(stopped.user_attrs) if name not in names)
    return names
