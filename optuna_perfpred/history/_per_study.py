from __future__ import annotations

import threading
from typing import Generic
from typing import TYPE_CHECKING
from typing import TypeVar
import weakref


if TYPE_CHECKING:
    from collections.abc import Callable

    from optuna.storages import BaseStorage
    from optuna.study import Study
    from optuna.study import StudyDirection


T = TypeVar("T")


class PerStudy(Generic[T]):
    """One object for each study that a pruner serves. Safe with threads.

    The objects are forgotten together with the storage that their studies are in.

    Args:
        factory:
            Makes the object for a study that is met for the first time.
    """

    def __init__(self, factory: Callable[[Study], T]) -> None:
        self._factory = factory
        self._lock = threading.Lock()
        self._objects: weakref.WeakKeyDictionary[
            BaseStorage, dict[tuple[int, tuple[StudyDirection, ...]], T]
        ] = weakref.WeakKeyDictionary()

    def of(self, study: Study) -> T:
        """Give the object of a study, the same one at each call."""
        with self._lock:
            objects = self._objects.setdefault(study._storage, {})
            # The identifier of a deleted study may be given to one of other directions.
            key = (study._study_id, tuple(study.directions))
            if key not in objects:
                objects[key] = self._factory(study)
            return objects[key]
