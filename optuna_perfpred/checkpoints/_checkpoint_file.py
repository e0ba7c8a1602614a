from __future__ import annotations

from dataclasses import dataclass
import hashlib
import io
import json
from typing import Any

from optuna_perfpred._imports import import_extra


# The hash of all that follows it comes after the magic bytes.
_FORMAT = b"perfpred-ckpt-"
_MAGIC = _FORMAT + b"1\n"
_START = len(_MAGIC) + hashlib.sha256().digest_size
_BYTES = "bytes"
_TORCH = "torch"


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
    # Objectives that save bytes need no PyTorch.
    return import_extra("torch", "nas", "A state other than bytes")
