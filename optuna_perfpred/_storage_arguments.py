from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from optuna_perfpred._files import read_text
from optuna_perfpred._storages import check_storage
from optuna_perfpred.distributed._hide_url import STORAGE_VARIABLE


if TYPE_CHECKING:
    import argparse


def add_storage_arguments(command: argparse.ArgumentParser, text: str) -> None:
    """Add what tells of a storage whose password nobody is to see.

    Args:
        command:
            The command's parser.
        text:
            What may be given as a storage.
    """
    storage = command.add_mutually_exclusive_group()
    storage.add_argument(
        "--storage",
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
