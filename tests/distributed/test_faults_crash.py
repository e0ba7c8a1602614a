"""Workers that are killed, and databases that crash under them."""

from __future__ import annotations

from contextlib import ExitStack
import time

import pytest

from tests.distributed.checks import check
from tests.distributed.objectives import STEP_SECONDS
from tests.distributed.workers import Crew


N_REPETITIONS = 20


@pytest.fixture(params=["postgresql_server", "mariadb_server"])
def server(request):
    return request.getfixturevalue(request.param)


def in_the_middle(worker, n_ended, step):
    """Tell whether a worker has ended some trials, and has come to a step of the next one."""

    def condition(events):
        own = [event for event in events if event.process == worker.pid]
        last = own[-1].step if own else None
        ended = sum(event.kind == "ending" for event in own)
        return ended >= n_ended and last is not None and last >= step

    return condition


def test_a_killed_worker_loses_nothing(server, tmp_path):
    with Crew(server.new_database(), tmp_path) as crew:
        doomed = crew.start_command(50)
        other = crew.start_command(8)
        crew.wait_for(in_the_middle(doomed, n_ended=3, step=1))
        doomed.kill()
        assert other.wait() == 0
        crew.wait_until_stale()
        assert crew.start(4).wait() == 0
        assert crew.failed() == [crew.last_trial(doomed)]
        check(crew.study, crew.events())


def test_many_killed_workers_lose_nothing(postgresql_server, tmp_path):
    with ExitStack() as stack:
        crews = [
            stack.enter_context(Crew(postgresql_server.new_database(), tmp_path))
            for _ in range(N_REPETITIONS)
        ]
        killed = []
        for repetition, crew in enumerate(crews):
            worker = crew.start(50)
            # Each time somewhere else: after a report, or while asking, of the first trial or not.
            crew.wait_for(in_the_middle(worker, n_ended=repetition % 3, step=repetition % 4))
            worker.kill()
            killed.append(crew.last_trial(worker))
        crews[-1].wait_until_stale()
        for crew, number in zip(crews, killed, strict=True):
            assert crew.start(2).wait() == 0
            assert crew.failed() in ([number], [])
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
