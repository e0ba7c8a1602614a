"""The files of checkpoints: what is in one, and how two to a name lie in a store."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
import hashlib
import io
import json
import os
from pathlib import Path
import shutil
from typing import Any
from typing import TYPE_CHECKING

from optuna.artifacts import FileSystemArtifactStore
from optuna.artifacts.exceptions import ArtifactNotFound

from optuna_perfpred._imports import import_extra
from optuna_perfpred._warn_once import WarnOnce


if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import BinaryIO

    from optuna.artifacts._protocol import ArtifactStore


# The hash of all that follows it comes after the magic bytes.
_FORMAT = b"perfpred-ckpt-"
_MAGIC = _FORMAT + b"1\n"
_START = len(_MAGIC) + hashlib.sha256().digest_size
_BYTES = "bytes"
_TORCH = "torch"
# The next one is written over the one before the last, so that one is always whole.
_N_SLOTS = 2


class DamagedError(ValueError):
    """A file is not a whole checkpoint."""


@dataclass(frozen=True)
class SavedState:
    """A checkpoint whose hash is right and whose state has not been decoded yet.

    Attributes:
        number:
            The number of the trial that saved it.
        step:
            The step after which it was saved.
        kind:
            How the state is encoded.
        content:
            The encoded state.
    """

    number: int
    step: int
    kind: str
    content: bytes

    def decode(self) -> Any:
        """Give the state, with all tensors on the CPU.

        Raises:
            Exception:
                If this version of PyTorch cannot read it, or it holds what would have to be
                unpickled, which is never done.
        """
        if self.kind == _BYTES:
            return self.content
        return _load_tensors(io.BytesIO(self.content))


def pack(number: int, step: int, state: Any, *, verify: bool) -> io.BytesIO:
    """Encode a checkpoint.

    Args:
        number:
            The number of the trial.
        step:
            The step.
        state:
            Bytes, or what ``torch.save`` takes.
        verify:
            Whether to read the state again, which takes as long as encoding it.

    Returns:
        The content of the file, to be read from its beginning.

    Raises:
        ValueError:
            If the state could not be read without unpickling.
    """
    kind = _BYTES if isinstance(state, bytes | bytearray | memoryview) else _TORCH
    file = io.BytesIO()
    file.write(_MAGIC.ljust(_START, b"\0"))
    file.write(json.dumps({"number": number, "step": step, "kind": kind}).encode() + b"\n")
    if kind == _BYTES:
        file.write(state)
    else:
        content = _saved_tensors(state, verify=verify)
        file.write(content.getbuffer())
    with file.getbuffer() as view:
        view[len(_MAGIC) : _START] = hashlib.sha256(view[_START:]).digest()
    file.seek(0)
    return file


def unpack(content: bytes) -> SavedState:
    """Decode the content of a file, but not yet the state in it.

    Raises:
        DamagedError:
            If the content is not that of a whole checkpoint.
    """
    if content.startswith(_FORMAT) and not content.startswith(_MAGIC):
        raise DamagedError("it is of another version of optuna_perfpred")
    digest = content[len(_MAGIC) : _START]
    is_whole = hashlib.sha256(memoryview(content)[_START:]).digest() == digest
    if not content.startswith(_MAGIC) or not is_whole:
        raise DamagedError("it is not a whole checkpoint")
    end = content.index(b"\n", _START)
    header = json.loads(content[_START:end])
    return SavedState(
        int(header["number"]), int(header["step"]), header["kind"], content[end + 1 :]
    )


def _saved_tensors(state: Any, *, verify: bool) -> io.BytesIO:
    # Objectives that save bytes need no PyTorch.
    torch = _torch()
    content = io.BytesIO()
    try:
        torch.save(state, content)
        if verify:
            content.seek(0)
            _load_tensors(content)
    except MemoryError:
        raise
    except Exception as error:
        cause = str(error).splitlines() or [type(error).__name__]
        raise ValueError(
            "`state` must be bytes, or tensors, numbers, strings, lists and dictionaries of them, "
            f"because nothing else is read without unpickling, but: {cause[0]}"
        ) from error
    return content


def _load_tensors(content: io.BytesIO) -> Any:
    # Whoever can write to the store could otherwise run code here.
    return _torch().load(content, map_location="cpu", weights_only=True)


def _torch() -> Any:
    return import_extra("torch", "nas", "A state other than bytes")


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
            store = _FolderStore(store)
        elif not all(hasattr(store, name) for name in ("open_reader", "write", "remove")):
            raise ValueError(
                f"`store` must be a folder or an artifact store of Optuna, but got {store!r}."
            )
        self._store = store
        self.are_listed = isinstance(store, _FolderStore)
        self.warn_once = WarnOnce()

    def sizes(self) -> dict[str, int] | None:
        """Give the bytes under each name; :obj:`None` if the store cannot tell."""
        if not isinstance(self._store, _FolderStore):
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


class _FolderStore(FileSystemArtifactStore):
    """An artifact store in a folder, in which a file is either whole or as it was before.

    :class:`optuna.artifacts.FileSystemArtifactStore` writes a file in its place: who dies
    meanwhile leaves half of it.

    Args:
        path:
            The folder. It is made if it is missing.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        # The objective may change the working directory.
        self._path = Path(path).absolute()
        self._path.mkdir(parents=True, exist_ok=True)
        super().__init__(self._path)

    def write(self, artifact_id: str, content_body: BinaryIO) -> None:
        """Write a file, or leave it as it was if that fails."""
        # Always the same name, so that what a dead process left is written over or removed.
        unfinished = self._unfinished(artifact_id)
        try:
            with unfinished.open("wb") as file:
                shutil.copyfileobj(content_body, file)
                file.flush()
                os.fsync(file.fileno())
            unfinished.replace(self._path / artifact_id)
        except OSError:
            unfinished.unlink(missing_ok=True)  # A full disk is not to stay full because of it.
            raise
        self._sync_names()

    def remove(self, artifact_id: str) -> None:
        """Remove a file, and what is left of a write that did not end."""
        (self._path / artifact_id).unlink(missing_ok=True)
        self._unfinished(artifact_id).unlink(missing_ok=True)

    def sizes(self) -> dict[str, int]:
        """Give the bytes of each file, also of what is left of a write that did not end."""
        found = {}
        with os.scandir(self._path) as entries:
            for entry in entries:
                # Another worker may remove it meanwhile.
                with contextlib.suppress(FileNotFoundError):
                    found[entry.name] = entry.stat().st_size
        return found

    def _unfinished(self, artifact_id: str) -> Path:
        return self._path / f"{artifact_id}.unfinished"

    def _sync_names(self) -> None:
        if os.name != "posix":  # Elsewhere folders cannot be opened.
            return
        folder = os.open(self._path, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def __str__(self) -> str:
        return f"the folder {self._path}"
