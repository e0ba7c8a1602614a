from __future__ import annotations

from datetime import datetime
from datetime import timedelta
import logging
import math

import numpy as np
import optuna
from optuna.distributions import CategoricalDistribution
from optuna.distributions import FloatDistribution
from optuna.distributions import IntDistribution
from optuna.pruners import MedianPruner
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import create_trial
from optuna.trial import TrialState
import pytest
from scipy import special

from optuna_perfpred import explain
from optuna_perfpred import PerformancePredictionPruner
from optuna_perfpred.forecasts import CompletedTrials
from optuna_perfpred.forecasts import FEATURE_NAMES
from optuna_perfpred.forecasts import features
from optuna_perfpred.forecasts import Observed
from optuna_perfpred.forecasts._features import FEATURES
from optuna_perfpred.forecasts._features import STUDY
from tests.explanation.sums import total
from tests.pruners.studies import accuracy_curve
from tests.pruners.studies import FixedForecast
from tests.pruners.studies import N_STEPS
from tests.pruners.studies import run
from tests.pruners.studies import study_with
from tests.pruners.studies import X
from tests.retries import died


# What is explained must not be found again with a warning.
pytestmark = [
    pytest.mark.filterwarnings("error"),
    # Connections that tests before this one left open are collected at any time.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


def judged(study, x):
    """Run a trial; give what was foreseen at each of its steps."""
    study.enqueue_trial({"x": x})
    trial = study.ask(X)
    curve = accuracy_curve(x, seed=99)
    assessments = []
    for step, value in enumerate(curve):
        trial.report(value, step)
        trial.should_prune()
        assessments.append(study.pruner.assessment(study, trial))
    study.tell(trial, curve[-1])
    return assessments


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
def test_a_pruned_trial(direction):
    sign = 1.0 if direction == "maximize" else -1.0
    study = study_with(PerformancePredictionPruner(), direction)
    step = run(study, 0.4)
    trial = study.trials[-1]
    run(study, 0.99)  # It was not there then, and better than all.
    explained = explain(study, 20)
    assert explained.state == TrialState.PRUNED
    assert explained.is_recorded
    attrs = trial.user_attrs
    assert explained.step == attrs["perfpred:step"] == step
    assert explained.reason == attrs["perfpred:reason"]
    assert explained.predicted_value == attrs["perfpred:predicted_value"]
    assert explained.predicted_std == attrs["perfpred:predicted_std"]
    chance = attrs["perfpred:probability_of_beating_best"]
    assert explained.probability_of_beating_best == chance
    # The very trials that the pruner knew are found again.
    assert special.expit(total(explained)) == pytest.approx(chance)
    times = 1.0 / explained.relative_chance
    assert f" {times:,.0f} times" in explained.reason or f" {times:.2g} times" in explained.reason
    assert (explained.n_completed, explained.n_pruned) == (20, 0)
    best = max(study.trials[:20], key=lambda t: sign * t.value)
    assert (explained.best_number, explained.best_value) == (best.number, best.value)
    then = [sign * t.intermediate_values[step] for t in study.trials[:20]]
    value = sign * trial.intermediate_values[step]
    assert explained.standing.n_worse == sum(v < value for v in then)
    assert explained.standing.value == sign * value
    low, high = explained.band
    assert (low + high) / 2.0 == pytest.approx(explained.predicted_value)
    assert high - low == pytest.approx(2 * 1.645 * explained.predicted_std, rel=1e-3)


def test_what_drove_it_points_to_the_curve_and_the_parameters():
    study = study_with(PerformancePredictionPruner(n_warmup_steps=5))
    run(study, 0.05)
    effects = {c.name: c.effect for c in explain(study, 20).contributions}
    assert effects["its place among their curves"] < 0.0
    assert sum(effects.values()) < 0.0
    run(study, 0.999)
    good = {c.name: c.effect for c in explain(study, 21).contributions}
    assert good["x"] > effects["x"]
    assert sum(good.values()) > 1.0


def test_a_parameter_that_never_varies_drives_nothing():
    study = optuna.create_study(direction="maximize", pruner=PerformancePredictionPruner())

    def objective(trial):
        trial.suggest_float("rate", 1e-4, 1.0, log=True)
        curve = accuracy_curve(trial.suggest_float("x", 0.0, 1.0), seed=trial.number)
        for step, value in enumerate(curve):
            trial.report(value, step)
            if trial.should_prune():
                raise optuna.TrialPruned
        return curve[-1]

    for number in range(12):
        study.enqueue_trial({"x": (5 * number) % 12 / 12, "rate": 0.01})
    study.optimize(objective, n_trials=12)
    parameters = {c.name: c for c in explain(study, 11).contributions if c.is_parameter}
    assert parameters["rate"].effect == 0.0
    assert parameters["rate"].value == pytest.approx(0.01)
    assert parameters["x"].effect != 0.0
    assert parameters["x"].value == study.trials[11].params["x"]


def test_trials_that_are_all_equal_are_not_judged():
    study = optuna.create_study(pruner=PerformancePredictionPruner())
    for _ in range(8):
        run(study, 0.5, [1.0] * N_STEPS)
    explained = explain(study, 7)
    assert explained.state == TrialState.COMPLETE
    assert explained.contributions == ()
    assert "It was never judged" in str(explained)


def test_each_feature_that_tells_trials_apart_is_told_of_the_trial():
    rng = np.random.default_rng(0)
    curves = np.cumsum(rng.random((20, N_STEPS)), axis=1)
    configurations = rng.random((20, 2))
    completed = CompletedTrials(curves, curves[:, -1], configurations)
    told = np.array(
        [
            features(completed, Observed.of_one(curve[:9], configuration), curves, 20)[0]
            for curve, configuration in zip(curves, configurations, strict=True)
        ]
    )
    ranges = np.nan_to_num(np.ptp(told, axis=0))
    differ = {name for name, width in zip(FEATURE_NAMES, ranges, strict=True) if width > 0.0}
    assert len(differ) > 30
    assert {name for name in differ if FEATURES[name] == STUDY} == set()


def test_the_nearest_trials_tell_how_such_trials_end():
    study = study_with(PerformancePredictionPruner(n_warmup_steps=3))
    run(study, 0.51)
    run(study, 0.52)
    near = explain(study, 21).nearest
    assert len(near) == 3
    assert near[0].number == 20
    assert near[0].state == TrialState.PRUNED
    assert near[0].predicted_value == study.trials[20].user_attrs["perfpred:predicted_value"]
    assert near[0].last_step == study.trials[20].last_step
    for other in near[1:]:
        assert other.state == TrialState.COMPLETE
        assert other.value == study.trials[other.number].value
        assert other.value_then == study.trials[other.number].intermediate_values[3]
        assert study.trials[other.number].params["x"] == pytest.approx(0.52, abs=0.1)


def test_it_reads_in_fifteen_lines_and_begins_with_what_was_logged(caplog):
    study = study_with(PerformancePredictionPruner())
    with caplog.at_level(logging.INFO, "optuna_perfpred"):
        run(study, 0.4)
    explained = explain(study, 20)
    lines = str(explained).splitlines()
    assert caplog.messages == lines[:1]
    assert lines[0] == f"Trial 20. {study.trials[20].user_attrs['perfpred:reason']}"
    assert 10 <= len(lines) <= 15
    text = "\n".join(lines[1:])
    low, high = explained.band
    for told in (
        f"pruned at step {explained.step}; a full curve ends at step 19",
        f"between {low:.4g} and {high:.4g} with 90 %",
        f"{explained.best_value:.4g}, of trial {explained.best_number}",
        f"better than {explained.standing.n_worse} of the 20 finished trials",
        "x = 0.4",
        *(f"trial {near.number}: " for near in explained.nearest),
    ):
        assert told in text


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
def test_an_audited_trial_tells_whether_pruning_would_have_been_wrong(direction):
    hopeless = PerformancePredictionPruner(FixedForecast(mean=-1000.0), shadow=True)
    study = study_with(hopeless, direction)
    run(study, 0.3)
    run(study, 1.0)
    right, wrong = explain(study, 20), explain(study, 21)
    assert "let finish on purpose" in right.outcome
    assert "pruning it would have been right" in right.outcome
    assert "pruning it would have been wrong" in wrong.outcome
    assert right.is_recorded
    trial = study.ask(X)
    trial.report(0.0, 0)
    trial.should_prune()
    assert "still running" in explain(study, 22).outcome


def test_a_completed_trial_is_told_where_it_came_closest_to_being_stopped():
    study = study_with(PerformancePredictionPruner(confidence=0.99))
    assessments = judged(study, 0.95)
    closest = min(filter(None, assessments), key=lambda a: a.probability)
    explained = explain(study, 20)
    assert not explained.is_recorded
    assert explained.step == closest.step
    assert explained.probability_of_beating_best == closest.probability_of_beating_best
    assert explained.predicted_value == closest.predicted_value
    assert explained.reason == closest.reason
    assert f"came closest to that at step {closest.step}" in explained.outcome


def test_a_running_trial_is_told_of_at_its_last_step():
    study = study_with(PerformancePredictionPruner())
    study.enqueue_trial({"x": 0.99})
    trial = study.ask(X)
    for step, value in enumerate(accuracy_curve(0.99)[:8]):
        trial.report(value, step)
        trial.should_prune()
    explained = explain(study, 20)
    assert explained.state == TrialState.RUNNING
    assert explained.reason == study.pruner.assessment(study, trial).reason
    assert explained.step == 7
    assert "still running" in explained.outcome
    study.tell(trial, state=TrialState.FAIL)
    failed = explain(study, 20)
    assert failed.reason == explained.reason
    assert "failed" in failed.outcome


def test_a_trial_that_was_never_judged_says_why():
    study = optuna.create_study(pruner=PerformancePredictionPruner())

    def reason(number):
        explained = explain(study, number)
        assert explained.step is None
        assert explained.contributions == ()
        assert str(explained).splitlines()[0] == f"Trial {number}. {explained.reason}"
        return explained.reason

    study.enqueue_trial({"x": 0.5})
    assert "has not begun" in reason(0)
    trial = study.ask(X)
    assert "no intermediate value" in reason(0)
    trial.report(math.nan, 0)
    assert "nothing but NaN" in reason(0)
    trial.report(1.0, 1)
    trial.report(0.5, 2)
    assert "no other trial was complete" in reason(0)
    study.tell(trial, 0.5)
    assert "no other trial was complete" in reason(0)
    study.add_trial(create_trial(value=1.0))
    assert "no intermediate value" in reason(1)
    late = study.ask(X)
    late.report(0.5, 2)
    assert "end at step 2" in reason(2)


def test_what_is_void_on_a_retried_trial_is_not_told():
    study = study_with(PerformancePredictionPruner(n_warmup_steps=5, shadow=True))
    trial = study.ask({"x": FloatDistribution(0.0, 0.2)})
    for step in range(8):
        trial.report(0.01 * step, step)
        trial.should_prune()
    died(study, trial)
    retried = study.ask(X)
    for step in range(3):
        retried.report(0.01 * step, step)
        retried.should_prune()
    explained = explain(study, 21)
    assert not explained.is_recorded
    assert explained.step == 2
    assert "audit" not in str(explained)
    assert "purpose" not in explained.outcome


def test_several_workers_make_it_inexact():
    study = optuna.create_study(direction="maximize", pruner=PerformancePredictionPruner())
    begin = datetime(2024, 1, 1)
    for number in range(20):
        curve = accuracy_curve(number / 20, seed=number)
        trial = create_trial(
            value=curve[-1],
            params={"x": number / 20},
            distributions=X,
            intermediate_values=dict(enumerate(curve)),
        )
        # One ends in each minute, and the last ones have run all the time.
        trial.datetime_start = begin if number >= 18 else begin + timedelta(minutes=number)
        trial.datetime_complete = begin + timedelta(minutes=number + 1)
        study.add_trial(trial)
    assert "5 trials of other workers" not in str(explain(study, 5))
    explained = explain(study, 19)
    assert "19 trials of other workers ended while it ran" in explained.notes[0]
    # After n of 20 reports, n minutes of 20 have passed.
    assert explained.n_completed == explained.step + 1


@pytest.mark.parametrize("kind", ["sqlite", "journal"])
def test_any_storage_and_without_the_pruner(kind, tmp_path):
    storage = (
        f"sqlite:///{tmp_path / 'study.db'}"
        if kind == "sqlite"
        else JournalStorage(JournalFileBackend(str(tmp_path / "journal.log")))
    )
    study = study_with(PerformancePredictionPruner(), storage=storage, study_name="stored")
    run(study, 0.3)
    loaded = optuna.load_study(study_name="stored", storage=storage)
    explained = explain(loaded, 20)
    assert explained == explain(study, 20)
    assert explained.notes == ()
    assert len(explained.nearest) == 3


def test_conditional_parameters_nan_and_uneven_curves():
    study = optuna.create_study(direction="minimize", pruner=PerformancePredictionPruner())
    space = {
        "optimizer": CategoricalDistribution(["sgd", "adam", None]),
        "momentum": FloatDistribution(0.0, 1.0),
        "width": IntDistribution(1, 64, log=True),
    }

    def params(number):
        chosen = {"optimizer": ["sgd", "adam", None][number % 3], "width": 1 + number}
        return chosen | ({"momentum": number / 30} if number % 3 == 0 else {})

    for number in range(30):
        curve = dict(enumerate(1.0 - v for v in accuracy_curve(number / 30, seed=number)))
        curve = {2 * step: v for step, v in curve.items() if (step + number) % 4}
        if number % 5 == 0:
            curve[6] = math.nan
        if number == 7:
            curve[8] = math.inf
        study.add_trial(
            create_trial(
                value=curve[max(curve)],
                params=params(number),
                distributions={name: space[name] for name in params(number)},
                intermediate_values=curve,
            )
        )
    for number, lacks in ((30, False), (31, True)):
        study.enqueue_trial(params(number))
        trial = study.ask({name: space[name] for name in params(number)})
        trial.report(0.95, 0)
        trial.report(math.nan, 3)
        trial.report(0.94, 4)
        assert trial.should_prune()
        study.tell(trial, state=TrialState.PRUNED)
        explained = explain(study, number)
        assert special.expit(total(explained)) == pytest.approx(
            explained.probability_of_beating_best
        )
        parameters = {c.name: c.value for c in explained.contributions if c.is_parameter}
        assert parameters["optimizer"] == repr(params(number)["optimizer"])
        assert parameters["width"] == pytest.approx(number + 1)
        assert (parameters["momentum"] is None) == lacks
        assert len(explained.nearest) == 3


def test_what_cannot_be_explained_is_refused():
    study = study_with(PerformancePredictionPruner(), n=3)
    with pytest.raises(ValueError, match=r"has no trial 17; its trials are 0 to 2\."):
        explain(study, 17)
    with pytest.raises(ValueError, match="has no trial -1"):
        explain(study, -1)
    with pytest.raises(ValueError, match="has no trials"):
        explain(optuna.create_study(), 0)
    with pytest.raises(ValueError, match=r"`pruner` must be .* but got .*MedianPruner"):
        explain(study, 0, pruner=MedianPruner())
    with pytest.raises(ValueError, match="has 2 objectives"):
        explain(optuna.create_study(directions=["minimize", "maximize"]), 0)
