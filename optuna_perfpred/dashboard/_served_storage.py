from __future__ import annotations

import abc
import copy
import threading
from typing import Any
from typing import NamedTuple
from typing import TYPE_CHECKING

from optuna.storages import BaseStorage
from optuna.storages import RDBStorage
from optuna.storages._cached_storage import _CachedStorage
from optuna.storages._rdb.models import TrialModel
import sqlalchemy

from optuna_perfpred.dashboard._imports import import_optuna_dashboard
from optuna_perfpred.dashboard._note import with_section
from optuna_perfpred.pruners._recorded_decision import DECISION_ATTRS


if TYPE_CHECKING:
    from collections.abc import Container
    from collections.abc import Mapping

    from optuna.study._frozen import FrozenStudy
    from optuna.trial import FrozenTrial
    from optuna.trial import TrialState


class Panels(NamedTuple):
    """What we show of one study.

    Attributes:
        study_name: The study's name.
        figures: Plotly's JSON of each figure, by its identifier.
        note: Our part of the study's note, in Markdown.
    """

    study_name: str
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
        self._panels: dict[int, Panels] = {}

    def set_panels(self, study_id: int, panels: Panels) -> None:
        """Show these of a study from now on."""
        with self._lock:
            self._panels[study_id] = panels

    def get_all_studies(self) -> list[FrozenStudy]:
        """Give all studies, with our panels among their attributes."""
        studies = self.storage.get_all_studies()
        with self._lock:
            panels_of = dict(self._panels)
        return [_with_panels(study, panels_of.get(study._study_id)) for study in studies]

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
    # Databases give the identifiers of deleted studies to new ones.
    if panels is None or panels.study_name != study.study_name:
        return study
    notes = import_optuna_dashboard("optuna_dashboard._note")
    plots = import_optuna_dashboard("optuna_dashboard._custom_plot_data")
    attrs = dict(study.system_attrs)
    figures = {
        f"{plots.SYSTEM_ATTR_PLOT_DATA}{id_}:": figure for id_, figure in panels.figures.items()
    }
    note_prefix = notes.note_str_key_prefix(None)
    body = with_section(notes.get_note_from_system_attrs(attrs, None)["body"], panels.note)
    attrs = {
        key: value
        for key, value in attrs.items()
        # A figure of the same name, or an earlier note, was published into the storage.
        if not key.startswith((note_prefix, *figures))
    }
    attrs |= {f"{prefix}0": figure for prefix, figure in figures.items()}
    # Its version stays: whoever is writing the note in the browser must be able to save it.
    attrs.setdefault(notes.note_ver_key(None), 0)
    attrs[f"{note_prefix}0"] = body
    shown = copy.copy(study)
    shown.system_attrs = attrs
    return shown
