from __future__ import annotations

from pathlib import Path
import subprocess
import sys

from tests.benchmarks.curve_sets import write_set


BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def rows(script, *arguments):
    output = subprocess.run(
        [sys.executable, str(BENCHMARKS / script), *map(str, arguments)],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    table = output.split("| --- |\n")[1].split("\n\n")[0].strip().splitlines()
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in table]


def test_the_table_of_times():
    sizes = ["--completed", "20", "--running", "1", "3", "--n-trials", "1", "--n-steps", "4"]
    table = rows("overhead.py", "--storages", "in-memory", "SQLite", "journal file", *sizes)
    assert [row[:3] for row in table] == [
        [storage, "20", running]
        for storage in ("in-memory", "SQLite", "journal file")
        for running in ("1", "3")
    ]
    for row in table:
        *_, ours = times = [float(cell) for cell in row[3:8]]
        assert min(times) >= 0.0
        assert ours > 0.0
        parts = [float(part) for part in row[9].split(" + ")]
        assert abs(sum(parts) - ours) < 0.1 * ours + 0.05


def test_the_table_of_simulated_workers(tmp_path):
    write_set(tmp_path / "set_0", 0)
    arguments = ["--workers", "1", "8", "60", "--n-trials", "60", "--jobs", "1"]
    table = rows("scale.py", "replay", "--curves", tmp_path, *arguments)
    speed_ups = [float(row[1].rstrip("×")) for row in table]
    assert [row[0] for row in table] == ["1", "8", "60"]
    # A few workers may save as much as one: early on, it stops hardly anything.
    assert 1.1 * speed_ups[0] > speed_ups[1] > speed_ups[2]
    # With as many workers as trials nothing has finished when the last one starts.
    assert speed_ups[2] == 1.0
    assert table[0][2] == "100 %"
