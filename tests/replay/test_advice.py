from __future__ import annotations

import pytest

from optuna_perfpred import PerformancePredictionPruner
from optuna_perfpred.replay import _comparison
from tests.replay.studies import crossing_curves
from tests.replay.studies import recorded_study


def names(settings):
    arguments = ", ".join(f"{name}={value}" for name, value in settings.items())
    return f"PerformancePredictionPruner({arguments})"


def test_all_settings_are_valid_and_the_first_are_the_defaults():
    pruners = [PerformancePredictionPruner(**settings) for settings in _comparison.SETTINGS]
    assert len(pruners) > 5
    assert _comparison.SETTINGS[0] == {}


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
def test_what_saves_most_of_what_loses_least_is_recommended(direction, monkeypatch):
    settings = ({}, {"confidence": 0.95, "top_n": 2}, {"n_startup_trials": 29})
    monkeypatch.setattr(_comparison, "SETTINGS", settings)
    study = recorded_study(crossing_curves(n_trials=30, seed=1), direction)
    advice = _comparison.advise(study, n_repeats=2, seed=0)
    of = {names(tried): advice.reports[names(tried)] for tried in settings}
    least = min(report.regret for report in of.values())
    saving = {name: report.speed_up for name, report in of.items() if report.regret == least}
    assert names(advice.settings) == max(saving, key=saving.get)
    assert len({report.speed_up for report in of.values()}) == 3
    orders = {tuple(t.number for t in report.trials) for report in advice.reports.values()}
    assert len(orders) == 1


def test_the_text_is_honest(monkeypatch):
    monkeypatch.setattr(_comparison, "SETTINGS", ({}, {"n_startup_trials": 29}))
    text = str(_comparison.advise(recorded_study(), n_repeats=2, seed=0))
    assert "best of 2 on the same 30 trials in 2 random orders" in text
    assert "Recommended: PerformancePredictionPruner(" in text


def test_a_better_median_is_told(monkeypatch):
    # One that never prunes loses to any pruner that loses nothing.
    monkeypatch.setattr(_comparison, "SETTINGS", ({"n_startup_trials": 100},))
    curves = [[i / 30, i / 30, i / 30] for i in range(30)]
    assert "MedianPruner() does better still" in str(
        _comparison.advise(recorded_study(curves), n_repeats=1)
    )
