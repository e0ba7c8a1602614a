"""All the studies by name."""

from __future__ import annotations

import _tasks_algorithmic
import _tasks_architectures
import _tasks_ensembles
import _tasks_late_drops
import _tasks_rl
import _tasks_tabular
import _tasks_text
import _tasks_vision
import _tasks_vision_special


_MODULES = (
    _tasks_vision,
    _tasks_vision_special,
    _tasks_architectures,
    _tasks_late_drops,
    _tasks_tabular,
    _tasks_ensembles,
    _tasks_algorithmic,
    _tasks_text,
    _tasks_rl,
)
STUDIES = {study.name: study for module in _MODULES for study in module.STUDIES}
