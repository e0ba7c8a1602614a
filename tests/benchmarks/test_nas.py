from __future__ import annotations

from pathlib import Path
import subprocess
import sys

from tests.benchmarks.recorded_networks import draw_networks
from tests.benchmarks.recorded_networks import learn_all
from tests.benchmarks.recorded_networks import N_RECORDED
from tests.benchmarks.recorded_networks import write_recordings


SCRIPT = Path(__file__).parents[2] / "benchmarks" / "nas.py"
SAMPLERS = ("random", "TPE", "Q-learning")


def run(*arguments):
    """Give what is printed above the table, and the table's rows by name."""
    output = subprocess.run(
        [sys.executable, str(SCRIPT), *map(str, arguments)],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    head, *rows = output.split("\n| ")
    cells = [[cell.strip() for cell in row.rstrip(" |\n").split("|")] for row in rows[2:]]
    return head, {row[0]: row[1:] for row in cells}


def test_the_table_of_searches_on_recorded_networks(tmp_path):
    networks = draw_networks(N_RECORDED, seed=0)
    write_recordings(tmp_path, networks, learn_all(networks))
    head, table = run(
        "surrogate", "--curves", tmp_path, "--n-trials", "120", "--n-seeds", "2", "--jobs", "1"
    )
    assert f"Of {N_RECORDED} networks, {N_RECORDED} print back identically" in head
    assert "R² of the final value 0." in head
    assert list(table) == [*SAMPLERS, *(f"{sampler}, pruner" for sampler in SAMPLERS)]
    assert table["random"][4:6] == ["2400", "1.0"]
    assert all(float(table[f"{sampler}, pruner"][5]) > 1.2 for sampler in SAMPLERS)
    # Without a pruner the best of all trials is at least the best of the first epochs.
    for sampler in SAMPLERS:
        best, at_1000, at_2000 = (float(cell.split(" ± ")[0]) for cell in table[sampler][1:4])
        assert at_1000 <= at_2000 <= best


def test_the_table_of_searches_on_digits():
    _, table = run("digits", "--n-trials", "3", "--n-seeds", "1", "--jobs", "1")
    assert table["random"][4] == "60"
    assert 0.1 < float(table["random"][1].split(" ± ")[0]) <= 1.0
