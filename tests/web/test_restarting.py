"""Health while a child that depends on a server outside is between two runs."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from supervision import Backoff, ChildSpec, Life, Supervisor
from web.wiring.tree import Restarting


async def test_a_child_that_failed_is_named_until_it_runs_again(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("CRITICAL")
    gone = trio.Event()

    async def run(life: Life) -> None:
        life.started()
        await gone.wait()
        raise OSError("no such server")

    restarting = Restarting()
    assert restarting.away() == ()
    backoff = Backoff(first_s=1.0, ceiling_s=1.0)
    restarting.supervisor = Supervisor([ChildSpec(id="frail", start=run)], max_restarts=None, backoff=backoff)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(restarting.supervisor.run)
        await wait_all_tasks_blocked()
        assert restarting.away() == ()

        gone.set()
        await wait_all_tasks_blocked()
        assert restarting.away() == ("frail",)
        (sample,) = restarting.metrics()
        assert sample.values == {("frail",): 1.0}

        gone = trio.Event()
        await trio.sleep(3)
        assert restarting.away() == ()
        nursery.cancel_scope.cancel()
