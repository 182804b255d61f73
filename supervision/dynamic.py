"""Many children, each with a restart limit of its own.

One trio task a child; its lives run in sequence inside it. Everything per child is O(1), and what
only few children need (a window of restarts, a cancel scope, an event to wait on) is made when the
need comes: an idle child is a task, two coroutines and a record.
"""

import logging
import random
from collections.abc import Callable, Hashable
from itertools import islice
from typing import Final

import trio
from trio.lowlevel import checkpoint_if_cancelled, current_task

from supervision.child import STOP, trap_exit_as, without_crashes
from supervision.dynamic_child import DynamicChild, FirstStart
from supervision.errors import (
    AlreadyStarted,
    ChildNotFound,
    ChildStartError,
    InvalidSpec,
    MaxChildren,
    Shutdown,
    SupervisorNotRunning,
)
from supervision.policy import RESTARTS, Backoff, Exit, RestartWindow, check_limit
from supervision.spec import ChildCounts, ChildInfo, ChildSpec, ChildType, Life, State, Statistics

logger: Final = logging.getLogger("supervision")

GivenUp = Callable[[ChildSpec, BaseException], None]


class DynamicSupervisor:
    """Runs children that come and go, all started by request, none related to another.

    OTP's `simple_one_for_one` (Elixir's DynamicSupervisor) with one difference: restarts are
    counted per child. A child in a crash loop is given up alone; the supervisor never escalates.

    A child that is given up, or ended for good, is forgotten. `max_children` counts every child
    not forgotten yet, also one that is just being restarted.
    """

    def __init__(
        self,
        *,
        max_children: int,
        max_restarts: int | None = 3,
        max_seconds: float = 5.0,
        backoff: Backoff | None = None,
        on_given_up: GivenUp | None = None,
        on_started: Callable[[], None] | None = None,
    ) -> None:
        """Set the limits; `run` brings it up.

        Args:
            max_children: Places for children.
            max_restarts: Restarts a child may have within `max_seconds`; None (only with a
                backoff): it is never given up.
            max_seconds: See there.
            backoff: Delays before restarts. Without, the next life begins at once, no other
                task runs in between; that many lives may follow each other so, not more.
            on_given_up: Told about a child that used up its restarts and why its last life
                ended; called in the child's task, must not wait.
            on_started: Told whenever a run has begun, for whoever knows which children it
                should begin with; may `spawn`, must not wait.

        Raises:
            InvalidSpec: Limits that cannot be meant.
        """
        check_limit(max_restarts, max_seconds, backoff)
        if max_children < 1:
            raise InvalidSpec(f"max_children={max_children}")
        self._max_children = max_children
        self._max_restarts = max_restarts
        self._max_seconds = max_seconds
        self._backoff = backoff
        self._on_given_up = on_given_up
        self._on_started = on_started
        self._children: dict[Hashable, DynamicChild] = {}
        self._awaited: dict[DynamicChild, FirstStart] = {}
        self._nursery: trio.Nursery | None = None
        self._stop: trio.Event | None = None
        self._accepts = False
        self._drained: trio.Event | None = None
        self._supervisors = self._pausing = 0
        self._restarts = self._crashes = self._given_up = 0

    async def run(self, life: Life | None = None) -> None:
        """Serve until told to stop; usable as a `ChildSpec.start`.

        Every run begins empty, but for what `on_started` puts there.

        An orderly stop (`stop`, or the supervisor above) ends all children at the same time, each
        within its `shutdown_s`. Cancelling `run` cancels them all at once.
        """
        if self._nursery is not None:
            raise RuntimeError("this supervisor is already running")
        try:
            async with trio.open_nursery() as self._nursery:
                self._stop = trio.Event() if life is None else trap_exit_as(self, life)
                self._accepts = True
                if life is not None:
                    life.started()
                if self._on_started is not None:
                    self._on_started()
                try:
                    await self._stop.wait()
                finally:
                    # Also when cancelled: the nursery closes before this task gets to say so.
                    self._accepts = False
                await self._stop_all(self._nursery)
        finally:
            self._accepts = False
            self._nursery = self._stop = None

    @property
    def is_running(self) -> bool:
        """Whether `run` is under way."""
        return self._nursery is not None

    def stop(self) -> None:
        """Ask for an orderly stop; `run` returns when all children have ended."""
        if self._stop is not None:
            self._stop.set()

    def spawn(self, spec: ChildSpec) -> None:
        """Begin a child and return at once; its first step comes when the caller next waits.

        A child that fails before `started()` is treated like any other crash: nobody waits for
        it, so its restart type and its limit decide.

        Raises:
            SupervisorNotRunning: It has not started, or is stopping.
            AlreadyStarted: A child of this id has not been forgotten yet.
            MaxChildren: All places are taken.
            InvalidSpec: The child is `significant`; here nothing would come of it.
        """
        self._begin(spec)

    def _begin(self, spec: ChildSpec) -> DynamicChild:
        nursery = self._nursery
        if nursery is None or not self._accepts:
            raise SupervisorNotRunning("the supervisor is not running")
        if spec.id in self._children:
            raise AlreadyStarted(spec.id)
        if len(self._children) >= self._max_children:
            raise MaxChildren(self._max_children)
        if spec.significant:
            raise InvalidSpec(f"child {spec.id!r}: significant means nothing to a dynamic supervisor")
        child = self._children[spec.id] = DynamicChild(spec)
        if spec.type is ChildType.SUPERVISOR:
            self._supervisors += 1
        nursery.start_soon(self._run_child, child, name="supervised child")
        return child

    async def start_child(self, spec: ChildSpec) -> bool:
        """Begin a child and wait until it has said `started()`.

        A caller that is cancelled meanwhile calls the child off.

        Returns:
            Whether there is a child now; False if it raised `Ignore`.

        Raises:
            ChildStartError: It ended before; it is not kept.
            SupervisorNotRunning, AlreadyStarted, MaxChildren, InvalidSpec: As `spawn`.
        """
        child = self._begin(spec)
        first = self._awaited[child] = FirstStart()
        try:
            while not (child.is_started or first.is_known):
                await child.change()
        except trio.Cancelled:
            if child.is_alive:
                child.ask_to_stop()
            raise
        finally:
            del self._awaited[child]
        if first.failed:
            raise ChildStartError(spec.id, first.cause)
        return not first.ignored

    async def terminate_child(self, id: Hashable) -> None:
        """End a child for good and wait until it has ended.

        Raises:
            ChildNotFound: There is no such child.
        """
        child = self._find(id)
        grace = self._ask(child)
        if grace > 0:
            with trio.move_on_after(grace):
                await child.end()
            self._cancel_overdue(child)
        await child.end()

    def kill_child(self, id: Hashable, reason: object = None) -> None:
        """End a child's life like `exit(Pid, kill)`: abnormally, so its restart type decides.

        Nothing happens to a child that is between two lives or being stopped.

        Raises:
            ChildNotFound: There is no such child.
        """
        self._find(id).kill(reason)

    def which_children(self, limit: int | None = None) -> tuple[ChildInfo, ...]:
        """Describe the children, oldest first, at most `limit` of them."""
        now = trio.current_time()
        return tuple(child.info(now) for child in islice(self._children.values(), limit))

    def child_ids(self) -> tuple[Hashable, ...]:
        """Ids of all children now, oldest first."""
        return tuple(self._children)

    def count_children(self) -> ChildCounts:
        """Count the children, at no cost."""
        specs = len(self._children)
        return ChildCounts(
            specs=specs,
            active=specs - self._pausing,
            supervisors=self._supervisors,
            workers=specs - self._supervisors,
        )

    def statistics(self) -> Statistics:
        """Counters since the beginning, over all runs."""
        return Statistics(restarts=self._restarts, crashes=self._crashes, given_up=self._given_up)

    def _find(self, id: Hashable) -> DynamicChild:
        try:
            return self._children[id]
        except KeyError:
            raise ChildNotFound(id) from None

    async def _run_child(self, child: DynamicChild) -> None:
        try:
            while True:
                child.born = trio.current_time()
                child.task = current_task()
                try:
                    if child.stop_reason is None:
                        await child.one_life()
                # The one reason for a supervisor: whatever a child raises is its own affair.
                except Exception as raised:  # noqa: BLE001 - see above
                    pause_s = self._after(child, child.leave_scope(raised))
                # Cancellation, by this supervisor (then its scope takes it) or from further out.
                except BaseException as raised:  # noqa: BLE001 - `_after` goes on raising it
                    pause_s = self._after(child, child.leave_scope(raised))
                else:
                    pause_s = self._after(child, child.leave_scope(None))
                if pause_s is None:
                    return
                if pause_s > 0:
                    await self._pause(child, pause_s)
                await checkpoint_if_cancelled()
                child.is_started = False
                child.state = State.STARTING if child.stop_reason is None else State.STOPPING
        finally:
            self._forget(child)

    async def _pause(self, child: DynamicChild, pause_s: float) -> None:
        child.state = State.RESTARTING
        self._pausing += 1
        try:
            with trio.move_on_after(pause_s):
                while child.stop_reason is None:
                    await child.change()
        finally:
            self._pausing -= 1

    def _after(self, child: DynamicChild, raised: BaseException | None) -> float | None:
        """Decide what follows a life.

        Returns:
            Seconds until the next life, or None: there is none.

        Raises:
            BaseException: What interrupted the child from further out.
        """
        if isinstance(raised, trio.Cancelled):
            # The whole supervisor is being cancelled. This task ends here either way, and a group of
            # 100,000 exceptions is slow to take apart: stopping took 6.8 s with it, 4.0 s without.
            return None
        if raised is not None and not isinstance(raised, Exception):
            raise without_crashes(child, raised)
        end, reason = child.judge(raised)
        if end is Exit.CRASHED:
            self._crashes += 1
        first = self._awaited.get(child)
        if first is not None and first.note_end(started=child.is_started, end=end, cause=reason):
            return None
        if reason is STOP or not RESTARTS[child.spec.restart, end]:
            return None
        return self._next_life(child, reason)

    def _next_life(self, child: DynamicChild, reason: BaseException | None) -> float | None:
        now = trio.current_time()
        if self._max_restarts is not None:
            if child.window is None:
                child.window = RestartWindow(self._max_restarts, self._max_seconds)
            if not child.window.allows(now):
                self._give_up(child, reason)
                return None
        child.restarts += 1
        self._restarts += 1
        if self._backoff is None:
            return 0.0
        child.failures = self._backoff.row(child.failures, now - child.born) + 1
        return self._backoff.delay(child.failures - 1, random.random())

    def _give_up(self, child: DynamicChild, reason: BaseException | None) -> None:
        self._given_up += 1
        facts = {"child": child.spec.id, "restarts": child.restarts, "last_reason": child.last_reason}
        logger.error("child_given_up", extra=facts)
        if self._on_given_up is None:
            return
        try:
            self._on_given_up(child.spec, Shutdown(child.last_reason) if reason is None else reason)
        # A stranger's hook runs in the child's task; its mistakes must not end the siblings.
        except Exception:
            logger.exception("given_up_hook_crashed", extra={"child": child.spec.id})

    def _forget(self, child: DynamicChild) -> None:
        first = self._awaited.get(child)
        if first is not None:
            first.note_end(started=child.is_started)
        child.state = State.STOPPED
        del self._children[child.spec.id]
        if child.spec.type is ChildType.SUPERVISOR:
            self._supervisors -= 1
        if self._drained is not None and not self._children:
            self._drained.set()
        child.notify()

    def _ask(self, child: DynamicChild) -> float:
        """Ask a child to stop; returns the seconds to give it."""
        if child.state is State.RESTARTING:
            child.call_off()
            return 0.0
        return child.ask_to_stop()

    def _cancel_overdue(self, child: DynamicChild) -> None:
        if not child.is_alive:
            return
        logger.warning(
            "child_outstayed_shutdown", extra={"child": child.spec.id, "shutdown_s": child.spec.shutdown_s}
        )
        child.cancel()

    async def _stop_all(self, nursery: trio.Nursery) -> None:
        """End all children; without one that traps exits this is a single cancellation."""
        self._drained = trio.Event()
        children = list(self._children.values())
        if any(child.exit_request is not None for child in children):
            await self._stop_politely(children)
        self._drained = None
        nursery.cancel_scope.cancel()

    async def _stop_politely(self, children: list[DynamicChild]) -> None:
        began = trio.current_time()
        graces = {self._ask(child) for child in children}
        for grace in sorted(graces - {0.0}):
            with trio.move_on_at(began + grace):
                await self._all_gone()
            for child in children:
                if child.spec.shutdown_s <= grace:
                    self._cancel_overdue(child)
        await self._all_gone()

    async def _all_gone(self) -> None:
        if self._children and self._drained is not None:
            await self._drained.wait()
