"""Print what it costs to look inside a node with 100,000 rooms: how long the loop is held, and CPU time.

    .venv/bin/python scripts/inspection_overhead.py [ROOMS]

The node runs in this process. For each question the longest step of a task says for how long no other task
could run. The CPU time of the process is compared with that while nobody looks.
"""

from __future__ import annotations

import gc
import resource
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from time import perf_counter, thread_time
from typing import TYPE_CHECKING, Final

import trio

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from actors.rooms import Put, Record  # found in the checkout
from tests.web.serving import ADMIN, Node, serving
from web.program import GC_THRESHOLDS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

INSPECT: Final = "/internal/inspect"
TIMES: Final = 20
SECONDS: Final = 30.0
QUESTIONS: Final = (
    "/tree",
    "/tree?under=core/rooms&limit=100",
    "/tree?under=core/rooms&search=no-such-room",
    "/tree?under=core/rooms&limit=1000",
    "/rooms?limit=50",
    "/rooms?search=no-such-room",
    "/rooms/room-77",
    "/nodes",
    "/history",
)


class LongestStep(trio.abc.Instrument):
    """Notes the longest time that one task kept the loop: CPU time, as others use the machine too."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._client = trio.lowlevel.current_task()
        self._began = thread_time()

    def before_task_step(self, task: trio.lowlevel.Task) -> None:  # noqa: ARG002  # whichever it is
        """A task goes on."""
        self._began = thread_time()

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        """It waits again, or has ended; the client that asks is none of the server's."""
        if task is not self._client:
            self.seconds = max(self.seconds, thread_time() - self._began)


async def fill(node: Node, rooms: int) -> None:
    """Make so many rooms, each with its task."""
    for number in range(rooms):
        written = await node.program.core.rooms.put(f"room-{number}", Put(b"{}"))
        if not isinstance(written, Record):
            raise SystemExit(f"room {number}: {written}")


async def ask(node: Node, question: str) -> None:
    """Ask it some times; print the longest step."""
    (await node.http.get(f"{INSPECT}{question}", headers=ADMIN)).raise_for_status()
    longest = []
    for _ in range(TIMES):
        step = LongestStep()
        trio.lowlevel.add_instrument(step)
        await node.http.get(f"{INSPECT}{question}", headers=ADMIN)
        trio.lowlevel.remove_instrument(step)
        longest.append(step.seconds * 1000)
    longest.sort()
    print(f"{question:<48} median {longest[TIMES // 2]:5.2f} ms   worst {longest[-1]:5.2f} ms")


async def cpu_share() -> float:
    """How much of a core this process takes for a while."""
    before, began = resource.getrusage(resource.RUSAGE_SELF), perf_counter()
    await trio.sleep(SECONDS)
    after = resource.getrusage(resource.RUSAGE_SELF)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return 100 * used / (perf_counter() - began)


@asynccontextmanager
async def looking(node: Node) -> AsyncIterator[None]:
    """Somebody has the dashboard open: its stream, and every five seconds its lists."""

    async def watch() -> None:
        async with node.http.stream("GET", f"{INSPECT}/live", headers=ADMIN, timeout=None) as live:
            async for _ in live.aiter_raw():
                pass

    async def refresh() -> None:
        while True:
            for question in ("/history", "/nodes", "/rooms?limit=50"):
                await node.http.get(f"{INSPECT}{question}", headers=ADMIN)
            await trio.sleep(5)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch)
        nursery.start_soon(refresh)
        yield
        nursery.cancel_scope.cancel()


async def main() -> None:
    """Fill, ask, and print."""
    rooms = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    off = dict.fromkeys(("AUTOMATION", "STATS", "MATCHES"), "off")
    async with serving("fast", MAX_ROOMS=rooms + 10, LOG_LEVEL="error", **off) as node:
        await fill(node, rooms)
        gc.freeze()
        gc.set_threshold(*GC_THRESHOLDS)
        print(f"{rooms:,} rooms; the longest step of any task while a question is answered, of {TIMES}:")
        for question in QUESTIONS:
            await ask(node, question)
        idle = await cpu_share()
        async with looking(node):
            await trio.sleep(2)
            looked_at = await cpu_share()
        print(f"CPU of a core: {idle:.2f} % while nobody looks, {looked_at:.2f} % with one who does")
        print("(with the client of this script, which runs in the same process)")


if __name__ == "__main__":
    trio.run(main)
