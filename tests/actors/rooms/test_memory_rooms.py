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

from .conftest import House, Listener

if TYPE_CHECKING:
    from trio.testing import MockClock


async def put(house: House, room_id: str = "r", state: bytes = b"{}", **more: Any) -> Record:
    record = await house.rooms.put(room_id, Put(state, **more))
    assert isinstance(record, Record)
    return record


async def refused(house: House, room_id: str = "r", state: bytes = b"{}", **more: Any) -> Refusal:
    refusal = await house.rooms.put(room_id, Put(state, **more))
    assert isinstance(refusal, Refusal)
    return refusal


def versions(listener: Listener) -> list[int]:
    return [orjson.loads(frame.split(b"data: ")[1])["version"] for frame in listener.got]


async def test_a_write_grows_the_version_by_one_and_keeps_the_epoch(house: House) -> None:
    first = await put(house, state=b'{"a":1}')
    second = await put(house, state=b"[2]")
    assert (first.version, second.version) == (1, 2)
    assert first.epoch == second.epoch
    assert orjson.loads(second.body) == {
        "room_id": "r",
        "version": 2,
        "updated_at": "2026-02-02T02:40:00.000Z",
        "state": [2],
    }
    assert house.rooms.get("r") == second


async def ids_of(house: House, limit: int, cursor: str = "") -> list[str]:
    page = await house.rooms.page(limit, cursor)
    assert isinstance(page, Page)
    return [row.room_id for row in page.rows]


async def test_rooms_live_apart(house: House) -> None:
    await put(house, "a")
    assert (await put(house, "b")).version == 1
    assert await ids_of(house, 1) == ["a"]
    assert await ids_of(house, 5, "a") == ["b"]


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
    house: House, condition: Condition, *, on_nothing: bool, on_version_1: bool
) -> None:
    new = await house.rooms.put("new", Put(b"{}", condition))
    assert isinstance(new, Record) is on_nothing
    if not on_nothing:
        assert new == Refusal("version_mismatch", version=0)
    await put(house, "old")
    old = await house.rooms.put("old", Put(b"{}", condition))
    assert isinstance(old, Record) is on_version_1
    if not on_version_1:
        assert old == Refusal("version_mismatch", version=1)


async def test_the_entity_tag_of_another_life_of_the_room_does_not_match(house: House) -> None:
    tag = (await put(house)).etag
    await house.rooms.delete("r")
    await put(house)
    assert (await refused(house, condition=Condition(any_of=(tag,)))).code == "version_mismatch"


async def test_a_secret_given_at_creation_is_needed_until_the_room_goes(house: House) -> None:
    await put(house, secret="s")
    assert (await refused(house)).code == "forbidden"
    assert (await refused(house, secret="wrong")).code == "forbidden"
    assert (await put(house, secret="s")).version == 2
    assert await house.rooms.delete("r") == Refusal("forbidden")
    assert await house.rooms.delete("r", secret="s") is None
    assert (await put(house)).version == 1


async def test_a_secret_given_later_locks_nobody_out(house: House) -> None:
    await put(house)
    assert await refused(house, secret="late") == Refusal("room_exists")
    assert (await put(house)).version == 2


async def test_limits_refuse_with_a_time_to_come_back_and_change_nothing(house: House) -> None:
    for number in range(100):
        await put(house, f"room{number}")
    refusal = await refused(house, "one-too-many")
    assert (refusal.code, refusal.retry_after_s is not None) == ("too_many_rooms", True)
    assert (await put(house, "room0")).version == 2
    refusal = await refused(house, "room0", b'"' + b"x" * 100_000 + b'"')
    assert refusal.code == "too_much_state"
    assert house.rooms.get("one-too-many") is None


async def test_bytes_are_counted_exactly(house: House) -> None:
    await put(house, "a", b'{"x":"long enough"}')
    await put(house, "a", b"{}")
    await put(house, "b", b"[]")
    await house.rooms.delete("b")
    record = house.rooms.get("a")
    assert record is not None
    assert house.rooms.statistics().state_bytes == len(record.body)


async def test_a_listener_sees_the_record_and_then_every_write_once(house: House) -> None:
    await put(house)
    listener = Listener()
    record, event = house.rooms.join("r", listener)
    listener.offer(event)
    assert record is not None
    await put(house)
    await put(house)
    await wait_all_tasks_blocked()
    assert versions(listener) == [1, 2, 3]
    house.rooms.leave("r", listener)
    await put(house)
    await wait_all_tasks_blocked()
    assert versions(listener) == [1, 2, 3]


async def test_a_listener_outlives_its_room(house: House) -> None:
    listener = Listener()
    record, event = house.rooms.join("r", listener)
    assert record is None
    listener.offer(event)
    await put(house)
    await wait_all_tasks_blocked()
    await house.rooms.delete("r")
    await put(house)
    await wait_all_tasks_blocked()
    assert versions(listener) == [0, 1, 0, 1]
    epochs = [frame.split(b"id: ")[1].split(b"-")[0] for frame in listener.got]
    assert epochs[0] == epochs[2] == b"none"
    assert epochs[1] != epochs[3]


async def test_a_removed_room_leaves_no_task_and_no_name(house: House) -> None:
    await put(house)
    await house.rooms.delete("r")
    await wait_all_tasks_blocked()
    assert house.rooms.supervisor.count_children().active == 0
    assert house.registry.whereis(("room", "r")) is None
    assert await house.rooms.delete("r") == Refusal("room_not_found")


async def test_a_match_owns_its_room(house: House) -> None:
    listener = Listener()
    await put(house)
    house.rooms.join("r", listener)
    taken = house.rooms.publish("r", b'{"status":"ready"}')
    assert (taken.version, taken.kind) == (1, Kind.MATCH)
    assert house.rooms.publish("r", b'{"status":"playing"}').version == 2
    assert (await refused(house)).code == "room_is_authoritative"
    assert await house.rooms.delete("r") == Refusal("room_is_authoritative")
    await wait_all_tasks_blocked()
    house.rooms.remove("r")
    await wait_all_tasks_blocked()
    assert versions(listener)[-2:] == [2, 0]
    assert (await put(house)).version == 1


async def test_the_sweep_takes_the_old_and_spares_the_young_and_the_matches(house: House) -> None:
    listener = Listener()
    await put(house, "old")
    house.rooms.join("old", listener)
    house.rooms.publish("match", b"{}")
    house.advance(100)
    await put(house, "young")
    assert await Sweeper(house.rooms, ttl_s=50, interval_s=1).sweep() == 1
    await wait_all_tasks_blocked()
    assert sorted(house.rooms.ids()) == ["match", "young"]
    assert versions(listener) == [0]
    assert (await put(house, "old")).version == 1


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


async def test_a_room_is_as_young_as_its_last_write(house: House) -> None:
    await put(house)
    house.advance(100)
    await put(house)
    assert await Sweeper(house.rooms, ttl_s=50, interval_s=1).sweep() == 0
    house.advance(50)
    assert await Sweeper(house.rooms, ttl_s=50, interval_s=1).sweep() == 0
    house.advance(1)
    assert await Sweeper(house.rooms, ttl_s=50, interval_s=1).sweep() == 1


async def test_a_write_that_overtakes_the_sweep_saves_the_room(house: House) -> None:
    await put(house)
    house.advance(100)
    assert house.rooms.expire("r", house.clock.now_s - 50)
    house.table.write("r", b"{}", now_s=house.clock.now_s)
    await wait_all_tasks_blocked()
    assert house.rooms.get("r") is not None


def crash(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the next fan-out fail."""

    def fail(*_args: object) -> None:
        monkeypatch.undo()
        raise RuntimeError("fault")

    monkeypatch.setattr(house.registry.audiences, "broadcast", fail)


async def test_a_room_that_crashes_comes_back_with_its_last_record(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    await put(house)
    listener = Listener()
    house.rooms.join("r", listener)
    crash(house, monkeypatch)
    # Answered before its fan-out, in which the room crashes; the next life finishes it.
    assert (await put(house)).version == 2
    await wait_all_tasks_blocked()
    assert versions(listener) == [2]
    assert (await put(house)).version == 3


async def test_the_write_under_way_in_a_crash_is_said_to_be_uncertain(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    await put(house)

    def fail(*_args: object, **_more: object) -> None:
        monkeypatch.undo()
        raise RuntimeError("fault")

    monkeypatch.setattr(house.table, "write", fail)
    with pytest.raises(ActorCrashed):
        await house.rooms.put("r", Put(b"{}"))
    assert (await put(house)).version == 2


async def test_a_room_that_crashes_too_often_is_left_alone_and_then_goes_on(
    house: House, autojump_clock: MockClock
) -> None:
    record = await put(house)
    for _ in range(4):
        house.rooms.supervisor.kill_child("r")
        await wait_all_tasks_blocked()
    refusal = await refused(house)
    assert (refusal.code, refusal.retry_after_s) == ("room_down", 1)
    assert house.rooms.get("r") == record
    await trio.sleep(1.1)
    assert (await put(house)).version == 2
    for _ in range(4):
        house.rooms.supervisor.kill_child("r")
        await wait_all_tasks_blocked()
    assert (await refused(house)).retry_after_s == 2
    assert (await put(house, "other")).version == 1
    assert house.rooms.statistics().down == 1


async def test_when_all_rooms_lose_their_tasks_listeners_still_get_the_newest(
    house: House, nursery: trio.Nursery
) -> None:
    await put(house)
    listener = Listener()
    house.rooms.join("r", listener)
    house.scope.cancel()
    await wait_all_tasks_blocked()
    assert (await refused(house)).code == "busy"
    house.table.write("r", b"{}", now_s=house.clock.now_s)
    nursery.start_soon(house.live, LoneLife())
    await wait_all_tasks_blocked()
    assert versions(listener) == [2]
    assert (await put(house)).version == 3


async def test_writes_from_many_at_once_are_all_counted(house: House) -> None:
    async with trio.open_nursery() as writers:
        for _ in range(100):
            writers.start_soon(house.rooms.put, "r", Put(b"{}"))
    record = house.rooms.get("r")
    assert record is not None
    assert record.version == 100


async def test_a_room_with_nothing_to_do_is_written_without_waiting(house: House) -> None:
    assert not house.rooms.can_put_inline("r")
    first = await put(house)
    await wait_all_tasks_blocked()
    listener = Listener()
    house.rooms.join("r", listener)
    assert house.rooms.can_put_inline("r")
    record = house.rooms.put_inline("r", Put(b"[1]"))
    assert record == house.rooms.get("r")
    assert (first.version, versions(listener)) == (1, [2])
    assert house.rooms.put_inline("r", Put(b"[2]", Condition(any_of=("1",)))) == Refusal(
        "version_mismatch", version=2
    )
    assert house.rooms.statistics().writes == 2


async def test_a_room_with_many_listeners_is_left_to_its_task(house: House) -> None:
    await put(house)
    await wait_all_tasks_blocked()
    listeners = [Listener() for _ in range(INLINE_OFFERS + 1)]
    for listener in listeners:
        house.rooms.join("r", listener)
    assert not house.rooms.can_put_inline("r")
    house.rooms.leave("r", listeners[0])
    assert house.rooms.can_put_inline("r")


async def test_while_something_waits_for_its_task_a_room_is_not_at_leisure(house: House) -> None:
    house.rooms.publish("m", b"{}")
    assert not house.rooms.can_put_inline("m")
    await wait_all_tasks_blocked()
    assert house.rooms.can_put_inline("m")
    await put(house)
    await wait_all_tasks_blocked()
    assert house.rooms.can_put_inline("r")
    house.advance(10)
    assert house.rooms.expire("r", house.clock.now_s)
    assert not house.rooms.can_put_inline("r")
    await wait_all_tasks_blocked()
    assert not house.rooms.can_put_inline("r")


async def test_a_room_whose_task_has_ended_is_not_at_leisure(house: House) -> None:
    await put(house)
    await wait_all_tasks_blocked()
    house.rooms.supervisor.kill_child("r", "a test")
    await wait_all_tasks_blocked()
    assert not house.rooms.can_put_inline("r")
    assert (await put(house)).version == 2
    await wait_all_tasks_blocked()
    assert house.rooms.can_put_inline("r")


async def test_a_crash_in_a_write_at_once_loses_nothing_and_starts_a_new_life(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    await put(house)
    await wait_all_tasks_blocked()
    listener = Listener()
    house.rooms.join("r", listener)
    lives = house.rooms.supervisor.statistics().restarts
    write = RoomTable.write

    def write_and_fail(*args: Any, **more: Any) -> None:
        write(*args, **more)
        raise OSError

    with monkeypatch.context() as broken:
        broken.setattr(RoomTable, "write", write_and_fail)
        with pytest.raises(ActorCrashed):
            house.rooms.put_inline("r", Put(b"[1]"))
    assert not house.rooms.can_put_inline("r")
    assert (await put(house)).version == 3
    assert versions(listener) == [2, 3]
    assert house.rooms.supervisor.statistics().restarts == lives + 1


async def heard(house: House) -> tuple[Room, Listener]:
    """A room of version 1 that has nothing to do, and a listener who has heard nothing yet."""
    await put(house)
    await wait_all_tasks_blocked()
    listener = Listener()
    house.rooms.join("r", listener)
    room = house.registry.whereis(("room", "r"))
    assert isinstance(room, Room)
    return room, listener


@pytest.mark.parametrize(("writes", "goes"), [(1, 1), (5, 1), (BATCH_EVENTS, 1), (40, 3)])
async def test_writes_that_wait_together_are_told_in_one_go_and_none_is_left_out(
    house: House, writes: int, goes: int
) -> None:
    room, listener = await heard(house)
    for number in range(writes):
        room.cast(Put(b"[%d]" % number))
    await wait_all_tasks_blocked()
    assert versions(listener) == list(range(2, writes + 2))
    assert listener.goes == goes


async def test_large_writes_are_told_one_by_one(house: House) -> None:
    room, listener = await heard(house)
    for _ in range(3):
        room.cast(Put(b'["%b"]' % (b"x" * BATCH_BYTES)))
    await wait_all_tasks_blocked()
    assert (versions(listener), listener.goes) == ([2, 3, 4], 3)


async def test_what_ends_a_row_of_writes_is_told_after_them(house: House) -> None:
    room, listener = await heard(house)
    room.cast(Put(b"[1]"))
    room.cast(Put(b"[2]", Condition(any_of=("1",))))
    await wait_all_tasks_blocked()
    assert versions(listener) == [2]
    room.cast(Put(b"[3]"))
    room.cast(Delete(None))
    await wait_all_tasks_blocked()
    assert versions(listener) == [2, 3, 0]
