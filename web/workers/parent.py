"""The parent of the workers: owns their listening sockets, supervises them, and passes signals on."""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import tempfile
from typing import TYPE_CHECKING, Final, TypeVar

import trio

from supervision import Backoff, ChildSpec, ChildType, DynamicSupervisor, Supervisor
from web.log import set_up
from web.server.sockets import CannotListen, adopt, listen
from web.server.systemd import READY, STOPPING, listen_descriptors, notify, reloading, watchdog_s
from web.server.watchdog import keep_watchdog
from web.workers.place import WorkerPlace
from web.workers.process import WorkerTimeouts
from web.workers.slot import WorkerSlot

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from web.log import PutLog
    from web.workers.place import ParentPlan

logger = logging.getLogger(__name__)

OK: Final = 0
FAILED: Final = 1
# A worker that dies so often within a minute will not get better by itself.
MAX_RESTARTS: Final = 10
WITHIN_S: Final = 60.0
BACKOFF: Final = Backoff(first_s=0.1, ceiling_s=10.0)
# What a drain may take on top of DRAIN_SECONDS: the tree, the last bytes, and then some.
STOP_SLACK_S: Final = 45.0
# After the second signal.
END_AT_ONCE_S: Final = 2.0
T = TypeVar("T")

SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Workers:
    """The parent's supervisor, its slots, and what signals do to them.

    Args:
        listeners: One for each worker, or fewer, which some then share. Never closed here.
        count: How many workers.
        command: Starts one.
        env: Of each.
        siblings: Directory for the Unix sockets by which they ask one another.
        timeouts: How long to wait for what.
    """

    def __init__(
        self,
        listeners: Sequence[socket.socket],
        *,
        count: int,
        command: Sequence[str],
        env: Mapping[str, str],
        siblings: str,
        timeouts: WorkerTimeouts,
    ) -> None:
        self.slots = [
            WorkerSlot(
                WorkerPlace(
                    number, count, tuple(map(_fileno, shares(listeners, number, count))), -1, siblings
                ),
                command,
                env,
                timeouts=timeouts,
                on_change=self._note_change,
            )
            for number in range(1, count + 1)
        ]
        self._shutdown_s = timeouts.stop_s + END_AT_ONCE_S
        self.supervisor = DynamicSupervisor(
            max_children=count,
            max_restarts=MAX_RESTARTS,
            max_seconds=WITHIN_S,
            backoff=BACKOFF,
            on_given_up=self._on_given_up,
            on_started=self._spawn_all,
        )
        self._failed = self._stopping = self._said_serving = False
        self._replacing: trio.CancelScope | None = None
        self._root: Supervisor | None = None
        self._nursery: trio.Nursery | None = None

    @property
    def is_replacing(self) -> bool:
        """Whether workers are being replaced now."""
        return self._replacing is not None

    async def run(self, log: PutLog) -> bool:
        """Run the workers until a signal, or until one is given up; whether it ended in order."""
        self._root = Supervisor(
            [
                ChildSpec(id="log", start=log.run),
                ChildSpec(id="workers", start=self.supervisor.run, type=ChildType.SUPERVISOR),
            ]
        )
        async with trio.open_nursery() as self._nursery:
            await self._nursery.start(self._obey_signals)
            self._nursery.start_soon(keep_watchdog, watchdog_s(os.environ))
            await self._root.run()
            self._nursery.cancel_scope.cancel()
        return not self._failed

    def stop(self, number: signal.Signals) -> None:
        """Have all workers drain at the same time; asked again, end them at once."""
        for slot in self.slots:
            slot.stop_signal = number
            if self._stopping:
                slot.send_signal(number)
        if self._replacing is not None:
            self._replacing.cancel()
        if not self._stopping:
            logger.info("draining", extra={"workers": len(self.slots)})
            notify(STOPPING)
        self._stopping = True
        if self._root is not None:
            self._root.stop()

    def obey(self, number: signal.Signals) -> None:
        """Do what a signal says: SIGHUP replaces the workers, any other stops them."""
        if self._nursery is None:
            return
        if number != signal.SIGHUP:
            is_second = self._stopping
            self.stop(number)
            if is_second:
                self._nursery.start_soon(self._kill_all)
        elif self._replacing is None and not self._stopping:
            self._nursery.start_soon(self.replace_all)

    async def replace_all(self) -> None:
        """Replace the workers one after the other; stops at the first that cannot be."""
        notify(reloading())
        with trio.CancelScope() as self._replacing:
            for slot in self.slots:
                logger.info("replacing", extra={"worker": slot.place.number})
                if not await slot.replace():
                    logger.error("replacing_stopped", extra={"worker": slot.place.number})
                    break
            else:
                logger.info("replaced", extra={"workers": len(self.slots)})
        self._replacing = None
        notify(READY)

    async def _obey_signals(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        with trio.open_signal_receiver(*SIGNALS) as signals:
            task_status.started()
            async for number in signals:
                self.obey(signal.Signals(number))

    async def _kill_all(self) -> None:
        await trio.sleep(END_AT_ONCE_S)
        for slot in self.slots:
            slot.send_signal(signal.SIGKILL)

    def _spawn_all(self) -> None:
        for slot in self.slots:
            self.supervisor.spawn(
                ChildSpec(id=slot.place.number, start=slot.run, shutdown_s=self._shutdown_s)
            )

    def _note_change(self) -> None:
        never_served = not any(slot.has_served for slot in self.slots)
        if never_served and any(slot.has_failed for slot in self.slots) and not self._stopping:
            # The configuration is wrong, which the worker has said; nothing gets better by trying again.
            self._failed = True
            self.stop(signal.SIGTERM)
        serving = all(slot.is_serving for slot in self.slots)
        if serving and not self._said_serving:
            self._said_serving = True
            logger.info("workers_serving", extra={"workers": len(self.slots)})
            notify(READY)

    def _on_given_up(self, spec: ChildSpec, reason: BaseException) -> None:
        logger.critical("worker_given_up", extra={"worker": spec.id, "reason": str(reason)})
        self._failed = True
        self.stop(signal.SIGTERM)


def shares(listeners: Sequence[T], number: int, count: int) -> list[T]:
    """The sockets of worker `number` of `count`: every socket is somebody's, and everybody has one."""
    return list(listeners[number - 1 :: count]) or [listeners[(number - 1) % len(listeners)]]


def _fileno(sock: socket.socket) -> int:
    return sock.fileno()


def serve_workers(plan: ParentPlan, command: Sequence[str], env: Mapping[str, str]) -> int:
    """Serve with several processes until stopped; the exit status.

    Args:
        plan: What to listen on, and with how many.
        command: Starts a worker.
        env: Of each worker.
    """
    log = set_up(plan.log_level, plan.log_format, sys.stdout)
    try:
        return OK if trio.run(_serve, plan, command, env, log) else FAILED
    except* CannotListen as cannot:
        error = cannot.exceptions[0]
        variable = "PORT" if isinstance(error, CannotListen) and error.in_use else "HOST"
        print(f"greenroom: {variable}: {error}", file=sys.stderr)  # noqa: T201  # as in `serve`
    finally:
        log.close()
    return FAILED


async def _serve(plan: ParentPlan, command: Sequence[str], env: Mapping[str, str], log: PutLog) -> bool:
    listeners = open_listeners(plan)
    logger.info("parent_listening", extra={"port": listeners[0].getsockname()[1], "workers": plan.workers})
    with tempfile.TemporaryDirectory(prefix="greenroom-") as siblings:
        workers = Workers(
            listeners,
            count=plan.workers,
            command=command,
            env=env,
            siblings=siblings,
            timeouts=WorkerTimeouts(stop_s=plan.drain_s + STOP_SLACK_S),
        )
        return await workers.run(log)


def open_listeners(plan: ParentPlan) -> list[socket.socket]:
    """A listening socket for each worker, all on one port; or those that systemd has opened.

    Raises:
        CannotListen: The address is taken, unknown or not ours.
    """
    passed = listen_descriptors(os.environ)
    if passed:
        return [adopt(descriptor, stall_s=plan.stall_s) for descriptor in passed]
    port, listeners = plan.port, list[socket.socket]()
    for _ in range(plan.workers):
        listener = listen(plan.host, port, stall_s=plan.stall_s, shares_port=True)
        port = listener.getsockname()[1]
        listeners.append(listener)
    return listeners
