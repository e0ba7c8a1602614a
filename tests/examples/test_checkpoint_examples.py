"""A training of each library goes on as if it had not been stopped."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import optuna
from optuna.pruners import BasePruner
from optuna.trial import TrialState
import pytest


FOLDER = Path(__file__).parents[2] / "examples" / "checkpoints"
# The package that it needs, which is more than what the project does.
EXAMPLES = {
    "keras_training",
    "lightgbm_boosting",
    "lightning_training",
    "pytorch",
    "scikit_learn",
    "xgboost_boosting",
}
PARAMS = [
    ("keras_training", {"learning_rate": 0.01}),
    ("lightgbm_boosting", {"learning_rate": 0.2, "num_leaves": 8}),
    ("lightning_training", {"learning_rate": 0.003, "dropout": 0.3}),
    ("pytorch", {"learning_rate": 0.003, "dropout": 0.3}),
    ("scikit_learn", {"kind": "linear", "alpha": 0.01}),
    ("scikit_learn", {"kind": "boosting", "learning_rate": 0.2}),
    ("xgboost_boosting", {"eta": 0.2, "max_depth": 4}),
]
N_STEPS = 6


pytestmark = [  # They are not ours.
    pytest.mark.filterwarnings("ignore::DeprecationWarning:keras"),
    pytest.mark.filterwarnings("ignore::UserWarning:lightning"),
]


@pytest.fixture
def load(tmp_path, monkeypatch):
    """Gives an example as a module, whose checkpoints are in a new working directory."""
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    monkeypatch.chdir(tmp_path)

    def load(name):
        spec = importlib.util.spec_from_file_location(f"example_{name}", FOLDER / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        [count] = {"N_STEPS", "N_EPOCHS", "N_ROUNDS"} & vars(module).keys()
        monkeypatch.setattr(module, count, N_STEPS)
        return module

    return load


class StopAfter(BasePruner):
    def __init__(self, steps):
        self.steps = steps

    def prune(self, study, trial):
        return trial.last_step == self.steps.get(trial.number)


def curves(objective, params):
    """The curve of a training that was not stopped, and of one that went on twice."""
    study = optuna.create_study(pruner=StopAfter({1: 1, 2: 3}))
    for continues in (None, None, 1, 2):
        attrs = {} if continues is None else {"perfpred:continues": continues}
        study.enqueue_trial(params, user_attrs=attrs)
        study.optimize(objective, n_trials=1)
    through, *stopped, continued = study.trials
    assert [trial.state for trial in stopped] == [TrialState.PRUNED] * 2
    for trial in (through, continued):
        assert trial.value == pytest.approx(trial.intermediate_values[N_STEPS - 1], abs=1e-12)
        assert sorted(trial.intermediate_values) == list(range(N_STEPS))
    assert len(set(through.intermediate_values.values())) > 3  # It learns something.
    return through.intermediate_values, continued.intermediate_values


@pytest.mark.parametrize(("name", "params"), PARAMS)
def test_a_training_goes_on_with_the_values_of_one_that_was_not_stopped(load, name, params):
    through, continued = curves(load(name).objective, params)
    assert continued == through
    assert list(Path("checkpoints").iterdir()) == []


@pytest.mark.parametrize("name", sorted(EXAMPLES))
def test_an_example_runs(load, capsys, name):
    load(name).main(n_trials=2)
    assert "Best " in capsys.readouterr().out
    assert list(Path("checkpoints").iterdir()) == []


def test_each_example_is_tested():
    assert {path.stem for path in FOLDER.glob("*.py")} == EXAMPLES
