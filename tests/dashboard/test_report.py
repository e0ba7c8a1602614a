from __future__ import annotations

import os
import stat

from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
import pytest

from optuna_perfpred import _cli
from optuna_perfpred.dashboard import write_report
from tests.dashboard.studies import make_study


def test_the_command_writes_one_page(tmp_path, capsys):
    storage = str(tmp_path / "study.journal")
    make_study(JournalStorage(JournalFileBackend(storage)))
    path = tmp_path / "out" / "report.html"
    arguments = ["report", "--storage", storage, "--study-name", "cnn", "-o", str(path)]
    assert _cli.main(arguments) == 1
    assert "There is no folder" in capsys.readouterr().err
    path.parent.mkdir()
    path.write_text("old")
    assert _cli.main([*arguments, "--price-per-hour", "3600000", "--replay", "median"]) == 0
    page = path.read_text()
    assert [file.name for file in path.parent.iterdir()] == ["report.html"]
    for part in ("In words", "In money:", "Audited trials", "Why were they stopped?", "median"):
        assert part in page
    assert "Nearest finished trials" in page
    # As any other new file is.
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~umask


def test_a_page_is_replaced_by_a_whole_one_only(tmp_path, monkeypatch):
    path = tmp_path / "report.html"
    path.write_text("old")

    def fail(*args):
        raise OSError("No space left on device")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="No space left"):
        write_report(make_study(), path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--storage", "/nowhere/study.journal"], "neither the URL of a storage nor"),
        (["--storage", "{storage}", "--study-name", "rnn"], "There is no study 'rnn'"),
        (["--storage", "{storage}", "--price-per-hour", "-1"], "`price_per_hour` must be"),
        (["--storage", "{storage}", "--replay", "mine"], "mine"),
        ([], "There is no storage"),
    ],
)
def test_errors_are_told(tmp_path, capsys, monkeypatch, arguments, message):
    monkeypatch.delenv("OPTUNA_STORAGE", raising=False)
    storage = str(tmp_path / "study.journal")
    make_study(JournalStorage(JournalFileBackend(storage)))
    arguments = [argument.format(storage=storage) for argument in arguments]
    path = tmp_path / "report.html"
    assert _cli.main(["report", *arguments, "-o", str(path)]) == 1
    assert message in capsys.readouterr().err
    assert not path.exists()
