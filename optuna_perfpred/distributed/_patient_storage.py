from __future__ import annotations

import functools
import logging
import time
from typing import Any
from typing import TYPE_CHECKING

from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage
from optuna.storages._rdb.models import TrialHeartbeatModel
from optuna.trial import TrialState
import sqlalchemy.exc


if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Sequence

    from optuna.trial import FrozenTrial

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
    """

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
        return trial

    def set_trial_state_values(
        self, trial_id: int, state: TrialState, values: Sequence[float] | None = None
    ) -> bool:
        """Set the state, and before it the first heartbeat of a trial that was waiting."""
        if state == TrialState.RUNNING:
            self.record_heartbeat(trial_id)
        return super().set_trial_state_values(trial_id, state, values)


for _name in _REPEATABLE:
    setattr(PatientStorage, _name, _patient(getattr(RDBStorage, _name)))
