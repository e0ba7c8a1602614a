"""Studies that were begun by older versions of the package.

``data/older_versions.jsonl`` was written by the package as it was at three commits: "pruner" at
59a0cf7, "f-hyperband" at ac1ae68 and "q-learning" at 598ec69, the first ones with the pruner, its
relative and the sampler.
"""

from __future__ import annotations

from pathlib import Path
import shutil

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState
import pytest

from optuna_perfpred import PerformancePredictionPruner
from optuna_perfpred import QLearningSampler
from optuna_perfpred.nas import ConvNetSpace
from tests.distributed.checks import check
from tests.distributed.checks import check_trials
from tests.distributed.workers import Crew


@pytest.fixture
def older(tmp_path):
    file = tmp_path / "older_versions.jsonl"  # Opening it for a study makes a lock beside it.
    shutil.copy(Path(__file__).parent / "data" / file.name, file)
    storage = JournalStorage(JournalFileBackend(str(file)))
    return lambda name: optuna.load_study(study_name=name, storage=storage).get_trials()


def test_the_pruner_goes_on(older, postgresql_url, tmp_path):
    with Crew(postgresql_url, tmp_path) as crew:
        crew.study.add_trials(older("pruner"))
        before = crew.study.get_trials()
        assert [worker.wait() for worker in [crew.start(6), crew.start(6)]] == [0, 0]
        trials = crew.study.get_trials()
        assert trials[: len(before)] == before
        assert len(trials) == len(before) + 12
        assert any(trial.state == TrialState.PRUNED for trial in trials[len(before) :])
        check(crew.study, crew.events(), n_before=len(before))
        # Two of the old ones were let finish on purpose.
        assert PerformancePredictionPruner().audit(crew.study).n_audited == 2


def test_f_hyperband_goes_on(older, postgresql_url, tmp_path):
    config = tmp_path / "study.toml"
    config.write_text(
        'direction = "maximize"\n[pruner]\nclass = "optuna_perfpred.FastHyperbandPruner"\n'
        "min_resource = 1\nmax_resource = 8\nreduction_factor = 2\n"
    )
    with Crew(postgresql_url, tmp_path) as crew:
        crew.study.add_trials(older("f-hyperband"))
        before = crew.study.get_trials()
        assert [worker.wait() for worker in [crew.start(10, config=config)]] == [0]
        trials = crew.study.get_trials()
        assert trials[: len(before)] == before
        check_trials(crew.study, crew.events(), n_before=len(before))
        # They are compared with the old ones: by itself, a bracket needs more trials.
        assert any(trial.state == TrialState.PRUNED for trial in trials[len(before) :])


def test_the_q_learning_sampler_goes_on(older):
    space = ConvNetSpace((1, 8, 8), 10, max_depth=2, filters=(4,), filter_sizes=(1, 3))
    sampler = QLearningSampler(space, seed=1, reuse_known=True)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    study.add_trials(older("q-learning"))
    before = study.get_trials()
    trained = {
        trial.user_attrs["architecture"]: trial.number
        for trial in before
        if "perfpred:reused_value_of_trial" not in trial.user_attrs
    }

    def objective(trial):
        architecture = space.suggest(trial)
        known = sampler.known_value(trial, architecture)
        if known is not None:
            return known
        assert str(architecture) not in trained
        trained[str(architecture)] = trial.number
        return -abs(architecture.num_weights - 500) / 500

    study.optimize(objective, n_trials=16)
    assert study.get_trials()[: len(before)] == before
    reused = [t for t in study.trials if "perfpred:reused_trial" in t.user_attrs]
    assert reused
    for trial in reused:
        number = trained[trial.user_attrs["architecture"]]
        assert trial.user_attrs["perfpred:reused_trial"] == number
        assert trial.value == study.trials[number].value
