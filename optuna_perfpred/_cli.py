"""The command ``optuna-perfpred``: replays, workers, and what shows a study."""

from __future__ import annotations

import argparse
import difflib
import os
from pathlib import Path
import signal
import sys
from typing import Any
from typing import ClassVar
from typing import NoReturn
from typing import TYPE_CHECKING
from typing import TypeVar

import numpy as np
import optuna

from optuna_perfpred._interrupt import raise_interrupts
from optuna_perfpred._redact import Redactor
from optuna_perfpred._storage_arguments import add_study_arguments
from optuna_perfpred._storage_arguments import hide_storage_url
from optuna_perfpred._storage_arguments import read_study_arguments
from optuna_perfpred.dashboard._command import add_dashboard_command
from optuna_perfpred.dashboard._command import add_report_command
from optuna_perfpred.distributed._command import add_worker_command
from optuna_perfpred.explanation._command import add_explain_command
from optuna_perfpred.replay import load_curves
from optuna_perfpred.replay import replay
from optuna_perfpred.replay._comparison import advise
from optuna_perfpred.replay._comparison import comparison_table
from optuna_perfpred.replay._comparison import DEFAULT_PRUNERS
from optuna_perfpred.replay._comparison import describe_recording
from optuna_perfpred.replay._comparison import make_pruner
from optuna_perfpred.replay._comparison import PRUNERS


if TYPE_CHECKING:
    from collections.abc import Iterable
    from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        argv:
            The arguments. If :obj:`None`, those of the process.

    Returns:
        The exit status: 0, or 1 if an error was told on the standard error. A worker has more.
    """
    if argv is None:
        raise_interrupts()
        hide_storage_url()
    args = _parser().parse_args(argv)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        code = args.run(args) or 0
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        # Whoever reads has enough. What is left must not be written at the end either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except (ValueError, OSError, ImportError) as error:
        redact = Redactor(getattr(args, "storage", None) or "")
        print(f"optuna-perfpred: {redact(str(error))}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _replay(args: argparse.Namespace) -> None:
    _compare(read_study_arguments(args), args)


def _curves(args: argparse.Namespace) -> None:
    for number, folder in enumerate(_curve_folders(args.folder)):
        if number > 0:
            print()
        _compare(load_curves(folder), args)


def _advise(args: argparse.Namespace) -> None:
    study = read_study_arguments(args)
    advice = advise(
        study, n_repeats=args.n_repeats, seed=args.seed, show_progress_bar=_is_terminal()
    )
    print(advice)


def _compare(study: optuna.Study, args: argparse.Namespace) -> None:
    pruners = {name: make_pruner(name) for name in args.pruner.split(",")}
    # One seed for all pruners, so that they see the same orders.
    seed = args.seed if args.seed is not None else int(np.random.default_rng().integers(2**31))
    reports = {
        name: replay(
            study,
            pruner,
            order=args.order,
            n_repeats=args.n_repeats,
            seed=seed,
            n_trials=args.n_trials,
            budget=args.budget,
            n_workers=args.n_workers,
            step_time=args.step_time,
            show_progress_bar=_is_terminal(),
        )
        for name, pruner in pruners.items()
    }
    print(describe_recording(next(iter(reports.values()))))
    print()
    print(comparison_table(reports), flush=True)
    if args.details:
        for report in reports.values():
            print(f"\n{report}", flush=True)


def _curve_folders(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise FileNotFoundError(f"There is no folder {str(folder)!r}.")
    if (folder / "meta.json").exists():
        return [folder]
    folders = sorted(file.parent for file in folder.glob("*/meta.json"))
    if not folders:
        raise FileNotFoundError(
            f"Neither {str(folder)!r} nor a folder in it is a curve folder: none has a meta.json."
        )
    return folders


def _is_terminal() -> bool:
    return sys.stderr.isatty()


T = TypeVar("T", bound=argparse.Action)


class _Parser(argparse.ArgumentParser):
    known: ClassVar[set[str]] = set()

    def __init__(self, **settings: Any) -> None:
        # A shortened --storage would be hidden from nobody.
        super().__init__(**{"allow_abbrev": False, **settings})

    def _add_action(self, action: T) -> T:
        self.known.update(action.option_strings)
        return super()._add_action(action)

    def error(self, message: str) -> NoReturn:
        what, separator, rest = message.partition("unrecognized arguments: ")
        if separator:
            # Their values may be passwords.
            options = [word.partition("=")[0] for word in rest.split() if word[:1] == "-"]
            told = [name + _nearest(name, self.known) for name in options]
            message = f"{what}unrecognized arguments: {', '.join(told) or 'too many words'}"
        super().error(Redactor()(message))  # The message may quote a URL.


def _nearest(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, known, 1)
    return f" (did you mean {near[0]}?)" if near else ""


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="optuna-perfpred",
        description="Tell what pruners would have saved on finished studies, and what lost; run "
        "the workers of a study; show what was foreseen, saved and risked.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    command = commands.add_parser("replay", help="compare pruners on a finished study")
    add_study_arguments(command)
    _add_replay_arguments(command)
    command.set_defaults(run=_replay)
    command = commands.add_parser("curves", help="compare pruners on recorded learning curves")
    command.add_argument(
        "folder",
        type=Path,
        metavar="DIR",
        help="a folder with curves.csv, configs.csv and meta.json, or a folder of such folders",
    )
    _add_replay_arguments(command)
    command.set_defaults(run=_curves)
    command = commands.add_parser(
        "advise",
        aliases=["trust"],
        help="tell what the curves of a study say about stopping, and recommend settings",
    )
    add_study_arguments(command)
    command.add_argument(
        "--n-repeats", "--repeats", type=int, default=5, help="random orders (default: 5)"
    )
    command.add_argument("--seed", type=int, help="seed of the orders (default: a random one)")
    command.set_defaults(run=_advise)
    add_worker_command(commands)
    add_dashboard_command(commands)
    add_report_command(commands)
    add_explain_command(commands)
    return parser


def _add_replay_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--pruner",
        default=",".join(DEFAULT_PRUNERS),
        metavar="NAME,...",
        help=f"any of {', '.join(PRUNERS)} (default: all but published)",
    )
    parser.add_argument(
        "--order",
        choices=("number", "random"),
        default="number",
        help="order of the trials (default: number)",
    )
    parser.add_argument(
        "--n-repeats", "--repeats", type=int, default=1, help="repeats (default: 1)"
    )
    parser.add_argument("--seed", type=int, help="seed of random orders (default: a random one)")
    parser.add_argument(
        "--n-trials", "--trials", type=int, metavar="N", help="draw at most N trials"
    )
    parser.add_argument(
        "--budget", type=float, metavar="B", help="stop after the steps of B full trainings"
    )
    parser.add_argument(
        "--n-workers", "--workers", type=int, default=1, help="simulated workers (default: 1)"
    )
    parser.add_argument(
        "--step-time",
        choices=("unit", "recorded"),
        default="unit",
        help="time of a step on the virtual clock (default: unit)",
    )
    parser.add_argument(
        "--details", action="store_true", help="print each replay's full report as well"
    )
