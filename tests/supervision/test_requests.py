"""start, terminate, restart, delete, which, count (OTP: child_adm, child_specs)."""

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from supervision import (
    AlreadyPresent,
    AlreadyStarted,
    AutoShutdown,
    Backoff,
    ChildCounts,
    ChildNotFound,
    ChildRestarting,
    ChildRunning,
    ChildSpec,
    ChildStartError,
    ChildType,
    Ignore,
    InvalidSpec,
    Restart,
    State,
    Supervisor,
)
from tests.supervision.children import (
    Diary,
    Oops,
    crashing,
    failing_to_start,
    returning,
    running,
    spec,
    states,
)


async def test_a_child_can_be_added_stopped_restarted_and_deleted(diary: Diary) -> None:
    supervisor = Supervisor([spec(diary, "a")])
    async with running(supervisor):
        assert await supervisor.start_child(spec(diary, "b"))
        assert states(supervisor) == {"a": State.RUNNING, "b": State.RUNNING}
        await supervisor.terminate_child("b")
        assert states(supervisor) == {"a": State.RUNNING, "b": State.STOPPED}
        assert await supervisor.restart_child("b")
        assert states(supervisor)["b"] is State.RUNNING
        await supervisor.terminate_child("b")
        await supervisor.delete_child("b")
        assert states(supervisor) == {"a": State.RUNNING}


async def test_an_added_child_is_supervised_like_the_others(diary: Diary) -> None:
    supervisor = Supervisor([])
    async with running(supervisor):
        await supervisor.start_child(spec(diary, "a"))
        supervisor.kill_child("a")
        await wait_all_tasks_blocked()
        assert diary.births() == ["a", "a"]


async def test_a_child_that_is_there_already_is_not_started_again(diary: Diary) -> None:
    supervisor = Supervisor([spec(diary, "a")])
    async with running(supervisor):
        with pytest.raises(AlreadyStarted):
            await supervisor.start_child(spec(diary, "a"))
        await supervisor.terminate_child("a")
        with pytest.raises(AlreadyPresent):
            await supervisor.start_child(spec(diary, "a"))
        assert diary.births() == ["a"]


async def test_an_added_child_that_fails_to_start_is_not_kept(diary: Diary) -> None:
    supervisor = Supervisor([spec(diary, "a")])
    error = Oops()
    async with running(supervisor):
        with pytest.raises(ChildStartError) as caught:
            await supervisor.start_child(ChildSpec(id="b", start=failing_to_start(error)))
        assert caught.value.cause is error
        assert states(supervisor) == {"a": State.RUNNING}
        assert supervisor.statistics().restarts == 0


async def test_an_added_child_that_ignores_its_start_is_kept_unless_temporary() -> None:
    supervisor = Supervisor([])
    async with running(supervisor):
        for name, restart in (("a", Restart.PERMANENT), ("b", Restart.TEMPORARY)):
            child = ChildSpec(id=name, start=failing_to_start(Ignore()), restart=restart)
            assert not await supervisor.start_child(child)
        assert states(supervisor) == {"a": State.STOPPED}


async def test_an_added_child_cannot_be_significant_for_nothing(diary: Diary) -> None:
    child = ChildSpec(id="a", start=returning, restart=Restart.TEMPORARY, significant=True)
    supervisor = Supervisor([])
    async with running(supervisor):
        with pytest.raises(InvalidSpec):
            await supervisor.start_child(child)
    supervisor = Supervisor([], auto_shutdown=AutoShutdown.ALL_SIGNIFICANT)
    async with running(supervisor):
        await supervisor.start_child(ChildSpec(id="a", start=diary.steady("a")))


async def test_nothing_can_be_asked_about_an_unknown_child() -> None:
    supervisor = Supervisor([])
    async with running(supervisor):
        for request in (supervisor.terminate_child, supervisor.restart_child, supervisor.delete_child):
            with pytest.raises(ChildNotFound) as caught:
                await request("nobody")
            assert caught.value.child == "nobody"
        with pytest.raises(ChildNotFound):
            supervisor.kill_child("nobody")


async def test_a_running_child_is_neither_restarted_nor_deleted_by_request(diary: Diary) -> None:
    supervisor = Supervisor([spec(diary, "a")])
    async with running(supervisor):
        with pytest.raises(ChildRunning):
            await supervisor.restart_child("a")
        with pytest.raises(ChildRunning):
            await supervisor.delete_child("a")
        assert diary.lines == [("born", "a")]


async def test_a_child_about_to_be_restarted_is_called_off_before_anything_else(
    autojump_clock: MockClock, diary: Diary
) -> None:
    child = ChildSpec(id="a", start=diary.script("a", [crashing()]))
    supervisor = Supervisor([child], backoff=Backoff(first_s=10))
    async with running(supervisor):
        assert states(supervisor) == {"a": State.RESTARTING}
        with pytest.raises(ChildRestarting):
            await supervisor.restart_child("a")
        with pytest.raises(ChildRestarting):
            await supervisor.delete_child("a")
        with pytest.raises(AlreadyStarted):
            await supervisor.start_child(child)
        supervisor.kill_child("a")
        await supervisor.terminate_child("a")
        await trio.sleep(60)
        assert states(supervisor) == {"a": State.STOPPED}
        assert diary.births() == ["a"]


async def test_terminating_a_temporary_child_forgets_it(diary: Diary) -> None:
    supervisor = Supervisor([spec(diary, "a", Restart.TEMPORARY)])
    async with running(supervisor):
        await supervisor.terminate_child("a")
        assert states(supervisor) == {}
        with pytest.raises(ChildNotFound):
            await supervisor.restart_child("a")


async def test_terminating_a_child_that_stands_still_changes_nothing(diary: Diary) -> None:
    supervisor = Supervisor([spec(diary, "a")])
    async with running(supervisor):
        await supervisor.terminate_child("a")
        await supervisor.terminate_child("a")
        assert diary.ends() == ["a"]


async def test_a_restart_by_request_that_fails_keeps_the_recipe(diary: Diary) -> None:
    script = [diary.steady("a"), failing_to_start()]
    supervisor = Supervisor([ChildSpec(id="a", start=diary.script("a", script))], max_restarts=0)
    async with running(supervisor):
        await supervisor.terminate_child("a")
        with pytest.raises(ChildStartError):
            await supervisor.restart_child("a")
        assert states(supervisor) == {"a": State.STOPPED}
        assert await supervisor.restart_child("a")


async def test_restarts_by_request_never_escalate(diary: Diary) -> None:
    supervisor = Supervisor([spec(diary, "a")], max_restarts=0)
    async with running(supervisor):
        for _ in range(20):
            await supervisor.terminate_child("a")
            await supervisor.restart_child("a")
        assert states(supervisor) == {"a": State.RUNNING}


async def test_a_caller_that_is_cancelled_leaves_the_request_to_be_done(
    autojump_clock: MockClock, diary: Diary
) -> None:
    child = ChildSpec(id="a", start=diary.polite("a", leaves_after_s=3))
    supervisor = Supervisor([child])
    async with running(supervisor):
        with trio.move_on_after(1):
            await supervisor.terminate_child("a")
        assert states(supervisor) == {"a": State.STOPPING}
        await trio.sleep(5)
        assert states(supervisor) == {"a": State.STOPPED}


async def test_a_child_may_end_itself_through_its_supervisor(diary: Diary) -> None:
    async def weary(_: object) -> None:
        await supervisor.terminate_child("a")

    supervisor = Supervisor([])
    async with running(supervisor):
        async with trio.open_nursery() as nursery:
            child = ChildSpec(id="a", start=diary.script("a", [crashing(), weary]))
            nursery.start_soon(supervisor.start_child, child)
        await wait_all_tasks_blocked()
        assert states(supervisor) == {"a": State.STOPPED}


async def test_counts_tell_recipes_lives_and_types_apart(diary: Diary) -> None:
    def of(name: str, type: ChildType) -> ChildSpec:
        return ChildSpec(id=name, start=diary.steady(name), type=type)

    children = [of("a", ChildType.WORKER), of("b", ChildType.SUPERVISOR), of("c", ChildType.WORKER)]
    supervisor = Supervisor(children)
    async with running(supervisor):
        await supervisor.terminate_child("b")
        await supervisor.terminate_child("c")
        assert supervisor.count_children() == ChildCounts(specs=3, active=1, supervisors=1, workers=2)


async def test_which_children_says_how_each_has_fared(autojump_clock: MockClock, diary: Diary) -> None:
    supervisor = Supervisor([spec(diary, "a"), spec(diary, "b")])
    async with running(supervisor):
        await trio.sleep(10)
        supervisor.kill_child("b", "drill")
        await trio.sleep(5)
        a, b = supervisor.which_children()
        assert (a.id, a.state, a.restarts, a.last_reason) == ("a", State.RUNNING, 0, None)
        assert (b.id, b.state, b.restarts, b.last_reason) == ("b", State.RUNNING, 1, "Killed('drill')")
        assert (a.age_s, b.age_s) == (15, 5)
        assert [info.id for info in supervisor.which_children(limit=1)] == ["a"]


async def test_a_long_reason_is_kept_short() -> None:
    child = ChildSpec(id="a", start=crashing(error=Oops("x" * 10_000)), restart=Restart.TRANSIENT)
    supervisor = Supervisor([child], backoff=Backoff(first_s=10))
    with trio.move_on_after(0.1):
        async with running(supervisor):
            assert len(supervisor.which_children()[0].last_reason or "") == 200
