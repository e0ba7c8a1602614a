"""The families of trainings that are recorded, by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from _recording_diamonds import FAMILY as DIAMONDS
from _recording_fashion import FAMILY as FASHION
from _recording_kjv import FAMILY as KJV


if TYPE_CHECKING:
    from _recording_family import Family


FAMILIES: dict[str, Family] = {family.name: family for family in (KJV, FASHION, DIAMONDS)}
