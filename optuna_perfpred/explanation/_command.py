from __future__ import annotations

from typing import Any
from typing import TYPE_CHECKING

from optuna_perfpred._storage_arguments import add_study_arguments
from optuna_perfpred._storage_arguments import read_study_arguments
from optuna_perfpred.explanation._explain import explain


if TYPE_CHECKING:
    import argparse


_DESCRIPTION = """\
Tell why a trial was stopped or went on: the forecast, the best value then, what in its curve and
its parameters drove the forecast, and how the nearest finished trials ended.
"""


def add_explain_command(commands: Any) -> None:
    """Add ``explain`` to the commands."""
    command = commands.add_parser(
        "explain", help="tell why a trial was stopped or went on", description=_DESCRIPTION
    )
    add_study_arguments(command)
    command.add_argument("number", type=int, metavar="NUMBER", help="the trial's number")
    command.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> None:
    print(explain(read_study_arguments(args), args.number))
