from __future__ import annotations

from pathlib import Path
import subprocess
import sys

import pytest

from tests.benchmarks.recorded_networks import draw_networks
from tests.benchmarks.recorded_networks import learn_all
from tests.benchmarks.recorded_networks import N_RECORDED
from tests.benchmarks.recorded_networks import write_recordings


SCRIPT = Path(__file__).parents[2] / "benchmarks" / "nas.py"
PREDICTED = "TPE, predicted values"
SAMPLERS = ("random", "TPE", "Q-learning", "ArchitectureSampler")
PRUNED = [f"{name}, pruner" for name in ("random", "TPE", PREDICTED, *SAMPLERS[2:])]


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
        "surrogate", "--curves", tmp_path, "--n-trials", "110", "--n-seeds", "1", "--jobs", "1"
    )
    assert f"Of {N_RECORDED} networks, {N_RECORDED} print back identically" in head
    assert "R² of the final value 0." in head
    assert list(table) == [*SAMPLERS, *PRUNED]
    assert table["random"][5:7] == ["2200", "1.0"]
    assert all(float(table[sampler][6]) > 1.2 for sampler in PRUNED)
    # Without a pruner the best of all trials is at least the best of the first epochs.
    for sampler in SAMPLERS:
        best, *at = (float(cell.split(" ± ")[0]) for cell in table[sampler][1:5])
        assert sorted([*at, best]) == [*at, best]


@pytest.mark.parametrize(
    "problem",
    [
        "digits",
        pytest.param(
            "fashion",
            marks=pytest.mark.skipif(
                not Path("/usr/share/datasets/fashion-mnist").exists(),
                reason="needs Debian's dataset-fashion-mnist",
            ),
        ),
        "text",
    ],
)
def test_the_table_of_searches_with_trainings(problem):
    # The networks of the others take longer to train, and a first trial is random anyway.
    samplers = SAMPLERS if problem == "digits" else ("random",)
    arguments = ("--n-trials", "1", "--n-seeds", "1", "--jobs", "1", "--samplers", *samplers)
    _, table = run(problem, *arguments, "--n-epochs", "3", "--share", "0.5")
    assert list(table) == [*samplers, *(f"{sampler}, pruner" for sampler in samplers)]
    assert table["random"][5] == "3"
    assert 0.0 < float(table["random"][1].split(" ± ")[0]) <= 1.0


def test_the_tables_of_nas_bench_201():
    head, one, two = subprocess.run(
        [
            *(sys.executable, str(SCRIPT), "tabular", "--n-trials", "15", "--n-seeds", "2"),
            *("--jobs", "1", "--samplers"),
            *("random", "regularized evolution", "ArchitectureSampler"),
        ],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split("| search |")
    assert "CIFAR-10: the best cell has 91.61" in head
    rows = [row.removeprefix("| ").split(" | ") for row in one.splitlines()[2:11]]
    assert [row[:2] for row in rows] == [
        [search, measure]
        for search in ("random", "regularized evolution", "ArchitectureSampler")
        for measure in ("drawn", "mean", "deemed")
    ]
    assert all(85.0 < float(row[2].split(" ± ")[0]) <= 91.73 for row in rows)
    shares = [float(cell.split(" ± ")[0]) for cell in two.splitlines()[2].split(" | ")[1:]]
    assert all(0.2 < share <= 1.0 for share in shares)
