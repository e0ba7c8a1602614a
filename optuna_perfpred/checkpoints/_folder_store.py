from __future__ import annotations

import contextlib
import os
from pathlib import Path
import shutil
from typing import TYPE_CHECKING

from optuna.artifacts.exceptions import ArtifactNotFound


if TYPE_CHECKING:
    from typing import BinaryIO


class FolderStore:
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

    def open_reader(self, artifact_id: str) -> BinaryIO:
        """Open a file to read it. See :class:`optuna.artifacts.FileSystemArtifactStore`."""
        try:
            return (self._path / artifact_id).open("rb")
        except FileNotFoundError as error:
            raise ArtifactNotFound(f"There is no {artifact_id} in {self._path}.") from error

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
