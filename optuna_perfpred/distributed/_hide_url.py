from __future__ import annotations

import os
import sys

from optuna_perfpred._redact import Redactor


STORAGE_VARIABLE = "OPTUNA_STORAGE"
_OPTION = "--storage"


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
