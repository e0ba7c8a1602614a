from __future__ import annotations

from collections import Counter
import json
import logging

import optuna
from optuna.storages import JournalStorage
from optuna.storages._rdb.models import TrialModel
from optuna.storages.journal import JournalFileBackend
from optuna.trial import create_trial
from optuna.trial import TrialState
from optuna_dashboard import get_note
from optuna_dashboard import save_note
from optuna_dashboard._custom_plot_data import get_plotly_graph_objects
from optuna_dashboard._note import get_note_from_system_attrs
import pytest
import sqlalchemy

from optuna_perfpred._storages import open_storage
from optuna_perfpred.dashboard import _server
from optuna_perfpred.dashboard._server import serve_from
from optuna_perfpred.dashboard._server import Updates
from tests.dashboard.studies import make_study


@pytest.fixture(params=["sqlite", "journal"])
def url(request, tmp_path):
    """Give what the user passes as ``--storage``, with one study in it."""
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path / 'study.db'}"
        make_study(url)
    else:
        url = str(tmp_path / "study.journal")
        make_study(JournalStorage(JournalFileBackend(url)))
    return url


def as_written(url):
    """Give the study as another process sees it."""
    return optuna.load_study(study_name="cnn", storage=open_storage(url))


def shown(served, study_name="cnn"):
    """Give what the dashboard reads of a study: figures by their names, and the note."""
    study = next(s for s in served.get_all_studies() if s.study_name == study_name)
    figures = get_plotly_graph_objects(study.system_attrs)
    note = get_note_from_system_attrs(study.system_attrs, None)["body"]
    return {name: json.loads(text) for name, text in figures.items()}, note


def test_figures_are_kept_current_and_nothing_is_written(url):
    served = serve_from(open_storage(url))
    updates = Updates(served, ["cnn"], 1.0)
    updates.update()
    figures, note = shown(served)
    assert len(figures) == 3
    assert "30 on " in note
    study = as_written(url)
    study.add_trial(study.trials[0])
    updates.update()
    new_figures, note = shown(served)
    assert "31 on " in note
    assert new_figures["perfpred-savings"] != figures["perfpred-savings"]
    assert as_written(url)._storage.get_study_system_attrs(study._study_id) == {}


def test_only_trials_that_ended_give_new_figures(url, monkeypatch):
    drawn = []
    monkeypatch.setattr(_server, "panels", lambda study: drawn.append(study.study_name) or {})
    updates = Updates(serve_from(open_storage(url)), [], 1.0)
    updates.update()
    trial = as_written(url).ask()
    trial.report(1.0, 1)
    updates.update()
    assert drawn == ["cnn"]
    as_written(url).tell(trial.number, 1.0)
    updates.update()
    updates.update()
    assert drawn == ["cnn", "cnn"]


def test_each_finished_trial_is_read_once(tmp_path):
    url = f"sqlite:///{tmp_path / 'study.db'}"
    make_study(url)
    reads: Counter[int] = Counter()

    def count(trial, _):
        if trial.state.is_finished():
            reads[trial.number] += 1

    served = serve_from(open_storage(url))
    updates = Updates(served, [], 1.0)
    sqlalchemy.event.listen(TrialModel, "load", count)
    try:
        for number in range(30, 33):
            # As a worker would, but unseen by the listener.
            with sqlalchemy.create_engine(url).begin() as connection:
                row = {"number": number, "study_id": 1, "state": TrialState.FAIL}
                connection.execute(sqlalchemy.insert(TrialModel).values(row))
            updates.update()
            served.get_all_trials(1, deepcopy=False)
    finally:
        sqlalchemy.event.remove(TrialModel, "load", count)
    assert reads == dict.fromkeys(range(33), 1)


def test_the_note_of_a_person_is_kept_and_can_be_saved(url):
    study = as_written(url)
    save_note(study, "x" * 5000 + " mine")
    served = serve_from(open_storage(url))
    Updates(served, [], 1.0).update()
    _, note = shown(served)
    assert note.startswith("x" * 5000 + " mine")
    assert "What pruning did" in note
    # The dashboard writes through what it is served.
    through = optuna.load_study(study_name="cnn", storage=served)
    save_note(through, note.replace("x" * 5000, "short"))
    assert get_note(as_written(url)).startswith("short mine")
    _, note = shown(served)
    assert note.count("What pruning did") == 1


def test_studies_may_be_deleted_and_created_anew(url):
    served = serve_from(open_storage(url))
    updates = Updates(served, ["cnn"], 1.0)
    updates.update()
    study = as_written(url)
    optuna.delete_study(study_name="cnn", storage=study._storage)
    updates.update()
    assert served.get_all_studies() == []
    new = optuna.create_study(study_name="cnn", storage=study._storage)
    for value in (1.0, 2.0, 3.0):
        new.add_trial(create_trial(value=value, intermediate_values={1: value}))
    updates.update()
    assert "3 on " in shown(served)[1]
    trials = served.get_all_trials(new._study_id)
    assert [trial.value for trial in trials] == [1.0, 2.0, 3.0]


def test_other_studies_are_left_as_they_are(url):
    storage = as_written(url)._storage
    optuna.create_study(study_name="pareto", storage=storage, directions=["minimize"] * 2)
    make_study(storage, name="rnn")
    served = serve_from(open_storage(url))
    Updates(served, ["cnn"], 1.0).update()
    assert len(shown(served, "cnn")[0]) == 3
    assert shown(served, "pareto") == ({}, "")
    assert shown(served, "rnn") == ({}, "")
    Updates(served, [], 1.0).update()
    assert len(shown(served, "rnn")[0]) == 3


def test_void_attributes_do_not_keep_a_column_from_being_sorted(url):
    study = as_written(url)
    trial = study.ask()
    trial.set_user_attr("perfpred:step", None)
    trial.set_user_attr("mine", None)
    study.tell(trial, 1.0)
    served = serve_from(open_storage(url))
    attrs = [t.user_attrs for t in served.get_all_trials(study._study_id, deepcopy=False)]
    assert all(attr.get("perfpred:step", 0) is not None for attr in attrs)
    assert attrs[-1] == {"mine": None}
    stored = served.storage.get_all_trials(study._study_id, deepcopy=False)[-1]
    assert stored.user_attrs["perfpred:step"] is None


def test_a_figure_that_fails_leaves_the_others(url, monkeypatch, caplog):
    def fail(study):
        raise RuntimeError("odd data")

    monkeypatch.setattr("optuna_perfpred.visualization.plot_savings", fail)
    served = serve_from(open_storage(url))
    Updates(served, [], 1.0).update()
    assert set(shown(served)[0]) == {"perfpred-forecasts", "perfpred-calibration"}
    assert "perfpred-savings" in caplog.text
    assert "odd data" in caplog.text


def test_a_database_may_be_away_for_a_while(postgresql_server, caplog):
    url = postgresql_server.new_database()
    make_study(url)
    served = serve_from(open_storage(url))
    updates = Updates(served, [], 1.0)
    updates.update()
    before = shown(served)
    with caplog.at_level(logging.INFO):
        postgresql_server.kill()
        try:
            updates.update()
            updates.update()
        finally:
            postgresql_server.start()
        assert caplog.text.count("The storage cannot be read") == 1
        while "answers again" not in caplog.text:
            updates.update()
    assert shown(served) == before
    study = optuna.load_study(study_name="cnn", storage=url)
    study.add_trial(study.trials[0])
    updates.update()
    assert "31 on " in shown(served)[1]
