from __future__ import annotations

import json
from pathlib import Path
from urllib.request import urlopen

import optuna
import pytest

from optuna_perfpred import _cli
from tests import servers
from tests.dashboard.browser import dashboard
from tests.dashboard.studies import make_study


PASSWORD = "correct-horse"


def test_the_command_serves_and_shows_no_password(postgresql_url, capsys):
    make_study(postgresql_url)
    url = postgresql_url.replace("://postgres@", f"://postgres:{PASSWORD}@")
    # Given where it is seen; the command hides it. The server asks for none.
    with dashboard("--storage", url, "--study-name", "cnn", storage="") as server:
        arguments = Path(f"/proc/{server.process.pid}/cmdline").read_text()
        assert PASSWORD not in arguments
        with urlopen(f"{server.url}/api/studies") as answer:
            studies = json.load(answer)["study_summaries"]
        assert [study["study_name"] for study in studies] == ["cnn"]
        port = server.url.rpartition(":")[2]
        assert _cli.main(["dashboard", f"--storage={url}", f"--port={port}"]) == 1
    told = capsys.readouterr().err
    assert f"Cannot listen on 127.0.0.1:{port}" in told
    assert PASSWORD not in "".join(server.log) + told


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--storage", "{journal}", "--study-name", "rnn"], "There is no study 'rnn'"),
        (["--storage", "{journal}", "--port", "65536"], "--port must be between"),
        (["--storage", "/nowhere/study.journal"], "neither the URL of a storage nor"),
        (["--storage", "postgresql+psycopg://me:{password}@127.0.0.1:{port}/x"], "cannot be read"),
        ([], "There is no storage"),
    ],
)
def test_errors_are_told(tmp_path, capsys, monkeypatch, arguments, message):
    monkeypatch.delenv("OPTUNA_STORAGE", raising=False)
    journal = str(tmp_path / "study.journal")
    backend = optuna.storages.journal.JournalFileBackend(journal)
    make_study(optuna.storages.JournalStorage(backend))
    values = {"journal": journal, "port": servers.free_port(), "password": PASSWORD}
    assert _cli.main(["dashboard", *(argument.format(**values) for argument in arguments)]) == 1
    told = capsys.readouterr().err
    assert message in told
    assert PASSWORD not in told


@pytest.mark.parametrize("seconds", ["0", "-1", "nan", "inf"])
def test_an_interval_that_is_none_is_refused(capsys, seconds):
    with pytest.raises(SystemExit):
        _cli.main(["dashboard", "--storage", "x", f"--interval={seconds}"])
    assert "must be more than 0" in capsys.readouterr().err
