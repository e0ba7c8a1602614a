"""Workers that are killed, and databases that crash under them."""

from __future__ import annotations

from contextlib import ExitStack
import time

import pytest

from tests.distributed.checks import check
from tests.distributed.objectives import STEP_SECONDS
from tests.distributed.workers import Crew
from tests.distributed.workers import FREEZES
from tests.distributed.workers import wait_until


N_REPETITIONS = 20


@pytest.fixture(params=["postgresql_server", "mariadb_server"])
def server(request):
    return request.getfixturevalue(request.param)


def check_after_death(crew, dead):
    """Nothing is lost, and only the trial that died with its worker was run again."""
    failed = crew.failed()
    began = {event.number for event in crew.events() if event.kind == "began"}
    assert began.intersection(failed) <= {crew.last_trial(dead)}
    assert len(failed) <= 1
    check(crew.study, crew.events())


def test_a_killed_worker_loses_nothing(server, tmp_path):
    with Crew(server.new_database(), tmp_path) as crew:
        doomed = crew.start_command(50, **{STEP_SECONDS: "0.2"})
        other = crew.start(8)
        crew.wait_until_training(doomed, n_ended=1)
        doomed.kill()
        assert other.wait() == 0
        crew.wait_until_stale()
        assert crew.start(3).wait() == 0
        assert crew.failed() == [crew.last_trial(doomed)]
        check_after_death(crew, doomed)


def test_many_killed_workers_lose_nothing(postgresql_url, tmp_path):
    with ExitStack() as stack:
        crews = [stack.enter_context(Crew(postgresql_url, tmp_path)) for _ in range(N_REPETITIONS)]
        killed = []
        for repetition, crew in enumerate(crews):
            worker = crew.start(50, **{STEP_SECONDS: "0.005"})
            # Anywhere: in the first trial or a later one, in a report or between two.
            n_events = 1 + 2 * repetition
            crew.wait_for(lambda events, n=n_events: len(events) >= n)
            worker.kill()
            killed.append(worker)
        crews[-1].wait_until_stale()
        successors = [crew.start(2, **{STEP_SECONDS: "0.005"}) for crew in crews]
        assert [worker.wait() for worker in successors] == [0] * N_REPETITIONS
        for crew, worker in zip(crews, killed, strict=True):
            check_after_death(crew, worker)


def test_a_worker_that_freezes_in_a_transaction_stops_no_other(server, tmp_path):
    with Crew(server.new_database(), tmp_path) as crew:
        frozen = crew.start(4, **{FREEZES: "1"})
        wait_until(frozen.is_frozen)
        # It holds the lock without which no trial can be made.
        assert crew.start(3).wait() == 0
        frozen.thaw()
        assert frozen.wait() == 0
        assert crew.failed() == []
        check(crew.study, crew.events())


def test_a_restarted_database_loses_nothing(server, tmp_path):
    # Longer than the database is away: no running trial is lost either.
    with Crew(server.new_database(), tmp_path, grace_period=20) as crew:
        workers = [crew.start(6, **{STEP_SECONDS: "0.05"}) for _ in range(4)]
        for n_ended in (3, 8):
            crew.wait_for(lambda events, n=n_ended: sum(e.kind == "ending" for e in events) >= n)
            server.kill()
            time.sleep(0.5)  # Long enough that each worker meets it.
            server.start()
        assert [worker.wait() for worker in workers] == [0, 0, 0, 0]
        trials = crew.study.get_trials(deepcopy=False)
        if any(not trial.state.is_finished() for trial in trials):
            # The answer to a trial's creation was lost, so that nobody knows that it is his.
            crew.wait_until_stale()
        assert crew.start(3).wait() == 0
        began = {event.number for event in crew.events() if event.kind == "began"}
        assert not began.intersection(crew.failed())
        check(crew.study, crew.events())
