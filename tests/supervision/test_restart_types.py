"""Permanent, transient, temporary x normal, shutdown, abnormal: who lives again."""

from collections.abc import Callable

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from supervision import (
    ChildSpec,
    DynamicSupervisor,
    Ignore,
    Killed,
    Life,
    Restart,
    RestartLimitReached,
    Shutdown,
    State,
    Supervisor,
)
from tests.supervision.children import Behaviour, Diary, Oops, crashing, restarts, returning, running, states

ENDS: dict[str, tuple[Behaviour, str]] = {
    "normal": (returning, "normal"),
    "shutdown": (crashing(error=Shutdown()), "Shutdown()"),
    "shutdown with a reason": (crashing(error=Shutdown("bye")), "Shutdown('bye')"),
    "shutdown in a group of one": (crashing(error=ExceptionGroup("", [Shutdown()])), "Shutdown()"),
    "abnormal": (crashing(error=Oops("why")), "Oops('why')"),
    "ignore after the start": (crashing(error=Ignore()), "Ignore()"),
    "a group": (crashing(error=ExceptionGroup("g", [Shutdown(), Oops()])), "ExceptionGroup('g', ["),
}
ABNORMAL = {"abnormal", "ignore after the start", "a group"}


def lives_again(restart: Restart, end: str) -> bool:
    if restart is Restart.PERMANENT:
        return True
    return restart is Restart.TRANSIENT and end in ABNORMAL


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("restart", Restart)
async def test_whether_a_static_child_lives_again(restart: Restart, end: str, diary: Diary) -> None:
    behaviour, reason = ENDS[end]
    supervisor = Supervisor(
        [ChildSpec(id="a", start=diary.script("a", [behaviour]), restart=restart)],
    )
    async with running(supervisor):
        if lives_again(restart, end):
            assert (states(supervisor), restarts(supervisor)) == ({"a": State.RUNNING}, {"a": 1})
        elif restart is Restart.TEMPORARY:
            assert states(supervisor) == {}
        else:
            assert (states(supervisor), restarts(supervisor)) == ({"a": State.STOPPED}, {"a": 0})
        for info in supervisor.which_children():
            assert (info.last_reason or "").startswith(reason)


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("restart", Restart)
async def test_whether_a_dynamic_child_lives_again(restart: Restart, end: str, diary: Diary) -> None:
    behaviour, reason = ENDS[end]
    supervisor = DynamicSupervisor(max_children=1)
    async with running(supervisor):
        supervisor.spawn(ChildSpec(id="a", start=diary.script("a", [behaviour]), restart=restart))
        await wait_all_tasks_blocked()
        if lives_again(restart, end):
            assert (states(supervisor), restarts(supervisor)) == ({"a": State.RUNNING}, {"a": 1})
            assert (supervisor.which_children()[0].last_reason or "").startswith(reason)
        else:
            assert states(supervisor) == {}


@pytest.mark.parametrize("restart", Restart)
async def test_a_start_that_was_ignored_is_not_repeated(restart: Restart, diary: Diary) -> None:
    async def ignoring(_: Life) -> None:
        raise Ignore

    children = [
        ChildSpec(id="a", start=diary.script("a", [ignoring]), restart=restart),
        ChildSpec(id="b", start=diary.polite("b")),
    ]
    dynamic = DynamicSupervisor(max_children=1)
    async with running(Supervisor(children)), running(dynamic):
        dynamic.spawn(ChildSpec(id="c", start=diary.script("c", [ignoring]), restart=restart))
        await wait_all_tasks_blocked()

        assert sorted(diary.births(), key=str) == ["a", "b", "c"]
        assert states(dynamic) == {}


def make_static() -> Supervisor:
    return Supervisor([])


def make_dynamic() -> DynamicSupervisor:
    return DynamicSupervisor(max_children=1)


@pytest.mark.parametrize("make", [make_static, make_dynamic])
@pytest.mark.parametrize("restart", Restart)
async def test_a_killed_child_has_ended_abnormally(
    restart: Restart,
    make: Callable[[], Supervisor | DynamicSupervisor],
    diary: Diary,
    caplog: pytest.LogCaptureFixture,
) -> None:
    supervisor = make()
    async with running(supervisor):
        await supervisor.start_child(ChildSpec(id="a", start=diary.polite("a"), restart=restart))
        supervisor.kill_child("a", "drill")
        await wait_all_tasks_blocked()
        if restart is Restart.TEMPORARY:
            assert states(supervisor) == {}
        else:
            assert states(supervisor) == {"a": State.RUNNING}
            assert supervisor.which_children()[0].last_reason == repr(Killed("drill"))
        assert ("left", "a") not in diary.lines
        assert "child_killed" in caplog.messages


@pytest.mark.parametrize("make", [make_static, make_dynamic])
async def test_a_child_may_kill_itself(
    make: Callable[[], Supervisor | DynamicSupervisor], diary: Diary
) -> None:
    supervisor = make()

    async def suicide(_: object) -> None:
        supervisor.kill_child("a")
        await trio.sleep_forever()

    async with running(supervisor):
        await supervisor.start_child(ChildSpec(id="a", start=diary.script("a", [crashing(), suicide])))
        await wait_all_tasks_blocked()
        assert diary.births() == ["a", "a", "a"]
        assert states(supervisor) == {"a": State.RUNNING}


@pytest.mark.parametrize("make", [make_static, make_dynamic])
async def test_a_killed_child_that_swallows_its_cancellation_was_killed_all_the_same(
    make: Callable[[], Supervisor | DynamicSupervisor], diary: Diary
) -> None:
    supervisor = make()
    async with running(supervisor):
        spec = ChildSpec(id="a", start=diary.script("a", [returning_soon]), restart=Restart.TRANSIENT)
        await supervisor.start_child(spec)
        supervisor.kill_child("a")
        await wait_all_tasks_blocked()
        assert states(supervisor) == {"a": State.RUNNING}
        assert restarts(supervisor) == {"a": 1}


async def returning_soon(life: Life) -> None:
    """Treats its cancellation as an invitation to return."""
    life.started()
    try:
        await trio.sleep_forever()
    except trio.Cancelled:
        return


async def test_restarts_of_a_permanent_child_that_ends_normally_count_too(diary: Diary) -> None:
    with pytest.raises(RestartLimitReached):
        await Supervisor([ChildSpec(id="a", start=diary.script("a", [returning] * 9))]).run()

    assert len(diary.births()) == 4
