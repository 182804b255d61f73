"""A supervisor whose significant children have ended may end itself (OTP: auto_shutdown)."""

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from supervision import AutoShutdown, ChildSpec, Ignore, Life, Restart, Shutdown, State, Strategy, Supervisor
from tests.supervision.children import Diary, crashing, failing_to_start, returning, running, spec, states

ANY, ALL = AutoShutdown.ANY_SIGNIFICANT, AutoShutdown.ALL_SIGNIFICANT


def significant(name: str, life_s: float, restart: Restart = Restart.TRANSIENT) -> ChildSpec:
    """A child that ends normally after a while."""

    async def live(life: Life) -> None:
        life.started()
        await trio.sleep(life_s)

    return ChildSpec(id=name, start=live, restart=restart, significant=True)


async def ends_after(supervisor: Supervisor) -> float:
    began = trio.current_time()
    with pytest.raises(Shutdown, match="auto_shutdown"):
        await supervisor.run()
    return trio.current_time() - began


async def test_never_is_the_default(autojump_clock: MockClock, diary: Diary) -> None:
    child = ChildSpec(id="a", start=returning, restart=Restart.TRANSIENT)
    async with running(Supervisor([child, spec(diary, "b")])):
        await trio.sleep(60)
        assert diary.ends() == []


@pytest.mark.parametrize("restart", [Restart.TRANSIENT, Restart.TEMPORARY])
async def test_any_significant_child_that_ends_takes_everybody_along(
    restart: Restart, autojump_clock: MockClock, diary: Diary
) -> None:
    children = [spec(diary, "a"), significant("b", 10, restart), significant("c", 20), spec(diary, "d")]

    assert await ends_after(Supervisor(children, auto_shutdown=ANY)) == 10
    assert diary.ends() == ["d", "a"]


async def test_all_significant_children_must_have_ended(autojump_clock: MockClock, diary: Diary) -> None:
    children = [spec(diary, "a"), significant("b", 10), significant("c", 20, Restart.TEMPORARY)]

    assert await ends_after(Supervisor(children, auto_shutdown=ALL)) == 20
    assert diary.ends() == ["a"]


@pytest.mark.parametrize("auto_shutdown", [ANY, ALL])
async def test_the_end_of_an_insignificant_child_means_nothing(
    auto_shutdown: AutoShutdown, autojump_clock: MockClock
) -> None:
    child = ChildSpec(id="a", start=returning, restart=Restart.TEMPORARY)

    assert await ends_after(Supervisor([child, significant("b", 30)], auto_shutdown=auto_shutdown)) == 30


@pytest.mark.parametrize("auto_shutdown", [ANY, ALL])
async def test_a_significant_child_that_is_restarted_has_not_ended(
    auto_shutdown: AutoShutdown, autojump_clock: MockClock, diary: Diary
) -> None:
    start = diary.script("a", [crashing()])
    child = ChildSpec(id="a", start=start, restart=Restart.TRANSIENT, significant=True)
    supervisor = Supervisor([child], auto_shutdown=auto_shutdown)
    async with running(supervisor):
        await trio.sleep(60)
        assert states(supervisor) == {"a": State.RUNNING}


async def test_the_crash_of_a_significant_temporary_child_is_an_end(autojump_clock: MockClock) -> None:
    child = ChildSpec(id="a", start=crashing(life_s=3), restart=Restart.TEMPORARY, significant=True)

    assert await ends_after(Supervisor([child], auto_shutdown=ANY)) == 3


@pytest.mark.parametrize("auto_shutdown", [ANY, ALL])
async def test_terminating_a_significant_child_by_request_means_nothing(
    auto_shutdown: AutoShutdown, autojump_clock: MockClock
) -> None:
    supervisor = Supervisor([significant("a", 1000)], auto_shutdown=auto_shutdown)
    async with running(supervisor):
        await supervisor.terminate_child("a")
        await trio.sleep(60)
        assert supervisor.is_running


@pytest.mark.parametrize("auto_shutdown", [ANY, ALL])
async def test_a_significant_child_that_ignores_its_start_means_nothing(
    auto_shutdown: AutoShutdown, autojump_clock: MockClock
) -> None:
    start = failing_to_start(Ignore())
    child = ChildSpec(id="a", start=start, restart=Restart.TRANSIENT, significant=True)
    async with running(Supervisor([child], auto_shutdown=auto_shutdown)) as nursery:
        await trio.sleep(60)
        assert len(nursery.child_tasks) == 1


async def test_a_significant_bystander_taken_down_by_its_strategy_means_nothing(diary: Diary) -> None:
    bystander = ChildSpec(
        id="b", start=diary.steady("b"), restart=Restart.TEMPORARY, significant=True, shutdown_s=1
    )
    children = [spec(diary, "a"), bystander]
    supervisor = Supervisor(children, strategy=Strategy.ONE_FOR_ALL, auto_shutdown=ANY)
    async with running(supervisor):
        supervisor.kill_child("a")
        await wait_all_tasks_blocked()
        assert states(supervisor) == {"a": State.RUNNING}


async def test_a_nested_supervisor_that_shuts_down_automatically_ends_like_a_shutdown(
    autojump_clock: MockClock, diary: Diary
) -> None:
    inner = Supervisor([significant("a", 10)], auto_shutdown=ANY)
    nested = ChildSpec(id="inner", start=inner.run, restart=Restart.TRANSIENT)
    outer = Supervisor([nested, spec(diary, "b")])
    async with running(outer):
        await trio.sleep(60)
        assert states(outer) == {"inner": State.STOPPED, "b": State.RUNNING}
        assert outer.which_children()[0].last_reason == "Shutdown('auto_shutdown')"
