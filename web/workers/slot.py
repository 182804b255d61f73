"""A worker's place, as a child of the parent's supervisor: one process, or two while it is replaced."""

from __future__ import annotations

import logging
import signal
from typing import TYPE_CHECKING

import trio

from web.workers.process import WorkerDied, WorkerProcess, WorkerTimeouts

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from supervision import Life
    from web.workers.place import WorkerPlace

logger = logging.getLogger(__name__)


class WorkerSlot:
    """Runs the worker of one place.

    `run` is a child: a process that ends by itself is a crash, and the supervisor starts the next run.

    Args:
        place: What each process is told.
        command: Starts a process.
        env: Its environment.
        timeouts: How long to wait for what.
        on_change: Called when a process is ready or has ended. Must not wait.

    Attributes:
        stop_signal: Sent to have a process end in order.
        has_served: Some process of this slot has been ready.
    """

    def __init__(
        self,
        place: WorkerPlace,
        command: Sequence[str],
        env: Mapping[str, str],
        *,
        timeouts: WorkerTimeouts,
        on_change: Callable[[], None],
    ) -> None:
        self.place = place
        self.stop_signal = signal.SIGTERM
        self.has_served = False
        self._command = command
        self._env = env
        self._timeouts = timeouts
        self._tell = on_change
        self._processes: list[WorkerProcess] = []
        self._nursery: trio.Nursery | None = None
        self._news = trio.Event()

    @property
    def has_failed(self) -> bool:
        """Whether its newest process has ended without ever having served."""
        return bool(self._processes) and self._processes[-1].has_failed

    @property
    def is_serving(self) -> bool:
        """Whether its newest process serves."""
        return bool(self._processes) and self._processes[-1].is_ready

    async def run(self, life: Life) -> None:
        """Run a process until asked to end.

        Raises:
            WorkerDied: The process has ended by itself.
        """
        asked = life.trap_exit()
        died: WorkerDied | None = None
        try:
            async with trio.open_nursery() as self._nursery:
                self._nursery.start_soon(self._pass_on, asked)
                await self._start()
                life.started()
                while not asked.is_set():
                    current = self._processes[-1]
                    if current.status is not None:
                        died = WorkerDied(self.place.number, current.status, was_ready=current.is_ready)
                        break
                    await self._next_news()
                if died is None:
                    await self._stop_all()
                self._nursery.cancel_scope.cancel()
        finally:
            self._nursery = None
            self._processes = []
        if died is not None:
            raise died

    async def replace(self) -> bool:
        """Start a successor on the same socket, then drain what served before; whether that succeeded."""
        if self._nursery is None or not self._processes:
            return False
        before = self._processes[-1]
        successor = await self._start(in_front=False)
        while not successor.is_ready and successor.status is None:
            await self._next_news()
        if not successor.is_ready:
            logger.error("worker_not_replaced", extra={"worker": self.place.number})
            self._drop(successor)
            return False
        self._drop(successor)
        self._processes.append(successor)
        before.hand_over()
        await before.until_ended()
        self._drop(before)
        return True

    def _drop(self, process: WorkerProcess) -> None:
        """Forget a process; one that a crash of the slot has taken is not there any more."""
        if process in self._processes:
            self._processes.remove(process)

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal to all its processes."""
        for process in self._processes:
            process.send_signal(number)

    def hang_up(self) -> None:
        """Close the lifelines, as the end of this process does."""
        for process in self._processes:
            process.hang_up()

    async def _start(self, *, in_front: bool = True) -> WorkerProcess:
        """Start a process; the last in the list is the one that counts."""
        assert self._nursery is not None  # noqa: S101  # both callers run within it
        process = WorkerProcess(self._timeouts, self._note_change)
        self._processes.insert(len(self._processes) if in_front else 0, process)
        await self._nursery.start(process.run, self._command, self._env, self.place)
        return process

    async def _stop_all(self) -> None:
        self.send_signal(self.stop_signal)
        for process in tuple(self._processes):
            await process.until_ended()

    async def _pass_on(self, asked: trio.Event) -> None:
        await asked.wait()
        self._wake()

    async def _next_news(self) -> None:
        """Wait for the next change; `run` and `replace` may both wait."""
        await self._news.wait()

    def _wake(self) -> None:
        news, self._news = self._news, trio.Event()
        news.set()

    def _note_change(self) -> None:
        self.has_served = self.has_served or self.is_serving
        self._wake()
        self._tell()
