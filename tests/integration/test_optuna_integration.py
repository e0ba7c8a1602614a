"""Callbacks of optuna-integration that need no other in their place."""

from __future__ import annotations

import os

import numpy as np
import optuna
import pytest
from sklearn.datasets import load_digits
from sklearn.linear_model import SGDClassifier

from optuna_perfpred import PerformancePredictionPruner
from tests.integration.libraries import library
from tests.integration.studies import check_pruned
from tests.integration.studies import hopeless
from tests.integration.studies import N_EPOCHS
from tests.integration.studies import RATES
from tests.integration.studies import study_with_good_trials


os.environ.setdefault("KERAS_BACKEND", "torch")
integration = library("optuna_integration")
images, labels = load_digits(return_X_y=True)
X, X_valid, y, y_valid = images[:300], images[300:500], labels[:300], labels[300:500]
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning:keras"),
    pytest.mark.filterwarnings("ignore::UserWarning:lightning"),
]


def suggest_rate(trial):
    return trial.suggest_float("rate", 1e-6, 1.0, log=True)


def train_keras(trial):
    import keras

    model = keras.Sequential([keras.Input((64,)), keras.layers.Dense(10, activation="softmax")])
    model.compile(
        keras.optimizers.SGD(suggest_rate(trial)),
        "sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    callback = integration.KerasPruningCallback(trial, "val_accuracy")
    data = (X_valid / 16.0, y_valid)
    model.fit(X / 16.0, y, epochs=N_EPOCHS, validation_data=data, callbacks=[callback], verbose=0)


XGBOOST = {"objective": "multi:softprob", "num_class": 10, "eval_metric": "merror", "nthread": 1}


def accuracy(predictions, data):
    labels = data.get_label()
    return "accuracy", float(np.mean(predictions.reshape(len(labels), -1).argmax(1) == labels))


def train_xgboost(trial):
    import xgboost

    params = XGBOOST | {
        "eta": suggest_rate(trial),
        "max_depth": 1,
        "disable_default_eval_metric": True,
    }
    xgboost.train(
        params,
        xgboost.DMatrix(X, y),
        N_EPOCHS,
        evals=[(xgboost.DMatrix(X_valid, 9 - y_valid), "valid")],
        custom_metric=accuracy,
        callbacks=[integration.XGBoostPruningCallback(trial, "valid-accuracy")],
        verbose_eval=False,
    )


def folds_of_xgboost(trial):
    import xgboost

    params = XGBOOST | {"eta": suggest_rate(trial), "disable_default_eval_metric": True}
    xgboost.cv(
        params,
        xgboost.DMatrix(X, np.random.default_rng(0).permutation(y)),
        N_EPOCHS,
        nfold=3,
        custom_metric=accuracy,
        callbacks=[integration.XGBoostPruningCallback(trial, "test-accuracy")],
    )


LIGHTGBM = {
    "objective": "multiclass",
    "num_class": 10,
    "metric": "None",
    "num_threads": 1,
    "verbose": -1,
}


def lightgbm_accuracy(predictions, data):
    return (*accuracy(predictions, data), True)


def train_lightgbm(trial):
    import lightgbm

    lightgbm.train(
        LIGHTGBM | {"learning_rate": suggest_rate(trial)},
        lightgbm.Dataset(X, y),
        N_EPOCHS,
        valid_sets=[lightgbm.Dataset(X_valid, 9 - y_valid)],
        feval=lightgbm_accuracy,
        callbacks=[integration.LightGBMPruningCallback(trial, "accuracy")],
    )


def folds_of_lightgbm(trial):
    import lightgbm

    lightgbm.cv(
        LIGHTGBM | {"learning_rate": suggest_rate(trial)},
        lightgbm.Dataset(X, np.random.default_rng(0).permutation(y)),
        N_EPOCHS,
        nfold=3,
        feval=lightgbm_accuracy,
        callbacks=[integration.LightGBMPruningCallback(trial, "accuracy")],
    )


def train_lightning(trial):
    from tests.integration.lightning_trainings import fit
    from tests.integration.lightning_trainings import Network

    callback = integration.PyTorchLightningPruningCallback(trial, "accuracy")
    fit(Network(suggest_rate(trial)), callback)


@pytest.mark.parametrize(
    ("name", "objective"),
    [
        ("keras", train_keras),
        ("lightgbm", train_lightgbm),
        ("lightgbm", folds_of_lightgbm),
        ("lightning", train_lightning),
        ("xgboost", train_xgboost),
        ("xgboost", folds_of_xgboost),
    ],
)
def test_a_hopeless_training_is_stopped(name, objective):
    library(name)
    study = study_with_good_trials()
    hopeless(study)
    study.optimize(objective, n_trials=1)
    check_pruned(study)


def test_a_search_of_scikit_learn_stops_what_is_hopeless():
    study = optuna.create_study(direction="maximize", pruner=PerformancePredictionPruner())
    for rate in (1e-1, 1e-1, 1e-1, 1e-1, 1e-1, 1e-6, 1e-6):
        study.enqueue_trial({"eta0": rate})
    search = integration.OptunaSearchCV(
        SGDClassifier(learning_rate="constant", penalty=None, random_state=0),
        {"eta0": RATES},
        cv=2,
        enable_pruning=True,
        max_iter=N_EPOCHS,
        n_trials=7,
        refit=False,
        study=study,
    )
    search.fit(X / 16.0, y)
    check_pruned(study)
