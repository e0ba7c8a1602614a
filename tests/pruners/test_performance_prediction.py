from __future__ import annotations

import copy
import logging
import math
import pickle
import threading
import warnings

import numpy as np
import optuna
from optuna.distributions import FloatDistribution
from optuna.pruners import HyperbandPruner
from optuna.pruners import MedianPruner
from optuna.pruners import NopPruner
from optuna.pruners import PatientPruner
from optuna.pruners import ThresholdPruner
from optuna.trial import create_trial
from optuna.trial import TrialState
import pytest

from optuna_perfpred import CurvePredictor
from optuna_perfpred import Forecast
from optuna_perfpred import PerformancePredictionPruner


# A failed forecast is survived with a warning; here it is a failed test unless expected.
pytestmark = pytest.mark.filterwarnings("error:The trial is not pruned")

N_STEPS = 20
X = {"x": FloatDistribution(0.0, 1.0)}
DECISION_ATTRS = {
    "perfpred:predicted_value",
    "perfpred:predicted_std",
    "perfpred:probability_of_beating_best",
    "perfpred:step",
    "perfpred:reason",
}


def accuracy_curve(x, seed=0):
    """A noisy curve that ends near ``x``."""
    noise = 0.01 * np.random.default_rng(seed).normal(size=N_STEPS)
    return [x * (1 - 0.8 ** (step + 1)) + noise[step] for step in range(N_STEPS)]


def add_completed(study, n=20, sign=1.0):
    for number in range(n):
        x = ((number * 7) % n) / n
        curve = [sign * value for value in accuracy_curve(x, seed=number)]
        study.add_trial(
            create_trial(
                value=curve[-1],
                params={"x": x},
                distributions=X,
                intermediate_values=dict(enumerate(curve)),
            )
        )


def study_with(pruner, direction="maximize", n=20, **kwargs):
    study = optuna.create_study(direction=direction, pruner=pruner, **kwargs)
    add_completed(study, n, sign=1.0 if direction == "maximize" else -1.0)
    return study


def run(study, x, curve=None):
    """Run a trial; return the step at which it was pruned, or None."""
    study.enqueue_trial({"x": x})
    trial = study.ask(X)
    sign = 1.0 if study.direction == optuna.study.StudyDirection.MAXIMIZE else -1.0
    values = [sign * v for v in accuracy_curve(x, seed=99)] if curve is None else curve
    for step, value in enumerate(values):
        trial.report(value, step)
        if trial.should_prune():
            study.tell(trial, state=TrialState.PRUNED)
            return step
    study.tell(trial, values[-1])
    return None


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
def test_the_reason_of_a_decision_is_left_on_the_trial(direction):
    study = study_with(PerformancePredictionPruner(), direction)
    step = run(study, 0.1)
    attrs = study.trials[-1].user_attrs
    assert set(attrs) == DECISION_ATTRS
    assert attrs["perfpred:step"] == step
    end = 0.1 if direction == "maximize" else -0.1
    assert abs(attrs["perfpred:predicted_value"] - end) < 4 * attrs["perfpred:predicted_std"]
    assert 0.0 <= attrs["perfpred:probability_of_beating_best"] < 0.05
    assert f"At step {step} " in attrs["perfpred:reason"]
    assert f"{attrs['perfpred:predicted_value']:.4g}" in attrs["perfpred:reason"]
    for name in DECISION_ATTRS - {"perfpred:step", "perfpred:reason"}:
        assert type(attrs[name]) is float


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
def test_a_good_trial_gets_no_attributes(direction):
    study = study_with(PerformancePredictionPruner(), direction)
    assert run(study, 0.99) is None
    assert study.trials[-1].user_attrs == {}


def test_decisions_are_plain_bools():
    study = study_with(PerformancePredictionPruner())
    decisions = []
    for x in (0.1, 0.99):
        trial = study.ask(X)
        for step, value in enumerate(accuracy_curve(x)):
            trial.report(value, step)
            decisions.append(trial.should_prune())
    assert {type(decision) for decision in decisions} == {bool}
    assert set(decisions) == {True, False}


def test_checking_twice_gives_the_same_answer():
    study = study_with(PerformancePredictionPruner())
    trial = study.ask(X)
    for step, value in enumerate(accuracy_curve(0.1)):
        trial.report(value, step)
        assert trial.should_prune() == trial.should_prune()


def pruned_at(x, **kwargs):
    step = run(study_with(PerformancePredictionPruner(**kwargs)), x)
    return N_STEPS if step is None else step


def test_more_confidence_offset_or_rank_prunes_later():
    assert pruned_at(0.7, confidence=0.8) < pruned_at(0.7, confidence=0.9999999)
    assert pruned_at(0.7, offset=0.0) < pruned_at(0.7, offset=0.2)
    assert pruned_at(0.7, top_n=1) < pruned_at(0.7, top_n=7)


def test_the_probability_compared_is_that_of_the_published_rule():
    """Φ(y_ref - δ; ŷ, σ) ≥ Δ with y_ref the n-th best value."""
    second_best = sorted(t.value for t in study_with(NopPruner()).trials)[-2]
    # At a standard error of 1, a confidence of 0.99865 is three of them.
    for distance, pruned in ((3.11, True), (3.09, False)):
        study = study_with(
            PerformancePredictionPruner(
                FixedForecast(second_best - distance), top_n=2, offset=0.1, confidence=0.99865
            )
        )
        assert (run(study, 0.5) is not None) == pruned


class FixedForecast(CurvePredictor):
    """A forecast with standard error 1."""

    def __init__(self, mean=0.0):
        self.mean = mean

    def fit(self, configurations, curves, finals):
        return self

    def predict(self, configurations, curves):
        return Forecast(np.full(len(curves), self.mean), np.ones(len(curves)))


def test_fewer_completed_trials_than_top_n_prune_nothing():
    study = study_with(PerformancePredictionPruner(n_startup_trials=1, top_n=30), n=25)
    assert run(study, 0.0) is None


def test_the_returned_value_is_the_target():
    """Curves fall at their end, and the objective returns their best value."""
    study = optuna.create_study(direction="maximize", pruner=PerformancePredictionPruner())
    for number in range(20):
        x = number / 20
        curve = accuracy_curve(x, seed=number)
        curve[-5:] = [value - 2.0 for value in curve[-5:]]
        study.add_trial(create_trial(value=max(curve), intermediate_values=dict(enumerate(curve))))
    step = run(study, 0.3)
    assert step is not None
    assert study.trials[-1].user_attrs["perfpred:predicted_value"] == pytest.approx(0.3, abs=0.1)


def test_trials_of_full_length_are_not_pruned():
    study = study_with(PerformancePredictionPruner())
    trial = study.ask(X)
    trial.report(-1.0, N_STEPS - 1)
    assert not trial.should_prune()


def test_no_pruning_from_the_horizon_on():
    study = study_with(PerformancePredictionPruner(horizon=3))
    trial = study.ask(X)
    decisions = []
    for step in range(6):
        trial.report(-5.0, step)
        decisions.append(trial.should_prune())
    assert any(decisions[:3])
    assert not any(decisions[3:])


@pytest.mark.parametrize("best", [math.inf, -math.inf])
def test_an_infinite_best_value_prunes_nothing(best):
    """Nothing beats it: a bug of the objective must not end every later trial."""
    direction = "maximize" if best > 0 else "minimize"
    study = study_with(PerformancePredictionPruner(top_n=1), direction)
    study.add_trial(create_trial(value=best))
    assert run(study, 0.0) is None


def test_infeasible_trials_set_no_reference():
    def constrained(feasible):
        study = study_with(PerformancePredictionPruner(top_n=1))
        trial = study.ask()
        trial.set_constraint("memory", -1.0 if feasible else 1.0)
        study.tell(trial, 100.0)
        return study

    assert run(constrained(feasible=True), 0.99) is not None
    assert run(constrained(feasible=False), 0.99) is None


def test_a_trial_that_reports_only_nan_goes_on():
    study = study_with(PerformancePredictionPruner())
    assert run(study, 0.0, curve=[math.nan] * (N_STEPS - 1) + [0.0]) is None


def test_a_trial_that_diverges_to_infinity_is_pruned():
    study = study_with(PerformancePredictionPruner(), "minimize")
    assert run(study, 0.5, curve=[-0.1, *[math.inf] * (N_STEPS - 1)]) is not None


def test_feature_attributes_make_the_forecast_better():
    def mean_std(feature_attrs):
        study = optuna.create_study(
            direction="maximize",
            pruner=PerformancePredictionPruner(shadow=True, feature_attrs=feature_attrs),
        )
        rng = np.random.default_rng(0)
        for _ in range(40):
            depth = int(rng.integers(1, 9))
            trial = study.ask()
            trial.set_user_attr("num_layers", depth)
            for step in range(N_STEPS):
                trial.report(depth * step / N_STEPS + rng.normal(), step)
                trial.should_prune()
            study.tell(trial, depth)
        stds = [t.user_attrs.get("perfpred:predicted_std") for t in study.trials]
        return np.mean([std for std in stds if std is not None])

    assert mean_std(("num_layers",)) < 0.5 * mean_std(())


def test_shadow_records_and_never_prunes():
    study = study_with(PerformancePredictionPruner(shadow=True))
    assert run(study, 0.1) is None
    attrs = study.trials[-1].user_attrs
    assert set(attrs) == DECISION_ATTRS | {"perfpred:audit"}
    assert attrs["perfpred:audit"] is True
    assert attrs["perfpred:step"] == run(study_with(PerformancePredictionPruner()), 0.1)


def test_shadow_holds_for_the_wrapped_pruner_too():
    study = study_with(PerformancePredictionPruner(shadow=True, wrapped_pruner=AlwaysPruner()))
    assert run(study, 0.99) is None
    assert study.trials[-1].user_attrs["perfpred:audit"] is True
    assert "AlwaysPruner" in study.trials[-1].user_attrs["perfpred:reason"]


class AlwaysPruner(NopPruner):
    def prune(self, study, trial):
        return len(trial.intermediate_values) > 0


def test_a_share_of_trials_is_audited_the_same_in_every_process():
    def outcome(seed):
        pruner = PerformancePredictionPruner(audit_rate=0.5, seed=seed)
        study = study_with(pruner, study_name="study")
        results = [run(study, 0.1) for _ in range(40)]
        audited = [t.user_attrs.get("perfpred:audit", False) for t in study.trials[20:]]
        assert [result is None for result in results] == audited
        return audited

    assert outcome(None) == outcome(None)
    assert outcome(0) != outcome(1)
    assert 8 < sum(outcome(None)) < 32


def test_wrapped_pruner_decides_before_there_is_a_forecast():
    study = study_with(PerformancePredictionPruner(wrapped_pruner=AlwaysPruner()), n=3)
    assert run(study, 0.9) == 0
    reason = study.trials[-1].user_attrs["perfpred:reason"]
    assert reason == "Pruned by the wrapped AlwaysPruner."
    assert "perfpred:predicted_value" not in study.trials[-1].user_attrs


def test_either_pruner_may_prune_when_there_is_a_forecast():
    nop = study_with(PerformancePredictionPruner(wrapped_pruner=NopPruner()))
    assert run(nop, 0.1) is not None
    always = study_with(PerformancePredictionPruner(wrapped_pruner=AlwaysPruner()))
    assert run(always, 0.99) == 0
    assert "perfpred:predicted_value" in always.trials[-1].user_attrs


@pytest.mark.parametrize("wrapped", [MedianPruner(), HyperbandPruner(), ThresholdPruner(upper=2)])
def test_stock_pruners_can_be_wrapped(wrapped):
    study = study_with(PerformancePredictionPruner(wrapped_pruner=wrapped))
    assert run(study, 0.1) is not None
    assert run(study, 0.99) is None


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_it_can_be_wrapped_by_a_patient_pruner():
    study = study_with(PatientPruner(PerformancePredictionPruner(), patience=2))
    assert run(study, 0.1, curve=[0.001 * step for step in range(N_STEPS)]) is None
    assert run(study, 0.1, curve=[-0.001 * step for step in range(N_STEPS)]) == 3


def test_it_decides_the_same_in_a_bracket_of_hyperband():
    class Bracketed(HyperbandPruner):
        def prune(self, study, trial):
            return inner.prune(self._create_bracket_study(study, 0), trial)

    inner = PerformancePredictionPruner()
    pruner = Bracketed(max_resource=N_STEPS)
    pruner._try_initialization(optuna.create_study())
    assert run(study_with(pruner), 0.1) == run(study_with(PerformancePredictionPruner()), 0.1)


def test_one_pruner_serves_several_studies_without_mixing_them():
    pruner = PerformancePredictionPruner()
    storage = optuna.storages.InMemoryStorage()
    high = study_with(pruner, storage=storage, study_name="high")
    low = study_with(pruner, "minimize", storage=storage, study_name="low")
    empty = optuna.create_study(pruner=pruner, storage=storage, study_name="empty")
    assert run(high, 0.1) is not None
    assert run(low, 0.1) is not None
    assert run(empty, 0.1) is None
    assert run(high, 0.99) is None
    assert run(low, 0.99) is None


def test_earlier_studies_are_learned_from():
    earlier = study_with(NopPruner())
    cold = optuna.create_study(direction="maximize", pruner=PerformancePredictionPruner(top_n=1))
    warm = optuna.create_study(
        direction="maximize", pruner=PerformancePredictionPruner(top_n=1, warm_start=[earlier])
    )
    for study in (cold, warm):
        run(study, 0.9)
    assert run(cold, 0.1) is None
    assert run(warm, 0.1) is not None
    assert run(warm, 0.97) is None


def test_an_earlier_study_of_the_other_direction_is_left_out_with_a_warning():
    earlier = study_with(NopPruner(), "minimize")
    pruner = PerformancePredictionPruner(warm_start=[earlier])
    study = study_with(pruner)
    with pytest.warns(UserWarning, match="MINIMIZE"):
        assert run(study, 0.1) is not None


def test_a_failing_storage_is_warned_of_once_and_survived():
    study = study_with(PerformancePredictionPruner())
    study.get_trials = failing
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert run(study, 0.1) is None
    [warning] = [w for w in caught if "not pruned" in str(w.message)]
    assert "server closed the connection" in str(warning.message)


def failing(*args, **kwargs):
    raise ConnectionError("server closed the connection")


def test_a_reason_that_cannot_be_written_does_not_change_the_decision(monkeypatch):
    study = study_with(PerformancePredictionPruner())
    monkeypatch.setattr(study._storage, "set_trial_user_attr", failing)
    with pytest.warns(UserWarning, match="recorded.*server closed"):
        assert run(study, 0.1) is not None


def test_a_failing_predictor_or_wrapped_pruner_is_survived():
    class Broken(FixedForecast):
        def predict(self, configurations, curves):
            raise ZeroDivisionError

    class BrokenPruner(NopPruner):
        def prune(self, study, trial):
            raise ZeroDivisionError

    for pruner in (
        PerformancePredictionPruner(Broken()),
        PerformancePredictionPruner(wrapped_pruner=BrokenPruner()),
    ):
        with pytest.warns(UserWarning, match="ZeroDivisionError"):
            assert run(study_with(pruner), 0.99) is None


def test_a_retried_trial_is_judged_by_its_own_reports():
    """Heartbeat retries copy the user attributes of the trial that died."""
    study = study_with(PerformancePredictionPruner())
    study.add_trial(
        create_trial(
            state=TrialState.WAITING,
            system_attrs={"fixed_params": {"x": 0.99}},
            user_attrs={"perfpred:step": 15, "perfpred:predicted_value": 0.0},
        )
    )
    trial = study.ask(X)
    assert trial.params == {"x": 0.99}
    for step, value in enumerate(accuracy_curve(0.99)):
        trial.report(value, step)
        assert not trial.should_prune()


def test_nothing_is_read_when_no_decision_is_due():
    study = study_with(PerformancePredictionPruner(n_warmup_steps=5, interval_steps=5))
    reads = []
    get_trials = study.get_trials
    study.get_trials = lambda *args, **kwargs: reads.append(step) or get_trials(*args, **kwargs)
    trial = study.ask(X)
    for step, value in enumerate(accuracy_curve(0.99)):
        trial.report(value, step)
        trial.should_prune()
    assert reads == [5, 10, 15]


def test_a_slow_refit_does_not_stop_other_threads():
    started, released = threading.Event(), threading.Event()

    class Slow(FixedForecast):
        def fit(self, configurations, curves, finals):
            if len(finals) > 20 and not started.is_set():
                started.set()
                assert released.wait(60)
            return self

    study = study_with(PerformancePredictionPruner(Slow(mean=-100.0)))
    assert run(study, 0.5) == 0
    add_completed(study, 10)
    refitting = threading.Thread(target=run, args=(study, 0.5))
    refitting.start()
    try:
        assert started.wait(60)
        assert run(study, 0.5) == 0  # While the other thread is still fitting.
        assert refitting.is_alive()
    finally:
        released.set()
        refitting.join()


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda p: pickle.loads(pickle.dumps(p))])
def test_copies_decide_like_the_original(copied):
    pruner = PerformancePredictionPruner(top_n=3, warm_start=[study_with(NopPruner())])
    expected = run(study_with(pruner), 0.1)
    assert expected is not None
    assert run(study_with(copied(pruner)), 0.1) == expected


def test_decisions_are_logged(caplog):
    with caplog.at_level(logging.INFO, logger="optuna_perfpred"):
        study = study_with(PerformancePredictionPruner())
        run(study, 0.1)
    assert f"Trial 20: {study.trials[-1].user_attrs['perfpred:reason']}" in caplog.messages


@pytest.mark.parametrize(
    ("argument", "value", "allowed"),
    [
        ("predictor", "ridge", "CurvePredictor"),
        ("n_startup_trials", -1, "at least 0"),
        ("n_startup_trials", 2.5, "integer"),
        ("n_warmup_steps", -1, "at least 0"),
        ("interval_steps", 0, "at least 1"),
        ("confidence", 1.0, "between 0 and 1"),
        ("confidence", math.nan, "between 0 and 1"),
        ("offset", -0.1, "not negative"),
        ("offset", math.inf, "finite"),
        ("top_n", 0, "at least 1"),
        ("horizon", 0, "at least 1"),
        ("feature_attrs", "num_weights", "list of strings"),
        ("audit_rate", 1.5, r"\[0, 1\]"),
        ("warm_start", ["study"], "list of Optuna studies"),
        ("wrapped_pruner", "median", "Optuna pruner"),
        ("seed", -1, "at least 0"),
    ],
)
def test_bad_arguments_are_refused(argument, value, allowed):
    with pytest.raises(ValueError, match=rf"`{argument}`.*{allowed}") as raised:
        PerformancePredictionPruner(**{argument: value})
    assert str(value).strip("[]") in str(raised.value)


def test_a_multi_objective_earlier_study_is_refused():
    study = optuna.create_study(directions=["minimize", "minimize"])
    with pytest.raises(ValueError, match="2 objectives"):
        PerformancePredictionPruner(warm_start=[study])


def test_a_deleted_study_teaches_its_successor_nothing(tmp_path):
    """SQLite gives the identifiers of a deleted study to the next one."""
    storage = optuna.storages.get_storage(f"sqlite:///{tmp_path}/study.db")
    pruner = PerformancePredictionPruner()
    steps = []
    for direction in ("maximize", "minimize", "minimize"):
        study = study_with(pruner, direction, storage=storage, study_name="study")
        assert study._study_id == 1
        steps.append(run(study, 0.1))
        assert run(study, 0.99) is None
        optuna.delete_study(study_name="study", storage=storage)
    assert None not in steps
