from __future__ import annotations

import os
from typing import TYPE_CHECKING

from optuna.artifacts.exceptions import ArtifactNotFound

from optuna_perfpred.checkpoints._checkpoint_file import DamagedError
from optuna_perfpred.checkpoints._checkpoint_file import unpack
from optuna_perfpred.checkpoints._folder_store import FolderStore
from optuna_perfpred.pruners._forecasting_pruner import WarnOnce


if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import BinaryIO

    from optuna.artifacts._protocol import ArtifactStore

    from optuna_perfpred.checkpoints._checkpoint_file import SavedState


# The next one is written over the one before the last, so that one is always whole.
_N_SLOTS = 2


class CheckpointFiles:
    """The checkpoints in a store, two to a name. It warns of failures, of each kind once.

    Args:
        store:
            A folder, which is made if it is missing, or an artifact store.

    Attributes:
        are_listed:
            Whether the store tells what is in it.

    Raises:
        ValueError:
            If the store is of another kind.
        OSError:
            If the folder cannot be made.
    """

    def __init__(self, store: str | os.PathLike[str] | ArtifactStore) -> None:
        if isinstance(store, str | os.PathLike):
            store = FolderStore(store)
        elif not all(hasattr(store, name) for name in ("open_reader", "write", "remove")):
            raise ValueError(
                f"`store` must be a folder or an artifact store of Optuna, but got {store!r}."
            )
        self._store = store
        self.are_listed = isinstance(store, FolderStore)
        self.warn_once = WarnOnce()

    def sizes(self) -> dict[str, int] | None:
        """Give the bytes under each name; :obj:`None` if the store cannot tell."""
        if not isinstance(self._store, FolderStore):
            return None
        found: dict[str, int] = {}
        for file, size in self._store.sizes().items():
            name = file.rpartition("-")[0]
            found[name] = found.get(name, 0) + size
        return found

    def read(self, name: str) -> list[SavedState]:
        """Read what can be read under a name, the latest one first."""
        found = []
        for slot in range(_N_SLOTS):
            try:
                with self._store.open_reader(f"{name}-{slot}") as reader:
                    found.append(unpack(reader.read()))
            except ArtifactNotFound:
                pass
            except DamagedError as error:
                self.warn_once("A checkpoint is left out", error)
            except Exception as error:
                self.warn_once("A checkpoint could not be read", error)
        return sorted(found, key=lambda saved: saved.step, reverse=True)

    def write(self, name: str, count: int, file: BinaryIO) -> bool:
        """Write a checkpoint over the one before the last, and tell whether that succeeded.

        Args:
            name:
                The name.
            count:
                How many were written before.
            file:
                The content.
        """
        try:
            self._store.write(f"{name}-{count % _N_SLOTS}", file)
        except Exception as error:
            self.warn_once("A checkpoint could not be saved", error)
            return False
        return True

    def remove(self, names: Iterable[str]) -> None:
        """Remove what was written under some names."""
        for name in names:
            for slot in range(_N_SLOTS):
                self._remove(name, slot)

    def remove_older(self, name: str, count: int) -> None:
        """Remove the one before the last of so many that were written under a name."""
        self._remove(name, count % _N_SLOTS)

    def _remove(self, name: str, slot: int) -> None:
        try:
            self._store.remove(f"{name}-{slot}")
        except ArtifactNotFound:
            pass
        except Exception as error:
            self.warn_once("A checkpoint could not be removed", error)

    def __str__(self) -> str:
        return str(self._store)
