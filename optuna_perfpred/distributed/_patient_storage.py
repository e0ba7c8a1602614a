from __future__ import annotations

from datetime import datetime
import functools
import json
import logging
import time
from typing import Any
from typing import TYPE_CHECKING

from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage
from optuna.storages._rdb.models import StudyModel
from optuna.storages._rdb.models import TrialHeartbeatModel
from optuna.storages._rdb.models import TrialModel
from optuna.storages._rdb.models import TrialSystemAttributeModel
from optuna.storages._rdb.storage import _create_scoped_session
from optuna.trial import TrialState
import sqlalchemy

from optuna_perfpred.distributed._retry import AlreadyRetriedError
from optuna_perfpred.distributed._retry import retried
from optuna_perfpred.distributed._retry import tell_retry


if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Sequence

    from optuna.trial import FrozenTrial

    from optuna_perfpred.distributed._retry import Retry

_logger = logging.getLogger(__name__)
# A minute in all: a database that is restarted is back by then.
_DELAYS = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0)
# The server is away, the connection was cut or a file is locked; or, after one of these, Optuna
# has asked in another way within the same transaction.
_PASSING = (
    sqlalchemy.exc.InterfaceError,
    sqlalchemy.exc.OperationalError,
    sqlalchemy.exc.PendingRollbackError,
)
# What can be done twice without harm, if only the answer to the first was lost.
_REPEATABLE = (
    "_get_best_trial_id",
    "_get_trials",
    "_set_trial_param",
    "get_study_directions",
    "get_study_id_from_name",
    "get_study_name_from_id",
    "get_study_system_attrs",
    "get_study_user_attrs",
    "get_trial",
    "heartbeats",
    "set_trial_intermediate_value",
    "set_trial_system_attr",
    "set_trial_user_attr",
)


def is_storage_error(error: BaseException | None) -> bool:
    """Tell whether an error comes from a storage's server, or from the way to it."""
    while error is not None:
        if isinstance(error, StorageInternalError):
            return True
        if type(error).__module__.partition(".")[0] in ("sqlalchemy", "grpc", "redis"):
            return True
        error = error.__cause__
    return False


def _patient(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def call(self: RDBStorage, *args: Any, **kwargs: Any) -> Any:
        for delay in _DELAYS:
            try:
                return method(self, *args, **kwargs)
            except (sqlalchemy.exc.SQLAlchemyError, StorageInternalError) as error:
                cause = error.__cause__ if isinstance(error, StorageInternalError) else error
                if not isinstance(cause, _PASSING):
                    raise
                _logger.warning(f"The storage does not answer, trying again in {delay:g} s.")
            time.sleep(delay)
        return method(self, *args, **kwargs)

    return call


class PatientStorage(RDBStorage):
    """Optuna's database storage, for servers and workers that come and go.

    A trial beats from the moment when it starts: Optuna begins after the sampler's first work,
    and a trial whose worker dies before its first beat runs forever. A beat that the database
    refuses, while it is restarted for example, does not end the later ones. And what a trial
    reads and reports is tried again for a minute if the database does not answer.

    A trial whose worker died fails in the transaction in which another one is made that goes on
    with it. Optuna first fails all such trials and then has one after the other tried again: an
    error in between, or the death of the worker that does it, loses those that are left.

    Args:
        url:
            The database.
        retry:
            Makes the trial that goes on with one whose worker died.
        settings:
            Those of :class:`optuna.storages.RDBStorage`.
    """

    def __init__(self, url: str, *, retry: Retry, **settings: Any) -> None:
        super().__init__(url, **settings)
        self._retry = retry

    def _get_stale_trial_ids(self, study_id: int) -> list[int]:
        # Nothing is left to Optuna, which asks for them before each trial.
        self.settle_dead(study_id)
        return []

    def settle_dead(self, study_id: int) -> None:
        """Have the trials of dead workers fail, and others go on with them."""
        for trial_id in super()._get_stale_trial_ids(study_id):
            self._replace(study_id, trial_id)

    def _replace(self, study_id: int, trial_id: int) -> None:
        successor = None
        with _create_scoped_session(self.scoped_session) as session:
            # As whoever makes a trial does, so that nobody retries this one at the same time.
            StudyModel.find_or_raise_by_id(study_id, session, for_update=True)
            running = session.query(TrialModel).filter(
                TrialModel.trial_id == trial_id, TrialModel.state == TrialState.RUNNING
            )
            end: Any = {"state": TrialState.FAIL, "datetime_complete": datetime.now()}
            if running.update(end, synchronize_session=False) == 0:
                return
            dead = self._build_frozen_trial_from_trial_model(
                TrialModel.find_or_raise_by_id(trial_id, session)
            )
            # It has one if its worker was stopped, and died before it could tell the end.
            if _n_successors(session, study_id, dead.number) == 0:
                successor = self._retry.successor(dead)
            if successor is not None:
                super()._get_prepared_new_trial(study_id, successor, session)
        if successor is not None:
            tell_retry(dead.number)

    def heartbeats(self, study_id: int) -> dict[int, datetime]:
        """Give when each running trial of a study has last shown a sign of life."""
        rows = (
            sqlalchemy.select(TrialHeartbeatModel.trial_id, TrialHeartbeatModel.heartbeat)
            .join(TrialModel, TrialModel.trial_id == TrialHeartbeatModel.trial_id)
            .where(TrialModel.study_id == study_id, TrialModel.state == TrialState.RUNNING)
        )
        with _create_scoped_session(self.scoped_session) as session:
            return {trial_id: heartbeat for trial_id, heartbeat in session.execute(rows)}

    def record_heartbeat(self, trial_id: int) -> None:
        """Tell that a trial is alive, if the database can be told."""
        try:
            super().record_heartbeat(trial_id)
        except (sqlalchemy.exc.SQLAlchemyError, StorageInternalError) as error:
            _logger.warning(f"A heartbeat was not recorded: {error.__cause__ or error}")

    def _get_prepared_new_trial(
        self, study_id: int, template_trial: FrozenTrial | None, session: Any
    ) -> Any:
        trial = super()._get_prepared_new_trial(study_id, template_trial, session)
        if template_trial is None:
            # With the trial: if the answer to its creation is lost, it is nobody's, and must die.
            session.add(TrialHeartbeatModel(trial_id=trial.trial_id))
        # By now the study is locked: of two workers, one sees what the other one did.
        elif _n_successors(session, study_id, retried(template_trial.system_attrs)) > 1:
            raise AlreadyRetriedError
        return trial

    def set_trial_state_values(
        self, trial_id: int, state: TrialState, values: Sequence[float] | None = None
    ) -> bool:
        """Set the state, and before it the first heartbeat of a trial that was waiting.

        Optuna reads whether the trial waits and then writes that it runs: on SQLite, which does
        not lock what is read, two workers can both find it waiting.
        """
        if state != TrialState.RUNNING:
            return super().set_trial_state_values(trial_id, state, values)
        self.record_heartbeat(trial_id)
        with _create_scoped_session(self.scoped_session) as session:
            waiting = session.query(TrialModel).filter(
                TrialModel.trial_id == trial_id, TrialModel.state == TrialState.WAITING
            )
            start: Any = {"state": TrialState.RUNNING, "datetime_start": datetime.now()}
            if waiting.update(start, synchronize_session=False) == 1:
                return True
        self.check_trial_is_updatable(trial_id, self.get_trial(trial_id).state)
        return False


def _n_successors(session: Any, study_id: int, number: int | None) -> int:
    """Count the trials of a study that go on with one."""
    if number is None:
        return 0
    histories = (
        sqlalchemy.select(TrialSystemAttributeModel.value_json)
        .join(TrialModel, TrialModel.trial_id == TrialSystemAttributeModel.trial_id)
        .where(TrialModel.study_id == study_id, TrialSystemAttributeModel.key == "retry_history")
    )
    found = session.execute(histories).scalars()
    return sum(retried({"retry_history": json.loads(history)}) == number for history in found)


for _name in _REPEATABLE:
    setattr(PatientStorage, _name, _patient(getattr(PatientStorage, _name)))
