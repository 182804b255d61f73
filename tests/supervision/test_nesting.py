"""Supervisors under supervisors: starts and failures go up, stops go down, pictures show it all."""

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from supervision import (
    ChildSpec,
    ChildStartError,
    ChildType,
    DynamicSupervisor,
    Life,
    Node,
    Restart,
    RestartLimitReached,
    State,
    Supervisor,
    snapshot,
)
from tests.supervision.children import Diary, crashing, failing_to_start, restarts, running, spec, states


def nest(id: str, supervisor: Supervisor | DynamicSupervisor) -> ChildSpec:
    return ChildSpec(id=id, start=supervisor.run, type=ChildType.SUPERVISOR)


def outline(node: Node) -> object:
    """The picture without its figures."""
    return {node.id: [outline(child) for child in node.children]} if node.counts else node.id


async def test_a_tree_starts_depth_first_and_stops_in_reverse(diary: Diary) -> None:
    left = Supervisor([spec(diary, "a"), spec(diary, "b")])
    right = Supervisor([spec(diary, "c"), spec(diary, "d")])
    async with running(Supervisor([nest("left", left), spec(diary, "middle"), nest("right", right)])):
        assert diary.births() == ["a", "b", "middle", "c", "d"]
    assert diary.ends() == ["d", "c", "middle", "b", "a"]


async def test_a_stop_reaches_polite_children_at_the_bottom(autojump_clock: MockClock, diary: Diary) -> None:
    dynamic = DynamicSupervisor(max_children=9)
    async with running(Supervisor([nest("inner", Supervisor([nest("dynamic", dynamic)]))])):
        for name, leaves_after_s in (("quick", 1), ("slow", 4), ("too slow", 60)):
            start = diary.polite(name, leaves_after_s=leaves_after_s)
            await dynamic.start_child(ChildSpec(id=name, start=start, shutdown_s=5))
        began = trio.current_time()
    assert trio.current_time() - began == 5
    assert [name for what, name in diary.lines if what == "left"] == ["quick", "slow"]


async def test_a_failing_first_start_rolls_back_the_whole_tree(diary: Diary) -> None:
    inner = Supervisor([spec(diary, "b"), ChildSpec(id="broken", start=failing_to_start())])

    with pytest.raises(ChildStartError) as caught:
        await Supervisor([spec(diary, "a"), nest("inner", inner)]).run()

    assert caught.value.child == "inner"
    assert isinstance(caught.value.cause, ChildStartError)
    assert diary.ends() == ["b", "a"]


async def test_a_branch_that_gives_up_is_begun_afresh_by_the_one_above(
    autojump_clock: MockClock, diary: Diary
) -> None:
    faulty = ChildSpec(id="faulty", start=diary.script("faulty", [crashing()] * 4))
    outer = Supervisor([nest("inner", Supervisor([spec(diary, "a"), faulty])), spec(diary, "b")])
    async with running(outer):
        assert restarts(outer) == {"inner": 1, "b": 0}
        assert len(diary.births("faulty")) == 5
        assert len(diary.births("a")) == 2
        assert diary.births("b") == ["b"]


async def test_trouble_that_never_ends_climbs_to_the_top(autojump_clock: MockClock, diary: Diary) -> None:
    faulty = ChildSpec(id="faulty", start=diary.script("faulty", [crashing()] * 999))
    inner = Supervisor([faulty], max_restarts=1)

    with pytest.raises(RestartLimitReached) as caught:
        await Supervisor([spec(diary, "a"), nest("inner", inner)], max_restarts=2).run()

    assert caught.value.child == "inner"
    assert len(diary.births("faulty")) == 2 * 3
    assert diary.ends("a") == ["a"]


async def test_a_transient_branch_that_gives_up_stays_down(diary: Diary) -> None:
    faulty = ChildSpec(id="faulty", start=crashing())
    inner = ChildSpec(id="inner", start=Supervisor([faulty]).run, restart=Restart.TRANSIENT)
    outer = Supervisor([inner, spec(diary, "b")])
    async with running(outer):
        assert states(outer) == {"inner": State.STOPPED, "b": State.RUNNING}


async def test_killing_a_branch_ends_everything_below_it_and_begins_it_again(diary: Diary) -> None:
    dynamic = DynamicSupervisor(max_children=3)
    outer = Supervisor([nest("inner", Supervisor([spec(diary, "a"), nest("dynamic", dynamic)]))])
    async with running(outer):
        dynamic.spawn(spec(diary, "guest"))
        await wait_all_tasks_blocked()
        outer.kill_child("inner")
        await wait_all_tasks_blocked()
        assert diary.births() == ["a", "guest", "a"]
        assert sorted(map(str, diary.ends())) == ["a", "guest"]
        assert dynamic.is_running
        assert dynamic.count_children().specs == 0


async def test_a_branch_told_to_stop_while_it_starts_leaves_nothing_behind(
    autojump_clock: MockClock, diary: Diary
) -> None:
    async def slow(_: Life) -> None:
        await trio.sleep(60)

    inner = Supervisor([spec(diary, "a"), ChildSpec(id="slow", start=slow)])
    outer = Supervisor([])
    async with running(outer) as nursery:
        nursery.start_soon(outer.start_child, ChildSpec(id="x", start=diary.steady("x")))
        await wait_all_tasks_blocked()
        with pytest.RaisesGroup(ChildStartError):
            async with trio.open_nursery() as callers:
                callers.start_soon(outer.start_child, nest("inner", inner))
                await trio.sleep(1)
                outer.stop()
    assert diary.ends() == ["a", "x"]


async def test_a_picture_shows_the_tree_with_its_figures(autojump_clock: MockClock, diary: Diary) -> None:
    dynamic = DynamicSupervisor(max_children=9)
    inner = Supervisor([spec(diary, "a"), nest("dynamic", dynamic)])
    root = Supervisor([nest("inner", inner), spec(diary, "b")])
    assert snapshot(root).state is State.STOPPED
    async with running(root):
        dynamic.spawn(spec(diary, "guest"))
        await trio.sleep(7)
        inner.kill_child("a", "drill")
        await trio.sleep(1)

        picture = snapshot(root, id="top")
        assert outline(picture) == {"top": [{"inner": ["a", {"dynamic": ["guest"]}]}, "b"]}
        top, a = picture.children[0], picture.children[0].children[0]
        assert (top.type, top.state, top.age_s) == (ChildType.SUPERVISOR, State.RUNNING, 8)
        assert (a.restarts, a.last_reason, a.age_s) == (1, "Killed('drill')", 1)
        assert a.counts is None


async def test_a_picture_follows_a_supervisor_made_anew_in_every_life(diary: Diary) -> None:
    async def fresh(life: Life) -> None:
        await Supervisor([spec(diary, "a")]).run(life)

    root = Supervisor([ChildSpec(id="inner", start=fresh, type=ChildType.SUPERVISOR)])
    async with running(root):
        root.kill_child("inner")
        await wait_all_tasks_blocked()
        assert outline(snapshot(root)) == {"root": [{"inner": ["a"]}]}
        await root.terminate_child("inner")
        assert outline(snapshot(root)) == {"root": ["inner"]}


class Forwarding:
    """A handle that adds something of its own to the one it forwards to."""

    def __init__(self, life: Life) -> None:
        self._life = life

    def started(self) -> None:
        self._life.started()

    def trap_exit(self) -> trio.Event:
        return self._life.trap_exit()


@pytest.mark.parametrize("below", ["static", "dynamic"])
@pytest.mark.parametrize("above", ["static", "dynamic"])
async def test_a_supervisor_behind_a_wrapped_life_is_in_the_picture(
    diary: Diary, above: str, below: str
) -> None:
    inner: Supervisor | DynamicSupervisor
    inner = Supervisor([spec(diary, "a")]) if below == "static" else DynamicSupervisor(max_children=9)

    async def wrapped(life: Life) -> None:
        await inner.run(Forwarding(life))

    inside = ChildSpec(id="inner", start=wrapped, type=ChildType.SUPERVISOR)
    root: Supervisor | DynamicSupervisor
    root = Supervisor([inside]) if above == "static" else DynamicSupervisor(max_children=9)
    async with running(root):
        if isinstance(root, DynamicSupervisor):
            await root.start_child(inside)
        if isinstance(inner, DynamicSupervisor):
            await inner.start_child(spec(diary, "a"))
        assert outline(snapshot(root)) == {"root": [{"inner": ["a"]}]}
        root.kill_child("inner")
        await wait_all_tasks_blocked()
        children = ["a"] if below == "static" else []
        assert outline(snapshot(root)) == {"root": [{"inner": children}]}
    assert outline(snapshot(root)) == {"root": []}


async def test_a_picture_lists_so_many_children_and_counts_them_all(diary: Diary) -> None:
    dynamic = DynamicSupervisor(max_children=5000)
    async with running(dynamic):
        for n in range(5000):
            dynamic.spawn(spec(diary, n))
        await wait_all_tasks_blocked()
        picture = snapshot(dynamic, max_children_listed=10)
        assert [node.id for node in picture.children] == list(range(10))
        assert picture.counts == dynamic.count_children()
        assert dynamic.count_children().active == 5000
