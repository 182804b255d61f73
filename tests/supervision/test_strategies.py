"""Who is taken down and brought up with a child that failed (OTP: one_for_one, one_for_all, ...)."""

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from supervision import (
    ChildSpec,
    Ignore,
    Life,
    Restart,
    RestartLimitReached,
    State,
    Strategy,
    Supervisor,
)
from tests.supervision.children import (
    Diary,
    Oops,
    crashing,
    failing_to_start,
    never_up,
    restarts,
    running,
    spec,
    states,
)

AFTER_B = {
    Strategy.ONE_FOR_ONE: [("ended", "b"), ("born", "b")],
    Strategy.ONE_FOR_ALL: [
        *[("ended", "b"), ("ended", "d"), ("ended", "c"), ("ended", "a")],
        *[("born", "a"), ("born", "b"), ("born", "c"), ("born", "d")],
    ],
    Strategy.REST_FOR_ONE: [
        *[("ended", "b"), ("ended", "d"), ("ended", "c")],
        *[("born", "b"), ("born", "c"), ("born", "d")],
    ],
}
TOGETHER = [Strategy.ONE_FOR_ALL, Strategy.REST_FOR_ONE]


@pytest.mark.parametrize("strategy", Strategy)
async def test_who_goes_down_and_up_with_a_child(strategy: Strategy, diary: Diary) -> None:
    supervisor = Supervisor([spec(diary, name) for name in "abcd"], strategy=strategy)
    async with running(supervisor):
        diary.clear()
        supervisor.kill_child("b")
        await wait_all_tasks_blocked()
        assert diary.lines == AFTER_B[strategy]
        assert set(states(supervisor).values()) == {State.RUNNING}


@pytest.mark.parametrize("strategy", Strategy)
async def test_a_transient_child_that_ends_normally_takes_nobody_along(
    strategy: Strategy, diary: Diary
) -> None:
    enough = trio.Event()

    async def until_enough(life: Life) -> None:
        life.started()
        await enough.wait()

    child = ChildSpec(id="b", start=until_enough, restart=Restart.TRANSIENT)
    supervisor = Supervisor([spec(diary, "a"), child, spec(diary, "c")], strategy=strategy)
    async with running(supervisor):
        enough.set()
        await wait_all_tasks_blocked()
        assert diary.ends() == []
        assert states(supervisor)["b"] is State.STOPPED


@pytest.mark.parametrize("strategy", TOGETHER)
async def test_a_temporary_bystander_is_taken_down_and_not_brought_up(
    strategy: Strategy, diary: Diary
) -> None:
    bystander = spec(diary, "bystander", Restart.TEMPORARY)
    supervisor = Supervisor([spec(diary, "a"), bystander, spec(diary, "c")], strategy=strategy)
    async with running(supervisor):
        supervisor.kill_child("a")
        await wait_all_tasks_blocked()
        assert diary.births("bystander") == ["bystander"]
        assert list(states(supervisor)) == ["a", "c"]


@pytest.mark.parametrize("strategy", Strategy)
async def test_the_crash_of_a_temporary_child_disturbs_nobody(strategy: Strategy, diary: Diary) -> None:
    temporary = ChildSpec(id="a", start=crashing(), restart=Restart.TEMPORARY)
    supervisor = Supervisor([temporary, spec(diary, "b")], strategy=strategy)
    async with running(supervisor):
        assert diary.lines == [("born", "b")]
        assert list(states(supervisor)) == ["b"]


@pytest.mark.parametrize("strategy", Strategy)
async def test_one_crash_too_many_stops_everybody_and_escalates(
    strategy: Strategy, autojump_clock: MockClock, diary: Diary, caplog: pytest.LogCaptureFixture
) -> None:
    faulty = ChildSpec(id="faulty", start=diary.script("faulty", [crashing(life_s=1)] * 99))
    children = [spec(diary, "a"), faulty, spec(diary, "c")]
    supervisor = Supervisor(children, strategy=strategy, max_restarts=3, max_seconds=5)

    with pytest.raises(RestartLimitReached) as caught:
        await supervisor.run()

    error = caught.value
    assert (error.child, error.max_restarts, error.max_seconds) == ("faulty", 3, 5)
    assert len(diary.births("faulty")) == 4
    for name in "ac":
        assert len(diary.births(name)) == len(diary.ends(name))
    assert "restart_limit_reached" in caplog.messages
    assert supervisor.statistics().given_up == 1


@pytest.mark.parametrize("strategy", Strategy)
async def test_crashes_far_enough_apart_never_escalate(
    strategy: Strategy, autojump_clock: MockClock, diary: Diary
) -> None:
    faulty = ChildSpec(id="faulty", start=diary.script("faulty", [crashing(life_s=2)] * 50))
    supervisor = Supervisor([faulty, spec(diary, "b")], strategy=strategy, max_restarts=3, max_seconds=5)
    async with running(supervisor):
        await trio.sleep(101)
        assert len(diary.births("faulty")) == 51
        assert set(states(supervisor).values()) == {State.RUNNING}


async def test_all_children_share_one_limit(autojump_clock: MockClock, diary: Diary) -> None:
    supervisor = Supervisor([spec(diary, name) for name in "abcd"])
    with pytest.RaisesGroup(RestartLimitReached):
        async with running(supervisor):
            for name in "abcd":
                supervisor.kill_child(name)
                await wait_all_tasks_blocked()
            await trio.sleep_forever()


async def test_with_no_restart_allowed_the_first_crash_escalates() -> None:
    with pytest.raises(RestartLimitReached):
        await Supervisor([ChildSpec(id="a", start=crashing())], max_restarts=0).run()


@pytest.mark.parametrize("strategy", Strategy)
async def test_children_that_fail_in_the_same_moment_are_each_dealt_with(
    strategy: Strategy, diary: Diary
) -> None:
    supervisor = Supervisor([spec(diary, name) for name in "abcd"], strategy=strategy)
    async with running(supervisor):
        for name in "bdc":
            supervisor.kill_child(name)
        await wait_all_tasks_blocked()
        assert set(states(supervisor).values()) == {State.RUNNING}
        assert len(diary.births()) - len(diary.ends()) == 4


async def test_everybody_failing_in_the_same_moment_is_one_restart_of_all(diary: Diary) -> None:
    children = [spec(diary, name) for name in "abcd"]
    supervisor = Supervisor(children, strategy=Strategy.ONE_FOR_ALL, max_restarts=1)
    async with running(supervisor):
        for name in "abcd":
            supervisor.kill_child(name)
        await wait_all_tasks_blocked()
        assert restarts(supervisor) == dict.fromkeys("abcd", 1)


@pytest.mark.parametrize("strategy", Strategy)
async def test_a_child_that_fails_in_its_own_restart_gets_another_attempt(
    strategy: Strategy, diary: Diary, caplog: pytest.LogCaptureFixture
) -> None:
    script = [crashing(), failing_to_start(), failing_to_start()]
    child = ChildSpec(id="b", start=diary.script("b", script))
    supervisor = Supervisor([spec(diary, "a"), child, spec(diary, "c")], strategy=strategy)
    async with running(supervisor):
        assert len(diary.births("b")) == 4
        assert set(states(supervisor).values()) == {State.RUNNING}
        assert supervisor.statistics().restarts == 3


@pytest.mark.parametrize("strategy", Strategy)
@pytest.mark.parametrize("restart", [Restart.PERMANENT, Restart.TRANSIENT])
async def test_a_child_that_always_fails_to_start_again_escalates(
    strategy: Strategy, restart: Restart, diary: Diary
) -> None:
    script = [crashing(), *[failing_to_start()] * 99]
    child = ChildSpec(id="b", start=diary.script("b", script), restart=restart)
    supervisor = Supervisor([spec(diary, "a"), child, spec(diary, "c")], strategy=strategy)

    with trio.fail_after(5), pytest.raises(RestartLimitReached) as caught:
        await supervisor.run()

    assert caught.value.child == "b"
    assert len(diary.births("b")) == 4
    assert len(diary.births("a")) == len(diary.ends("a"))


@pytest.mark.parametrize("strategy", TOGETHER)
async def test_another_child_that_fails_in_the_restart_gets_the_further_attempts(
    strategy: Strategy, diary: Diary
) -> None:
    script = [diary.steady("b"), failing_to_start(), failing_to_start()]
    child = ChildSpec(id="b", start=diary.script("b", script))
    supervisor = Supervisor([spec(diary, "a"), child, spec(diary, "c")], strategy=strategy)
    async with running(supervisor):
        diary.clear()
        supervisor.kill_child("a")
        await wait_all_tasks_blocked()
        assert set(states(supervisor).values()) == {State.RUNNING}
        assert supervisor.statistics().restarts == 3
        # After the failure of b a rest_for_one goes on from b, a one_for_all begins with a again.
        assert len(diary.births("a")) == (1 if strategy is Strategy.REST_FOR_ONE else 3)


@pytest.mark.parametrize("strategy", TOGETHER)
async def test_another_child_that_always_fails_in_the_restart_escalates(
    strategy: Strategy, diary: Diary
) -> None:
    first = ChildSpec(id="a", start=diary.script("a", [crashing()]))
    other = ChildSpec(id="b", start=diary.script("b", [diary.steady("b"), *[failing_to_start()] * 99]))

    with trio.fail_after(5), pytest.raises(RestartLimitReached) as caught:
        await Supervisor([first, other], strategy=strategy).run()

    assert caught.value.child == "b"


@pytest.mark.parametrize("strategy", TOGETHER)
async def test_a_sibling_that_ends_while_the_group_goes_down_is_not_restarted_twice(
    strategy: Strategy, autojump_clock: MockClock, diary: Diary
) -> None:
    slow = ChildSpec(id="slow", start=diary.polite("slow", leaves_after_s=3))
    children = [spec(diary, "a"), spec(diary, "b"), slow]
    supervisor = Supervisor(children, strategy=strategy, max_restarts=1)
    async with running(supervisor):
        supervisor.kill_child("a")
        await trio.sleep(1)
        supervisor.kill_child("b")
        await trio.sleep(10)
        assert set(states(supervisor).values()) == {State.RUNNING}
        assert len(diary.births("b")) == 2


@pytest.mark.parametrize("strategy", TOGETHER)
async def test_a_child_told_to_stand_still_is_started_with_its_group(
    strategy: Strategy, diary: Diary
) -> None:
    supervisor = Supervisor([spec(diary, name) for name in "abc"], strategy=strategy)
    async with running(supervisor):
        await supervisor.terminate_child("b")
        supervisor.kill_child("a")
        await wait_all_tasks_blocked()
        assert states(supervisor)["b"] is State.RUNNING


@pytest.mark.parametrize("strategy", Strategy)
async def test_a_child_that_ignores_its_restart_stands_still(strategy: Strategy, diary: Diary) -> None:
    script = [crashing(), failing_to_start(Ignore())]
    child = ChildSpec(id="b", start=diary.script("b", script))
    supervisor = Supervisor([spec(diary, "a"), child], strategy=strategy)
    async with running(supervisor):
        assert states(supervisor) == {"a": State.RUNNING, "b": State.STOPPED}


async def test_one_for_one_does_not_wait_for_a_restarted_child_to_come_up(diary: Diary) -> None:
    child = ChildSpec(id="a", start=diary.script("a", [crashing(), never_up]))
    supervisor = Supervisor([child, spec(diary, "b")])
    async with running(supervisor):
        assert states(supervisor) == {"a": State.STARTING, "b": State.RUNNING}
        supervisor.kill_child("b")
        await wait_all_tasks_blocked()
        assert len(diary.births("b")) == 2
        await supervisor.terminate_child("a")


@pytest.mark.parametrize("strategy", TOGETHER)
async def test_a_supervisor_can_be_stopped_while_a_group_restart_hangs(
    strategy: Strategy, diary: Diary, caplog: pytest.LogCaptureFixture
) -> None:
    child = ChildSpec(id="b", start=diary.script("b", [crashing(error=Oops()), never_up]))
    supervisor = Supervisor([spec(diary, "a"), child], strategy=strategy)
    with trio.fail_after(5):
        async with running(supervisor):
            assert states(supervisor)["b"] is State.STARTING
    assert "child_start_failed" not in caplog.messages


@pytest.mark.parametrize("strategy", Strategy)
async def test_callers_are_served_while_a_child_fails_to_start_over_and_over(
    strategy: Strategy, diary: Diary
) -> None:
    script = [crashing(), *[failing_to_start()] * 5000]
    child = ChildSpec(id="broken", start=diary.script("broken", script))
    supervisor = Supervisor([child], strategy=strategy, max_restarts=100_000)
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(supervisor.run)
            while len(diary.births("broken")) < 10:
                await trio.lowlevel.checkpoint()
            await supervisor.start_child(spec(diary, "a"))
            assert len(diary.births("broken")) < 1000
            await supervisor.terminate_child("broken")
            assert states(supervisor)["broken"] is State.STOPPED
            supervisor.stop()


async def test_thousands_of_temporary_children_come_and_go(diary: Diary) -> None:
    supervisor = Supervisor([spec(diary, "permanent")])
    go = trio.Event()

    async def until_go(life: Life) -> None:
        life.started()
        await go.wait()

    with trio.fail_after(30):
        async with running(supervisor):
            for n in range(3000):
                child = ChildSpec(id=n, start=until_go, restart=Restart.TEMPORARY)
                await supervisor.start_child(child)
            for n in range(0, 3000, 3):
                await supervisor.terminate_child(n)
            assert supervisor.count_children().active == 2001
            go.set()
            await wait_all_tasks_blocked()
            assert states(supervisor) == {"permanent": State.RUNNING}
