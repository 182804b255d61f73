"""A task that reads a trio memory channel: no supervisor, no names, no deadlines."""

from __future__ import annotations

import time

import trio
import trio.testing

from bench.actor_systems.jobs import main, own_bytes

SLOTS = 1024
Answer = trio.MemorySendChannel[int]


async def _count(inbox: trio.MemoryReceiveChannel[int]) -> None:
    async for _ in inbox:
        pass


async def _answer(inbox: trio.MemoryReceiveChannel[tuple[int, Answer]]) -> None:
    async for number, answer in inbox:
        await answer.send(number)


async def _cast(count: int) -> float:
    outbox, inbox = trio.open_memory_channel[int](SLOTS)
    begun = time.perf_counter()
    async with trio.open_nursery() as nursery, outbox:
        nursery.start_soon(_count, inbox)
        for number in range(count):
            await outbox.send(number)
    return count / (time.perf_counter() - begun)


async def _call(count: int) -> float:
    outbox, inbox = trio.open_memory_channel[tuple[int, Answer]](SLOTS)
    begun = time.perf_counter()
    async with trio.open_nursery() as nursery, outbox:
        nursery.start_soon(_answer, inbox)
        for number in range(count):
            answer, answered = trio.open_memory_channel[int](1)
            await outbox.send((number, answer))
            await answered.receive()
    return count / (time.perf_counter() - begun)


async def _idle(count: int) -> tuple[float, float]:
    """Return (spawns per second, bytes per idle task with its channel)."""
    async with trio.open_nursery() as nursery:
        before, begun = own_bytes(), time.perf_counter()
        kept = [trio.open_memory_channel[int](SLOTS) for _ in range(count)]
        for _, inbox in kept:
            nursery.start_soon(_count, inbox)
        await trio.testing.wait_all_tasks_blocked()
        took, after = time.perf_counter() - begun, own_bytes()
        nursery.cancel_scope.cancel()
    return count / took, (after - before) / count


if __name__ == "__main__":
    main(
        {
            "cast": lambda count: trio.run(_cast, count),
            "call": lambda count: trio.run(_call, count),
            "spawn": lambda count: trio.run(_idle, count)[0],
            "bytes": lambda count: trio.run(_idle, count)[1],
        }
    )
