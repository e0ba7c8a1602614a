from __future__ import annotations

import logging
import math
import pickle
import re
import threading
import zlib

import numpy as np
import optuna
from optuna.pruners import HyperbandPruner
from optuna.pruners import PatientPruner
from optuna.pruners import SuccessiveHalvingPruner
from optuna.trial import TrialState
import pytest

from optuna_perfpred import CurvePredictor
from optuna_perfpred import FastHyperbandPruner
from optuna_perfpred import PerformancePredictionPruner
from optuna_perfpred import SequentialRegression
from optuna_perfpred.predictors import Forecast
from optuna_perfpred.testing import PrunerTestCase
from optuna_perfpred.testing import ThreadsTestCase
from tests.pruners.sentences import is_sentence
from tests.pruners.studies import accuracy_curve
from tests.pruners.studies import DECISION_ATTRS
from tests.pruners.studies import N_STEPS


# A failed forecast is survived with a warning; here it is a failed test.
pytestmark = [
    pytest.mark.filterwarnings("error:The trial is not pruned"),
    pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning"),
]


class TestFastHyperbandPruner(PrunerTestCase, ThreadsTestCase):
    @pytest.fixture
    def pruner(self):
        return FastHyperbandPruner


class NoisePredictor(CurvePredictor):
    """Knows the distribution of the final values and nothing of the trial."""

    def fit(self, configurations, curves, finals):
        self.mean, self.std = finals.mean(), finals.std()
        return self

    def predict(self, configurations, curves):
        seed = zlib.crc32(curves[~np.isnan(curves)].tobytes())
        noise = np.random.default_rng(seed).normal(size=len(curves))
        # Both the noise and the final values are apart from the mean by one standard deviation.
        std = math.sqrt(2.0) * np.full(len(curves), self.std)
        return Forecast(self.mean + self.std * noise, std)


class OraclePredictor(CurvePredictor):
    """Knows that a curve of these studies ends in proportion to its last value."""

    def fit(self, configurations, curves, finals):
        with np.errstate(divide="ignore", invalid="ignore"):
            self.factors = np.median(finals[:, None] / curves, axis=0)
        self.std = 0.02 * np.ptp(finals) + 1e-6
        return self

    def predict(self, configurations, curves):
        last = (~np.isnan(curves)).sum(axis=1) - 1
        mean = curves[np.arange(len(curves)), last] * self.factors[last]
        return Forecast(mean, np.full(len(curves), self.std))


def search(pruner, n_trials=60, *, direction="maximize", first_step=0, n_jobs=1, **kwargs):
    """Run a study whose curves never cross, but for a little noise."""
    sign = 1.0 if direction == "maximize" else -1.0
    study = optuna.create_study(
        study_name="fast",
        direction=direction,
        pruner=pruner,
        sampler=optuna.samplers.RandomSampler(seed=0),
        **kwargs,
    )

    def objective(trial):
        x = trial.suggest_float("x", 0.0, 1.0)
        curve = [sign * value for value in accuracy_curve(x, seed=trial.number)]
        for step, value in enumerate(curve, start=first_step):
            trial.report(value, step)
            if trial.should_prune():
                raise optuna.TrialPruned
        return curve[-1]

    study.optimize(objective, n_trials=n_trials, n_jobs=n_jobs)
    return study


def n_steps(study):
    return sum(len(trial.intermediate_values) for trial in study.trials)


def cut(study):
    return [trial for trial in study.trials if "perfpred:step" in trial.user_attrs]


@pytest.mark.parametrize("first_step", [0, 1])
@pytest.mark.parametrize("direction", ["minimize", "maximize"])
def test_it_trains_fewer_steps_for_as_good_a_value(direction, first_step):
    kwargs = {"direction": direction, "first_step": first_step}
    hyperband = search(HyperbandPruner(1, N_STEPS), **kwargs)
    fast = search(FastHyperbandPruner(1, N_STEPS), **kwargs)
    assert n_steps(fast) < 0.8 * n_steps(hyperband)
    assert fast.best_value == pytest.approx(hyperband.best_value, abs=0.03)


@pytest.mark.parametrize(
    ("predictor", "kind"),
    [(None, "rule"), (SequentialRegression("ridge"), "rung")],
)
def test_a_cut_trial_tells_why(predictor, kind):
    study = search(FastHyperbandPruner(1, N_STEPS, predictor=predictor))
    trials = cut(study)
    assert trials
    for trial in trials:
        assert trial.state == TrialState.PRUNED
        assert trial.user_attrs.keys() >= DECISION_ATTRS
        numbers = [trial.user_attrs[name] for name in DECISION_ATTRS - {"perfpred:reason"}]
        assert np.isfinite(numbers).all()
        assert trial.user_attrs["perfpred:step"] == trial.last_step
        assert trial.user_attrs["perfpred:probability_of_beating_best"] < 0.5
    assert any(is_sentence(kind, trial.user_attrs["perfpred:reason"]) for trial in trials)


def test_a_cut_trial_counts_in_its_rung_with_less_than_it_was_to_reach():
    study = search(FastHyperbandPruner(1, N_STEPS, predictor=SequentialRegression("ridge")))
    in_rung = [t for t in cut(study) if "of its rung" in t.user_attrs["perfpred:reason"]]
    assert in_rung
    for trial in in_rung:
        rungs = [key for key in trial.system_attrs if key.startswith("completed_rung_")]
        result = trial.system_attrs[max(rungs)]
        assert result <= trial.user_attrs["perfpred:predicted_value"]


def test_a_trial_that_goes_on_after_its_cut_is_cut_again_and_not_promoted():
    study = search(
        PerformancePredictionPruner(
            SequentialRegression("ridge"),
            n_startup_trials=10**6,
            wrapped_pruner=FastHyperbandPruner(1, N_STEPS),
            shadow=True,
        )
    )
    told = [trial for trial in study.trials if "perfpred:cut" in trial.system_attrs]
    assert min(trial.system_attrs["perfpred:cut"] for trial in told) < 9
    for trial in told:
        assert trial.state == TrialState.COMPLETE
        n_passed = sum(horizon <= trial.system_attrs["perfpred:cut"] for horizon in (1, 3, 9))
        rungs = [key for key in trial.system_attrs if key.startswith("completed_rung_")]
        assert len(rungs) <= n_passed + 1


@pytest.mark.parametrize("predictor", [None, OraclePredictor(), SequentialRegression("ridge")])
def test_predictors(predictor):
    hyperband = search(HyperbandPruner(1, N_STEPS), n_trials=60)
    fast = search(FastHyperbandPruner(1, N_STEPS, predictor=predictor), n_trials=60)
    assert cut(fast)
    assert n_steps(fast) < n_steps(hyperband)


def test_a_predictor_that_is_noise_changes_nothing():
    hyperband = search(HyperbandPruner(1, N_STEPS), n_trials=60)
    noise = search(
        FastHyperbandPruner(1, N_STEPS, predictor=NoisePredictor(), confidence=0.6), n_trials=60
    )
    assert not cut(noise)
    assert [t.state for t in noise.trials] == [t.state for t in hyperband.trials]
    assert n_steps(noise) == n_steps(hyperband)


def test_smaller_keep_cuts_more():
    steps = [n_steps(search(FastHyperbandPruner(1, N_STEPS, keep=k))) for k in (1.0, 0.1)]
    assert steps[1] < steps[0]


def test_larger_confidence_or_offset_cuts_less():
    default = len(cut(search(FastHyperbandPruner(1, N_STEPS))))
    assert len(cut(search(FastHyperbandPruner(1, N_STEPS, confidence=0.999999)))) < default
    assert not cut(search(FastHyperbandPruner(1, N_STEPS, offset=10.0)))


def test_no_cut_before_enough_curves_reached_the_horizon():
    assert not cut(search(FastHyperbandPruner(1, N_STEPS, n_train=1000)))


@pytest.mark.filterwarnings("error:The studies given")
def test_a_warm_start_cuts_from_the_first_comparison_on():
    earlier = search(HyperbandPruner(1, N_STEPS))
    # The pruned curves of the earlier study count as well: only some of these are complete.
    n_train = len(earlier.trials) // 3
    cold = search(FastHyperbandPruner(1, N_STEPS, n_train=n_train))
    warm = search(FastHyperbandPruner(1, N_STEPS, n_train=n_train, warm_start=[earlier]))
    assert min(t.number for t in cut(warm)) < min(t.number for t in cut(cold))
    assert n_steps(warm) < n_steps(cold)


def test_a_warm_start_of_the_other_direction_is_left_out():
    earlier = search(HyperbandPruner(1, N_STEPS), n_trials=10, direction="minimize")
    with pytest.warns(UserWarning, match="MINIMIZE"):
        warm = search(FastHyperbandPruner(1, N_STEPS, warm_start=[earlier]))
    cold = search(FastHyperbandPruner(1, N_STEPS))
    assert n_steps(warm) == n_steps(cold)


def test_a_warm_start_on_another_scale_is_left_out():
    earlier = optuna.create_study(direction="maximize")
    for trial in search(HyperbandPruner(1, N_STEPS), n_trials=30).trials:
        curve = {step: value / 100.0 for step, value in trial.intermediate_values.items()}
        value = trial.value / 100.0 if trial.state == TrialState.COMPLETE else None
        earlier.add_trial(
            optuna.trial.create_trial(state=trial.state, value=value, intermediate_values=curve)
        )
    with pytest.warns(UserWarning, match="another scale"):
        warm = search(FastHyperbandPruner(1, N_STEPS, warm_start=[earlier]))
    cold = search(FastHyperbandPruner(1, N_STEPS))
    assert [t.last_step for t in warm.trials] == [t.last_step for t in cold.trials]


def test_a_predictor_that_fails_is_told_once_and_hyperband_goes_on():
    class Failing(OraclePredictor):
        def predict(self, configurations, curves):
            raise RuntimeError("harm")

    with pytest.warns(UserWarning, match="harm") as record:
        study = search(FastHyperbandPruner(1, N_STEPS, predictor=Failing()))
    assert sum("harm" in str(warning.message) for warning in record) == 1
    assert n_steps(study) == n_steps(search(HyperbandPruner(1, N_STEPS)))


def test_inside_other_pruners():
    inside = PerformancePredictionPruner(wrapped_pruner=FastHyperbandPruner(1, N_STEPS))
    assert TrialState.COMPLETE in {t.state for t in search(inside).trials}
    patient = search(PatientPruner(FastHyperbandPruner(1, N_STEPS), patience=1))
    assert TrialState.COMPLETE in {t.state for t in patient.trials}


def test_threads_share_the_brackets():
    for _ in range(8):
        pruner = FastHyperbandPruner(1, 81)
        study = optuna.create_study(pruner=pruner)
        trial = study.ask()
        barrier = threading.Barrier(4)
        brackets = []

        def ask(pruner=pruner, study=study, trial=trial, barrier=barrier, brackets=brackets):
            barrier.wait()
            pruner.prune(study, study._storage.get_trial(trial._trial_id))
            brackets.append(pruner._get_bracket_id(study, trial))

        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(set(brackets)) == 1
        assert len(brackets) == 4
        assert len(pruner._pruners) == 5


def test_equal_decisions_after_pickling():
    study = search(FastHyperbandPruner(1, N_STEPS), n_trials=25)
    again = search(pickle.loads(pickle.dumps(FastHyperbandPruner(1, N_STEPS))), n_trials=25)
    assert [t.last_step for t in again.trials] == [t.last_step for t in study.trials]


def test_a_reason_counts_those_that_halving_would_promote():
    study = search(FastHyperbandPruner(1, N_STEPS), n_trials=60)
    told = [
        re.search(r"among the best (\d+) of the (\d+) trials", t.user_attrs["perfpred:reason"])
        for t in study.trials
        if "perfpred:reason" in t.user_attrs
    ]
    counts = [tuple(map(int, found.groups())) for found in told if found]
    assert {rank for rank, _ in counts} > {1}
    assert all(rank == max(1, (n + 1) // 3) for rank, n in counts)


def test_brackets_rungs_and_horizons_are_logged(caplog):
    with caplog.at_level(logging.DEBUG, logger="optuna_perfpred"):
        search(FastHyperbandPruner(1, N_STEPS), n_trials=5)
    assert "Bracket 1 has its rungs at [3, 9, 20]" in caplog.text
    assert "which ends at step 9" in caplog.text


@pytest.mark.parametrize(
    ("kwargs", "given"),
    [
        ({"min_resource": 0}, "0"),
        ({"reduction_factor": 1}, "1"),
        ({"bootstrap_count": -1}, "-1"),
        ({"max_resource": "all"}, "all"),
        ({"min_resource": 5, "max_resource": 4}, "4"),
        ({"bootstrap_count": 1}, "1"),
        ({"confidence": 1.0}, "1.0"),
        ({"offset": -0.1}, "-0.1"),
        ({"offset": math.inf}, "inf"),
        ({"n_train": 0}, "0"),
        ({"keep": 0.0}, "0.0"),
        ({"keep": 1.1}, "1.1"),
        ({"predictor": "ridge"}, "ridge"),
        ({"feature_attrs": "num_weights"}, "num_weights"),
        ({"warm_start": ["study"]}, "study"),
    ],
)
def test_bad_arguments_are_refused(kwargs, given):
    with pytest.raises(ValueError, match=given):
        FastHyperbandPruner(**kwargs)


def test_infinite_results_are_survived():
    def objective(trial):
        for step in range(N_STEPS):
            trial.report([math.inf, -math.inf, float(trial.number)][trial.number % 3], step)
            if trial.should_prune():
                raise optuna.TrialPruned
        return float(trial.number)

    pruner = FastHyperbandPruner(1, N_STEPS, predictor=SequentialRegression("ridge"))
    study = optuna.create_study(pruner=pruner)
    study.optimize(objective, n_trials=25)
    assert TrialState.COMPLETE in {trial.state for trial in study.trials}


def test_its_brackets_are_successive_halving():
    pruner = FastHyperbandPruner(1, N_STEPS)
    search(pruner, n_trials=1)
    assert all(isinstance(p, SuccessiveHalvingPruner) for p in pruner._pruners)
