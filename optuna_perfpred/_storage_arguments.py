"""Which storage and study a command is for, given where nobody sees the password."""

from __future__ import annotations

import os
from pathlib import Path
import sys
from typing import TYPE_CHECKING

from optuna_perfpred._files import read_text
from optuna_perfpred._redact import Redactor
from optuna_perfpred._storages import check_storage
from optuna_perfpred._storages import open_study


if TYPE_CHECKING:
    import argparse

    from optuna import Study


STORAGE_VARIABLE = "OPTUNA_STORAGE"
_OPTION = "--storage"


def add_study_arguments(command: argparse.ArgumentParser) -> None:
    """Add what tells of an existing study: its storage and its name."""
    add_storage_arguments(command)
    command.add_argument(
        "--study-name", metavar="NAME", help="not needed if the storage holds only one study"
    )


def read_study_arguments(args: argparse.Namespace) -> Study:
    """Open the study that was told of; errors as of :func:`read_storage_arguments`."""
    return open_study(read_storage_arguments(args), args.study_name)


def add_storage_arguments(
    command: argparse.ArgumentParser,
    text: str = "URL of a database or of Redis, or the path of a journal file",
) -> None:
    """Add what tells of a storage whose password nobody is to see.

    Args:
        command:
            The command's parser.
        text:
            What may be given as a storage.
    """
    storage = command.add_mutually_exclusive_group()
    storage.add_argument(
        _OPTION,
        metavar="URL",
        help=f"{text} (default: the environment variable {STORAGE_VARIABLE}, which is the place "
        "for a URL with a password)",
    )
    storage.add_argument(
        "--storage-file", type=Path, metavar="PATH", help="a file that holds the URL"
    )


def read_storage_arguments(args: argparse.Namespace) -> str:
    """Give the storage that was told of.

    Raises:
        ValueError:
            If there is none, or no storage can be meant.
        OSError:
            If the file that should hold it cannot be read.
    """
    if args.storage_file is not None:
        storage = read_text(args.storage_file).strip()
        if not storage or "\n" in storage:
            raise ValueError(f"{str(args.storage_file)!r} must hold the storage's URL, on a line.")
    elif args.storage is None:
        storage = os.environ.get(STORAGE_VARIABLE, "")
    else:
        storage = args.storage
    if not storage:
        raise ValueError(
            f"There is no storage: give --storage, --storage-file or the environment variable "
            f"{STORAGE_VARIABLE}."
        )
    check_storage(storage)
    args.storage = str(storage)
    return str(storage)


def hide_storage_url() -> None:
    """Take a URL with a password out of this process's arguments, where ``ps`` shows it.

    The same process runs the same program anew, with the URL in the environment variable that
    ``optuna-perfpred worker`` reads. Does nothing if there is no password.
    """
    arguments, url = _without_storage(sys.orig_argv[1:])
    if url is None or not Redactor(url).has_password:
        return
    print(
        f"optuna-perfpred: the password in {_OPTION} could be seen in the list of processes until "
        f"now. Give the URL in the environment variable {STORAGE_VARIABLE}, or with "
        "--storage-file.",
        file=sys.stderr,
        flush=True,
    )
    if os.name == "nt":  # There this would be another process, for which nobody waits.
        return
    environ = {**os.environ, STORAGE_VARIABLE: url}
    os.execve(sys.executable, [sys.orig_argv[0], *arguments], environ)


def _without_storage(arguments: list[str]) -> tuple[list[str], str | None]:
    kept: list[str] = []
    url = None
    rest = iter(arguments)
    for argument in rest:
        if argument == _OPTION:
            url = next(rest, None)
        elif argument.startswith(f"{_OPTION}="):
            url = argument.partition("=")[2]
        else:
            kept.append(argument)
    return kept, url
