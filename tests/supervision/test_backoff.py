"""Delays before restarts, and supervisors that never give up."""

import pytest
import trio
from trio.testing import MockClock

from supervision import (
    Backoff,
    ChildSpec,
    DynamicSupervisor,
    Life,
    RestartLimitReached,
    State,
    Strategy,
    Supervisor,
)
from tests.supervision.children import Behaviour, Diary, crashing, failing_to_start, running, spec, states

DOUBLING = Backoff(first_s=1, factor=2, ceiling_s=8, jitter=0)


async def births_within(seconds: float, behaviour: Behaviour, *, dynamic: bool) -> list[float]:
    """When lives of a child begin that always ends the same bad way."""
    births: list[float] = []
    began = trio.current_time()

    async def live(life: Life) -> None:
        births.append(trio.current_time() - began)
        await behaviour(life)

    child = ChildSpec(id="a", start=live)
    supervisor: Supervisor | DynamicSupervisor
    if dynamic:
        supervisor = DynamicSupervisor(max_children=1, max_restarts=None, backoff=DOUBLING)
    else:
        supervisor = Supervisor([child], max_restarts=None, backoff=DOUBLING)
    async with running(supervisor):
        if isinstance(supervisor, DynamicSupervisor):
            supervisor.spawn(child)
        await trio.sleep(seconds)
    return births


both = pytest.mark.parametrize("dynamic", [False, True], ids=["static", "dynamic"])


@both
async def test_restarts_come_later_and_later_up_to_a_ceiling(
    dynamic: bool, autojump_clock: MockClock
) -> None:
    births = await births_within(40, crashing(), dynamic=dynamic)

    assert births == pytest.approx([0, 1, 3, 7, 15, 23, 31, 39])


@both
async def test_a_long_life_begins_the_row_of_delays_anew(dynamic: bool, autojump_clock: MockClock) -> None:
    births = await births_within(40, crashing(life_s=10), dynamic=dynamic)

    assert births == pytest.approx([0, 11, 22, 33])


async def test_a_child_that_fails_in_its_restart_waits_like_any_other(
    autojump_clock: MockClock, diary: Diary
) -> None:
    script = [crashing(), failing_to_start(), failing_to_start()]
    supervisor = Supervisor([ChildSpec(id="a", start=diary.script("a", script))], backoff=DOUBLING)
    async with running(supervisor):
        await trio.sleep(6.9)
        assert states(supervisor) == {"a": State.RESTARTING}
        await trio.sleep(0.2)
        assert states(supervisor) == {"a": State.RUNNING}


async def test_a_limit_holds_beside_a_backoff(autojump_clock: MockClock) -> None:
    supervisor = Supervisor(
        [ChildSpec(id="a", start=crashing())], max_restarts=3, max_seconds=60, backoff=DOUBLING
    )
    began = trio.current_time()

    with pytest.raises(RestartLimitReached):
        await supervisor.run()

    assert trio.current_time() - began == 7


async def test_a_supervisor_that_never_gives_up_runs_for_weeks(
    autojump_clock: MockClock, diary: Diary
) -> None:
    hourly = Backoff(first_s=1, factor=10, ceiling_s=3600, jitter=0)
    broken = ChildSpec(id="broken", start=diary.script("broken", [crashing()] * 9999))
    supervisor = Supervisor([broken, spec(diary, "b")], max_restarts=None, backoff=hourly)
    async with running(supervisor):
        await trio.sleep(14 * 24 * 3600)
        assert len(diary.births("broken")) > 300
        assert diary.births("b") == ["b"]


@pytest.mark.parametrize("strategy", Strategy)
async def test_a_group_goes_down_at_once_and_comes_up_together(
    strategy: Strategy, autojump_clock: MockClock, diary: Diary
) -> None:
    child = ChildSpec(id="b", start=diary.script("b", [crashing(life_s=5)]))
    supervisor = Supervisor([spec(diary, "a"), child, spec(diary, "c")], strategy=strategy, backoff=DOUBLING)
    down = {Strategy.ONE_FOR_ONE: "", Strategy.ONE_FOR_ALL: "ac", Strategy.REST_FOR_ONE: "c"}[strategy]
    async with running(supervisor):
        await trio.sleep(5.5)
        assert [name for name, state in states(supervisor).items() if state is State.STOPPED] == list(down)
        assert states(supervisor)["b"] is State.RESTARTING
        await trio.sleep(1)
        assert set(states(supervisor).values()) == {State.RUNNING}


@both
async def test_a_child_waiting_for_its_restart_does_not_hold_up_a_stop(
    dynamic: bool, autojump_clock: MockClock
) -> None:
    began = trio.current_time()
    await births_within(5, crashing(), dynamic=dynamic)
    assert trio.current_time() - began == 5


async def test_jitter_keeps_children_that_died_together_from_coming_back_together(
    autojump_clock: MockClock,
) -> None:
    births: list[float] = []

    async def short(life: Life) -> None:
        births.append(trio.current_time())
        await crashing()(life)

    backoff = Backoff(first_s=100, ceiling_s=100, jitter=0.5)
    supervisor = DynamicSupervisor(max_children=50, max_restarts=1, max_seconds=1000, backoff=backoff)
    async with running(supervisor):
        for n in range(50):
            supervisor.spawn(ChildSpec(id=n, start=short))
        await trio.sleep(300)
    second = sorted(birth - births[0] for birth in births[50:])

    assert len(set(second)) == 50
    assert second[0] >= 50
    assert second[-1] <= 100
