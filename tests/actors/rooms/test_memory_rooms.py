"""Rooms as handlers, matches and the sweeper see them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import orjson
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from actors.core import ActorCrashed, Audiences, Registry
from actors.rooms import Condition, Kind, MemoryRooms, Page, Put, Record, Refusal, RoomTable, Sweeper
from actors.rooms.memory_rooms import INLINE_OFFERS
from actors.rooms.room import BATCH_BYTES, BATCH_EVENTS, Delete, Room
from tests.fakes.life import LoneLife

from .conftest import Listener, RoomsSetup

if TYPE_CHECKING:
    from trio.testing import MockClock


async def put(setup: RoomsSetup, room_id: str = "r", state: bytes = b"{}", **more: Any) -> Record:
    record = await setup.rooms.put(room_id, Put(state, **more))
    assert isinstance(record, Record)
    return record


async def refused(setup: RoomsSetup, room_id: str = "r", state: bytes = b"{}", **more: Any) -> Refusal:
    refusal = await setup.rooms.put(room_id, Put(state, **more))
    assert isinstance(refusal, Refusal)
    return refusal


def versions(listener: Listener) -> list[int]:
    return [orjson.loads(frame.split(b"data: ")[1])["version"] for frame in listener.got]


async def test_a_write_grows_the_version_by_one_and_keeps_the_epoch(setup: RoomsSetup) -> None:
    first = await put(setup, state=b'{"a":1}')
    second = await put(setup, state=b"[2]")
    assert (first.version, second.version) == (1, 2)
    assert first.epoch == second.epoch
    assert orjson.loads(second.body) == {
        "room_id": "r",
        "version": 2,
        "updated_at": "2026-02-02T02:40:00.000Z",
        "state": [2],
    }
    assert setup.rooms.get("r") == second


async def ids_of(setup: RoomsSetup, limit: int, cursor: str = "") -> list[str]:
    page = await setup.rooms.page(limit, cursor)
    assert isinstance(page, Page)
    return [row.room_id for row in page.rows]


async def test_rooms_live_apart(setup: RoomsSetup) -> None:
    await put(setup, "a")
    assert (await put(setup, "b")).version == 1
    assert await ids_of(setup, 1) == ["a"]
    assert await ids_of(setup, 5, "a") == ["b"]


@pytest.mark.parametrize(
    ("condition", "on_nothing", "on_version_1"),
    [
        (Condition(), True, True),
        (Condition(must_exist=True), False, True),
        (Condition(must_not_exist=True), True, False),
        (Condition(any_of=("1",)), False, True),
        (Condition(any_of=("2",)), False, False),
        (Condition(any_of=("other-1", "1")), False, True),
    ],
)
async def test_a_conditional_write_is_accepted_only_where_its_condition_holds(
    setup: RoomsSetup, condition: Condition, *, on_nothing: bool, on_version_1: bool
) -> None:
    new = await setup.rooms.put("new", Put(b"{}", condition))
    assert isinstance(new, Record) is on_nothing
    if not on_nothing:
        assert new == Refusal("version_mismatch", version=0)
    await put(setup, "old")
    old = await setup.rooms.put("old", Put(b"{}", condition))
    assert isinstance(old, Record) is on_version_1
    if not on_version_1:
        assert old == Refusal("version_mismatch", version=1)


async def test_the_entity_tag_of_another_life_of_the_room_does_not_match(setup: RoomsSetup) -> None:
    tag = (await put(setup)).etag
    await setup.rooms.delete("r")
    await put(setup)
    assert (await refused(setup, condition=Condition(any_of=(tag,)))).code == "version_mismatch"


async def test_a_secret_given_at_creation_is_needed_until_the_room_goes(setup: RoomsSetup) -> None:
    await put(setup, secret="s")
    assert (await refused(setup)).code == "forbidden"
    assert (await refused(setup, secret="wrong")).code == "forbidden"
    assert (await put(setup, secret="s")).version == 2
    assert await setup.rooms.delete("r") == Refusal("forbidden")
    assert await setup.rooms.delete("r", secret="s") is None
    assert (await put(setup)).version == 1


async def test_a_secret_given_later_locks_nobody_out(setup: RoomsSetup) -> None:
    await put(setup)
    assert await refused(setup, secret="late") == Refusal("room_exists")
    assert (await put(setup)).version == 2


async def test_limits_refuse_with_a_time_to_come_back_and_change_nothing(setup: RoomsSetup) -> None:
    for number in range(100):
        await put(setup, f"room{number}")
    refusal = await refused(setup, "one-too-many")
    assert (refusal.code, refusal.retry_after_s is not None) == ("too_many_rooms", True)
    assert (await put(setup, "room0")).version == 2
    refusal = await refused(setup, "room0", b'"' + b"x" * 100_000 + b'"')
    assert refusal.code == "too_much_state"
    assert setup.rooms.get("one-too-many") is None


async def test_bytes_are_counted_exactly(setup: RoomsSetup) -> None:
    await put(setup, "a", b'{"x":"long enough"}')
    await put(setup, "a", b"{}")
    await put(setup, "b", b"[]")
    await setup.rooms.delete("b")
    record = setup.rooms.get("a")
    assert record is not None
    assert setup.rooms.statistics().state_bytes == len(record.body)


async def test_a_listener_sees_the_record_and_then_every_write_once(setup: RoomsSetup) -> None:
    await put(setup)
    listener = Listener()
    record, event = setup.rooms.join("r", listener)
    listener.offer(event)
    assert record is not None
    await put(setup)
    await put(setup)
    await wait_all_tasks_blocked()
    assert versions(listener) == [1, 2, 3]
    setup.rooms.leave("r", listener)
    await put(setup)
    await wait_all_tasks_blocked()
    assert versions(listener) == [1, 2, 3]


async def test_a_listener_outlives_its_room(setup: RoomsSetup) -> None:
    listener = Listener()
    record, event = setup.rooms.join("r", listener)
    assert record is None
    listener.offer(event)
    await put(setup)
    await wait_all_tasks_blocked()
    await setup.rooms.delete("r")
    await put(setup)
    await wait_all_tasks_blocked()
    assert versions(listener) == [0, 1, 0, 1]
    epochs = [frame.split(b"id: ")[1].split(b"-")[0] for frame in listener.got]
    assert epochs[0] == epochs[2] == b"none"
    assert epochs[1] != epochs[3]


async def test_a_removed_room_leaves_no_task_and_no_name(setup: RoomsSetup) -> None:
    await put(setup)
    await setup.rooms.delete("r")
    await wait_all_tasks_blocked()
    assert setup.rooms.supervisor.count_children().active == 0
    assert setup.registry.whereis(("room", "r")) is None
    assert await setup.rooms.delete("r") == Refusal("room_not_found")


async def test_a_match_owns_its_room(setup: RoomsSetup) -> None:
    listener = Listener()
    await put(setup)
    setup.rooms.join("r", listener)
    taken = setup.rooms.publish("r", b'{"status":"ready"}')
    assert (taken.version, taken.kind) == (1, Kind.MATCH)
    assert setup.rooms.publish("r", b'{"status":"playing"}').version == 2
    assert (await refused(setup)).code == "room_is_authoritative"
    assert await setup.rooms.delete("r") == Refusal("room_is_authoritative")
    await wait_all_tasks_blocked()
    setup.rooms.remove("r")
    await wait_all_tasks_blocked()
    assert versions(listener)[-2:] == [2, 0]
    assert (await put(setup)).version == 1


async def test_the_sweep_takes_the_old_and_spares_the_young_and_the_matches(setup: RoomsSetup) -> None:
    listener = Listener()
    await put(setup, "old")
    setup.rooms.join("old", listener)
    setup.rooms.publish("match", b"{}")
    setup.advance(100)
    await put(setup, "young")
    assert await Sweeper(setup.rooms, ttl_s=50, interval_s=1).sweep() == 1
    await wait_all_tasks_blocked()
    assert sorted(setup.rooms.ids()) == ["match", "young"]
    assert versions(listener) == [0]
    assert (await put(setup, "old")).version == 1


class Wall:
    """A wall clock that somebody sets."""

    def __init__(self) -> None:
        self.wrong_by_s = 0.0

    def __call__(self) -> float:
        return 1_770_000_000.0 + trio.current_time() + self.wrong_by_s


@pytest.mark.parametrize("jump_s", [-86_400.0, -3_600.0, 3_600.0, 86_400.0, 1e9])
@pytest.mark.parametrize("lasts_s", [60.0, math.inf])
async def test_a_wall_clock_that_jumps_removes_no_room_early_and_keeps_none_for_long(
    jump_s: float, lasts_s: float, autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    wall = Wall()
    registry = Registry(Audiences(max_members=10))
    rooms = MemoryRooms(
        RoomTable(max_rooms=100, max_bytes=100_000),
        registry,
        max_tasks=100,
        clock=wall,
        steady=trio.current_time,
    )
    nursery.start_soon(rooms.run, LoneLife())
    nursery.start_soon(Sweeper(rooms, ttl_s=600, interval_s=30).run, LoneLife())
    await wait_all_tasks_blocked()
    written_at: dict[str, float] = {}
    for second in range(0, 1500, 10):
        if second == 300:
            wall.wrong_by_s = jump_s
        if second == 300 + lasts_s:
            wall.wrong_by_s = 0
        room_id = f"r{second}"
        assert isinstance(await rooms.put(room_id, Put(b"{}")), Record)
        written_at[room_id] = trio.current_time()
        await trio.sleep(10)
        for each, at_s in written_at.items():
            age_s = trio.current_time() - at_s
            if age_s <= 600:
                assert rooms.get(each) is not None, f"{each} went at {age_s} s"
            elif age_s > 600 + 30 + 2:
                assert rooms.get(each) is None, f"{each} is still there at {age_s} s"
    nursery.cancel_scope.cancel()


async def test_a_room_is_as_young_as_its_last_write(setup: RoomsSetup) -> None:
    await put(setup)
    setup.advance(100)
    await put(setup)
    assert await Sweeper(setup.rooms, ttl_s=50, interval_s=1).sweep() == 0
    setup.advance(50)
    assert await Sweeper(setup.rooms, ttl_s=50, interval_s=1).sweep() == 0
    setup.advance(1)
    assert await Sweeper(setup.rooms, ttl_s=50, interval_s=1).sweep() == 1


async def test_a_write_that_overtakes_the_sweep_saves_the_room(setup: RoomsSetup) -> None:
    await put(setup)
    setup.advance(100)
    assert setup.rooms.expire("r", setup.clock.now_s - 50)
    setup.table.write("r", b"{}", now_s=setup.clock.now_s)
    await wait_all_tasks_blocked()
    assert setup.rooms.get("r") is not None


def crash(setup: RoomsSetup, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the next fan-out fail."""

    def fail(*_args: object) -> None:
        monkeypatch.undo()
        raise RuntimeError("fault")

    monkeypatch.setattr(setup.registry.audiences, "broadcast", fail)


async def test_a_room_that_crashes_comes_back_with_its_last_record(
    setup: RoomsSetup, monkeypatch: pytest.MonkeyPatch
) -> None:
    await put(setup)
    listener = Listener()
    setup.rooms.join("r", listener)
    crash(setup, monkeypatch)
    # Answered before its fan-out, in which the room crashes; the next life finishes it.
    assert (await put(setup)).version == 2
    await wait_all_tasks_blocked()
    assert versions(listener) == [2]
    assert (await put(setup)).version == 3


async def test_the_write_under_way_in_a_crash_is_said_to_be_uncertain(
    setup: RoomsSetup, monkeypatch: pytest.MonkeyPatch
) -> None:
    await put(setup)

    def fail(*_args: object, **_more: object) -> None:
        monkeypatch.undo()
        raise RuntimeError("fault")

    monkeypatch.setattr(setup.table, "write", fail)
    with pytest.raises(ActorCrashed):
        await setup.rooms.put("r", Put(b"{}"))
    assert (await put(setup)).version == 2


async def test_a_room_that_crashes_too_often_is_left_alone_and_then_goes_on(
    setup: RoomsSetup, autojump_clock: MockClock
) -> None:
    record = await put(setup)
    for _ in range(4):
        setup.rooms.supervisor.kill_child("r")
        await wait_all_tasks_blocked()
    refusal = await refused(setup)
    assert (refusal.code, refusal.retry_after_s) == ("room_down", 1)
    assert setup.rooms.get("r") == record
    await trio.sleep(1.1)
    assert (await put(setup)).version == 2
    for _ in range(4):
        setup.rooms.supervisor.kill_child("r")
        await wait_all_tasks_blocked()
    assert (await refused(setup)).retry_after_s == 2
    assert (await put(setup, "other")).version == 1
    assert setup.rooms.statistics().down == 1


async def test_when_all_rooms_lose_their_tasks_listeners_still_get_the_newest(
    setup: RoomsSetup, nursery: trio.Nursery
) -> None:
    await put(setup)
    listener = Listener()
    setup.rooms.join("r", listener)
    setup.scope.cancel()
    await wait_all_tasks_blocked()
    assert (await refused(setup)).code == "busy"
    setup.table.write("r", b"{}", now_s=setup.clock.now_s)
    nursery.start_soon(setup.live, LoneLife())
    await wait_all_tasks_blocked()
    assert versions(listener) == [2]
    assert (await put(setup)).version == 3


async def test_writes_from_many_at_once_are_all_counted(setup: RoomsSetup) -> None:
    async with trio.open_nursery() as writers:
        for _ in range(100):
            writers.start_soon(setup.rooms.put, "r", Put(b"{}"))
    record = setup.rooms.get("r")
    assert record is not None
    assert record.version == 100


async def test_a_room_with_nothing_to_do_is_written_without_waiting(setup: RoomsSetup) -> None:
    assert not setup.rooms.can_put_inline("r")
    first = await put(setup)
    await wait_all_tasks_blocked()
    listener = Listener()
    setup.rooms.join("r", listener)
    assert setup.rooms.can_put_inline("r")
    record = setup.rooms.put_inline("r", Put(b"[1]"))
    assert record == setup.rooms.get("r")
    assert (first.version, versions(listener)) == (1, [2])
    assert setup.rooms.put_inline("r", Put(b"[2]", Condition(any_of=("1",)))) == Refusal(
        "version_mismatch", version=2
    )
    assert setup.rooms.statistics().writes == 2


async def test_a_room_with_many_listeners_is_left_to_its_task(setup: RoomsSetup) -> None:
    await put(setup)
    await wait_all_tasks_blocked()
    listeners = [Listener() for _ in range(INLINE_OFFERS + 1)]
    for listener in listeners:
        setup.rooms.join("r", listener)
    assert not setup.rooms.can_put_inline("r")
    setup.rooms.leave("r", listeners[0])
    assert setup.rooms.can_put_inline("r")


async def test_while_something_waits_for_its_task_a_room_is_not_at_leisure(setup: RoomsSetup) -> None:
    setup.rooms.publish("m", b"{}")
    assert not setup.rooms.can_put_inline("m")
    await wait_all_tasks_blocked()
    assert setup.rooms.can_put_inline("m")
    await put(setup)
    await wait_all_tasks_blocked()
    assert setup.rooms.can_put_inline("r")
    setup.advance(10)
    assert setup.rooms.expire("r", setup.clock.now_s)
    assert not setup.rooms.can_put_inline("r")
    await wait_all_tasks_blocked()
    assert not setup.rooms.can_put_inline("r")


async def test_a_room_whose_task_has_ended_is_not_at_leisure(setup: RoomsSetup) -> None:
    await put(setup)
    await wait_all_tasks_blocked()
    setup.rooms.supervisor.kill_child("r", "a test")
    await wait_all_tasks_blocked()
    assert not setup.rooms.can_put_inline("r")
    assert (await put(setup)).version == 2
    await wait_all_tasks_blocked()
    assert setup.rooms.can_put_inline("r")


async def test_a_crash_in_a_write_at_once_loses_nothing_and_starts_a_new_life(
    setup: RoomsSetup, monkeypatch: pytest.MonkeyPatch
) -> None:
    await put(setup)
    await wait_all_tasks_blocked()
    listener = Listener()
    setup.rooms.join("r", listener)
    lives = setup.rooms.supervisor.statistics().restarts
    write = RoomTable.write

    def write_and_fail(*args: Any, **more: Any) -> None:
        write(*args, **more)
        raise OSError

    with monkeypatch.context() as broken:
        broken.setattr(RoomTable, "write", write_and_fail)
        with pytest.raises(ActorCrashed):
            setup.rooms.put_inline("r", Put(b"[1]"))
    assert not setup.rooms.can_put_inline("r")
    assert (await put(setup)).version == 3
    assert versions(listener) == [2, 3]
    assert setup.rooms.supervisor.statistics().restarts == lives + 1


async def heard(setup: RoomsSetup) -> tuple[Room, Listener]:
    """A room of version 1 that has nothing to do, and a listener who has heard nothing yet."""
    await put(setup)
    await wait_all_tasks_blocked()
    listener = Listener()
    setup.rooms.join("r", listener)
    room = setup.registry.whereis(("room", "r"))
    assert isinstance(room, Room)
    return room, listener


@pytest.mark.parametrize(("writes", "goes"), [(1, 1), (5, 1), (BATCH_EVENTS, 1), (40, 3)])
async def test_writes_that_wait_together_are_told_in_one_go_and_none_is_left_out(
    setup: RoomsSetup, writes: int, goes: int
) -> None:
    room, listener = await heard(setup)
    for number in range(writes):
        room.cast(Put(b"[%d]" % number))
    await wait_all_tasks_blocked()
    assert versions(listener) == list(range(2, writes + 2))
    assert listener.goes == goes


async def test_large_writes_are_told_one_by_one(setup: RoomsSetup) -> None:
    room, listener = await heard(setup)
    for _ in range(3):
        room.cast(Put(b'["%b"]' % (b"x" * BATCH_BYTES)))
    await wait_all_tasks_blocked()
    assert (versions(listener), listener.goes) == ([2, 3, 4], 3)


async def test_what_ends_a_row_of_writes_is_told_after_them(setup: RoomsSetup) -> None:
    room, listener = await heard(setup)
    room.cast(Put(b"[1]"))
    room.cast(Put(b"[2]", Condition(any_of=("1",))))
    await wait_all_tasks_blocked()
    assert versions(listener) == [2]
    room.cast(Put(b"[3]"))
    room.cast(Delete(None))
    await wait_all_tasks_blocked()
    assert versions(listener) == [2, 3, 0]
