"""Large studies in each kind of storage, written in one go."""

from __future__ import annotations

from collections import defaultdict
from contextlib import contextmanager
import datetime
import json
import multiprocessing
from pathlib import Path
import sys
import tempfile
from typing import Any
from typing import TYPE_CHECKING
import uuid
import warnings

import numpy as np
import optuna
from optuna.distributions import CategoricalDistribution
from optuna.distributions import distribution_to_json
from optuna.distributions import FloatDistribution
from optuna.distributions import IntDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.storages import GrpcStorageProxy
from optuna.storages import InMemoryStorage
from optuna.storages import JournalStorage
from optuna.storages import run_grpc_proxy_server
from optuna.storages._cached_storage import _CachedStorage
from optuna.storages._rdb import models
from optuna.storages.journal import JournalFileBackend
from optuna.storages.journal._storage import JournalOperation
from optuna.trial import create_trial
from optuna.trial import TrialState
import sqlalchemy


sys.path.append(str(Path(__file__).parents[1]))

from tests.servers import free_port
from tests.servers import mariadb_server
from tests.servers import postgresql_server


if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Iterator

    from optuna.distributions import BaseDistribution
    from optuna.storages import BaseStorage
    from optuna.trial import FrozenTrial


SPACE: dict[str, BaseDistribution] = {
    "learning_rate": FloatDistribution(1e-4, 1.0, log=True),
    "layers": IntDistribution(1, 9),
    "optimizer": CategoricalDistribution(["adam", "sgd", "rmsprop"]),
}
STORAGES = ("in-memory", "SQLite", "journal file", "PostgreSQL", "MariaDB", "gRPC proxy")
_ROWS_AT_ONCE = 20_000
_LOOPBACK = "127.0.0.1"


def make_curves(
    n_trials: int, n_steps: int, seed: int = 0
) -> Iterator[tuple[dict[str, object], list[float]]]:
    """Give parameters and curves by a formula: only the time matters here."""
    rng = np.random.default_rng(seed)
    for _ in range(n_trials):
        exponent = rng.uniform(-4.0, 0.0)
        end = 1.0 - abs(exponent + 2.0) / 4.0
        params: dict[str, object] = {
            "learning_rate": float(10.0**exponent),
            "layers": int(rng.integers(1, 10)),
            "optimizer": str(rng.choice(["adam", "sgd", "rmsprop"])),
        }
        progress = 1.0 - np.exp(-np.arange(1, n_steps + 1) / 10.0)
        yield params, (end * progress + 0.01 * rng.normal(size=n_steps)).tolist()


def make_trials(n_completed: int, n_running: int, n_steps: int) -> Iterator[FrozenTrial]:
    """Give completed trials, and running ones that are half through."""
    start = datetime.datetime(2026, 1, 1)
    for number, (params, curve) in enumerate(make_curves(n_completed + n_running, n_steps)):
        is_completed = number < n_completed
        trial = create_trial(
            state=TrialState.COMPLETE if is_completed else TrialState.RUNNING,
            value=curve[-1] if is_completed else None,
            params=params,
            distributions=SPACE,
            intermediate_values=dict(enumerate(curve if is_completed else curve[: n_steps // 2])),
        )
        trial.number = number
        trial.datetime_start = start + datetime.timedelta(seconds=number)
        if is_completed:
            trial.datetime_complete = trial.datetime_start + datetime.timedelta(seconds=1)
        yield trial


class Storages:
    """The storages, those on servers with one server for all studies."""

    def __init__(self, urls: dict[str, str]) -> None:
        self._urls = urls
        self._written: dict[tuple[str, int, int, int], str] = {}

    @contextmanager
    def study(
        self,
        kind: str,
        n_completed: int,
        n_running: int,
        n_steps: int,
        prepare: Callable[[str, FrozenTrial], FrozenTrial] = lambda _, trial: trial,
    ) -> Iterator[tuple[BaseStorage, str]]:
        """Write a study, and give its storage and name, which is told to who prepares a trial."""
        name = f"overhead-{uuid.uuid4().hex}"
        trials = (prepare(name, trial) for trial in make_trials(n_completed, n_running, n_steps))
        with tempfile.TemporaryDirectory(prefix="perfpred-overhead-") as folder:
            if kind == "in-memory":
                storage: BaseStorage = InMemoryStorage()
                _fill(storage, name, trials)
                yield storage, name
            elif kind == "journal file":
                path = f"{folder}/journal.log"
                _fill(JournalStorage(JournalFileBackend(path)), name, trials)
                yield JournalStorage(JournalFileBackend(path)), name
            else:
                url = self._urls.get(kind, f"sqlite:///{folder}/study.db")
                # The proxy shows the study that was asked from the server behind it.
                key = (url, n_completed, n_running, n_steps)
                if key not in self._written:
                    fill_database(url, name, trials)
                    self._written[key] = name
                name = self._written[key]
                if kind == "gRPC proxy":
                    with _grpc_proxy(url) as proxy:
                        yield proxy, name
                else:
                    yield optuna.storages.get_storage(url), name


@contextmanager
def start_storages(kinds: list[str], given: dict[str, str]) -> Iterator[Storages]:
    """Start the servers that are needed and for which no URL was given."""
    urls = dict(given)
    if "PostgreSQL" in urls:
        urls.setdefault("gRPC proxy", urls["PostgreSQL"])
    contexts = []
    try:
        if {"PostgreSQL", "gRPC proxy"} & set(kinds) - set(urls):
            contexts.append(postgresql_server())
            url = contexts[-1].__enter__().url
            urls |= {"PostgreSQL": url, "gRPC proxy": url}
        if "MariaDB" in kinds and "MariaDB" not in urls:
            contexts.append(mariadb_server())
            urls["MariaDB"] = contexts[-1].__enter__().url
        yield Storages(urls)
    finally:
        for context in contexts:
            context.__exit__(None, None, None)


@contextmanager
def _grpc_proxy(url: str) -> Iterator[GrpcStorageProxy]:
    port = free_port()
    # In a process of its own, as it is in a cluster.
    server = multiprocessing.get_context("spawn").Process(target=_serve, args=(url, port))
    server.start()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        proxy = GrpcStorageProxy(host=_LOOPBACK, port=port)
    try:
        proxy.wait_server_ready(timeout=120)
        yield proxy
    finally:
        proxy.close()
        server.terminate()
        server.join()


def _serve(url: str, port: int) -> None:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore", ExperimentalWarning)
    run_grpc_proxy_server(optuna.storages.get_storage(url), host=_LOOPBACK, port=port)


def _fill(storage: BaseStorage, name: str, trials: Iterator[FrozenTrial]) -> None:
    study = optuna.create_study(storage=storage, study_name=name, direction="maximize")
    for trial in trials:
        storage.create_new_trial(study._study_id, template_trial=trial)


def fill_database(url: str, name: str, trials: Iterator[FrozenTrial]) -> None:
    """Insert the rows in bulk: through Optuna's interface 10,000 trials take many minutes."""
    study = optuna.create_study(storage=url, study_name=name, direction="maximize")
    trials_by_number = dict(enumerate(trials))
    engine = sqlalchemy.create_engine(url)
    with engine.begin() as connection:
        rows = [
            {
                "number": number,
                "study_id": study._study_id,
                "state": trial.state,
                "datetime_start": trial.datetime_start,
                "datetime_complete": trial.datetime_complete,
            }
            for number, trial in trials_by_number.items()
        ]
        table = models.TrialModel.__table__
        _insert(connection, table, rows)
        query = sqlalchemy.select(table.c.number, table.c.trial_id)
        ids = connection.execute(query.where(table.c.study_id == study._study_id))
        rows_by_model: dict[Any, list[dict[str, Any]]] = defaultdict(list)
        for number, trial_id in ids:
            for model, row in _rows(trials_by_number[number]):
                rows_by_model[model].append({"trial_id": trial_id, **row})
        for model, rows in rows_by_model.items():
            _insert(connection, model.__table__, rows)
    engine.dispose()


def _rows(trial: FrozenTrial) -> Iterator[tuple[Any, dict[str, Any]]]:
    for name, value in trial.params.items():
        distribution = trial.distributions[name]
        row = {"param_name": name, "param_value": distribution.to_internal_repr(value)}
        yield (
            models.TrialParamModel,
            {**row, "distribution_json": distribution_to_json(distribution)},
        )
    if trial.value is not None:
        kind = models.TrialValueModel.TrialValueType.FINITE
        yield models.TrialValueModel, {"objective": 0, "value": trial.value, "value_type": kind}
    for key, attr in trial.system_attrs.items():
        yield models.TrialSystemAttributeModel, {"key": key, "value_json": json.dumps(attr)}
    for step, value in trial.intermediate_values.items():
        yield models.TrialIntermediateValueModel, _report(step, value)


def _report(step: int, value: float) -> dict[str, Any]:
    finite = models.TrialIntermediateValueModel.TrialIntermediateValueType.FINITE
    return {"step": step, "intermediate_value": value, "intermediate_value_type": finite}


def add_reports(storage: BaseStorage, trial_id: int, values: list[float]) -> None:
    """Have a running trial report at its first steps, all at once."""
    if not values:
        return
    if isinstance(storage, _CachedStorage):
        storage = storage._backend
    if isinstance(storage, InMemoryStorage):
        storage._get_trial(trial_id).intermediate_values.update(enumerate(values))
    elif isinstance(storage, JournalStorage):
        op = {"op_code": JournalOperation.SET_TRIAL_INTERMEDIATE_VALUE, "trial_id": trial_id}
        op["worker_id"] = storage._replay_result.worker_id
        logs = [{**op, "step": step, "intermediate_value": v} for step, v in enumerate(values)]
        storage._backend.append_logs(logs)
    else:
        table = models.TrialIntermediateValueModel.__table__
        rows = [{"trial_id": trial_id, **_report(*report)} for report in enumerate(values)]
        with storage.engine.begin() as connection:
            _insert(connection, table, rows)


def _insert(
    connection: sqlalchemy.Connection, table: sqlalchemy.Table, rows: list[dict[str, Any]]
) -> None:
    for first in range(0, len(rows), _ROWS_AT_ONCE):
        connection.execute(table.insert(), rows[first : first + _ROWS_AT_ONCE])
