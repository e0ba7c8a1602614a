from __future__ import annotations

import abc
import threading
from typing import Any
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


class LearnsAnew(abc.ABC):
    """What is learned of studies is left behind when an object is sent to another process.

    That one learns from its storage, which knows more by then, and to which the object may have
    no access. Subclasses call :meth:`_forget` once they have their arguments.
    """

    def _forget(self) -> None:
        """Begin with what is learned of studies."""
        before = set(self.__dict__)
        self._begin()
        self._learned = tuple(self.__dict__.keys() - before)

    @abc.abstractmethod
    def _begin(self) -> None:
        """Set the attributes that are left behind."""

    def __getstate__(self) -> dict[str, Any]:
        return {k: value for k, value in self.__dict__.items() if k not in self._learned}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._forget()
