"""The decision by what steps cost: seconds, or what a function of trial and step gives."""

from __future__ import annotations

from datetime import datetime
from datetime import timedelta
import math
import pickle
import time

import numpy as np
import optuna
from optuna.distributions import FloatDistribution
from optuna.trial import create_trial
from optuna.trial import Trial
from optuna.trial import TrialState
import pytest

from optuna_perfpred import explain
from optuna_perfpred import PerformancePredictionPruner
from optuna_perfpred import SequentialRegression
from optuna_perfpred.pruners._relative_costs import cost_of_new_trial
from optuna_perfpred.replay import replay
from optuna_perfpred.visualization import savings
from tests.pruners.studies import accuracy_curve
from tests.pruners.studies import N_STEPS


pytestmark = pytest.mark.filterwarnings("error:The trial is not pruned")

SPACE = {"x": FloatDistribution(0.0, 1.0), "price": FloatDistribution(0.01, 100.0, log=True)}
FIRST_CHECK = "perfpred:first_check"


def price(trial, step):
    return trial.params["price"]


def completed(x, number, *, price=1.0, seconds=20.0, **kwargs):
    curve = accuracy_curve(x, seed=number)
    end = datetime(2030, 1, 1) + timedelta(hours=number)
    trial = create_trial(
        value=curve[-1],
        params={"x": x, "price": price},
        distributions=SPACE,
        intermediate_values=dict(enumerate(curve)),
        **kwargs,
    )
    trial.datetime_start, trial.datetime_complete = end - timedelta(seconds=seconds), end
    return trial


def study_of(pruner, n=20, **kwargs):
    study = optuna.create_study(direction="maximize", pruner=pruner)
    study.add_trials(
        completed(((number * 7) % n) / n, number, price=1.0 + number % 3, **kwargs)
        for number in range(n)
    )
    return study


def pruned_at(study, x, *, price=1.0, sleep=0.0):
    study.enqueue_trial({"x": x, "price": price})
    trial = study.ask(SPACE)
    for step, value in enumerate(accuracy_curve(x, seed=99)):
        time.sleep(sleep)
        trial.report(value, step)
        if trial.should_prune():
            study.tell(trial, state=TrialState.PRUNED)
            return step
    study.tell(trial, value)
    return N_STEPS


def test_a_trial_is_stopped_the_earlier_the_more_its_steps_cost():
    steps = [
        pruned_at(study_of(PerformancePredictionPruner(cost=price)), 0.8, price=cost)
        for cost in (50.0, 2.0, 0.02)
    ]
    assert steps == sorted(steps)
    assert steps[0] < steps[-1]


def test_if_all_steps_cost_the_same_it_decides_as_without_a_cost():
    for x in (0.3, 0.7, 0.9):
        counted, priced = (
            study_of(PerformancePredictionPruner(cost=cost))
            for cost in (None, lambda trial, step: 0.37)
        )
        assert pruned_at(counted, x) == pruned_at(priced, x)


def test_what_is_still_to_train_counts_and_not_what_was_trained():
    def falling(trial, step):  # The other trials cost 1 throughout.
        return 1.0 if trial.params["price"] != 50.0 else 50.0 if step < 2 else 0.01

    study = study_of(PerformancePredictionPruner(cost=falling, n_warmup_steps=3))
    other = study_of(PerformancePredictionPruner(n_warmup_steps=3))
    assert pruned_at(study, 0.7, price=50.0) > pruned_at(other, 0.7)


def test_the_reason_tells_the_unit_and_can_be_explained():
    study = study_of(PerformancePredictionPruner(cost=price))
    assert pruned_at(study, 0.1) < N_STEPS
    assert "chance per unit of cost" in study.trials[-1].user_attrs["perfpred:reason"]
    assert "unit of cost" in str(explain(study, study.trials[-1].number))
    study = study_of(PerformancePredictionPruner(cost="time"))
    assert pruned_at(study, 0.1) < N_STEPS
    assert "chance per second" in study.trials[-1].user_attrs["perfpred:reason"]


def test_seconds_are_learned_from_when_trials_begin_and_end():
    # Some seconds for a step of the others, next to none for one of this trial.
    pruner = PerformancePredictionPruner(cost="time", n_warmup_steps=3)
    cheap = study_of(pruner, seconds=1e5)
    # The other way round.
    costly = study_of(pruner, seconds=1e-4)
    counted = study_of(PerformancePredictionPruner(n_warmup_steps=3))
    steps = [pruned_at(s, 0.85, sleep=0.002) for s in (costly, counted, cheap)]
    assert steps == sorted(steps)
    assert steps[0] < steps[-1] == N_STEPS


def test_what_comes_before_the_first_report_is_no_part_of_a_step():
    # An hour to load the data, a hundredth of a second a step.
    attrs = {FIRST_CHECK: [1, 3600.0]}
    pruner = PerformancePredictionPruner(cost="time", n_warmup_steps=2)
    study = study_of(pruner, seconds=3600.2, user_attrs=attrs)
    counted = study_of(PerformancePredictionPruner(n_warmup_steps=2))
    assert pruned_at(study, 0.85, sleep=0.1) <= pruned_at(counted, 0.85)
    # If it were, this trial would be ten thousand times as cheap as the others.
    without = study_of(pruner, seconds=3600.2)
    assert pruned_at(without, 0.85, sleep=0.1) == N_STEPS


def test_one_attribute_is_written_for_each_trial_and_none_for_each_step():
    study = study_of(PerformancePredictionPruner(cost="time"))
    trial = study.ask(SPACE)
    for step, value in enumerate(accuracy_curve(1.0)):
        trial.report(value, step)
        trial.should_prune()
        if step == 0:
            first = study.trials[-1].user_attrs
    assert study.trials[-1].user_attrs == first
    n_reports, seconds = first[FIRST_CHECK]
    assert n_reports == 1
    assert 0.0 <= seconds < 60.0


@pytest.mark.parametrize("broken", [None, [], [0, 1.0], [1, -1.0], ["a", 2], [1, math.nan], 7])
def test_first_checks_that_others_wrote_are_not_trusted(broken):
    study = study_of(PerformancePredictionPruner(cost="time"), user_attrs={FIRST_CHECK: broken})
    assert pruned_at(study, 0.1, sleep=0.001) < N_STEPS


@pytest.mark.parametrize(
    ("cost", "match"),
    [
        (lambda trial, step: trial.user_attrs["dollars"], "`cost` failed"),
        (lambda trial, step: None, "something else than a finite positive number"),
        (lambda trial, step: math.nan, "something else than a finite positive number"),
        (lambda trial, step: math.inf, "something else than a finite positive number"),
        (lambda trial, step: 0.0, "something else than a finite positive number"),
        (lambda trial, step: -1.0, "something else than a finite positive number"),
    ],
)
def test_with_a_missing_cost_it_warns_once_and_counts_steps(cost, match):
    study = study_of(PerformancePredictionPruner(cost=cost))
    with pytest.warns(UserWarning, match=match) as record:
        step = pruned_at(study, 0.5)
    assert len([w for w in record if "cost" in str(w.message)]) == 1
    assert step == pruned_at(study_of(PerformancePredictionPruner()), 0.5)


def test_trials_without_a_start_are_survived():
    study = study_of(PerformancePredictionPruner(cost="time"))
    trial = create_trial(
        state=TrialState.RUNNING,
        params={"x": 0.1, "price": 1.0},
        distributions=SPACE,
        intermediate_values=dict(enumerate(accuracy_curve(0.1)[:8])),
    )
    trial.datetime_start = None
    trial_id = study._storage.create_new_trial(study._study_id, template_trial=trial)
    assert Trial(study, trial_id).should_prune()


@pytest.mark.parametrize("cost", ["money", 3.0, ("time",)])
def test_a_bad_cost_is_refused(cost):
    with pytest.raises(ValueError, match='"time", a function of trial and step, or None'):
        PerformancePredictionPruner(cost=cost)


def test_a_predictor_compares_no_costs():
    with pytest.raises(ValueError, match="None with a CurvePredictor"):
        PerformancePredictionPruner(SequentialRegression("ridge"), cost="time")


def test_it_can_be_sent_to_another_process():
    study = study_of(PerformancePredictionPruner(cost="time"))
    pruned_at(study, 0.5)
    study.pruner = pickle.loads(pickle.dumps(study.pruner))
    assert study.pruner.cost == "time"
    assert pruned_at(study, 0.1) < N_STEPS


@pytest.mark.parametrize("second_chance", ["checkpoint", "retrain"])
def test_of_two_stopped_trials_the_cheaper_one_goes_on_first(second_chance):
    pruner = PerformancePredictionPruner(second_chance=second_chance, cost=price)
    study = study_of(pruner)
    for cost in (50.0, 0.02):
        study.add_trial(
            create_trial(
                state=TrialState.PRUNED,
                params={"x": 0.93, "price": cost},
                distributions=SPACE,
                intermediate_values=dict(enumerate(accuracy_curve(0.93)[:10])),
            )
        )
    finished = pruner._finished.of(study).read_now(study)
    chances = pruner._chances.of(study).of(finished, study.trials)
    assert [chance.trial.params["price"] for chance in chances] == [0.02, 50.0]


@pytest.mark.parametrize("cost", ["time", price])
def test_a_replay_tells_the_cost_that_was_saved_in_the_same_unit(cost):
    study = optuna.create_study(direction="maximize")
    for number in range(40):
        value = 1.0 + 9.0 * (number % 2)
        x = ((number * 7) % 40) / 40
        study.add_trial(completed(x, number, price=value, seconds=N_STEPS * value))
    step_time = "recorded" if cost == "time" else cost
    pruner = PerformancePredictionPruner(cost=cost)
    report = replay(study, pruner, order="random", seed=0, step_time=step_time)
    assert report.total_time == pytest.approx(20 * N_STEPS * (1.0 + 10.0))
    cost_of = {t.number: 1.0 + 9.0 * (t.number % 2) for t in study.trials}
    spent = sum(trial.steps_trained * cost_of[trial.number] for trial in report.trials)
    assert report.time_trained == pytest.approx(spent)
    unit = "seconds" if cost == "time" else "units of cost"
    assert f"{unit} trained" in str(report)
    by_steps = replay(
        study, PerformancePredictionPruner(), order="random", seed=0, step_time=step_time
    )
    assert report.time_trained < by_steps.time_trained


def test_a_replay_refuses_a_step_that_takes_no_time():
    with pytest.raises(ValueError, match=r"finite positive number for each step, but gave 0\.0"):
        replay(study_of(None), PerformancePredictionPruner(), step_time=lambda trial, step: 0.0)


def test_savings_are_told_in_the_unit_of_the_cost():
    study = study_of(None, n=4)  # Prices 1, 2, 3, 1.
    stopped = {"state": TrialState.PRUNED, "distributions": SPACE}
    reports = dict(enumerate(accuracy_curve(0.5)[:5]))
    for cost in (10.0, 20.0):
        params = {"x": 0.5, "price": cost}
        study.add_trial(create_trial(params=params, intermediate_values=reports, **stopped))
    saved = savings(study, cost=price)
    assert saved.cost == pytest.approx(N_STEPS * (1 + 2 + 3 + 1) + 5 * (10 + 20))
    assert saved.money_saved == pytest.approx((N_STEPS - 5) * (10 + 20))
    nowhere = savings(study, cost=lambda trial, step: None)
    assert (nowhere.cost, nowhere.money_saved) == (0.0, 0.0)
    with pytest.raises(ValueError, match="`cost` must be a function"):
        savings(study, cost=price, price_per_hour=1.0)


def test_hours_saved_are_at_the_pace_of_the_trial_that_saved_them():
    study = study_of(None, n=4, seconds=20.0)  # A second a step.
    trial = create_trial(
        state=TrialState.PRUNED,
        params={"x": 0.5, "price": 1.0},
        distributions=SPACE,
        intermediate_values=dict(enumerate(accuracy_curve(0.5)[:5])),
        user_attrs={FIRST_CHECK: [1, 1000.0]},
    )
    trial.datetime_complete = trial.datetime_start + timedelta(seconds=1400)  # 100 s a step.
    study.add_trial(trial)
    assert 3600.0 * savings(study).hours_saved == pytest.approx(100.0 * (N_STEPS - 5))


@pytest.mark.parametrize("share", [0.01, 0.5, 1.0])
def test_a_new_trial_costs_the_less_the_earlier_dear_ones_can_be_given_up(share):
    costs = np.array([1.0, 2.0, 4.0, 20.0])
    found = cost_of_new_trial(costs, share)
    kept = [costs[: n + 1].sum() + share * costs[n + 1 :].sum() for n in range(4)]
    assert found == pytest.approx(min(k / (n + 1) for n, k in enumerate(kept)))
    assert cost_of_new_trial(costs, 0.01) <= found <= costs.mean()
    assert cost_of_new_trial(np.full(5, 3.0), share) == pytest.approx(3.0)
