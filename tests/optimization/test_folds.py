from __future__ import annotations

import math
import warnings

from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
import numpy as np
import optuna
from optuna.samplers import RandomSampler
from optuna.trial import FixedTrial
from optuna.trial import TrialState
import pytest
from sklearn.datasets import load_wine
from sklearn.linear_model import SGDClassifier
from sklearn.model_selection import StratifiedKFold
from sklearn.preprocessing import scale

from optuna_perfpred import PerformancePredictionPruner
from optuna_perfpred.optimization import report_fold


N_STEPS = 8


def new_trial(direction="minimize"):
    return optuna.create_study(direction=direction).ask()


def reports(trial):
    return trial.storage.get_trial(trial._trial_id).intermediate_values


@settings(max_examples=50)
@given(
    folds=st.lists(
        st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=N_STEPS), min_size=1, max_size=6
    )
)
def test_running_mean_after_each_fold(folds):
    trial = new_trial()
    for fold, values in enumerate(folds):
        for step, value in enumerate(values):
            # A fold that ends early reports for its last step too.
            at = step if step + 1 < len(values) else N_STEPS - 1
            mean = report_fold(trial, value, at, fold, n_steps=N_STEPS)
        finals = [values[-1] for values in folds[: fold + 1]]
        assert mean == pytest.approx(np.mean(finals), abs=1e-4)
        assert reports(trial)[(fold + 1) * N_STEPS - 1] == pytest.approx(mean, abs=1e-4)


def test_first_fold_is_its_own_curve_and_one_step_a_running_mean():
    trial = new_trial()
    for step in range(N_STEPS):
        assert report_fold(trial, 1.0 / (step + 1), step, 0, n_steps=N_STEPS) == 1.0 / (step + 1)
    assert reports(trial) == {step: 1.0 / (step + 1) for step in range(N_STEPS)}
    trial = new_trial()
    means = [report_fold(trial, v, 0, fold, n_steps=1) for fold, v in enumerate([1, 2, 6])]
    assert means == [1.0, 1.5, 3.0] == list(reports(trial).values())


def test_hard_folds_are_told_from_bad_trials():
    # All folds have the same curve but for a shift: what is foreseen within a fold is between the
    # running means before and after it, and comes nearer to the latter.
    trial, curve = new_trial(), 2.0 * 0.7 ** np.arange(N_STEPS)
    for fold, shift in enumerate([0.0, 0.3, -0.1]):
        for step in range(N_STEPS):
            report_fold(trial, shift + curve[step], step, fold, n_steps=N_STEPS)
    curve_of_trial = np.array(list(reports(trial).values()))
    for fold in (1, 2):
        within = curve_of_trial[fold * N_STEPS - 1 : (fold + 1) * N_STEPS]
        assert np.abs(within - within[-1]).tolist() == pytest.approx(
            np.abs(within[0] - within[-1]) * (1 - np.arange(N_STEPS + 1) / N_STEPS)
        )


def test_goes_on_in_another_process():
    study = optuna.create_study()
    whole, first, second = study.ask(), study.ask(), study.ask()
    rng = np.random.default_rng(0)
    values = rng.normal(size=(4, N_STEPS))

    def train(trial, folds):
        for fold in folds:
            for step, value in enumerate(values[fold]):
                mean = report_fold(trial, value, step, fold, n_steps=N_STEPS)
        return mean

    expected = train(whole, range(4))
    train(first, range(2))
    for step, value in reports(first).items():
        second.report(value, step)
    assert train(second, range(2, 4)) == pytest.approx(expected)
    assert list(reports(second).values()) == pytest.approx(list(reports(whole).values()))


def test_study_with_real_folds():
    X, y = load_wine(return_X_y=True)
    X = scale(X)
    splits = list(StratifiedKFold(4, shuffle=True, random_state=0).split(X, y))
    stopped_at = []

    def objective(trial):
        alpha = trial.suggest_float("alpha", 1e-4, 1e3, log=True)
        for fold, (train, valid) in enumerate(splits):
            model = SGDClassifier(alpha=alpha, random_state=0)
            for epoch in range(5):
                model.partial_fit(X[train], y[train], classes=np.arange(3))
                accuracy = model.score(X[valid], y[valid])
                mean = report_fold(trial, accuracy, epoch, fold, n_steps=5)
                if trial.should_prune():
                    stopped_at.append(fold)
                    raise optuna.TrialPruned
        return mean

    study = optuna.create_study(
        direction="maximize",
        sampler=RandomSampler(seed=0),
        pruner=PerformancePredictionPruner(),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        study.optimize(objective, n_trials=25)
    assert study.best_value > 0.95
    assert sum(len(trial.intermediate_values) for trial in study.trials) < 0.8 * 25 * 20
    assert 0 in stopped_at
    assert len(study.best_trial.intermediate_values) == 20


def test_unequal_and_missing_folds():
    trial = new_trial()
    report_fold(trial, 5.0, 2, 1, n_steps=N_STEPS)  # No fold 0, and nothing for its last step.
    assert report_fold(trial, 3.0, 0, 3, n_steps=N_STEPS) == 4.0
    assert report_fold(trial, 1.0, N_STEPS - 1, 3, n_steps=N_STEPS) == 3.0
    assert reports(trial)[4 * N_STEPS - 1] == pytest.approx(3.0)


def test_a_fold_that_comes_too_late_is_not_reported():
    trial = new_trial()
    report_fold(trial, 1.0, 0, 0, n_steps=2)
    report_fold(trial, 2.0, 0, 1, n_steps=2)
    known = dict(reports(trial))
    with pytest.warns(UserWarning, match="fold 0 is not reported"):
        assert report_fold(trial, 9.0, 1, 0, n_steps=2) == 1.5
    assert reports(trial) == known


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_diverged_fold(value):
    trial = new_trial()
    report_fold(trial, 1.0, 0, 0, n_steps=2)
    assert not math.isfinite(report_fold(trial, value, 0, 1, n_steps=2))
    # It recovers.
    assert report_fold(trial, 3.0, 1, 1, n_steps=2) == 2.0
    # The next one doesn't.
    assert not math.isfinite(report_fold(trial, value, 1, 2, n_steps=2))
    assert not math.isfinite(report_fold(trial, 1.0, 1, 3, n_steps=2))
    assert not math.isfinite(reports(trial)[7])


def test_study_with_diverging_folds():
    def objective(trial):
        x = trial.suggest_float("x", 0.0, 1.0)
        for fold in range(3):
            for step in range(4):
                value = math.nan if x > 0.8 and fold == 1 else x + 0.5**step + 0.1 * fold
                mean = report_fold(trial, value, step, fold, n_steps=4)
                if trial.should_prune():
                    raise optuna.TrialPruned
        return mean

    study = optuna.create_study(
        sampler=RandomSampler(seed=0), pruner=PerformancePredictionPruner()
    )
    study.optimize(objective, n_trials=30)
    assert study.best_params["x"] < 0.2
    states = {trial.state for trial in study.trials}
    assert states <= {TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL}


def test_fixed_trial():
    assert report_fold(FixedTrial({}), 2, 1, 3, n_steps=2) == 2.0


@pytest.mark.parametrize(
    ("step", "fold", "n_steps", "name"),
    [
        (-1, 0, 3, "step"),
        (3, 0, 3, "step"),
        (0, -1, 3, "fold"),
        (0, 0.5, 3, "fold"),
        (0, 0, 0, "n_steps"),
    ],
)
def test_bad_arguments(step, fold, n_steps, name):
    trial = new_trial()
    with pytest.raises(ValueError, match=f"`{name}` must be"):
        report_fold(trial, 1.0, step, fold, n_steps=n_steps)
    assert reports(trial) == {}
