"""A worker whose network fails, and returns when its trial has long been given to another one."""

from __future__ import annotations

from tests.distributed.checks import check
from tests.distributed.network import second_host
from tests.distributed.objectives import STEP_SECONDS
from tests.distributed.workers import Crew
from tests.servers import LOOPBACK
from tests.servers import postgresql_server


def test_a_worker_that_was_cut_off_goes_on(tmp_path):
    with (
        second_host() as host,
        postgresql_server((LOOPBACK, host.server_address)) as server,
        Crew(server.new_database(), tmp_path) as crew,
    ):
        url = crew.url.replace(LOOPBACK, host.server_address)
        far = crew.start_command(5, url=url, prefix=host.prefix, **{STEP_SECONDS: "0.2"})
        crew.wait_until_training(far, n_ended=0)
        host.cut_off()
        number = crew.last_trial(far)
        crew.wait_until_stale()
        near = crew.start(3)
        assert near.wait() == 0
        # Taken for dead, and finished by another worker.
        assert crew.failed() == [number]
        assert crew.last_trial(far) == number
        host.reconnect()
        assert far.wait() == 0
        assert len([e for e in crew.events() if e.process == far.pid and e.kind == "began"]) == 5
        assert crew.start(2).wait() == 0
        assert crew.failed() == [number]
        check(crew.study, crew.events())
