from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING

import optuna

from optuna_perfpred.dashboard._figures import as_panel
from optuna_perfpred.dashboard._figures import drawings
from optuna_perfpred.dashboard._figures import drawn
from optuna_perfpred.dashboard._served_storage import Panels
from optuna_perfpred.dashboard._words import as_markdown
from optuna_perfpred.dashboard._words import tell
from optuna_perfpred.history import identify


if TYPE_CHECKING:
    from collections.abc import Sequence

    from optuna.study._frozen import FrozenStudy

    from optuna_perfpred.dashboard._served_storage import ServedStorage
    from optuna_perfpred.history import Identity

_logger = logging.getLogger(__name__)
# At most a third of the time goes into figures: the pages are served by the same process.
_REST = 2.0

_Seen = tuple["Identity | None", int]


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
        self._seen: dict[tuple[int, str], _Seen] = {}
        self._is_away = False

    def start(self) -> None:
        """Update in a thread of its own, which ends with the process."""
        threading.Thread(target=self._run, name="perfpred-figures", daemon=True).start()

    def update(self) -> None:
        """Draw anew what has changed since the last call. An error is told in the log."""
        try:
            studies = self._storage.storage.get_all_studies()
        except Exception as error:  # Each storage has errors of its own.
            self._tell_away(error)
            return
        # The latest first: it is what people look at.
        for study in sorted(studies, key=lambda study: -study._study_id):
            if len(study.directions) == 1 and self._is_chosen(study):
                try:
                    self._update(study)
                except KeyError:
                    _logger.info(f"Study {study.study_name!r} was deleted.")
                except Exception as error:
                    self._tell_away(error)
                    return
        if self._is_away:
            _logger.info("The storage answers again.")
        self._is_away = False

    def _run(self) -> None:
        while True:
            start = time.monotonic()
            self.update()
            spent = time.monotonic() - start
            time.sleep(max(self._interval - spent, _REST * spent))

    def _is_chosen(self, study: FrozenStudy) -> bool:
        return not self._names or study.study_name in self._names

    def _update(self, frozen: FrozenStudy) -> None:
        key = frozen._study_id, frozen.study_name
        study = optuna.load_study(study_name=frozen.study_name, storage=self._storage.storage)
        trials = study.get_trials(deepcopy=False)
        n_finished = sum(trial.state.is_finished() for trial in trials)
        # A study that was deleted may have been created anew with the same name and identifier.
        seen = (identify(trials[0]) if trials else None), n_finished
        if self._seen.get(key) == seen:
            return
        figures = {
            drawing.name: str(as_panel(figure).to_json())
            for drawing, figure in drawn(study, drawings())
        }
        note = as_markdown(tell(study))
        self._storage.set_panels(frozen._study_id, Panels(frozen.study_name, figures, note))
        self._seen[key] = seen

    def _tell_away(self, error: Exception) -> None:
        if not self._is_away:
            lines = str(error).splitlines() or [""]
            _logger.warning(
                "The storage cannot be read, the figures stay as they are until it can: "
                f"{type(error).__name__}: {lines[0]}"
            )
        self._is_away = True
