from __future__ import annotations

from pathlib import Path
import subprocess
import sys

import pytest

from tests.benchmarks.curve_sets import write_set


SCRIPT = Path(__file__).parents[2] / "benchmarks" / "samplers.py"
CONDITIONAL = "kind,lr,momentum"


def write_conditional_set(folder):
    """The recorded curves with other parameters: one of two kinds has a momentum."""
    write_set(folder, seed=1)
    rows = (folder / "configs.csv").read_text().splitlines()[1:]
    lines = [f"curve_id,{CONDITIONAL}"]
    for row in rows:
        number, quality = row.split(",")
        momentum = "0.9" if int(number) % 2 else ""
        kind = "momentum" if momentum else "plain"
        lines.append(f"{number},{kind},{1e-4 * 1e3 ** float(quality)},{momentum}")
    (folder / "configs.csv").write_text("\n".join(lines))


@pytest.fixture(scope="module")
def output(tmp_path_factory):
    folder = tmp_path_factory.mktemp("curves")
    write_set(folder / "plain", seed=0)
    write_conditional_set(folder / "conditional")
    arguments = ["--curves", folder, "--budget", "20", "--gp-budget", "20", "--jobs", "1"]
    seeds = ["--n-seeds", "2", "--n-gp-seeds", "2"]
    return subprocess.run(
        [sys.executable, str(SCRIPT), *map(str, arguments), *seeds],
        capture_output=True,
        text=True,
        check=True,
    ).stdout


@pytest.mark.parametrize("name", ["plain", "conditional"])
def test_the_table_of_a_set(output, name):
    head, table = output.split(f"**{name}**")[1].split("\n\n")[:2]
    assert float(head.split()[-1]) > 0.5  # R²: the quality decides on where a curve ends.
    rows = [[cell.strip() for cell in row.split("|")[1:-1]] for row in table.splitlines()]
    assert rows[0] == ["sampler", "regret at 5", "regret at 10", "regret at 20"]
    samplers = ["random", "TPE", "TPE, predicted values", "GP", "GP, predicted values"]
    assert [row[0] for row in rows[2:]] == samplers
    for row in rows[2:]:
        at_5, _, at_20 = regrets = [float(cell.split(" ± ")[0]) for cell in row[1:]]
        assert min(regrets) >= 0.0
        assert at_20 <= at_5
        assert at_20 < 1.0


def test_the_summary_counts_each_set_once(output):
    for name in ("TPE", "GP"):
        counts = output.split(f"- {name} at 5 full trainings: ")[1].splitlines()[0]
        assert sum(map(int, counts.split(" / "))) == 2
