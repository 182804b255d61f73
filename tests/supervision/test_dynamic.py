"""Children that come and go: places, limits per child, hooks, requests."""

from contextvars import ContextVar

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from supervision import (
    AlreadyStarted,
    Backoff,
    ChildCounts,
    ChildNotFound,
    ChildSpec,
    ChildStartError,
    ChildType,
    DynamicSupervisor,
    Ignore,
    InvalidSpec,
    Killed,
    Life,
    MaxChildren,
    Restart,
    Shutdown,
    State,
    SupervisorNotRunning,
    lazy_cancel_scope,
)
from tests.supervision.children import (
    Diary,
    Faulty,
    Oops,
    crashing,
    failing_to_start,
    never_up,
    restarts,
    returning,
    running,
    spec,
    states,
)


@pytest.fixture(params=["late scopes", "own scopes"], autouse=True)
def ways_of_cancelling(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    assert lazy_cancel_scope.SUPPORTED, "trio has changed: read supervision/lazy_cancel_scope.py"
    monkeypatch.setattr(lazy_cancel_scope, "SUPPORTED", request.param == "late scopes")


async def test_spawning_returns_before_the_child_begins(diary: Diary) -> None:
    supervisor = DynamicSupervisor(max_children=2)
    async with running(supervisor):
        supervisor.spawn(spec(diary, "a"))
        assert diary.births() == []
        assert states(supervisor) == {"a": State.STARTING}
        await wait_all_tasks_blocked()
        assert states(supervisor) == {"a": State.RUNNING}


async def test_a_child_has_the_context_of_its_supervisor_not_of_who_asked() -> None:
    variable = ContextVar("variable", default="the supervisor's")
    seen = []

    async def child(life: Life) -> None:
        seen.append(variable.get())
        life.started()

    supervisor = DynamicSupervisor(max_children=2)
    async with running(supervisor):
        variable.set("the caller's")
        supervisor.spawn(ChildSpec(id="spawned", start=child))
        await supervisor.start_child(ChildSpec(id="started", start=child))
        supervisor.stop()
    assert seen[:2] == ["the supervisor's"] * 2


async def test_starting_waits_until_the_child_is_up(autojump_clock: MockClock) -> None:
    async def slow(life: Life) -> None:
        await trio.sleep(3)
        life.started()
        await trio.sleep_forever()

    supervisor = DynamicSupervisor(max_children=2)
    async with running(supervisor):
        began = trio.current_time()
        assert await supervisor.start_child(ChildSpec(id="a", start=slow))
        assert trio.current_time() - began == 3


@pytest.mark.parametrize("restart", Restart)
async def test_a_child_that_fails_its_awaited_start_is_not_kept(restart: Restart, diary: Diary) -> None:
    supervisor = DynamicSupervisor(max_children=1)
    error = Oops()
    async with running(supervisor):
        with pytest.raises(ChildStartError) as caught:
            await supervisor.start_child(ChildSpec(id="a", start=failing_to_start(error), restart=restart))
        assert (caught.value.child, caught.value.cause) == ("a", error)
        assert states(supervisor) == {}
        assert await supervisor.start_child(spec(diary, "a"))


async def test_a_child_that_returns_before_it_is_up_has_failed_its_awaited_start() -> None:
    async def mute(_: Life) -> None:
        await trio.lowlevel.checkpoint()

    supervisor = DynamicSupervisor(max_children=1)
    async with running(supervisor):
        with pytest.raises(ChildStartError):
            await supervisor.start_child(ChildSpec(id="a", start=mute))


async def test_a_child_that_ignores_its_start_is_forgotten() -> None:
    supervisor = DynamicSupervisor(max_children=1)
    async with running(supervisor):
        assert not await supervisor.start_child(ChildSpec(id="a", start=failing_to_start(Ignore())))
        supervisor.spawn(ChildSpec(id="a", start=failing_to_start(Ignore())))
        await wait_all_tasks_blocked()
        assert states(supervisor) == {}


async def test_a_child_that_ends_right_after_coming_up_has_started() -> None:
    supervisor = DynamicSupervisor(max_children=1)

    async def brief(life: Life) -> None:
        life.started()

    async with running(supervisor):
        assert await supervisor.start_child(ChildSpec(id="a", start=brief, restart=Restart.TEMPORARY))
        assert states(supervisor) == {}


async def test_a_spawned_child_that_fails_to_start_is_restarted_up_to_its_limit(diary: Diary) -> None:
    given_up: list[object] = []
    supervisor = DynamicSupervisor(max_children=1, on_given_up=lambda spec, _: given_up.append(spec.id))
    async with running(supervisor):
        start = diary.script("a", [failing_to_start()] * 99)
        supervisor.spawn(ChildSpec(id="a", start=start))
        await wait_all_tasks_blocked()
        assert len(diary.births("a")) == 4
        assert given_up == ["a"]


async def test_a_caller_that_is_cancelled_calls_its_child_off(autojump_clock: MockClock) -> None:
    supervisor = DynamicSupervisor(max_children=1)
    async with running(supervisor):
        with trio.move_on_after(3):
            await supervisor.start_child(ChildSpec(id="a", start=never_up))
        await wait_all_tasks_blocked()
        assert states(supervisor) == {}


async def test_a_child_terminated_before_it_is_up_has_failed_its_awaited_start() -> None:
    supervisor = DynamicSupervisor(max_children=1)
    async with running(supervisor):
        with pytest.RaisesGroup(ChildStartError):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(supervisor.start_child, ChildSpec(id="a", start=never_up))
                await wait_all_tasks_blocked()
                await supervisor.terminate_child("a")


async def test_an_awaited_start_fails_when_the_supervisor_stops() -> None:
    supervisor = DynamicSupervisor(max_children=1)
    with pytest.RaisesGroup(ChildStartError, flatten_subgroups=True):
        async with running(supervisor) as nursery:
            nursery.start_soon(supervisor.start_child, ChildSpec(id="a", start=never_up))
            await wait_all_tasks_blocked()


async def test_two_children_cannot_share_an_id(diary: Diary) -> None:
    supervisor = DynamicSupervisor(max_children=2)
    async with running(supervisor):
        supervisor.spawn(spec(diary, "a"))
        with pytest.raises(AlreadyStarted):
            supervisor.spawn(spec(diary, "a"))
        with pytest.raises(AlreadyStarted):
            await supervisor.start_child(spec(diary, "a"))


async def test_there_are_never_more_children_than_places(diary: Diary) -> None:
    supervisor = DynamicSupervisor(max_children=2)
    async with running(supervisor):
        supervisor.spawn(spec(diary, "a"))
        await supervisor.start_child(spec(diary, "b"))
        for _ in range(2):
            with pytest.raises(MaxChildren) as caught:
                supervisor.spawn(spec(diary, "c"))
            assert caught.value.max_children == 2
        await supervisor.terminate_child("a")
        supervisor.spawn(spec(diary, "c"))


async def test_a_child_between_two_lives_keeps_its_place(autojump_clock: MockClock, diary: Diary) -> None:
    backoff = Backoff(first_s=10, jitter=0)
    supervisor = DynamicSupervisor(max_children=1, backoff=backoff)
    async with running(supervisor):
        supervisor.spawn(ChildSpec(id="a", start=diary.script("a", [crashing()])))
        await trio.sleep(5)
        assert states(supervisor) == {"a": State.RESTARTING}
        assert supervisor.count_children() == ChildCounts(specs=1, active=0, supervisors=0, workers=1)
        with pytest.raises(MaxChildren):
            supervisor.spawn(spec(diary, "b"))
        await trio.sleep(6)
        assert supervisor.count_children().active == 1


async def test_places_are_exact_in_the_moment_of_a_restart(diary: Diary) -> None:
    supervisor = DynamicSupervisor(max_children=1)
    refused: list[bool] = []

    async def crowded(life: Life) -> None:
        life.started()
        try:
            supervisor.spawn(spec(diary, "intruder"))
        except MaxChildren:
            refused.append(True)
        raise Oops

    async with running(supervisor):
        supervisor.spawn(ChildSpec(id="a", start=crowded))
        await wait_all_tasks_blocked()
        assert refused == [True] * 4
        supervisor.spawn(spec(diary, "b"))


async def test_no_other_task_runs_between_a_crash_and_the_next_life(diary: Diary) -> None:
    order: list[str] = []

    async def crash_once(life: Life) -> None:
        life.started()
        order.append("life")
        if len(order) == 1:
            await wait_all_tasks_blocked()
            nursery.start_soon(bystander)
            raise Oops
        await trio.sleep_forever()

    async def bystander() -> None:
        order.append("bystander")

    supervisor = DynamicSupervisor(max_children=1)
    async with running(supervisor) as nursery:
        supervisor.spawn(ChildSpec(id="a", start=crash_once))
        await wait_all_tasks_blocked(0.01)
        assert order == ["life", "life", "bystander"]


async def test_a_child_in_a_crash_loop_is_given_up_alone(
    autojump_clock: MockClock, diary: Diary, caplog: pytest.LogCaptureFixture
) -> None:
    given_up: list[tuple[ChildSpec, BaseException]] = []
    supervisor = DynamicSupervisor(
        max_children=99, on_given_up=lambda child, reason: given_up.append((child, reason))
    )
    async with running(supervisor):
        for n in range(10):
            supervisor.spawn(spec(diary, n))
        error = Oops("again")
        faulty = ChildSpec(id="faulty", start=diary.script("faulty", [crashing(error=error)] * 99))
        supervisor.spawn(faulty)
        await wait_all_tasks_blocked()
        assert given_up == [(faulty, error)]
        assert len(diary.births("faulty")) == 4
        assert diary.ends() == []
        assert supervisor.count_children().specs == 10
        assert "child_given_up" in caplog.messages
        figures = supervisor.statistics()
        assert (figures.restarts, figures.crashes, figures.given_up) == (3, 4, 1)


async def test_each_child_has_a_limit_of_its_own(diary: Diary) -> None:
    supervisor = DynamicSupervisor(max_children=99)
    async with running(supervisor):
        for n in range(20):
            supervisor.spawn(ChildSpec(id=n, start=diary.script(n, [crashing()] * 3)))
        await wait_all_tasks_blocked()
        assert supervisor.statistics().restarts == 60
        assert restarts(supervisor) == dict.fromkeys(range(20), 3)


async def test_a_child_that_crashes_rarely_is_restarted_forever(autojump_clock: MockClock) -> None:
    child = Faulty(life_s=60)
    supervisor = DynamicSupervisor(max_children=1)
    async with running(supervisor):
        supervisor.spawn(ChildSpec(id="faulty", start=child))
        await trio.sleep(3600 - 1)

    assert len(child.births) == 60


async def test_a_permanent_child_that_keeps_returning_is_given_up_too(diary: Diary) -> None:
    reasons: list[BaseException] = []
    supervisor = DynamicSupervisor(max_children=1, on_given_up=lambda _, why: reasons.append(why))
    async with running(supervisor):
        supervisor.spawn(ChildSpec(id="a", start=returning))
        await wait_all_tasks_blocked()
        assert [type(reason) for reason in reasons] == [Shutdown]


async def test_a_killed_child_can_be_given_up(diary: Diary) -> None:
    reasons: list[BaseException] = []
    supervisor = DynamicSupervisor(
        max_children=1, max_restarts=0, on_given_up=lambda _, why: reasons.append(why)
    )
    async with running(supervisor):
        await supervisor.start_child(spec(diary, "a"))
        supervisor.kill_child("a")
        await wait_all_tasks_blocked()
        assert [type(reason) for reason in reasons] == [Killed]


async def test_a_hook_that_crashes_hurts_nobody(diary: Diary, caplog: pytest.LogCaptureFixture) -> None:
    def broken(_: ChildSpec, __: BaseException) -> None:
        raise Oops

    supervisor = DynamicSupervisor(max_children=2, max_restarts=0, on_given_up=broken)
    async with running(supervisor):
        supervisor.spawn(spec(diary, "b"))
        supervisor.spawn(ChildSpec(id="a", start=crashing()))
        await wait_all_tasks_blocked()
        assert states(supervisor) == {"b": State.RUNNING}
        assert "given_up_hook_crashed" in caplog.messages


@pytest.mark.parametrize("successor", ["a", "after a"])
async def test_a_hook_may_put_another_child_in_the_place(diary: Diary, successor: str) -> None:
    supervisor = DynamicSupervisor(
        max_children=1,
        max_restarts=0,
        on_given_up=lambda _, __: supervisor.spawn(spec(diary, successor)),
    )
    async with running(supervisor):
        supervisor.spawn(ChildSpec(id="a", start=crashing()))
        await wait_all_tasks_blocked()
        assert states(supervisor) == {successor: State.RUNNING}
        assert supervisor.count_children().specs == 1


async def test_a_child_is_terminated_whatever_it_is_doing(autojump_clock: MockClock, diary: Diary) -> None:
    async def in_a_scope(life: Life) -> None:
        with trio.move_on_after(1000), trio.CancelScope():
            await diary.steady("in a scope")(life)

    async def in_a_crowd(life: Life) -> None:
        async with trio.open_nursery() as outer, trio.open_nursery() as inner:
            outer.start_soon(trio.sleep_forever)
            inner.start_soon(diary.steady("in a crowd"), life)

    behaviours = {
        "parked": diary.steady("parked"),
        "never up": never_up,
        "in a scope": in_a_scope,
        "in a crowd": in_a_crowd,
    }
    supervisor = DynamicSupervisor(max_children=9)
    async with running(supervisor):
        supervisor.spawn(spec(diary, "bystander"))
        for name, start in behaviours.items():
            supervisor.spawn(ChildSpec(id=name, start=start))
        await wait_all_tasks_blocked()
        for name in behaviours:
            with trio.fail_after(1):
                await supervisor.terminate_child(name)
            assert name not in states(supervisor)
        assert states(supervisor) == {"bystander": State.RUNNING}
        assert sorted(map(str, diary.ends())) == ["in a crowd", "in a scope", "parked"]


async def test_a_child_is_killed_again_and_again_in_every_life(
    autojump_clock: MockClock, diary: Diary
) -> None:
    async def in_a_scope(life: Life) -> None:
        with trio.move_on_after(1000):
            await diary.steady("a")(life)

    supervisor = DynamicSupervisor(max_children=1)
    async with running(supervisor):
        supervisor.spawn(ChildSpec(id="a", start=in_a_scope))
        for _ in range(50):
            await trio.sleep(10)
            supervisor.kill_child("a")
        await trio.sleep(10)
        assert len(diary.births()) == 51
        assert states(supervisor) == {"a": State.RUNNING}


async def test_a_child_that_shields_itself_ends_when_the_shield_is_down(
    autojump_clock: MockClock, diary: Diary
) -> None:
    async def careful(life: Life) -> None:
        life.started()
        with trio.CancelScope(shield=True):
            await trio.sleep(5)
        await diary.steady("unshielded")(life)

    supervisor = DynamicSupervisor(max_children=1)
    async with running(supervisor):
        await supervisor.start_child(ChildSpec(id="a", start=careful))
        began = trio.current_time()
        await supervisor.terminate_child("a")
        assert trio.current_time() - began == 5
        assert diary.lines == [("born", "unshielded"), ("ended", "unshielded")]


async def test_a_child_can_be_ended_before_it_has_begun(diary: Diary) -> None:
    supervisor = DynamicSupervisor(max_children=2)
    async with running(supervisor):
        supervisor.spawn(spec(diary, "terminated"))
        supervisor.spawn(spec(diary, "killed"))
        supervisor.kill_child("killed")
        await supervisor.terminate_child("terminated")
        await wait_all_tasks_blocked()
        assert diary.births() == ["killed"]
        assert restarts(supervisor) == {"killed": 1}


async def test_a_child_waiting_for_its_restart_is_called_off(autojump_clock: MockClock, diary: Diary) -> None:
    supervisor = DynamicSupervisor(max_children=1, backoff=Backoff(first_s=10))
    async with running(supervisor):
        supervisor.spawn(ChildSpec(id="a", start=diary.script("a", [crashing()])))
        await trio.sleep(1)
        supervisor.kill_child("a")
        began = trio.current_time()
        await supervisor.terminate_child("a")
        assert trio.current_time() == began
        await trio.sleep(60)
        assert diary.births() == ["a"]


async def test_several_callers_may_terminate_the_same_child(autojump_clock: MockClock, diary: Diary) -> None:
    supervisor = DynamicSupervisor(max_children=1)
    async with running(supervisor):
        start = diary.polite("a", leaves_after_s=2)
        await supervisor.start_child(ChildSpec(id="a", start=start))
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(supervisor.terminate_child, "a")
        assert states(supervisor) == {}
        with pytest.raises(ChildNotFound):
            await supervisor.terminate_child("a")
        with pytest.raises(ChildNotFound):
            supervisor.kill_child("a")


async def test_a_stop_waits_for_polite_children_while_the_others_end_at_once(
    autojump_clock: MockClock, diary: Diary
) -> None:
    supervisor = DynamicSupervisor(max_children=9, backoff=Backoff(first_s=30))
    ended: dict[str, float] = {}

    async def plain(life: Life) -> None:
        try:
            await diary.steady("plain")(life)
        finally:
            ended["plain"] = trio.current_time()

    async with running(supervisor):
        supervisor.spawn(ChildSpec(id="plain", start=plain))
        supervisor.spawn(ChildSpec(id="waiting", start=crashing()))
        for name, leaves_after_s, shutdown_s in (("a", 2, 5), ("b", 60, 3), ("c", 60, 7)):
            start = diary.polite(name, leaves_after_s=leaves_after_s)
            await supervisor.start_child(ChildSpec(id=name, start=start, shutdown_s=shutdown_s))
        await trio.sleep(1)
        began = trio.current_time()
        supervisor.stop()
        await trio.sleep(1)
        with pytest.raises(SupervisorNotRunning):
            supervisor.spawn(spec(diary, "late"))
    assert ended["plain"] == began
    assert trio.current_time() - began == 7
    assert [name for what, name in diary.lines if what == "left"] == ["a"]
    assert diary.ends() == ["plain", "a", "b", "c"]


async def test_supervisors_are_counted_apart(diary: Diary) -> None:
    inner = DynamicSupervisor(max_children=1)
    supervisor = DynamicSupervisor(max_children=9)
    async with running(supervisor):
        supervisor.spawn(spec(diary, "a"))
        await supervisor.start_child(ChildSpec(id="b", start=inner.run, type=ChildType.SUPERVISOR))
        expected = ChildCounts(specs=2, active=2, supervisors=1, workers=1)
        assert supervisor.count_children() == expected
        await supervisor.terminate_child("b")
        assert supervisor.count_children().supervisors == 0


async def test_a_significant_child_is_refused() -> None:
    child = ChildSpec(id="a", start=returning, restart=Restart.TEMPORARY, significant=True)
    supervisor = DynamicSupervisor(max_children=1)
    async with running(supervisor):
        with pytest.raises(InvalidSpec):
            supervisor.spawn(child)


async def test_nothing_can_be_asked_before_and_after_a_run(diary: Diary) -> None:
    supervisor = DynamicSupervisor(max_children=1)
    for _ in range(2):
        with pytest.raises(SupervisorNotRunning):
            supervisor.spawn(spec(diary, "a"))
        with pytest.raises(ChildNotFound):
            await supervisor.terminate_child("a")
        supervisor.stop()
        async with running(supervisor):
            with pytest.raises(RuntimeError, match="already running"):
                await supervisor.run()
            supervisor.spawn(spec(diary, "a"))
        assert supervisor.count_children().specs == 0


async def test_a_restarted_life_may_trap_exits_anew(autojump_clock: MockClock, diary: Diary) -> None:
    supervisor = DynamicSupervisor(max_children=1)
    async with running(supervisor):
        await supervisor.start_child(ChildSpec(id="a", start=diary.polite("a", leaves_after_s=1)))
        supervisor.kill_child("a")
        await wait_all_tasks_blocked()
        await supervisor.terminate_child("a")
        assert diary.lines == [
            *[("born", "a"), ("ended", "a")],
            *[("born", "a"), ("left", "a"), ("ended", "a")],
        ]


async def test_every_run_may_begin_with_children_of_the_owners_choice(diary: Diary) -> None:
    supervisor = DynamicSupervisor(max_children=2, on_started=lambda: supervisor.spawn(spec(diary, "a")))
    for _ in range(2):
        async with running(supervisor):
            await wait_all_tasks_blocked()
            assert states(supervisor) == {"a": State.RUNNING}
    assert len(diary.births()) == 2
