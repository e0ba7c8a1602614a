"""What earlier studies teach a new one, and when they are refused."""

from __future__ import annotations

import warnings

import numpy as np
import optuna
from optuna.pruners import NopPruner
from optuna.samplers import RandomSampler
from optuna.trial import create_trial
from optuna.trial import TrialState
import pytest
from sklearn.datasets import load_digits
from sklearn.linear_model import SGDClassifier
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier

from optuna_perfpred import PerformancePredictionPruner
from optuna_perfpred import SequentialRegression
from tests.pruners.studies import accuracy_curve
from tests.pruners.studies import run
from tests.pruners.studies import study_with


def new_study(*earlier, direction="maximize", **kwargs):
    pruner = PerformancePredictionPruner(warm_start=earlier, **kwargs)
    return optuna.create_study(direction=direction, pruner=pruner)


def run_all(study, curves):
    for curve in curves:
        run(study, 0.5, curve)


@pytest.mark.parametrize("direction", ["maximize", "minimize"])
def test_the_first_trial_is_pruned_if_earlier_studies_tell_that_it_is_hopeless(direction):
    earlier = study_with(NopPruner(), direction)
    assert run(new_study(direction=direction), 0.1) is None
    assert run(new_study(earlier, direction=direction), 0.1) is not None
    assert run(new_study(earlier, direction=direction), 0.97) is None


def test_the_value_to_beat_at_first_is_that_of_the_best_of_ten_earlier_trials():
    earlier = study_with(NopPruner(), n=100)
    study = new_study(earlier)
    assert run(study, 0.1) is not None
    reason = study.trials[0].user_attrs["perfpred:reason"]
    values = sorted(trial.value for trial in earlier.trials)
    assert f" chance to beat {values[-9]:.4g}" in reason


def test_a_better_trial_of_the_study_takes_the_place_of_earlier_ones():
    study = new_study(study_with(NopPruner(), n=100))
    assert run(study, 0.995) is None
    assert run(study, 0.1) is not None
    assert f"beat {study.best_value:.4g}" in study.trials[1].user_attrs["perfpred:reason"]


def test_without_common_parameters_the_curves_carry_over():
    earlier = optuna.create_study(direction="maximize")
    for trial in study_with(NopPruner()).trials:
        earlier.add_trial(
            create_trial(value=trial.value, intermediate_values=trial.intermediate_values)
        )
    study = new_study(earlier)
    assert run(study, 0.1) is not None
    assert run(study, 0.97) is None


def test_values_on_another_scale_are_refused_with_the_reason():
    study = new_study(study_with(NopPruner()))
    percent = [100.0 * value for value in accuracy_curve(0.1)]
    with pytest.warns(UserWarning, match="another scale"):
        assert run(study, 0.1, percent) is None
    # From then on it is as if there had been no earlier study.
    cold = new_study()
    run(cold, 0.1, percent)
    for x in (0.9, 0.2, 0.95, 0.05):
        curve = [100.0 * value for value in accuracy_curve(x)]
        assert run(study, x, curve) == run(cold, x, curve)


def test_a_study_whose_trials_are_all_worse_goes_its_own_way():
    rng = np.random.default_rng(0)
    study = new_study(study_with(NopPruner(), n=100))
    harder = [[0.2 * v for v in accuracy_curve(x)] for x in rng.uniform(0.5, 1.0, 30)]
    with pytest.warns(UserWarning, match="its trials are worse"):
        run_all(study, harder)
    completed = study.get_trials(states=(TrialState.COMPLETE,))
    assert completed
    later = [curve[-1] for curve in harder[4:]]
    assert study.best_value >= np.quantile(later, 0.8)


@pytest.mark.filterwarnings("ignore:The studies given")
@pytest.mark.parametrize("highest", [0.3, 0.5, 0.7, 0.85])
def test_a_study_that_reaches_less_than_earlier_ones_completes_some_trials(highest):
    study = new_study(study_with(NopPruner(), n=100))
    xs = np.random.default_rng(1).uniform(0.0, highest, 40)
    run_all(study, [accuracy_curve(x, seed) for seed, x in enumerate(xs)])
    assert study.best_value >= 0.9 * highest


@pytest.mark.filterwarnings("error:The studies given")
def test_an_earlier_study_that_was_pruned_itself_is_not_taken_for_an_easier_one():
    """The trials that it completed are its best ones."""
    rng = np.random.default_rng(1)
    earlier = new_study()
    run_all(earlier, [accuracy_curve(x, seed) for seed, x in enumerate(rng.uniform(0, 0.9, 50))])
    study = new_study(earlier)
    assert len(earlier.get_trials(states=(TrialState.PRUNED,))) > 25
    assert run(study, 0.1) is not None
    run_all(study, [accuracy_curve(x, seed) for seed, x in enumerate(rng.uniform(0, 0.9, 50))])


@pytest.mark.filterwarnings("error:The studies given")
def test_as_the_study_grows_it_has_the_say():
    """Earlier trials ended where they were; those of the new study still rise."""
    earlier = optuna.create_study(direction="maximize")
    for number in range(50):
        flat = dict.fromkeys(range(20), 0.2 + 0.01 * number)
        earlier.add_trial(create_trial(value=flat[19], intermediate_values=flat))
    pruner = PerformancePredictionPruner(
        SequentialRegression("ridge"),
        warm_start=[earlier],
        n_startup_trials=1,
        top_n=1,
        shadow=True,
    )
    study = optuna.create_study(direction="maximize", pruner=pruner)
    errors = []
    for number in range(60):
        start = 0.2 + 0.5 * ((number * 7) % 60) / 60
        curve = [start + 0.02 * step for step in range(20)]
        trial = study.ask()
        for step, value in enumerate(curve):
            trial.report(value, step)
            trial.should_prune()
            if step == 10 and (assessment := pruner.assessment(study, trial)):
                errors.append(abs(assessment.predicted_value - curve[-1]))
        study.tell(trial, curve[-1])
    assert np.mean(errors[-10:]) < 0.25 * np.mean(errors[:5])


def learn_digits(make_model, seed):
    """The accuracy of a classifier after each of ten epochs."""
    X, y = load_digits(return_X_y=True)
    X_train, X_valid, y_train, y_valid = train_test_split(
        X[:900] / 16.0, y[:900], test_size=0.4, random_state=0
    )
    rng = np.random.default_rng(seed)
    model = make_model(rng)
    curve = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in range(10):
            model.partial_fit(X_train, y_train, classes=np.arange(10))
            curve.append(float(model.score(X_valid, y_valid)))
    return curve


def linear(rng):
    rate = 10 ** rng.uniform(-5, 0)
    return SGDClassifier(learning_rate="constant", eta0=rate, random_state=0, loss="log_loss")


def perceptron(rng):
    rate, units = 10 ** rng.uniform(-5, -1), int(rng.integers(2, 40))
    return MLPClassifier((units,), learning_rate_init=rate, random_state=0)


@pytest.mark.filterwarnings("ignore:The studies given")
def test_what_one_model_class_teaches_holds_for_another():
    """The claim of Baker et al. 2017, section 6: trained on linear models, perceptrons stop."""
    earlier = optuna.create_study(direction="maximize")
    for seed in range(40):
        curve = learn_digits(linear, seed)
        earlier.add_trial(
            create_trial(value=curve[-1], intermediate_values=dict(enumerate(curve)))
        )
    curves = [learn_digits(perceptron, seed) for seed in range(40)]
    trained = {}
    for name, studies in (("cold", []), ("warm", [earlier])):
        study = new_study(*studies)
        study.sampler = RandomSampler()  # As the perceptrons are drawn.
        for curve in curves:
            trial = study.ask()
            for step, value in enumerate(curve):
                trial.report(value, step)
                if trial.should_prune():
                    study.tell(trial, state=TrialState.PRUNED)
                    break
            else:
                study.tell(trial, curve[-1])
        trained[name] = sum(len(trial.intermediate_values) for trial in study.trials)
        # Among the best tenth.
        assert study.best_value >= sorted(curve[-1] for curve in curves)[-4]
    assert trained["warm"] <= trained["cold"] < 0.6 * 400
