"""The life of the whole program: start, serve, drain, end."""

from __future__ import annotations

import gc
import logging
import signal
import sys
from typing import TYPE_CHECKING, Final, Self

import trio

from supervision import SupervisionError
from web.graceful_shutdown import NOTICE_S, close_streams, closing_s, finish, hand_over_streams
from web.server.sockets import listen, raise_descriptor_limit
from web.server.systemd import READY, STOPPING, notify, reloading
from web.wiring.matches import CONSUMER
from web.wiring.node import build_node
from web.wiring.tree import INTEGRATIONS, WEB

if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncIterator, Callable, Sequence

    from web.log import PutLog
    from web.settings import Settings
    from web.workers.place import WorkerPlace

logger = logging.getLogger(__name__)

# Objects more than before, times that, times that: when the collector looks at the
# young, the middle-aged and the old.
GC_THRESHOLDS: Final = (10_000, 20, 100)
# A thread that comes back from the database waits so long for a busy loop to let it go on.
# At Python's 5 ms, a durable change takes twice as long at the 99th percentile.
SWITCH_INTERVAL_S: Final = 0.001
# Longer than any child has to end by itself; past that the program ends anyway.
STOP_TREE_S: Final = 20.0
# Listeners, engines, files: what needs descriptors beside connections.
SPARE_DESCRIPTORS: Final = 64
# For goodbyes to engines.
CLOSE_S: Final = 1.0
# For the snapshot of the rooms, with the waiting for the disk.
SAVE_S: Final = 10.0


class Program:
    """One node, from its settings.

    Making one opens the listening socket and builds every table; `run`
    starts the tree and serves until `stop`.

    Args:
        settings: All of them.
        put_log: Notes accepted PUTs.
        listeners: Sockets to accept from, which somebody else has opened; by default one is opened here.
        place: That of this process among several workers.

    Attributes:
        core: The features.
        edge: The HTTP side.
        tree: The supervisors.
        siblings: The workers of this node; None where this process is alone.
        port: Where it listens; the real one if 0 was asked for.
        is_serving: Set once connections are accepted.

    Raises:
        CannotListen: The address is taken, unknown or not ours.
        BadCertificate: TLS is configured and its files cannot be used.
    """

    def __init__(
        self,
        settings: Settings,
        put_log: PutLog,
        listeners: Sequence[socket.socket] = (),
        place: WorkerPlace | None = None,
    ) -> None:
        self._settings = settings
        self._listeners = tuple(listeners) or (
            listen(settings.host, settings.port, stall_s=settings.stream_stall_seconds),
        )
        self.port: int = self._listeners[0].getsockname()[1]
        node = build_node(settings, self._listeners, put_log=put_log, clock=trio.current_time, place=place)
        self.siblings = node.siblings
        self.core, self.edge, self.tree = node.core, node.edge, node.tree
        self._features = node.features
        self._wanted = trio.Event()
        self._hurry = self._has_successor = False
        self._has_served = False
        self._abandon = trio.CancelScope()
        self.is_serving = trio.Event()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._close_listeners()

    def stop(self, *, hurry: bool = False, hand_over: bool = False) -> None:
        """Drain and end; asked again, end at once.

        Args:
            hurry: Do not take the time to spread the closing of streams.
            hand_over: Another process accepts from the same sockets: nobody must be refused here.
        """
        if self._wanted.is_set():
            logger.warning("stopping_at_once")
            self.edge.connections.abort_all()
            self._abandon.cancel()
        notify(STOPPING)
        self._hurry, self._has_successor = hurry, hand_over
        self._wanted.set()

    def reload(self) -> None:
        """Read certificates and policy files again; what is broken leaves the old in force."""
        logger.info("reloading")
        notify(reloading())
        for feature in self._features:
            feature.reload()
        notify(READY)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> bool:
        """Serve until stopped; whether it ended in order.

        Raises:
            ChildStartError: A part did not start.
            RestartLimitReached: Something crashed more often than the tree allows.
        """
        try:
            with self._abandon:
                # What waits in the listening socket's queue is not accepted before this.
                await trio.to_thread.run_sync(self.core.snapshot.take, abandon_on_cancel=True)
                async with trio.open_nursery() as nursery:
                    await nursery.start(self.edge.connections.run)
                    await self._serve(nursery, task_status)
                    nursery.cancel_scope.cancel()
                # No task is left that could write a room.
                await self._keep_rooms()
        except* SupervisionError:
            if not self._has_served:
                # A start that failed leaves the rooms to the next one.
                await self._keep_rooms()
            raise
        finally:
            self._close_listeners()
            with trio.move_on_after(CLOSE_S, shield=True):
                for feature in self._features:
                    await feature.aclose()
        return not self._abandon.cancelled_caught

    async def _keep_rooms(self) -> None:
        with trio.move_on_after(SAVE_S) as patience:
            await trio.to_thread.run_sync(self.core.snapshot.save, abandon_on_cancel=True)
        if patience.cancelled_caught:
            logger.warning("room_snapshot_failed", extra={"reason": f"the disk took more than {SAVE_S:g} s"})

    async def _serve(self, nursery: trio.Nursery, task_status: trio.TaskStatus[None]) -> None:
        ended = trio.Event()
        tree = await nursery.start(self._run_tree, ended)
        self._has_served = True
        self.is_serving.set()
        task_status.started()
        logger.info("serving", extra={"port": self.port, "node_name": self._settings.node_name})
        await self._wanted.wait()
        await self._drain()
        self.tree.root.stop()
        with trio.move_on_after(STOP_TREE_S):
            await ended.wait()
        tree.cancel()
        logger.info("stopped")

    async def _run_tree(
        self, ended: trio.Event, *, task_status: trio.TaskStatus[trio.CancelScope] = trio.TASK_STATUS_IGNORED
    ) -> None:
        with trio.CancelScope() as scope:
            await self.tree.root.run(_Root(lambda: task_status.started(scope)))
        ended.set()

    async def _drain(self) -> None:
        start = trio.current_time()
        drain_s = self._settings.drain_seconds
        logger.info("draining", extra={"streams": len(self.edge.streams)})
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._close_channels, closing_s(drain_s, hurry=self._hurry))
            if self._has_successor:
                await self._stop_accepting()
                self.edge.fastlane.close_after_answers()
                await hand_over_streams(self.edge.streams, drain_s)
            else:
                await close_streams(self.edge.streams, drain_s, hurry=self._hurry)
                if not self._hurry:
                    await trio.sleep_until(start + min(NOTICE_S, drain_s))
                # However long the matches take: an EventSource that comes back to a 503 never tries
                # again, and one that finds the port closed does.
                await self._stop_accepting()
        self.edge.fastlane.wind_up()
        await self.edge.hypercorn.wind_up()
        await finish(self.edge.streams, self.edge.connections, self.core.channels.sockets)

    async def _close_channels(self, over_s: float) -> None:
        """End what is played, as nobody can come back to it, and let the players go."""
        hosting = self.core.matches.hosting
        if hosting is not None:
            await self._stop_taking_jobs()
            await hosting.matches.end_all()
        await self.core.channels.sockets.drain(over_s)

    async def _stop_taking_jobs(self) -> None:
        try:
            await self.tree.subtrees[INTEGRATIONS].terminate_child(CONSUMER)
        except SupervisionError:
            logger.warning("creation_consumer_was_not_running")

    async def _stop_accepting(self) -> None:
        try:
            await self.tree.root.terminate_child(WEB)
        except SupervisionError:
            logger.warning("web_was_not_running")
        self._close_listeners()

    def _close_listeners(self) -> None:
        for listener in self._listeners:
            listener.close()


class _Root:
    """The life of the root, which has nobody above it."""

    def __init__(self, on_started: Callable[[], None]) -> None:
        self._on_started = on_started
        self._never = trio.Event()

    def started(self) -> None:
        self._on_started()

    def trap_exit(self) -> trio.Event:
        return self._never


async def run_until_signalled(
    program: Program,
    signals: AsyncIterator[int],
    *,
    stops_on_hangup: bool = False,
    beside: Callable[[Program, trio.Nursery], None] | None = None,
) -> bool:
    """Run `program` until a signal ends it; whether it ended in order.

    SIGTERM drains it, SIGINT does so in a hurry, a second one of either ends it at once. SIGHUP reloads
    certificates and policies.

    Args:
        program: What to run.
        signals: Those of `receive_signals`, opened before the program was made.
        stops_on_hangup: SIGHUP means SIGINT: the program belongs to a terminal.
        beside: Starts tasks that run as long as the program does.
    """

    async def obey() -> None:
        async for number in signals:
            if number == signal.SIGHUP and not stops_on_hangup:
                program.reload()
            else:
                program.stop(hurry=number != signal.SIGTERM)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(obey)
        if beside is not None:
            beside(program, nursery)
        in_order = await program.run()
        nursery.cancel_scope.cancel()
    return in_order


def prepare_process(max_connections: int) -> None:
    """Make room for as many connections as the system allows, and set the interpreter to our ways.

    Nearly everything here dies by its reference count; a full collection finds
    nothing, and with a hundred thousand rooms it stops the world for a second.
    What was imported is never looked at again; young objects are looked at less
    often, and old ones only once in a long while.
    """
    descriptors = raise_descriptor_limit()
    if descriptors < max_connections + SPARE_DESCRIPTORS:
        logger.warning(
            "too_few_descriptors", extra={"ulimit_n": descriptors, "max_connections": max_connections}
        )
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
