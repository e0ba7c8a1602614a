"""Estimators of scikit-learn are stopped as they are trained step by step."""

from __future__ import annotations

import optuna
from optuna.trial import TrialState
import pytest
from sklearn.datasets import load_digits
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.linear_model import SGDClassifier
from sklearn.svm import SVC

from optuna_perfpred.integration import SklearnPruning
from tests.integration.studies import check_pruned
from tests.integration.studies import hopeless
from tests.integration.studies import N_EPOCHS
from tests.integration.studies import study_with_good_trials


images, labels = load_digits(return_X_y=True)
X, X_valid, y, y_valid = images[:300], images[300:600], labels[:300], labels[300:600]


@pytest.mark.parametrize(
    "new",
    [
        lambda rate: SGDClassifier(
            learning_rate="constant", eta0=rate * 1e-9, penalty=None, random_state=0
        ),
        lambda rate: GradientBoostingClassifier(learning_rate=rate * 1e-6, random_state=0),
    ],
    ids=["partial_fit", "warm_start"],
)
def test_a_hopeless_training_is_stopped(new):
    def objective(trial):
        estimator = new(trial.suggest_float("rate", 1e-6, 1.0, log=True))
        return SklearnPruning(trial, X_valid, y_valid).fit(estimator, X, y, n_steps=N_EPOCHS)

    study = study_with_good_trials()
    hopeless(study)
    study.optimize(objective, n_trials=1)
    check_pruned(study)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize(
    ("estimator", "count"),
    [
        (GradientBoostingClassifier(), lambda model: len(model.estimators_)),
        (HistGradientBoostingClassifier(), lambda model: model.n_iter_),
        (LogisticRegression(), lambda model: 4 if model.n_iter_[0] <= 2 else None),
    ],
)
def test_a_step_adds_trees_or_iterations(estimator, count):
    study = optuna.create_study(direction="maximize", pruner=optuna.pruners.NopPruner())
    scores = []

    def objective(trial):
        pruning = SklearnPruning(trial, X_valid, y_valid, scoring="accuracy")
        scores.append(pruning.fit(estimator, X, y, n_steps=2, step_size=2))
        return scores[-1]

    study.optimize(objective, n_trials=1)
    assert count(estimator) == 4
    [trial] = study.trials
    assert trial.state == TrialState.COMPLETE
    assert list(trial.intermediate_values) == [0, 1]
    assert trial.intermediate_values[1] == scores[0] == estimator.score(X_valid, y_valid)


@pytest.mark.parametrize(
    ("estimator", "options", "told"),
    [
        (SVC(), {"n_steps": 2}, "must have `partial_fit`, or `warm_start`"),
        (SGDClassifier(), {"n_steps": 0}, "`n_steps` must be"),
        (SGDClassifier(), {"n_steps": 2, "step_size": 0}, "`step_size` must be"),
    ],
)
def test_what_cannot_be_trained_step_by_step_is_told(estimator, options, told):
    pruning = SklearnPruning(optuna.trial.FixedTrial({}), X_valid, y_valid)
    with pytest.raises(ValueError, match=told):
        pruning.fit(estimator, X, y, **options)


def test_there_must_be_a_trial():
    with pytest.raises(ValueError, match="must be an Optuna trial"):
        SklearnPruning(None, X_valid, y_valid)
