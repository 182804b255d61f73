"""One run of a worker, as its parent sees it: started, ready, silent, ended."""

from __future__ import annotations

import logging
import signal
import socket
from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import TYPE_CHECKING, Final

import trio

from web.workers.lifeline import HAND_OVER, READY, read_some, write_byte

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from web.workers.place import WorkerPlace

logger = logging.getLogger(__name__)

# The status of a process that never was, as of a shell.
NOT_STARTED: Final = 127


class Look(Enum):
    """What a look at a worker comes to."""

    WAIT = auto()
    WARN = auto()
    KILL = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerTimeouts:
    """How long the parent waits for a worker, in seconds.

    Attributes:
        start_s: For `READY`; then it is killed.
        warn_s: Without a heartbeat, before a warning.
        kill_s: Without a heartbeat, before it is killed. Less would kill workers that are only busy.
        look_s: Between two looks at the heartbeat.
        stop_s: For the end after a request to stop; then it is killed.
    """

    start_s: float = 60.0
    warn_s: float = 10.0
    kill_s: float = 30.0
    look_s: float = 1.0
    stop_s: float = 60.0

    def judge(self, waited_s: float, *, is_ready: bool) -> Look:
        """What to do about a worker.

        Args:
            waited_s: Since its last heartbeat; since its start if it is not ready.
            is_ready: Whether it serves.
        """
        if waited_s >= (self.kill_s if is_ready else self.start_s):
            return Look.KILL
        return Look.WARN if is_ready and waited_s >= self.warn_s else Look.WAIT


class WorkerDied(Exception):
    """A worker's process has ended by itself, or was killed because it stood still.

    Attributes:
        status: Its exit status; negative the signal that killed it.
        was_ready: Whether it had served.
    """

    def __init__(self, number: int, status: int, *, was_ready: bool) -> None:
        super().__init__(f"worker {number} ended with status {status}")
        self.status = status
        self.was_ready = was_ready


class WorkerProcess:
    """A process and its lifeline.

    Args:
        timeouts: How long to wait for what.
        on_change: Called when it is ready or has ended. Must not wait.

    Attributes:
        status: Exit status; None while it runs.
        is_ready: It serves.
    """

    def __init__(self, timeouts: WorkerTimeouts, on_change: Callable[[], None]) -> None:
        self._timeouts = timeouts
        self._on_change = on_change
        self._process: trio.Process | None = None
        self._lifeline: socket.socket | None = None
        self._heard_at = 0.0
        self._ended = trio.Event()
        self._early_signal: signal.Signals | None = None
        self.status: int | None = None
        self.is_ready = False
        self.number = 0

    async def run(
        self,
        command: Sequence[str],
        env: Mapping[str, str],
        place: WorkerPlace,
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Start the process and watch it until it has ended. Cancelled, it kills the process."""
        self.number = place.number
        # Before anything that could be cancelled, so that whoever starts this sees no error of its own.
        task_status.started()
        try:
            ours, theirs = socket.socketpair()
            ours.settimeout(0)
            self._lifeline = ours
            with ours:
                with theirs:
                    process = await self._open(command, env, replace(place, lifeline=theirs.fileno()))
                await self._see_through(process, ours)
        except OSError as error:
            # Out of descriptors, or what is to be run is gone: what serves must not suffer from it.
            logger.exception("worker_not_started", extra={"worker": self.number, "reason": str(error)})
        finally:
            if self.status is None:
                self.status = NOT_STARTED
            self._ended.set()
            self._on_change()

    async def _see_through(self, process: trio.Process, lifeline: socket.socket) -> None:
        self._process = process
        self._heard_at = trio.current_time()
        if self._early_signal is not None:
            process.send_signal(self._early_signal)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._listen, lifeline)
                nursery.start_soon(self._watch)
                self.status = await process.wait()
                nursery.cancel_scope.cancel()
        finally:
            if self.status is None:
                process.kill()
                with trio.CancelScope(shield=True):
                    self.status = await process.wait()

    async def _open(self, command: Sequence[str], env: Mapping[str, str], place: WorkerPlace) -> trio.Process:
        return await trio.lowlevel.open_process(
            list(command),
            env={**env, **place.to_env()},
            pass_fds=(*place.listeners, place.lifeline),
            # Signals of a terminal are for the parent, which passes them on once.
            process_group=0,
        )

    async def _listen(self, lifeline: socket.socket) -> None:
        while True:
            await trio.lowlevel.wait_readable(lifeline)
            said = read_some(lifeline)
            if said == b"":
                return
            self._heard_at = trio.current_time()
            if said is not None and READY in said and not self.is_ready:
                self.is_ready = True
                self._on_change()

    async def _watch(self) -> None:
        """Kill a worker that never gets ready, or whose loop stands still."""
        born_at = trio.current_time()
        warned = False
        while True:
            await trio.sleep(self._timeouts.look_s)
            since = self._heard_at if self.is_ready else born_at
            waited_s = trio.current_time() - since
            look = self._timeouts.judge(waited_s, is_ready=self.is_ready)
            facts = {"worker": self.number, "seconds": round(waited_s, 1), "ready": self.is_ready}
            if look is Look.KILL:
                logger.error("worker_killed", extra=facts)
                self.send_signal(signal.SIGKILL)
                return
            if look is Look.WARN and not warned:
                logger.warning("worker_silent", extra=facts)
            warned = look is Look.WARN

    @property
    def has_failed(self) -> bool:
        """Whether it has ended by itself without ever having served."""
        return self.status is not None and self.status > 0 and not self.is_ready

    # -- for its slot ----------------------------------------------------------------------

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal, as soon as there is a process; nothing happens once it has ended."""
        if self._process is None:
            self._early_signal = number
        else:
            self._process.send_signal(number)

    def hand_over(self) -> None:
        """Have it stop accepting and drain: its successor is ready."""
        if self._lifeline is not None:
            write_byte(self._lifeline, HAND_OVER)

    def hang_up(self) -> None:
        """Close the lifeline: the worker stops in order."""
        if self._lifeline is not None:
            self._lifeline.shutdown(socket.SHUT_RDWR)

    async def until_ended(self) -> None:
        """Wait for its end; after `stop_s` kill it."""
        with trio.move_on_after(self._timeouts.stop_s):
            await self._ended.wait()
        if not self._ended.is_set():
            logger.error("worker_did_not_stop", extra={"worker": self.number})
            self.send_signal(signal.SIGKILL)
            await self._ended.wait()
