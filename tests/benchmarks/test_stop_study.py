from __future__ import annotations

import stop_study

from tests.benchmarks.curve_sets import write_set


def test_promises_and_stops(tmp_path, capsys, monkeypatch):
    # The regret bound takes seconds; that the terminator is asked, the others show.
    terminators = stop_study.terminators()
    del terminators[stop_study.TERMINATOR]
    monkeypatch.setattr(stop_study, "terminators", lambda: terminators)
    monkeypatch.setattr(stop_study, "N_TRIALS", 45)
    write_set(tmp_path / "set_0", 0)
    outcomes = [
        stop_study.run(tmp_path / "set_0", order, 0, None, pruned=pruned, every=5)
        for order, pruned in (("random", True), ("random", False))
    ]
    for outcome in outcomes:
        assert [a.n_steps for a in outcome.answers] == sorted(a.n_steps for a in outcome.answers)
        assert [a.best for a in outcome.answers] == sorted(a.best for a in outcome.answers)
        assert all(answer.promised >= 0.0 for answer in outcome.answers)
    assert outcomes[0].answers[-1].n_steps < outcomes[1].answers[-1].n_steps
    stop_study.print_promises(outcomes)
    stop_study.print_stops(outcomes)
    rows = [row.strip("| ").split(" | ") for row in capsys.readouterr().out.splitlines()]
    stops = [row for row in rows if len(row) == 7][2:]
    assert len(stops) == 2 * (len(stop_study.THRESHOLDS) + len(stop_study.STAGNATION))
    saved = [float(row[3].rstrip("%")) for row in stops[: len(stop_study.THRESHOLDS)]]
    assert saved == sorted(saved)


def test_too_few_curves(tmp_path):
    write_set(tmp_path / "few", 0, n_curves=20)
    assert stop_study.run(tmp_path / "few", "random", 0, None, pruned=True, every=None) is None
