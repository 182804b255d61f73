"""Ours: `actors.core` under a dynamic supervisor."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

import trio
import trio.testing

from actors.core import Actor, Audiences, MailboxFull, Registry
from actors.rooms import MemoryRooms, Put, RoomTable
from bench.actor_systems.jobs import main, own_bytes
from supervision import ChildSpec, DynamicSupervisor

STATE = b'{"x":1,"y":2,"name":"somebody"}'


class Counter(Actor[int]):
    """Counts messages and sets an event at the last."""

    __slots__ = ("done", "left")

    def __init__(self, name: int, wanted: int) -> None:
        super().__init__(name)
        self.left = wanted
        self.done = trio.Event()

    async def receive(self, message: int) -> int:
        """Count one."""
        self.left -= 1
        if not self.left:
            self.done.set()
        return message


async def _with_actor(count: int, use: Callable[[Counter, int], Awaitable[None]]) -> float:
    supervisor = DynamicSupervisor(max_children=1)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(supervisor.run)
        await trio.testing.wait_all_tasks_blocked()
        counter = Counter(0, count)
        await supervisor.start_child(ChildSpec(id=0, start=counter.run))
        begun = time.perf_counter()
        await use(counter, count)
        took = time.perf_counter() - begun
        nursery.cancel_scope.cancel()
    return count / took


async def _cast(counter: Counter, count: int) -> None:
    for number in range(count):
        try:
            counter.cast(number)
        except MailboxFull:
            # The receiver lets others run before it has read everything.
            while counter.unread:
                await trio.lowlevel.checkpoint()
            counter.cast(number)
    await counter.done.wait()


async def _call(counter: Counter, count: int) -> None:
    for number in range(count):
        await counter.call(number)


async def _idle(count: int) -> tuple[float, float]:
    """Return (spawns per second, bytes per idle actor)."""
    supervisor = DynamicSupervisor(max_children=count)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(supervisor.run)
        await trio.testing.wait_all_tasks_blocked()
        before, begun = own_bytes(), time.perf_counter()
        for number in range(count):
            supervisor.spawn(ChildSpec(id=number, start=Counter(number, 1).run))
        await trio.testing.wait_all_tasks_blocked()
        took, after = time.perf_counter() - begun, own_bytes()
        nursery.cancel_scope.cancel()
    return count / took, (after - before) / count


async def _rooms(count: int) -> float:
    registry = Registry(Audiences(max_members=1, max_members_per_topic=1), max_names=count + 1)
    table = RoomTable(max_rooms=count, max_bytes=1 << 40)
    rooms = MemoryRooms(table, registry, max_tasks=count)
    watched = DynamicSupervisor(max_children=1)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(watched.run)
        nursery.start_soon(rooms.supervisor.run)
        await trio.testing.wait_all_tasks_blocked()
        await watched.start_child(ChildSpec(id="registry", start=registry.run))
        before = own_bytes()
        for number in range(count):
            await rooms.put(f"room-{number}", Put(STATE))
        after = own_bytes()
        nursery.cancel_scope.cancel()
    return (after - before) / count


if __name__ == "__main__":
    main(
        {
            "cast": lambda count: trio.run(_with_actor, count, _cast),
            "call": lambda count: trio.run(_with_actor, count, _call),
            "spawn": lambda count: trio.run(_idle, count)[0],
            "bytes": lambda count: trio.run(_idle, count)[1],
            "room": lambda count: trio.run(_rooms, count),
        }
    )
