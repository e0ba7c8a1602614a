"""A damaged checkpoint, a failing store and a hostile one end no trial."""

from __future__ import annotations

import hashlib

import optuna
from optuna.artifacts import FileSystemArtifactStore
from optuna.trial import TrialState
import pytest
import torch

from optuna_perfpred import Checkpoint
from tests.checkpoints.resuming import begin_and_die
from tests.checkpoints.resuming import files
from tests.checkpoints.resuming import go_on
from tests.checkpoints.resuming import loaded
from tests.checkpoints.resuming import N_STEPS
from tests.checkpoints.resuming import value_at
from tests.retries import died


pytestmark = [
    pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning"),
    pytest.mark.filterwarnings("error:.*checkpoint:UserWarning"),
]


def damage(path, how):
    content = path.read_bytes()
    path.write_bytes(
        {
            "cut": content[: len(content) // 2],
            "empty": b"",
            "flipped": content[:-1] + bytes([content[-1] ^ 1]),
        }[how]
    )


@pytest.mark.parametrize("how", ["cut", "empty", "flipped"])
def test_the_checkpoint_before_a_damaged_one_is_used(tmp_path, how):
    study = optuna.create_study()
    begin_and_die(study, tmp_path, dies_after=5)
    latest = max(files(tmp_path), key=lambda path: path.read_bytes()[-1])
    assert latest.read_bytes()[-5:] == bytes(range(5))
    damage(latest, how)
    trial = study.ask()
    with pytest.warns(UserWarning, match="left out"):
        assert loaded(trial, tmp_path) == (4, bytes(range(4)), value_at(3))
    assert study.trials[1].intermediate_values == {step: value_at(step) for step in range(4)}


def test_a_trial_begins_anew_if_no_checkpoint_is_left(tmp_path):
    study = optuna.create_study()
    begin_and_die(study, tmp_path / "here", dies_after=5)
    for path in files(tmp_path):
        damage(path, "cut")
    with pytest.warns(UserWarning, match="left out|begins anew"):
        Checkpoint(trial := study.ask(), tmp_path / "here").load()
    died(study, trial)
    with pytest.warns(UserWarning, match="begins anew.*must be shared"):
        trial = go_on(study, tmp_path / "on another host", attempt=1)
    assert trial.intermediate_values == {step: value_at(step, 1) for step in range(N_STEPS)}
    assert not files(tmp_path / "on another host")


class FillsUp(FileSystemArtifactStore):
    """A disk that is full after some files. Optuna's store leaves half of the last one."""

    n_left = 2

    def write(self, artifact_id, content_body):
        self.n_left -= 1
        if self.n_left < 0:
            (self._base_path / artifact_id).write_bytes(content_body.read(40))
            raise OSError(28, "No space left on device")
        super().write(artifact_id, content_body)


def test_a_failing_store_is_warned_of_once_and_the_last_checkpoint_stays(tmp_path):
    study = optuna.create_study()
    store = FillsUp(tmp_path)
    with pytest.warns(UserWarning, match="No space left") as caught:
        begin_and_die(study, store, dies_after=6)
    assert sum("No space left" in str(warning.message) for warning in caught) == 1
    with pytest.warns(UserWarning, match="left out|could not be saved"):
        trial = go_on(study, store, attempt=1)
    # The failing writes never touched the latest whole one, after step 1.
    assert trial.intermediate_values == {
        step: value_at(step, attempt=int(step > 1)) for step in range(N_STEPS)
    }


def test_a_store_that_cannot_be_reached_does_not_end_the_trial(tmp_path):
    class Unreachable(FileSystemArtifactStore):
        def open_reader(self, artifact_id):
            raise ConnectionError("no route to host")

        def remove(self, artifact_id):
            raise ConnectionError("no route to host")

    study = optuna.create_study()
    begin_and_die(study, tmp_path, dies_after=5)
    with pytest.warns(UserWarning, match="no route to host|begins anew"):
        assert go_on(study, Unreachable(tmp_path)).state == TrialState.COMPLETE


def test_a_stored_name_does_not_lead_out_of_the_folder(tmp_path):
    (tmp_path / "secret-0").write_bytes(b"secret")
    study = optuna.create_study()
    for names in (["../secret"], "../secret", [["../secret"]], [None], {"../secret": 1}):
        study.enqueue_trial({}, user_attrs={"perfpred:checkpoint_names": names})
        with Checkpoint(study.ask(), tmp_path / "checkpoints") as checkpoint:
            assert checkpoint.load() is None
    assert (tmp_path / "secret-0").exists()


class Exploit:
    def __reduce__(self):
        return print, ("PERFPRED_EXPLOIT",)


def test_nothing_is_unpickled(tmp_path, capsys):
    study = optuna.create_study()
    trial = study.ask()
    checkpoint = Checkpoint(trial, tmp_path)
    with pytest.raises(ValueError, match="without unpickling"):
        checkpoint.save({"model": Exploit()}, 0)
    checkpoint.save({"epoch": 0}, 0)
    [path] = files(tmp_path)
    content = path.read_bytes()
    # An attacker can make the hash right.
    torch.save({"model": Exploit()}, tmp_path / "exploit")
    start = content.index(b"PK")
    body = content[48:start] + (tmp_path / "exploit").read_bytes()
    path.write_bytes(content[:16] + hashlib.sha256(body).digest() + body)
    died(study, trial)
    with pytest.warns(UserWarning, match="could not be decoded|begins anew"):
        assert Checkpoint(study.ask(), tmp_path).load() is None
    assert "PERFPRED_EXPLOIT" not in capsys.readouterr().out
    torch.load(tmp_path / "exploit", weights_only=False)  # It would have worked.
    assert "PERFPRED_EXPLOIT" in capsys.readouterr().out
