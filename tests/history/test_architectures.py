from __future__ import annotations

import optuna
from optuna.samplers import RandomSampler
from optuna.trial import TrialState
import pytest

from optuna_perfpred import PerformancePredictionPruner
from optuna_perfpred.history import LAYER_PARAMETER
from optuna_perfpred.history import read_configuration
from optuna_perfpred.nas import Architecture
from optuna_perfpred.nas import ConvNetSpace


SPACE = ConvNetSpace((3, 32, 32), 10)


def asked(notation: str) -> tuple[optuna.Trial, Architecture]:
    study = optuna.create_study()
    study.enqueue_trial(SPACE.params(notation))
    trial = study.ask()
    return trial, SPACE.suggest(trial)


def test_layers_and_weights_are_features_instead_of_the_layers() -> None:
    trial, _ = asked("[C(64,5,1), C(256,3,1), GAP(10), SM(10)]")
    trial.suggest_float("lr", 0.1, 0.1)
    trial.suggest_categorical("layer_norm", ["yes"])
    trial.set_user_attr("note", "not a feature")
    configuration = read_configuration(trial._get_latest_trial())
    assert configuration == {
        "param lr": 0.1,
        "choice layer_norm": "'yes'",
        "attr num_layers": 4,
        "attr num_weights": 154816,
    }


def test_asking_for_the_features_of_an_architecture_gives_them_once() -> None:
    trial, architecture = asked("[C(64,3,1), GAP(10), SM(10)]")
    configuration = read_configuration(trial._get_latest_trial(), ["num_layers", "architecture"])
    assert configuration == {
        "attr num_layers": 3,
        "attr num_weights": architecture.num_weights,
        "choice attr architecture": repr(str(architecture)),
    }


def test_the_counts_of_a_trial_without_layers_are_no_features() -> None:
    trial = optuna.create_study().ask()
    trial.set_user_attr("num_layers", 3)
    trial.suggest_int("layer_01", 2, 2)
    configuration = read_configuration(trial._get_latest_trial())
    assert configuration == {"param layer_01": 2}


def test_an_architecture_whose_suggestion_did_not_end_has_no_features_yet() -> None:
    trial = optuna.create_study().ask()
    trial.suggest_categorical("layer_01[input,>8]", ["C(64,3,1)"])
    assert read_configuration(trial._get_latest_trial()) == {}


@pytest.mark.parametrize(
    ("name", "is_layer"),
    [
        ("layer_01[input,>8]", True),
        ("layer_12[FC(128),2]", True),
        ("layer_100[C,1]", True),
        ("layer_01", False),
        ("layer_xx[C,1]", False),
        ("my_layer_01[C,1]", False),
        ("layer_01[C,1]_width", False),
    ],
)
def test_only_names_that_a_space_gives_are_layers(name: str, is_layer: bool) -> None:
    assert (LAYER_PARAMETER.fullmatch(name) is not None) is is_layer


def test_a_study_over_architectures_is_pruned_by_their_predicted_performance() -> None:
    pruner = PerformancePredictionPruner(n_startup_trials=15, n_warmup_steps=2, seed=0)
    study = optuna.create_study(direction="maximize", sampler=RandomSampler(seed=0), pruner=pruner)

    def objective(trial: optuna.Trial) -> float:
        architecture = SPACE.suggest(trial)
        # Deeper networks end better, and all rise alike.
        best = 1.0 - 1.0 / architecture.num_layers
        for epoch in range(20):
            trial.report(best * (1.0 - 0.7**epoch), epoch)
            if trial.should_prune():
                raise optuna.TrialPruned
        return best

    study.optimize(objective, n_trials=60)
    pruned = study.get_trials(states=(TrialState.PRUNED,))
    assert len(pruned) > 10
    assert all(trial.number >= 15 for trial in pruned)
    for trial in study.trials:
        assert trial.params == SPACE.params(trial.user_attrs["architecture"])
    for trial in pruned:
        best = 1.0 - 1.0 / trial.user_attrs["num_layers"]
        assert best <= study.best_value
        assert trial.user_attrs["perfpred:predicted_value"] == pytest.approx(best, abs=0.1)
