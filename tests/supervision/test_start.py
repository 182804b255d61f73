"""Starting: normal, ignored, failing, crashing at the first start (OTP: sup_start_*)."""

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from supervision import (
    ChildCounts,
    ChildSpec,
    ChildStartError,
    Ignore,
    Life,
    Restart,
    Shutdown,
    State,
    Supervisor,
    SupervisorNotRunning,
)
from tests.supervision.children import (
    Diary,
    Oops,
    crashing,
    failing_to_start,
    never_up,
    returning,
    running,
    spec,
    states,
)


async def test_children_start_from_left_to_right_each_waiting_for_the_one_before(
    autojump_clock: MockClock,
) -> None:
    up: list[tuple[str, float]] = []

    def slow(name: str) -> ChildSpec:
        async def live(life: Life) -> None:
            await trio.sleep(1)
            up.append((name, trio.current_time()))
            life.started()
            await trio.sleep_forever()

        return ChildSpec(id=name, start=live)

    supervisor = Supervisor([slow("a"), slow("b"), slow("c")])
    async with running(supervisor):
        await trio.sleep(3.5)
        start = up[0][1]
        assert [(name, at - start) for name, at in up] == [("a", 0), ("b", 1), ("c", 2)]


async def test_a_supervisor_without_children_runs_until_told_to_stop() -> None:
    supervisor = Supervisor([])
    async with running(supervisor):
        assert supervisor.is_running
        assert supervisor.count_children() == ChildCounts(specs=0, active=0, supervisors=0, workers=0)
    assert not supervisor.is_running


async def test_a_child_that_ignores_its_start_is_kept_standing_still(diary: Diary) -> None:
    ignored = ChildSpec(id="ignored", start=failing_to_start(Ignore()))
    supervisor = Supervisor([ignored, spec(diary, "a")])
    async with running(supervisor):
        assert states(supervisor) == {"ignored": State.STOPPED, "a": State.RUNNING}


async def test_a_temporary_child_that_ignores_its_start_is_not_kept(diary: Diary) -> None:
    ignored = ChildSpec(id="ignored", start=failing_to_start(Ignore()), restart=Restart.TEMPORARY)
    supervisor = Supervisor([ignored, spec(diary, "a")])
    async with running(supervisor):
        assert states(supervisor) == {"a": State.RUNNING}


@pytest.mark.parametrize("error", [Oops(), Shutdown("no"), ExceptionGroup("", [Oops(), Oops()])])
async def test_a_child_that_fails_at_the_first_start_rolls_back_those_before_it(
    error: Exception, diary: Diary
) -> None:
    broken = ChildSpec(id="broken", start=failing_to_start(error))
    supervisor = Supervisor([spec(diary, "a"), spec(diary, "b"), broken, spec(diary, "c")])

    with pytest.raises(ChildStartError) as caught:
        await supervisor.run()

    assert (caught.value.child, caught.value.cause) == ("broken", error)
    assert diary.lines == [("born", "a"), ("born", "b"), ("ended", "b"), ("ended", "a")]
    assert not supervisor.is_running


@pytest.mark.parametrize("restart", Restart)
async def test_the_restart_type_does_not_matter_at_the_first_start(restart: Restart) -> None:
    supervisor = Supervisor([ChildSpec(id="broken", start=failing_to_start(), restart=restart)])

    with pytest.raises(ChildStartError):
        await supervisor.run()


async def test_a_child_that_returns_without_having_come_up_has_failed_to_start() -> None:
    async def mute(_: Life) -> None:
        await trio.lowlevel.checkpoint()

    with pytest.raises(ChildStartError) as caught:
        await Supervisor([ChildSpec(id="mute", start=mute)]).run()

    assert caught.value.cause is None


async def test_a_start_that_is_no_coroutine_function_fails_to_start() -> None:
    def blunt(_: Life) -> None:
        raise Oops

    with pytest.raises(ChildStartError) as caught:
        await Supervisor([ChildSpec(id="blunt", start=blunt)]).run()  # type: ignore[arg-type]

    assert isinstance(caught.value.cause, Oops)


async def test_a_child_that_crashes_right_after_coming_up_has_started(diary: Diary) -> None:
    child = ChildSpec(id="a", start=diary.script("a", [crashing()]))
    supervisor = Supervisor([child])
    async with running(supervisor):
        assert diary.births("a") == ["a", "a"]
        assert states(supervisor) == {"a": State.RUNNING}


async def test_saying_started_again_changes_nothing() -> None:
    async def talkative(life: Life) -> None:
        for _ in range(3):
            life.started()
        await trio.sleep_forever()

    supervisor = Supervisor([ChildSpec(id="a", start=talkative)])
    async with running(supervisor):
        assert states(supervisor) == {"a": State.RUNNING}


async def test_a_supervisor_can_be_stopped_while_a_child_does_not_come_up(diary: Diary) -> None:
    supervisor = Supervisor([spec(diary, "a"), ChildSpec(id="late", start=never_up)])
    async with running(supervisor):
        assert states(supervisor) == {"a": State.RUNNING, "late": State.STARTING}
    assert diary.ends() == ["a"]


async def test_a_supervisor_cannot_run_twice_at_the_same_time() -> None:
    supervisor = Supervisor([])
    async with running(supervisor):
        with pytest.raises(RuntimeError, match="already running"):
            await supervisor.run()
        assert supervisor.is_running


async def test_every_run_begins_with_the_children_of_the_recipe(diary: Diary) -> None:
    supervisor = Supervisor([spec(diary, "a")])
    async with running(supervisor):
        await supervisor.start_child(spec(diary, "extra"))
    async with running(supervisor):
        assert states(supervisor) == {"a": State.RUNNING}


async def test_requests_are_refused_before_and_after_a_run(diary: Diary) -> None:
    supervisor = Supervisor([])
    for _ in range(2):
        with pytest.raises(SupervisorNotRunning):
            await supervisor.start_child(spec(diary, "a"))
        with pytest.raises(SupervisorNotRunning):
            supervisor.kill_child("a")
        assert supervisor.which_children() == ()
        async with running(supervisor):
            pass


async def test_a_request_that_comes_while_children_start_is_answered_afterwards(
    autojump_clock: MockClock, diary: Diary
) -> None:
    async def slow(life: Life) -> None:
        await trio.sleep(2)
        await diary.steady("slow")(life)

    supervisor = Supervisor([ChildSpec(id="slow", start=slow)])
    async with running(supervisor):
        assert await supervisor.start_child(spec(diary, "a"))
        assert diary.births() == ["slow", "a"]


async def test_a_request_still_waiting_when_the_start_fails_is_answered(autojump_clock: MockClock) -> None:
    answers: list[type[Exception]] = []

    async def slow_and_broken(_: Life) -> None:
        await trio.sleep(2)
        raise Oops

    supervisor = Supervisor([ChildSpec(id="a", start=slow_and_broken)])

    async def ask() -> None:
        await wait_all_tasks_blocked()
        try:
            await supervisor.start_child(ChildSpec(id="b", start=returning))
        except SupervisorNotRunning as error:
            answers.append(type(error))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        with pytest.raises(ChildStartError):
            await supervisor.run()

    assert answers == [SupervisorNotRunning]
