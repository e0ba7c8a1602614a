"""The Atari baselines of Dopamine: value-based agents with three networks, five seeds each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from _curve_set import CloneError
from _curve_set import CurveSet
from _curve_set import Family
from _curve_set import read_json
from _curve_set import Run
from _curve_set import with_equal_ends


if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


_NETWORKS = {"nature": "", "cnn": "_CNN", "impala": "_Impala"}
_GAMES = """
airraid amidar assault asterix asteroids atlantis bankheist beamrider berzerk boxing carnival
centipede choppercommand crazyclimber demonattack elevatoraction enduro freeway gopher gravitar
hero icehockey jamesbond journeyescape krull kungfumaster mspacman namethisgame phoenix pitfall
pong privateeye qbert roadrunner robotank seaquest skiing solaris spaceinvaders stargunner tennis
timepilot tutankham upndown venture wizardofwor yarsrevenge zaxxon
"""


def _runs(file: Path, network: str) -> Iterator[Run]:
    # The file has no seeds: the n-th report of an agent and an iteration is that of seed n.
    agents: dict[str, list[dict[int, float]]] = {}
    try:
        for row in read_json(file):
            curves = agents.setdefault(row["Agent"], [])
            step = int(row["Iteration"]) + 1
            seed = next((i for i, curve in enumerate(curves) if step not in curve), len(curves))
            if seed == len(curves):
                curves.append({})
            curves[seed][step] = float(row["Value"])
    except (KeyError, TypeError) as error:
        raise CloneError(f"{file} holds a report without {error}.") from error
    for agent, curves in agents.items():
        for seed, curve in enumerate(curves):
            yield Run({"agent": agent, "network": network, "seed": seed}, curve)


def convert(clone: Path) -> Iterator[CurveSet]:
    """Yields the sets of a clone."""
    folder = clone / "baselines" / "atari" / "data"
    for game in _GAMES.split():
        runs = [
            run
            for network, ending in _NETWORKS.items()
            for run in _runs(folder / f"{game}{ending}.json", network)
        ]
        source = (
            f"baselines/atari/data/{game}*.json: agents x networks x seeds, step = an iteration "
            "of 250,000 agent steps (1M frames)"
        )
        metric = f"Atari {game}, average return of the training episodes of an iteration"
        yield CurveSet(f"dopamine_{game}", "maximize", metric, source, with_equal_ends(runs))


FAMILY = Family(
    "dopamine",
    "Atari games: value-based agents x networks x seeds, return of training",
    {"google/dopamine": "5873f549"},
    "Apache-2.0",
    tuple(f"dopamine_{game}" for game in _GAMES.split()),
    convert,
)
