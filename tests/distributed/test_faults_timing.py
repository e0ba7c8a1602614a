"""Workers that finish at once, and a worker whose clock is wrong."""

from __future__ import annotations

from datetime import datetime
from datetime import timedelta

import optuna
from optuna.distributions import FloatDistribution
from optuna.trial import create_trial
from optuna.trial import TrialState
import pytest

from optuna_perfpred import PerformancePredictionPruner
from tests.distributed.checks import check
from tests.distributed.objectives import curve
from tests.distributed.objectives import MEETING
from tests.distributed.objectives import STEP_SECONDS
from tests.distributed.workers import CLOCK_ERROR
from tests.distributed.workers import Crew


N_REPETITIONS = 20
HOUR = timedelta(hours=1)


def test_two_workers_that_finish_at_once_lose_nothing(postgresql_url, tmp_path):
    with Crew(postgresql_url, tmp_path) as crew:
        environment = {MEETING: str(tmp_path / "meeting"), STEP_SECONDS: "0"}
        workers = [crew.start(N_REPETITIONS, **environment) for _ in range(2)]
        assert [worker.wait() for worker in workers] == [0, 0]
        assert crew.start(2).wait() == 0
        trials = crew.study.get_trials(deepcopy=False)
        assert len(trials) == 2 * N_REPETITIONS + 2
        assert crew.failed() == []
        check(crew.study, crew.events())


@pytest.mark.parametrize("shift", [HOUR, -HOUR], ids=["ahead", "behind"])
def test_a_wrong_clock_changes_no_decision(shift, postgresql_url, tmp_path):
    with Crew(postgresql_url, tmp_path) as crew:
        wrong = crew.start(12, **{CLOCK_ERROR: str(shift.total_seconds())})
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


def test_a_trial_that_becomes_known_late_is_learned_from():
    study = optuna.create_study(direction="maximize")
    old = PerformancePredictionPruner()
    noon = datetime(2024, 1, 1, 12)
    # The clock of the worker of the second trial is an hour ahead: it stays the last one.
    ends = [noon, noon + HOUR, *(noon + timedelta(minutes=n) for n in range(1, 9))]
    for number, end in enumerate(ends):
        x = (0.37 * number) % 1.0
        study.add_trial(
            create_trial(
                value=curve(x)[-1],
                params={"x": x},
                distributions={"x": FloatDistribution(0.0, 1.0)},
                intermediate_values=dict(enumerate(curve(x))),
            )
        )
        study.get_trials(deepcopy=False)[-1].datetime_complete = end
        study.add_trial(
            create_trial(
                state=TrialState.RUNNING,
                params={"x": 0.5},
                distributions={"x": FloatDistribution(0.0, 1.0)},
                intermediate_values=dict(enumerate(curve(0.5)[:3])),
            )
        )
        asking = study.get_trials(deepcopy=False)[-1]
        new = PerformancePredictionPruner()
        assert old.prune(study, asking) == new.prune(study, asking)
        assert old.assessment(study, asking) == new.assessment(study, asking)
