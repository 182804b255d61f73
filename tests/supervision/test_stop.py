"""Stopping: brutal, with a time-out, with all the time (OTP: child_adm shutdown, sup_stop_*)."""

import logging

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from supervision import (
    BRUTAL_KILL,
    INFINITY,
    ChildSpec,
    DynamicSupervisor,
    Life,
    Supervisor,
    SupervisorNotRunning,
)
from tests.supervision.children import Diary, Oops, running, spec, states

Either = type[Supervisor] | type[DynamicSupervisor]


async def stop_with(child: ChildSpec, *, dynamic: bool) -> float:
    """Run a supervisor with one child, stop it, say how long that took."""
    supervisor = DynamicSupervisor(max_children=1) if dynamic else Supervisor([])
    async with running(supervisor):
        await supervisor.start_child(child)
        began = trio.current_time()
    return trio.current_time() - began


both = pytest.mark.parametrize("dynamic", [False, True], ids=["static", "dynamic"])


async def test_children_stop_from_right_to_left(diary: Diary) -> None:
    async with running(Supervisor([spec(diary, name) for name in "abc"])):
        pass
    assert diary.ends() == ["c", "b", "a"]


async def test_a_child_is_stopped_only_when_the_one_after_it_has_ended(
    autojump_clock: MockClock, diary: Diary
) -> None:
    children = [ChildSpec(id=name, start=diary.polite(name, leaves_after_s=1)) for name in "abc"]
    async with running(Supervisor(children)):
        began = trio.current_time()
    assert trio.current_time() - began == 3
    assert [name for what, name in diary.lines if what == "left"] == ["c", "b", "a"]


@both
async def test_a_child_that_does_not_trap_exits_is_cancelled_at_once(
    dynamic: bool, autojump_clock: MockClock, diary: Diary
) -> None:
    child = ChildSpec(id="a", start=diary.steady("a"), shutdown_s=INFINITY)

    assert await stop_with(child, dynamic=dynamic) == 0
    assert diary.ends() == ["a"]


@both
async def test_a_child_that_traps_exits_may_end_by_itself(
    dynamic: bool, autojump_clock: MockClock, diary: Diary
) -> None:
    child = ChildSpec(id="a", start=diary.polite("a", leaves_after_s=3), shutdown_s=5)

    assert await stop_with(child, dynamic=dynamic) == 3
    assert ("left", "a") in diary.lines


@both
async def test_a_child_that_takes_longer_than_its_shutdown_is_cancelled(
    dynamic: bool, autojump_clock: MockClock, diary: Diary, caplog: pytest.LogCaptureFixture
) -> None:
    child = ChildSpec(id="a", start=diary.polite("a", leaves_after_s=3600), shutdown_s=5)

    assert await stop_with(child, dynamic=dynamic) == 5
    assert diary.lines == [("born", "a"), ("ended", "a")]
    assert "child_outstayed_shutdown" in caplog.messages


@both
async def test_a_child_with_all_the_time_is_never_cancelled(
    dynamic: bool, autojump_clock: MockClock, diary: Diary
) -> None:
    child = ChildSpec(id="a", start=diary.polite("a", leaves_after_s=3600), shutdown_s=INFINITY)

    assert await stop_with(child, dynamic=dynamic) == 3600
    assert ("left", "a") in diary.lines


@both
async def test_a_brutally_killed_child_is_not_even_asked(
    dynamic: bool, autojump_clock: MockClock, diary: Diary
) -> None:
    child = ChildSpec(id="a", start=diary.polite("a", leaves_after_s=1), shutdown_s=BRUTAL_KILL)

    assert await stop_with(child, dynamic=dynamic) == 0
    assert diary.lines == [("born", "a"), ("ended", "a")]


@both
async def test_a_stopped_child_is_never_restarted_however_it_ends(
    dynamic: bool, diary: Diary, caplog: pytest.LogCaptureFixture
) -> None:
    async def ends_badly(life: Life) -> None:
        try:
            await diary.steady("a")(life)
        finally:
            raise Oops

    await stop_with(ChildSpec(id="a", start=ends_badly), dynamic=dynamic)

    assert diary.births() == ["a"]
    assert "child_crashed_while_stopping" in caplog.messages


@both
async def test_a_crash_beside_a_cancellation_ends_nobody_else(
    dynamic: bool, diary: Diary, caplog: pytest.LogCaptureFixture
) -> None:
    async def ends_badly() -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise Oops

    async def crowd(life: Life) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ends_badly)
            nursery.start_soon(trio.sleep_forever)
            life.started()

    await stop_with(ChildSpec(id="a", start=crowd), dynamic=dynamic)

    assert "child_crashed_while_stopping" in caplog.messages


@both
async def test_a_supervisor_cancelled_from_outside_cancels_everybody_at_once(
    dynamic: bool, autojump_clock: MockClock, diary: Diary
) -> None:
    supervisor = DynamicSupervisor(max_children=9) if dynamic else Supervisor([])
    with trio.move_on_after(10):
        async with running(supervisor):
            for name in "abc":
                start = diary.polite(name, leaves_after_s=60)
                await supervisor.start_child(ChildSpec(id=name, start=start, shutdown_s=INFINITY))
            began = trio.current_time()
            await trio.sleep_forever()

    assert trio.current_time() - began == 10
    assert sorted(map(str, diary.ends())) == ["a", "b", "c"]
    assert states(supervisor) == {}


@both
async def test_a_crash_on_the_way_out_of_a_cancelled_supervisor_stays_inside(
    dynamic: bool, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async def ends_badly(life: Life) -> None:
        life.started()
        try:
            await trio.sleep_forever()
        finally:
            raise Oops

    supervisor = DynamicSupervisor(max_children=9) if dynamic else Supervisor([])
    with trio.move_on_after(10) as scope:
        async with running(supervisor):
            await supervisor.start_child(ChildSpec(id="a", start=ends_badly))
            await trio.sleep_forever()

    assert scope.cancelled_caught
    assert "child_crashed_while_stopping" in caplog.messages


@both
async def test_a_keyboard_interrupt_is_not_a_crash(dynamic: bool) -> None:
    async def interrupted(life: Life) -> None:
        life.started()
        await trio.lowlevel.checkpoint()
        raise KeyboardInterrupt

    supervisor = DynamicSupervisor(max_children=9) if dynamic else Supervisor([])
    with pytest.RaisesGroup(KeyboardInterrupt, flatten_subgroups=True):
        async with running(supervisor):
            await supervisor.start_child(ChildSpec(id="a", start=interrupted))
            await trio.sleep_forever()


async def test_a_waiting_request_is_refused_when_the_supervisor_stops(
    autojump_clock: MockClock, diary: Diary
) -> None:
    refused: list[str] = []
    slow = ChildSpec(id="slow", start=diary.polite("slow", leaves_after_s=60), shutdown_s=INFINITY)
    supervisor = Supervisor([slow])

    async def ask(name: str) -> None:
        try:
            await supervisor.start_child(spec(diary, name))
        except SupervisorNotRunning:
            refused.append(name)

    async with running(supervisor) as nursery:
        nursery.start_soon(supervisor.terminate_child, "slow")
        await wait_all_tasks_blocked()
        nursery.start_soon(ask, "waiting")
        await wait_all_tasks_blocked()
        supervisor.stop()
        await ask("too late")

    assert refused == ["too late", "waiting"]


@both
async def test_an_orderly_life_writes_no_line_above_info(
    dynamic: bool, diary: Diary, caplog: pytest.LogCaptureFixture
) -> None:
    await stop_with(spec(diary, "a"), dynamic=dynamic)

    assert [record for record in caplog.records if record.levelno > logging.INFO] == []
