from __future__ import annotations

import gzip
import subprocess
import sys
import time

from _recording_export import export
from _recording_families import FAMILIES
from _recording_family import Sizes
from _recording_study import completed
from _recording_study import NumberedSampler
from _recording_study import open_study
from _recording_study import record
from _recording_study import run_training
import optuna
from optuna.pruners import ThresholdPruner
from optuna.trial import TrialState
import pytest

from optuna_perfpred.replay import load_curves
from tests.benchmarks.recordings import BENCHMARKS
from tests.benchmarks.recordings import check_data
from tests.benchmarks.recordings import DIAMONDS
from tests.benchmarks.recordings import FASHION
from tests.benchmarks.recordings import KJV
from tests.benchmarks.recordings import NAMES


TINY = Sizes(n_trials=3, n_epochs=2, n_train=64, n_valid=50)


def recorded(name, folder, sizes=TINY, jobs=1):
    check_data(name)
    folder.mkdir(exist_ok=True)
    study = record(name, sizes, folder / f"{name}.journal", jobs)
    export(study, sizes, folder / name)
    return study


def tables(folder):
    """What does not depend on the machine's speed."""
    return [
        gzip.decompress((folder / f"{table}.csv.gz").read_bytes())
        for table in ("curves", "configs")
    ]


@pytest.mark.parametrize("name", NAMES)
def test_a_recording_is_a_study_and_a_folder_of_the_same_curves(name, tmp_path):
    study = recorded(name, tmp_path)
    trials = list(completed(study).values())
    loaded = load_curves(tmp_path / name)
    assert loaded.direction == study.direction
    assert [t.user_attrs["configuration"] for t in trials] == [0, 1, 2]
    for trial, curve in zip(trials, loaded.trials, strict=True):
        assert list(curve.intermediate_values) == [1, 2]
        assert curve.intermediate_values == trial.intermediate_values
        assert curve.value == trial.value
        assert curve.params["lr"] == trial.params["lr"]
        assert len(trial.user_attrs["seconds"]) == 2
    # Each has a configuration of its own; and trained again, its curve is the same.
    assert len({trial.params["lr"] for trial in trials}) == 3
    recorded(name, tmp_path / "again")
    assert tables(tmp_path / "again" / name) == tables(tmp_path / name)


def test_a_killed_recording_goes_on_with_what_it_lacks(tmp_path):
    check_data(DIAMONDS)
    sizes = Sizes(n_trials=30, n_epochs=10, n_train=500, n_valid=200)
    script = [sys.executable, str(BENCHMARKS / "record_curves.py"), "--families", DIAMONDS]
    script += ["--output", str(tmp_path), "--n-trials", "30", "--n-epochs", "10"]
    script += ["--n-train", "500", "--n-valid", "200", "--jobs"]
    journal = tmp_path / f"{DIAMONDS}.journal"
    with subprocess.Popen([*script, "1"]) as process:
        while not (journal.exists() and b'"state":1' in journal.read_bytes()):
            assert process.poll() is None
            time.sleep(0.01)
        process.kill()
    # As if it had been killed while it was writing.
    journal.with_name(f"{journal.name}.lock").unlink(missing_ok=True)
    journal.with_name(f"{journal.name}.lock").symlink_to(journal)
    assert not (tmp_path / DIAMONDS).exists()
    output = subprocess.run([*script, "2"], check=True, stdout=subprocess.PIPE, text=True).stdout
    assert output.startswith(f"{DIAMONDS}: 30 curves of 10 epochs")

    study = open_study(journal, DIAMONDS)
    trials = study.get_trials(states=(TrialState.COMPLETE,))
    assert sorted(trial.user_attrs["configuration"] for trial in trials) == list(range(30))
    assert not study.get_trials(states=(TrialState.RUNNING, TrialState.WAITING))
    # One process that is never killed gives the same curves.
    recorded(DIAMONDS, tmp_path / "one", sizes)
    assert tables(tmp_path / DIAMONDS) == tables(tmp_path / "one" / DIAMONDS)


def test_more_configurations_are_added_and_others_refused(tmp_path):
    check_data(DIAMONDS)
    study = recorded(DIAMONDS, tmp_path)
    longer = Sizes(n_trials=3, n_epochs=3, n_train=64, n_valid=50)
    with pytest.raises(ValueError, match="cannot go on"):
        recorded(DIAMONDS, tmp_path, longer)
    more = Sizes(n_trials=5, n_epochs=2, n_train=64, n_valid=50)
    recorded(DIAMONDS, tmp_path, more)
    assert len(study.trials) == 5
    assert len(load_curves(tmp_path / DIAMONDS).trials) == 5


def test_the_data_is_put_on_the_device():
    check_data(FASHION)
    sizes = Sizes(n_trials=1, n_epochs=1, n_train=64, n_valid=50, device="meta")
    data = FAMILIES[FASHION].load(sizes)
    assert {part.device.type for part in data} == {"meta"}
    assert [len(part) for part in data] == [64, 64, 50, 50]


@pytest.mark.parametrize(("name", "n_curves"), [(KJV, 200), (FASHION, 300), (DIAMONDS, 300)])
def test_the_curves_of_the_repository_are_those_of_the_script(name, n_curves):
    check_data(name)
    loaded = load_curves(BENCHMARKS / "curves" / name)
    sizes = FAMILIES[name].sizes
    assert len(loaded.trials) == sizes.n_trials == n_curves
    for trial in loaded.trials:
        assert list(trial.intermediate_values) == list(range(1, sizes.n_epochs + 1))
        assert trial.state == TrialState.COMPLETE
    if name != DIAMONDS:
        drops = sum(trial.params["schedule"] == "drop" for trial in loaded.trials)
        assert 0.4 * n_curves < drops < 0.6 * n_curves

    stopped_at_once = ThresholdPruner(lower=1e9)
    study = optuna.create_study(study_name=name, sampler=NumberedSampler(), pruner=stopped_at_once)
    for configuration in (0, n_curves - 1):
        study.enqueue_trial({}, user_attrs={"configuration": configuration})
        study.optimize(lambda trial: run_training(trial, FAMILIES[name], sizes), n_trials=1)
        again, curve = study.trials[-1], loaded.trials[configuration]
        assert again.state == TrialState.PRUNED
        # Machines round differently.
        assert again.intermediate_values[1] == pytest.approx(curve.intermediate_values[1], rel=0.1)
        for key, value in curve.params.items():
            expected = again.params.get(key, again.user_attrs.get(key))
            assert value == (expected if isinstance(value, str) else float(expected))


def test_the_curves_of_the_repository_are_small():
    files = [file for file in (BENCHMARKS / "curves").rglob("*") if file.is_file()]
    assert sum(file.stat().st_size for file in files) <= 5e6
