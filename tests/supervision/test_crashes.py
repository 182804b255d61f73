"""What a crash leaves behind: a line in the log, a text, and nothing else."""

import gc
import logging
import tracemalloc
import weakref
from collections.abc import Callable

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from supervision import ChildSpec, ChildStartError, DynamicSupervisor, Life, Supervisor
from tests.supervision.children import Diary, Oops, crashing, failing_to_start, running

IDLE_CHILDREN = 4000
# Task, two coroutines, record, spec and places in tables; 2,170 measured on CPython 3.11.
IDLE_CHILD_BYTES = 2.4 * 1024

Make = Callable[[], Supervisor | DynamicSupervisor]
both = pytest.mark.parametrize(
    "make", [lambda: Supervisor([]), lambda: DynamicSupervisor(max_children=9)], ids=["static", "dynamic"]
)


@both
async def test_a_crash_is_logged_with_its_traceback_and_facts(
    make: Make, diary: Diary, caplog: pytest.LogCaptureFixture
) -> None:
    supervisor = make()
    script = [crashing(error=Oops("first")), failing_to_start(Oops("second"))]
    async with running(supervisor):
        await supervisor.start_child(ChildSpec(id="a", start=diary.script("a", script)))
        await wait_all_tasks_blocked()

    first, second = [record for record in caplog.records if record.message == "child_crashed"]
    assert (first.name, first.levelno) == ("supervision", logging.ERROR)
    assert (first.__dict__["child"], first.__dict__["restarts"]) == ("a", 0)
    assert (first.__dict__["started"], second.__dict__["started"]) == (True, False)
    assert (first.__dict__["doing"], second.__dict__["doing"]) == ("running", "starting")
    assert (first.__dict__["reason"], first.__dict__["restart"]) == ("Oops('first')", "permanent")
    assert first.__dict__["lived_s"] == pytest.approx(0, abs=1)
    assert first.exc_info is not None
    assert repr(first.exc_info[1]) == "Oops('first')"


@both
async def test_a_crashed_life_is_not_kept_alive_by_its_exception(
    make: Make, diary: Diary, caplog: pytest.LogCaptureFixture
) -> None:
    class Load:
        """Stands for whatever a life had in its hands."""

    # What a log handler keeps is its own affair.
    caplog.set_level(logging.CRITICAL, logger="supervision")
    remains: list[weakref.ref[Load]] = []

    async def loaded(life: Life) -> None:
        load = Load()
        remains.append(weakref.ref(load))
        await crashing()(life)

    supervisor = make()
    async with running(supervisor):
        await supervisor.start_child(ChildSpec(id="a", start=diary.script("a", [loaded, loaded])))
        await wait_all_tasks_blocked()
        gc.collect()
        assert len(remains) == 2
        assert [remain() for remain in remains] == [None, None]


@both
async def test_an_exception_that_cannot_be_written_down_is_a_crash_like_any_other(
    make: Make, diary: Diary, caplog: pytest.LogCaptureFixture
) -> None:
    class Unspeakable(Exception):
        def __repr__(self) -> str:
            raise Oops

    caplog.set_level(logging.CRITICAL, logger="supervision")
    supervisor = make()
    async with running(supervisor):
        with pytest.raises(ChildStartError, match="Unspeakable"):
            await supervisor.start_child(ChildSpec(id="a", start=failing_to_start(Unspeakable())))
        script = [crashing(error=Unspeakable()), failing_to_start(Unspeakable())]
        await supervisor.start_child(ChildSpec(id="a", start=diary.script("a", script)))
        await wait_all_tasks_blocked()
        assert supervisor.which_children()[0].last_reason == "Unspeakable(its repr crashed)"
        assert diary.births() == ["a", "a", "a"]


async def test_an_idle_child_stays_small() -> None:
    async def idle(life: Life) -> None:
        life.started()
        await trio.lowlevel.wait_task_rescheduled(lambda _: trio.lowlevel.Abort.SUCCEEDED)

    supervisor = DynamicSupervisor(max_children=IDLE_CHILDREN)
    async with running(supervisor):
        tracemalloc.start()
        try:
            for n in range(IDLE_CHILDREN):
                supervisor.spawn(ChildSpec(id=n, start=idle))
            await wait_all_tasks_blocked()
            gc.collect()
            per_child = tracemalloc.get_traced_memory()[0] / IDLE_CHILDREN
        finally:
            tracemalloc.stop()
    assert per_child < IDLE_CHILD_BYTES


async def test_a_report_says_where_in_the_tree_it_was(diary: Diary, caplog: pytest.LogCaptureFixture) -> None:
    inner = DynamicSupervisor(max_children=9)
    middle = Supervisor([ChildSpec(id="inner", start=inner.run)])
    async with running(Supervisor([ChildSpec(id="middle", start=middle.run)])):
        await inner.start_child(ChildSpec(id="a", start=diary.script("a", [crashing(), crashing()])))
        await wait_all_tasks_blocked()

    reports = [vars(record) for record in caplog.records if record.message == "child_crashed"]
    assert [report["supervisor"] for report in reports] == ["middle/inner", "middle/inner"]
    assert [report["restarts"] for report in reports] == [0, 1]
