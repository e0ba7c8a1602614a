from __future__ import annotations

from datetime import datetime
from datetime import timezone

import numpy as np
import optuna
from optuna.trial import TrialState
import pytest

from optuna_perfpred.visualization import matplotlib
from optuna_perfpred.visualization import plot_savings
from optuna_perfpred.visualization import savings
from tests.visualization.studies import add
from tests.visualization.studies import add_pruned
from tests.visualization.studies import decision
from tests.visualization.studies import small_study


@pytest.mark.parametrize("direction", ["maximize", "minimize"])
def test_steps_hours_and_money_of_each_kind_of_trial(direction):
    saved = savings(small_study(direction), price_per_hour=36.0)
    # Three trials ran five steps each, three were pruned after 2, 1 and 3; the running one waits.
    assert (saved.n_trials, saved.n_pruned) == (6, 3)
    assert saved.steps_trained == 3 * 5 + 2 + 1 + 3
    assert saved.steps_saved_by_forecasts == 3
    assert saved.steps_saved_by_wrapped_pruner == 4
    assert saved.steps_saved_otherwise == 2
    assert saved.steps_saved == 9
    assert saved.share == pytest.approx(9 / 30)
    assert saved.steps_audited == 3
    # Ten seconds a step; the pruned one without a duration took none.
    assert saved.hours == pytest.approx(200 / 3600)
    assert saved.hours_saved == pytest.approx(90 / 3600)
    assert (saved.cost, saved.money_saved) == pytest.approx((2.0, 0.9))
    assert "of 1 pruned ones" in saved.audit
    text = str(saved)
    assert "Study 'small': 3 of 6 finished trials were pruned." in text
    assert "30 % of the training: 3 pruned trials of 6 spared about 9 steps, 21 were" in text
    assert "In money: 0.90 saved, 2.00 spent." in text
    assert "3 were by forecasts, 4 by the wrapped pruner and 2 otherwise." in text
    assert saved.audit in text
    assert savings(small_study(direction)).money_saved is None


def test_curves_of_different_lengths_and_steps():
    study = optuna.create_study()
    add(study, {10: 1.0, 20: 1.0, 30: 1.0, 40: 1.0})
    add(study, {10: 1.0, 20: 1.0})
    add(study, {5: 1.0})
    add_pruned(study, {10: 1.0})  # Like it went on two: one report more, or three.
    add_pruned(study, {25: 1.0})  # Like it went on one: two reports more.
    add_pruned(study, {50: 1.0})  # None ever went on.
    assert savings(study).steps_saved == 2 + 2 + 0


def test_a_retried_trial_and_failed_and_reused_ones():
    study = small_study()
    before = savings(study)
    add(study, [0.1] * 3, state=TrialState.FAIL)
    add_pruned(study, [0.1], decision(3))  # Of the one that died: this one was pruned otherwise.
    add_pruned(study, [0.1], {"perfpred:reused_trial": 4})
    after = savings(study)
    assert after.steps_trained == before.steps_trained + 3 + 1
    assert after.steps_saved_by_forecasts == before.steps_saved_by_forecasts
    assert after.steps_saved_otherwise == before.steps_saved_otherwise + 4
    assert after.n_pruned == before.n_pruned + 1


def test_before_any_trial_is_complete_the_longest_curve_is_what_is_known():
    study = optuna.create_study()
    add_pruned(study, [1.0], decision(0))
    assert savings(study).steps_saved == 0
    add_pruned(study, [1.0] * 4, decision(3))
    assert savings(study).steps_saved == 3


def test_the_figure_is_cumulative_and_stacked():
    study = small_study()
    figure, ax = plot_savings(study), matplotlib.plot_savings(study)
    title = "Steps trained and saved in trials of small: 30% saved"
    assert figure.layout.title.text.startswith(f"{title}<br>")
    assert ax.figure.get_suptitle() == title
    bands = {
        "trained": 18.0,
        "trained for the audit": 3.0,
        "saved by forecasts": 3.0,
        "saved by the wrapped pruner": 4.0,
        "saved otherwise": 2.0,
    }
    assert {trace.name: trace.y[-1] for trace in figure.data} == bands
    assert [area.get_label() for area in ax.collections] == list(bands)
    assert {trace.stackgroup for trace in figure.data} == {"steps"}
    for trace in figure.data:
        assert list(trace.x) == sorted(trace.x)
        assert len(trace.y) == len(trace.x) == 7
        assert trace.y[0] == 0.0
        assert min(np.diff(trace.y)) >= 0.0
    # The upper edge is what the trials would have cost without pruning.
    assert max(ax.collections[-1].get_paths()[0].vertices[:, 1]) == pytest.approx(30.0)
    assert "1 trials that would have been pruned became the best" in figure.layout.title.text
    assert "1 trials that would have been pruned became the best" in ax.get_title()


def test_a_large_study_is_thinned():
    study = optuna.create_study()
    for _ in range(10):
        add(study, [1.0] * 4)
    for number in range(990):
        add_pruned(study, [1.0], decision(0) if number % 3 else None)
    last = {trace.name: trace.y[-1] for trace in plot_savings(study).data}
    assert len(plot_savings(study).data[0].x) <= 501
    assert last["trained"] == 10 * 4 + 990
    assert last["saved by forecasts"] + last["saved otherwise"] == 990 * 3


def test_times_with_and_without_a_zone():
    study = small_study()
    add(study, [1.0] * 5, seconds=1)
    trial = study.trials[-1]
    trial.datetime_complete = datetime(2026, 1, 2, tzinfo=timezone.utc)
    study.add_trial(trial)
    assert savings(study).n_trials == 8
    plot_savings(study)


@pytest.mark.parametrize("plot", [plot_savings, matplotlib.plot_savings])
def test_one_trial_and_none(plot):
    def told(figure):
        if hasattr(figure, "texts"):
            return [text.get_text() for text in figure.texts]
        return [annotation.text for annotation in figure.layout.annotations]

    study = optuna.create_study()
    assert "No trial has finished yet" in told(plot(study))[0]
    assert savings(study).share == 0.0
    assert savings(study).hours is None
    add(study, [1.0], seconds=1)
    assert told(plot(study)) == []


@pytest.mark.parametrize("price", [-1.0, float("nan"), float("inf")])
def test_a_bad_price_is_refused(price):
    with pytest.raises(ValueError, match="`price_per_hour` must be a finite number"):
        savings(optuna.create_study(), price_per_hour=price)


@pytest.mark.parametrize("use", [savings, plot_savings, matplotlib.plot_savings])
def test_several_objectives_are_refused(use):
    with pytest.raises(ValueError, match="2 objectives"):
        use(optuna.create_study(directions=["minimize", "maximize"]))
