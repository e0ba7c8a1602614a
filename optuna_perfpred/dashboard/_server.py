"""The server: optuna-dashboard, with our panels in each study, kept current from outside of it."""

from __future__ import annotations

import abc
import copy
import io
import logging
import math
from socketserver import ThreadingMixIn
import sys
import threading
import time
from typing import Any
from typing import NamedTuple
from typing import TYPE_CHECKING
from wsgiref.simple_server import make_server
from wsgiref.simple_server import WSGIRequestHandler
from wsgiref.simple_server import WSGIServer

import optuna
from optuna.storages import BaseStorage
from optuna.storages import RDBStorage
from optuna.storages._cached_storage import _CachedStorage
from optuna.storages._rdb.models import TrialModel
import sqlalchemy

from optuna_perfpred._attributes import read_step
from optuna_perfpred._redact import Redactor
from optuna_perfpred._storages import open_storage
from optuna_perfpred.dashboard._panels import import_optuna_dashboard
from optuna_perfpred.dashboard._panels import panels
from optuna_perfpred.dashboard._panels import with_section
from optuna_perfpred.dashboard._words import as_markdown
from optuna_perfpred.dashboard._words import tell
from optuna_perfpred.distributed._log import worker_log
from optuna_perfpred.distributed._signals import StopSignals
from optuna_perfpred.history import identify
from optuna_perfpred.pruners._recorded_decision import DECISION_ATTRS
from optuna_perfpred.visualization._drawing import import_to_plot


if TYPE_CHECKING:
    from collections.abc import Container
    from collections.abc import Mapping
    from collections.abc import Sequence

    from optuna.study._frozen import FrozenStudy
    from optuna.trial import FrozenTrial
    from optuna.trial import TrialState

    from optuna_perfpred.history import Identity

_logger = logging.getLogger(__name__)
# At most a third of the time goes into figures: the pages are served by the same process.
_REST = 2.0

# Databases give the identifiers of deleted studies to new ones, so their names tell as well.
_Key = tuple[int, str]
_Seen = tuple["Identity | None", int]


def serve(
    storage: str, *, study_names: Sequence[str], host: str, port: int, interval: float
) -> None:
    """Serve optuna-dashboard, with our figures and note in it, until SIGTERM or SIGINT.

    Args:
        storage:
            The storage, as :func:`~optuna_perfpred._storages.open_storage` takes it.
        study_names:
            The studies of which figures are shown; if empty, all of the storage.
        host:
            The address to listen on.
        port:
            The port; 0 for any that is free.
        interval:
            Seconds from one look at the storage to the next, at least.

    Raises:
        ImportError:
            If optuna-dashboard or plotly is not installed.
        ValueError:
            If the storage cannot be read, or has no such study.
        OSError:
            If nothing can listen there.
    """
    dashboard = import_optuna_dashboard()
    import_to_plot("plotly")
    redact = Redactor(storage)
    with worker_log(redact), StopSignals() as signals:
        served = serve_from(open_storage(storage, study_names))
        # Before the figures: an address that is in use is told at once.
        with make_server(host, port, dashboard.wsgi(served), _Server, _handler(redact)) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            updates = Updates(served, study_names, interval)
            threading.Thread(target=updates.run, name="perfpred-figures", daemon=True).start()
            _logger.info(f"The dashboard is at http://{host}:{server.server_port}/")
            signals.sleep(math.inf)
            server.shutdown()


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


def _handler(redact: Redactor) -> type[WSGIRequestHandler]:
    """Make a handler that logs no requests, and hides passwords in the errors it tells."""

    class Handler(WSGIRequestHandler):
        def log_message(self, *args: object) -> None:
            pass

        def get_stderr(self) -> io.TextIOBase:
            return _Redacted(redact)

    return Handler


class _Redacted(io.TextIOBase):
    def __init__(self, redact: Redactor) -> None:
        self._redact = redact

    def write(self, text: str) -> int:
        return sys.stderr.write(self._redact(text))


class Updates:
    """Keeps the panels of studies current while their trials end.

    Args:
        storage:
            The storage that shows them.
        study_names:
            The studies; if empty, all that the storage has, now or later.
        interval:
            Seconds from one look at the storage to the next, at least.
    """

    def __init__(
        self, storage: ServedStorage, study_names: Sequence[str], interval: float
    ) -> None:
        self._storage = storage
        self._names = frozenset(study_names)
        self._interval = interval
        self._seen: dict[_Key, _Seen] = {}
        self._is_away = False

    def run(self) -> None:
        """Update again and again, as long as the process lasts."""
        while True:
            start = time.monotonic()
            self.update()
            spent = time.monotonic() - start
            time.sleep(max(self._interval - spent, _REST * spent))

    def update(self) -> None:
        """Draw anew what has changed since the last call. An error is told in the log."""
        try:
            studies = self._storage.storage.get_all_studies()
            # The latest first: it is what people look at.
            for study in sorted(studies, key=lambda study: -study._study_id):
                is_chosen = not self._names or study.study_name in self._names
                if is_chosen and len(study.directions) == 1:
                    try:
                        self._update(study)
                    except KeyError:
                        _logger.info(f"Study {study.study_name!r} was deleted.")
        except Exception as error:  # Each storage has errors of its own.
            if not self._is_away:
                lines = str(error).splitlines() or [""]
                _logger.warning(
                    "The storage cannot be read, the figures stay as they are until it can: "
                    f"{type(error).__name__}: {lines[0]}"
                )
            self._is_away = True
            return
        if self._is_away:
            _logger.info("The storage answers again.")
        self._is_away = False

    def _update(self, frozen: FrozenStudy) -> None:
        key = frozen._study_id, frozen.study_name
        study = optuna.load_study(study_name=frozen.study_name, storage=self._storage.storage)
        trials = study.get_trials(deepcopy=False)
        n_finished = sum(trial.state.is_finished() for trial in trials)
        # A study that was deleted may have been created anew with the same name and identifier.
        seen = (identify(trials[0]) if trials else None), n_finished
        if self._seen.get(key) == seen:
            return
        figures = {name: str(figure.to_json()) for name, figure in panels(study).items()}
        self._storage.set_panels(key, Panels(figures, as_markdown(tell(study))))
        self._seen[key] = seen


class Panels(NamedTuple):
    """What we show of one study.

    Attributes:
        figures: Plotly's JSON of each figure, by its identifier.
        note: Our part of the study's note, in Markdown.
    """

    figures: Mapping[str, str]
    note: str


class ServedStorage(BaseStorage):
    """A storage as optuna-dashboard is to see it: with our figures and note in each study.

    They are kept in this process. In the storage they would cost the workers: each of its figures
    is hundreds of attributes for optuna-dashboard, which a database writes one by one, and which
    in a journal stay forever and are read by every worker.

    All else is passed on, also what a person edits in the dashboard. Safe with threads.

    Args:
        storage:
            The storage.
    """

    def __init__(self, storage: BaseStorage) -> None:
        self.storage = storage
        self._lock = threading.Lock()
        self._panels: dict[_Key, Panels] = {}

    def set_panels(self, study: _Key, panels: Panels) -> None:
        """Show these of a study from now on."""
        with self._lock:
            self._panels[study] = panels

    def get_all_studies(self) -> list[FrozenStudy]:
        """Give all studies, with our panels among their attributes."""
        studies = self.storage.get_all_studies()
        with self._lock:
            panels_of = dict(self._panels)
        return [
            _with_panels(study, panels_of.get((study._study_id, study.study_name)))
            for study in studies
        ]

    def get_all_trials(
        self,
        study_id: int,
        deepcopy: bool = True,
        states: Container[TrialState] | None = None,
    ) -> list[FrozenTrial]:
        """Give the trials, without our attributes that were made void.

        The dashboard sorts by an attribute only if it is a number wherever it is.
        """
        trials = self.storage.get_all_trials(study_id, deepcopy=deepcopy, states=states)
        return [_without_void(trial) for trial in trials]


def _pass_on(name: str) -> Any:
    def call(self: ServedStorage, *args: Any, **kwargs: Any) -> Any:
        return getattr(self.storage, name)(*args, **kwargs)

    return call


for _name in vars(BaseStorage):
    if not _name.startswith("_") and _name not in vars(ServedStorage):
        setattr(ServedStorage, _name, _pass_on(_name))
abc.update_abstractmethods(ServedStorage)  # type: ignore[type-abstract]


class CachedDatabase(_CachedStorage):
    """Optuna's cache in front of a database, for studies that others may delete.

    Each finished trial is read once. Optuna's cache would also keep the trials of a study that
    another process deletes and creates anew, if the database gives it the same identifier.
    """

    def get_all_trials(
        self,
        study_id: int,
        deepcopy: bool = True,
        states: Container[TrialState] | None = None,
    ) -> list[FrozenTrial]:
        """Give the trials of a study as it is now."""
        with self._lock:
            trials = self._studies[study_id].trials if study_id in self._studies else {}
            # One that waits has no time yet.
            trial = next((trial for trial in trials.values() if trial.state.is_finished()), None)
        if trial is not None and not self._is_there(trial):
            with self._lock:
                self._studies.pop(study_id, None)
        return super().get_all_trials(study_id, deepcopy=deepcopy, states=states)

    def _is_there(self, trial: FrozenTrial) -> bool:
        column = TrialModel.__table__.c
        same = sqlalchemy.select(column.datetime_start).where(column.trial_id == trial._trial_id)
        with self._backend.engine.connect() as connection:
            found = connection.execute(same).all()
        return [started for (started,) in found] == [trial.datetime_start]


def serve_from(storage: BaseStorage) -> ServedStorage:
    """Give a storage of which each finished trial is read once, and that can show panels."""
    if isinstance(storage, RDBStorage):
        storage = CachedDatabase(storage)
    return ServedStorage(storage)  # type: ignore[abstract]


def _without_void(trial: FrozenTrial) -> FrozenTrial:
    attrs = trial.user_attrs
    if not any(attrs.get(name, 0) is None for name in DECISION_ATTRS):
        return trial
    shown = copy.copy(trial)  # The storage's own stays as it is.
    shown.user_attrs = {
        name: value
        for name, value in attrs.items()
        if name not in DECISION_ATTRS or value is not None
    }
    return shown


def _with_panels(study: FrozenStudy, panels: Panels | None) -> FrozenStudy:
    if panels is None:
        return study
    notes = import_optuna_dashboard("optuna_dashboard._note")
    plots = import_optuna_dashboard("optuna_dashboard._custom_plot_data")
    note_prefix, version = notes.note_str_key_prefix(None), notes.note_ver_key(None)
    attrs = {
        key: value
        for key, value in study.system_attrs.items()
        if isinstance(value, str) or not key.startswith(note_prefix)
    }
    # It stays: whoever is writing the note in the browser must be able to save it.
    attrs[version] = read_step(attrs, version) or 0
    figures = {
        f"{plots.SYSTEM_ATTR_PLOT_DATA}{id_}:": figure for id_, figure in panels.figures.items()
    }
    body = with_section(notes.get_note_from_system_attrs(attrs, None)["body"], panels.note)
    attrs = {
        key: value
        for key, value in attrs.items()
        # A figure of the same name, or an earlier note, was published into the storage.
        if not key.startswith((note_prefix, *figures))
    }
    attrs |= {f"{prefix}0": figure for prefix, figure in figures.items()}
    attrs[f"{note_prefix}0"] = body
    shown = copy.copy(study)
    shown.system_attrs = attrs
    return shown
