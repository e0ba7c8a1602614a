from __future__ import annotations

from pathlib import Path
import subprocess
import sys

from tests.benchmarks.curve_sets import write_set


SCRIPT = Path(__file__).parents[2] / "benchmarks" / "warm_start.py"


def test_the_table_of_earlier_studies(tmp_path):
    for seed in range(2):
        write_set(tmp_path / f"set_{seed}", seed)
    arguments = ["--curves", tmp_path, "--n-orders", "2", "--related", "set_0:set_1"]
    output = subprocess.run(
        [sys.executable, str(SCRIPT), *map(str, arguments)],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    rows = [row.strip("| ").split(" | ") for row in output.splitlines() if row.startswith("| ")]
    assert [row[:2] for row in rows[2:]] == [
        ["set_0", "cold"],
        ["set_0", "warm"],
        ["set_1", "cold"],
        ["set_1", "warm"],
        ["set_0", "warm from set_1"],
        ["all 2", "cold"],
        ["all 2", "warm"],
    ]
    for row in rows[2:]:
        misses = [float(miss) for miss in row[2].rstrip(" %").split(" / ")]
        assert misses == sorted(misses, reverse=True)
        assert misses[0] < 100.0
