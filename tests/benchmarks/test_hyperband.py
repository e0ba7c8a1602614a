from __future__ import annotations

from pathlib import Path
import subprocess
import sys

from tests.benchmarks.curve_sets import write_set


SCRIPT = Path(__file__).parents[2] / "benchmarks" / "hyperband.py"


def rows(output, title):
    table = output.split(f"**{title}**")[1].strip().split("\n\n")[0].splitlines()
    return {cells[1]: cells[2:] for cells in ([c.strip() for c in r.split("|")] for r in table)}


def test_the_table_of_hyperband_and_ours(tmp_path):
    write_set(tmp_path / "set_0", seed=0)
    arguments = ["--curves", tmp_path, "--n-orders", "1", "--jobs", "1"]
    output = subprocess.run(
        [sys.executable, str(SCRIPT), *map(str, arguments)],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    for title in ("set_0", "All 1 sets"):
        table = rows(output, title)
        for start in ("cold", "warm"):
            hyperband = table[f"Hyperband, {start}'s trials"]
            assert float(hyperband[1]) == 1.0
            for keep in ("1", "0.5", "0.1"):
                ours = table[f"f-Hyperband, κ = {keep}, {start}"]
                assert float(ours[0]) <= float(hyperband[0])
                assert float(ours[1]) >= 1.0
    # A warm start is given half of the curves, the trials are the other half.
    table = rows(output, "set_0")
    cold, warm = (float(table[f"Hyperband, {start}'s trials"][0]) for start in ("cold", "warm"))
    assert warm < cold
