from __future__ import annotations

from pathlib import Path
import subprocess
import sys

from tests.benchmarks.curve_sets import write_set


SCRIPT = Path(__file__).parents[2] / "benchmarks" / "pruners.py"


def rows(output, title):
    table = output.split(f"**{title}**")[1].strip().split("\n\n")[0].splitlines()
    return {cells[1]: cells[2:] for cells in ([c.strip() for c in r.split("|")] for r in table)}


def test_the_table_of_pruners(tmp_path):
    for seed in range(2):
        write_set(tmp_path / f"set_{seed}", seed)
    arguments = ["--curves", tmp_path, "--n-orders", "2", "--pruners", "none", "i_epoch", "ours"]
    output = subprocess.run(
        [sys.executable, str(SCRIPT), *map(str, arguments)],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    for title in ("set_0, 60 trials", "set_1, 60 trials", "All 2 sets"):
        table = rows(output, title)
        nothing = table["no pruning"]
        assert nothing[:3] == ["1.0", "1.00", "0.000"]
        misses = [float(miss) for miss in nothing[3].rstrip(" %").split(" / ")]
        assert misses == sorted(misses, reverse=True)
        assert float(table["**ours, default**"][0]) > 1.5
        assert float(table["i-epoch rule (10 %)"][0]) > 1.5
    # A budget of 10 full trainings completes 10 random configurations of 60.
    assert float(rows(output, "All 2 sets")["no pruning"][3].split(" / ")[0]) > 0.5
