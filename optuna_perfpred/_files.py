"""Reads files that the user names: each may be anything, and none may block or fill the memory."""

from __future__ import annotations

from typing import TYPE_CHECKING


if TYPE_CHECKING:
    from pathlib import Path


def check_file(path: Path, max_bytes: int) -> Path:
    """Check that a path is a file that can be read as a whole.

    Raises:
        ValueError:
            If it is a folder, a pipe or a device, or too large.
        OSError:
            If it is missing, or cannot be looked at.
    """
    size = path.stat().st_size
    if not path.is_file():
        raise ValueError(f"{str(path)!r} is not a regular file.")
    if size > max_bytes:
        raise ValueError(f"{str(path)!r} has {size:,} bytes, and may have {max_bytes:,}.")
    return path


def read_text(path: Path, max_bytes: int = 2**20) -> str:
    """Read a text in UTF-8.

    Raises:
        ValueError:
            As of :func:`check_file`, or if it is no text.
        OSError:
            If it cannot be read.
    """
    try:
        return check_file(path, max_bytes).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{str(path)!r} is no text: byte {error.start} is {error.object[error.start]:#04x}."
        ) from None
