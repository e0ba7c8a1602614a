from __future__ import annotations

import optuna
from optuna.storages import RDBStorage
import pytest

from optuna_perfpred import _cli
from optuna_perfpred import explain
from optuna_perfpred import PerformancePredictionPruner
from tests.pruners.studies import run
from tests.pruners.studies import study_with


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    url = f"sqlite:///{tmp_path_factory.mktemp('explained') / 'study.db'}"
    study = study_with(
        PerformancePredictionPruner(), n=5, storage=RDBStorage(url), study_name="cnn"
    )
    run(study, 0.0)
    return url


def command(capsys, *argv):
    """Run the command; give its exit status, output and errors."""
    status = _cli.main(["explain", *argv])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_it_prints_the_explanation(url, capsys, monkeypatch):
    study = optuna.load_study(study_name="cnn", storage=url)
    expected = (0, f"{explain(study, 5)}\n", "")
    assert command(capsys, "--storage", url, "--study-name", "cnn", "5") == expected
    monkeypatch.setenv("OPTUNA_STORAGE", url)
    assert command(capsys, "5") == expected
    reason = study.trials[5].user_attrs["perfpred:reason"]
    assert expected[1].startswith(f"Trial 5. {reason}\n")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["17"], "The study 'cnn' has no trial 17; its trials are 0 to 5."),
        (["--study-name", "rnn", "5"], "There is no study 'rnn'; the storage holds 'cnn'."),
    ],
)
def test_what_is_not_there_is_told(url, arguments, told, capsys):
    status, out, err = command(capsys, "--storage", url, *arguments)
    assert (status, out, err) == (1, "", f"optuna-perfpred: {told}\n")


def test_what_is_no_number_is_refused(url, capsys):
    with pytest.raises(SystemExit):
        command(capsys, "--storage", url, "last")
    assert "NUMBER" in capsys.readouterr().err
