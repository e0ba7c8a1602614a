from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import Any

from optuna_perfpred._storage_arguments import add_storage_arguments
from optuna_perfpred._storage_arguments import add_study_arguments
from optuna_perfpred._storage_arguments import read_storage_arguments
from optuna_perfpred._storage_arguments import read_study_arguments
from optuna_perfpred.dashboard._report import write_report
from optuna_perfpred.dashboard._server import serve
from optuna_perfpred.replay import replay
from optuna_perfpred.replay._comparison import DEFAULT_PRUNERS
from optuna_perfpred.replay._comparison import make_pruner
from optuna_perfpred.replay._comparison import PRUNERS


_DASHBOARD = """\
Serve optuna-dashboard with figures of what was foreseen and saved, and with a note that tells it
in words. They are kept current while workers write, and nothing of them is written into the
storage. SIGTERM and SIGINT end it.
"""


def add_dashboard_command(commands: Any) -> None:
    """Add ``dashboard`` to the commands."""
    command = commands.add_parser(
        "dashboard",
        help="serve optuna-dashboard with figures of what was foreseen and saved",
        description=_DASHBOARD,
    )
    add_storage_arguments(command)
    command.add_argument(
        "--study-name",
        action="append",
        default=[],
        metavar="NAME",
        help="a study of which figures are shown; may be given several times (default: all, also "
        "those that are created later)",
    )
    command.add_argument(
        "--host",
        default="127.0.0.1",
        help="address to listen on; whoever reaches it can edit and delete studies (default: "
        "127.0.0.1, this machine only)",
    )
    command.add_argument("--port", type=int, default=8080, help="port (default: 8080)")
    command.add_argument(
        "--interval",
        type=_seconds,
        default=30.0,
        metavar="S",
        help="seconds from one look at the storage to the next; figures are drawn anew if a trial "
        "has ended (default: 30)",
    )
    command.set_defaults(run=_run_dashboard)


def add_report_command(commands: Any) -> None:
    """Add ``report`` to the commands."""
    command = commands.add_parser(
        "report",
        help="write what was foreseen and saved into one page that opens without a network",
    )
    add_study_arguments(command)
    command.add_argument(
        "-o",
        "--output",
        type=Path,
        required=True,
        metavar="FILE.html",
        help="the page; one that is there is replaced",
    )
    command.add_argument(
        "--price-per-hour",
        type=float,
        metavar="P",
        help="what an hour of one worker costs, to tell the savings in money as well",
    )
    command.add_argument(
        "--replay",
        nargs="?",
        const=",".join(DEFAULT_PRUNERS),
        metavar="PRUNER,...",
        help="tell as well what other pruners would have done, as the command replay does, which "
        f"takes a while; any of {', '.join(PRUNERS)} (default: all but published)",
    )
    command.set_defaults(run=_run_report)


def _run_dashboard(args: argparse.Namespace) -> None:
    storage = read_storage_arguments(args)
    if not 0 <= args.port < 2**16:
        raise ValueError(f"--port must be between 0 and 65535, but got {args.port}.")
    try:
        serve(
            storage,
            study_names=args.study_name,
            host=args.host,
            port=args.port,
            interval=args.interval,
        )
    except OSError as error:
        raise ValueError(f"Cannot listen on {args.host}:{args.port}: {error.strerror}.") from None


def _run_report(args: argparse.Namespace) -> None:
    study = read_study_arguments(args)
    names = args.replay.split(",") if args.replay else []
    replays = {name: replay(study, make_pruner(name), seed=0) for name in names}
    write_report(study, args.output, price_per_hour=args.price_per_hour, replays=replays)
    if args.output.is_file():
        print(f"Wrote {args.output}")


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0.0 < seconds < math.inf:
        raise argparse.ArgumentTypeError(f"must be more than 0, but got {text}")
    return seconds
