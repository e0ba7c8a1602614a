from __future__ import annotations

from optuna.trial import create_trial
from optuna.trial import TrialState
import pytest

from optuna_perfpred import PerformancePredictionPruner
from optuna_perfpred.replay import _comparison
from optuna_perfpred.replay._curves import describe_curves
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


def test_the_promise_is_told_beside_what_is_recommended(monkeypatch):
    monkeypatch.setattr(_comparison, "SETTINGS", ({}, _comparison._PROMISE))
    text = str(_comparison.advise(recorded_study(), n_repeats=1, seed=0))
    assert "max_risk=0.05" in text
    assert describe_curves(recorded_study()) in text


def test_curves_that_never_cross_settle_at_once():
    text = describe_curves(recorded_study([[i * s for s in range(1, 9)] for i in range(20)]))
    assert "the 20 completed trials" in text
    assert "All report 8 times." in text
    assert "The objective returns the last report." in text
    assert "Ranks settle early: their correlation with those at the end is 1.00 after" in text
    assert "The best trial led after 25 %." in text
    assert "Noise from step to step is 0 %" in text
    assert "Pruned" not in text


def test_curves_that_cross_at_the_end_settle_late():
    curves = [[0.1 * s if i % 2 else 0.0 for s in range(19)] + [i] for i in range(20)]
    assert "Ranks settle late" in describe_curves(recorded_study(curves))


def test_of_a_pruned_study_it_is_told_what_is_not_known():
    study = recorded_study()
    study.add_trial(create_trial(state=TrialState.PRUNED, intermediate_values={1: 0.1}))
    text = describe_curves(study)
    assert "Pruned trials, 1 of them, are not among these" in text


def test_lengths_that_vary_and_the_best_report_are_told():
    study = recorded_study([[0.5, 0.1 * i, 0.2][: 2 + i % 2] for i in range(6, 16)])
    told = describe_curves(study)
    assert "They report 2 to 3 times, half of them 2 or more." in told
    few = describe_curves(recorded_study([[0.1, 0.2], [0.1, 0.3]]))
    assert "too few to tell how early ranks settle" in few


def test_reports_that_tell_nothing_of_the_value_are_told():
    study = recorded_study([])
    for i in range(12):
        reports = {s: float((i * 7) % 12) for s in range(4)}
        study.add_trial(create_trial(value=100.0 + i, intermediate_values=reports))
    assert "do not tell how trials end" in describe_curves(study)
