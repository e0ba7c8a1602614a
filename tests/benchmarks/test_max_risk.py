from __future__ import annotations

import math
from pathlib import Path

import max_risk
import pytest

from tests.benchmarks.curve_sets import write_set
from tests.benchmarks.test_in_loop import run
from tests.benchmarks.test_in_loop import table


def test_the_tables_of_promised_and_realised_risk(tmp_path, monkeypatch, capsys):
    write_set(tmp_path / "tiny_set", seed=0)
    arguments = ["--curves", tmp_path, "--n-orders", 1, "--n-trials", 20, "--budget", 8]
    arguments += ["--workers", 1, "--max-risks", 0.2, "--confidences", "--jobs", 1]
    output = run(monkeypatch, capsys, max_risk, *arguments)
    for title in ("random order, 1 worker: 1 sets", "TPE in the loop, 1 worker: 1 sets"):
        rows = {name: cells for name, *cells in table(output, title)}
        assert set(rows) == {"**`max_risk=0.2`**", "default"}
        for speed_up, stopped, of_family in rows.values():
            assert float(speed_up) >= 1.0
            assert stopped in ("0.0 %", "100.0 %")
            assert of_family.startswith(stopped)


def test_the_risk_of_a_family_and_the_confidence_beside_it(capsys):
    by_hand = [max_risk.Row(confidence=c) for c in (0.5, 0.9)]
    promised = max_risk.Row(max_risk=0.1)
    folders = [Path("one_a"), Path("one_b"), Path("two_c")]

    def results(n_stopped, speed_up):
        found = [max_risk.Result(math.log(speed_up), i < n_stopped) for i in range(4)]
        return dict.fromkeys(folders, found)

    rows = {promised: results(1, 2.0), by_hand[0]: results(2, 4.0), by_hand[1]: results(0, 1.0)}
    reached = max_risk.print_table("all", rows)
    assert reached[promised] == (0.25, pytest.approx(2.0))
    max_risk.compare(reached)
    output = capsys.readouterr().out
    assert table(output, "all")[0] == [
        "**`max_risk=0.1`**",
        "2.00",
        "25.0 %",
        "25.0 % (2.00 x)",
        "25.0 % (2.00 x)",
    ]
    assert "set by hand to stop it as often: 2.00 (ratio 1.00)" in output
