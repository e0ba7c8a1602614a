"""Workers that finish at once, and a worker whose clock is wrong."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from optuna.trial import TrialState
import pytest

from tests.distributed.checks import check
from tests.distributed.objectives import MEETING
from tests.distributed.workers import Crew
from tests.servers import unavailable


N_REPETITIONS = 20
HOUR = timedelta(hours=1)


def test_two_workers_that_finish_at_once_lose_nothing(postgresql_url, tmp_path):
    with Crew(postgresql_url, tmp_path) as crew:
        meeting = str(tmp_path / "meeting")
        workers = [crew.start(N_REPETITIONS, **{MEETING: meeting}) for _ in range(2)]
        assert [worker.wait() for worker in workers] == [0, 0]
        assert crew.start(2).wait() == 0
        trials = crew.study.get_trials(deepcopy=False)
        assert len(trials) == 2 * N_REPETITIONS + 2
        assert crew.failed() == []
        check(crew.study, crew.events())


@pytest.mark.parametrize("shift", [HOUR, -HOUR], ids=["ahead", "behind"])
def test_a_wrong_clock_changes_no_decision(shift, postgresql_url, tmp_path):
    libraries = sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))
    if not libraries:
        unavailable("libfaketime is not installed (Debian: apt-get install faketime)")
    environment = {
        "LD_PRELOAD": str(libraries[0]),
        "FAKETIME": f"{shift.total_seconds():+.0f}",
        # The clocks that measure durations are right, as on a host whose date is wrong.
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "DONT_FAKE_MONOTONIC": "1",
    }
    with Crew(postgresql_url, tmp_path) as crew:
        wrong = crew.start_command(12, **environment)
        crew.wait_for(lambda events: any(event.kind == "began" for event in events))
        right = crew.start(12)
        assert (wrong.wait(), right.wait()) == (0, 0)
        assert crew.start(2).wait() == 0
        trials = crew.study.get_trials(deepcopy=False)
        begun = {
            worker: {e.number for e in crew.events() if e.process == worker.pid}
            for worker in (wrong, right)
        }
        ends = {
            worker: [t.datetime_complete for t in trials if t.number in begun[worker]]
            for worker in (wrong, right)
        }
        assert abs(max(ends[wrong]) - max(ends[right]) - shift) < HOUR / 2
        # No running trial is taken for dead: the heartbeats are the server's.
        assert [t.state for t in trials if t.state == TrialState.FAIL] == []
        check(crew.study, crew.events())
