from __future__ import annotations

import json

from _recording_family import Sizes
import live
from live import assess
from live import Training
import pytest

from tests.benchmarks.recordings import DIAMONDS
from tests.benchmarks.test_record_curves import recorded


def run(monkeypatch, capsys, *arguments):
    monkeypatch.setattr("sys.argv", ["live.py", *map(str, arguments)])
    live.main()
    table = capsys.readouterr().out.split("| --- |\n")[1].split("\n\n")[0].strip().splitlines()
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in table]


def test_recorded_trainings_are_repeated_with_the_pruner(tmp_path, monkeypatch, capsys):
    recorded(DIAMONDS, tmp_path, Sizes(n_trials=30, n_epochs=12, n_train=300, n_valid=200))
    results = tmp_path / "results"
    arguments = ["--curves", tmp_path, "--output", results, "--n-seeds", 2, "--jobs", 1]
    arguments += ["--n-trials", 25]
    table = run(monkeypatch, capsys, *arguments)
    assert [row[0] for row in table] == ["0", "1", "**mean**"]
    for row in table[:2]:
        epochs = int(row[1])
        assert 25 < epochs < 25 * 12  # Some were stopped.
        assert float(row[2]) == round(25 * 12 / epochs, 1)
        assert float(row[3]) > 0.0
        best_recorded, best_live, regret = map(float, row[4:7])
        assert best_live >= best_recorded
        assert (regret == 0.0) == (best_live == best_recorded) == (float(row[7]) == 1.0)
        assert 0.0 < float(row[8].rstrip("%")) < 100.0
        assert row[9] == "100%"
    assert table[0] != table[1][:1] + table[0][1:]
    means = [float(cell.split(" ± ")[0].rstrip("%")) for cell in table[2][1:]]
    assert means[0] == pytest.approx((int(table[0][1]) + int(table[1][1])) / 2, abs=0.5)

    # What is kept is not run again.
    monkeypatch.setattr(live, "run", None)
    assert run(monkeypatch, capsys, *arguments) == table
    with pytest.raises(ValueError, match="is of a run with"):
        run(monkeypatch, capsys, *arguments[:-1], 10)


def test_what_is_summed_up():
    trainings = [
        Training(recorded=4.0, value=4.0, epochs=10, seconds=20.0, is_as_recorded=True),
        Training(recorded=1.0, value=None, epochs=2, seconds=1.0, is_as_recorded=True),
        Training(recorded=2.0, value=2.0, epochs=10, seconds=5.0, is_as_recorded=False),
        Training(recorded=3.0, value=None, epochs=3, seconds=3.0, is_as_recorded=True),
    ]
    result = assess(trainings, 10, -1.0, 30.0)
    assert (result.epochs, result.full_epochs) == (25, 40)
    assert result.full_seconds == 20.0 + 5.0 + 5.0 + 10.0
    assert (result.best_recorded, result.best_live, result.regret) == (1.0, 2.0, 1.0 / 1.5)
    assert (result.share_pruned, result.share_as_recorded) == (0.5, 0.75)
    epochs, speed_up, in_time, *_, kept, _, _ = result.numbers
    assert (epochs, speed_up, in_time, kept) == (25, 1.6, 40.0 / 30.0, 0.0)
    maximized = assess(trainings, 10, 1.0, 30.0)
    assert (maximized.best_recorded, maximized.best_live, maximized.regret) == (4.0, 4.0, 0.0)
    assert maximized.numbers[6] == 1.0
    assert json.loads(json.dumps(result._asdict())) == result._asdict()
