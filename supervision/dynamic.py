"""OTP's `simple_one_for_one`: many unrelated children, each with a restart limit of its own.

One trio task per child; its lives run in sequence inside it. Everything per child is O(1), and what
only few children need (a window of restarts, a cancel scope, an event to wait on) is made on demand:
an idle child is a task, two coroutines and a record.
"""

import logging
import random
from collections.abc import Callable, Hashable
from contextvars import copy_context
from functools import partial
from itertools import islice
from typing import Final

import trio
from trio.lowlevel import checkpoint_if_cancelled, current_task

from supervision.child import STOP, is_being_closed, is_interruption, trap_exit_as, without_crashes
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
    """Runs children that are started by request, come and go, and do not depend on each other.

    >>> async def session(life: Life) -> None:
    ...     life.started()
    ...     await trio.sleep_forever()
    >>> async def main() -> None:
    ...     supervisor = DynamicSupervisor(max_children=100_000)
    ...     async with trio.open_nursery() as nursery:
    ...         nursery.start_soon(supervisor.run)
    ...         await trio.testing.wait_all_tasks_blocked()
    ...         for number in range(3):
    ...             await supervisor.start_child(ChildSpec(id=number, start=session))
    ...         await supervisor.terminate_child(1)
    ...         print(supervisor.child_ids(), supervisor.count_children().active)
    ...         supervisor.stop()
    >>> trio.run(main)
    (0, 2) 2

    Elixir's DynamicSupervisor with one difference: restarts are counted per child. A child in a crash
    loop is given up alone; the supervisor never escalates.

    A child that is given up, or ends for good, is dropped with its spec. `max_children` counts every
    child not dropped yet, also one that is being restarted.
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
        """Set the limits; `run` accepts children.

        Args:
            max_children: Most children at a time.
            max_restarts: Restarts a child may have within `max_seconds`; None: no limit, which needs
                a backoff.
            max_seconds: Length of the sliding window of restarts, in seconds.
            backoff: Delays before restarts. Without, the next life begins at once and no other task
                runs in between, for at most `max_restarts` lives.
            on_given_up: Called with the spec of a child that used up its restarts and the reason its
                last life ended, in its task and once it is dropped, so that a new child may have its id.
                Must not wait.
            on_started: Called whenever a run has begun, to `spawn` the children it should begin
                with. Must not wait.

        Raises:
            InvalidSpec: Impossible limits.
        """
        check_limit(max_restarts, max_seconds, backoff)
        if not max_children >= 1:
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
        self._context = copy_context()
        self._accepts = False
        self._drained: trio.Event | None = None
        self._supervisors = self._pausing = 0
        self._restarts = self._crashes = self._given_up = 0

    async def run(self, life: Life | None = None) -> None:
        """Run children until stopped; usable as a `ChildSpec.start`.

        Every run begins without children, except those that `on_started` spawns. Children have the
        context variables of `run`, whoever asks for them.

        An orderly stop, by `stop` or by the supervisor above, ends all children at the same time, each
        within its `shutdown_s`. Cancelling `run` cancels them all at once.
        """
        if self._nursery is not None:
            raise RuntimeError("this supervisor is already running")
        try:
            self._context = copy_context()
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
                    # Also when cancelled: the nursery takes no new tasks from now on.
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
        """Start a child and return at once; it runs when the caller next waits.

        A failure before `started()` is a crash like any other: its restart type and limit decide.

        Raises:
            SupervisorNotRunning: It has not started, or is stopping.
            AlreadyStarted: A child of this id has not been dropped yet.
            MaxChildren: There are `max_children` already.
            InvalidSpec: The child is `significant`, which has no meaning here.
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
        # A child does not inherit the context variables of whoever asked for it, such as a request that
        # would live as long as the child.
        begin = partial(nursery.start_soon, self._run_child, child, name="supervised child")
        self._context.run(begin)
        return child

    async def start_child(self, spec: ChildSpec) -> bool:
        """Start a child and wait until it has called `started()`.

        If the caller is cancelled meanwhile, the child is stopped.

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
        """Stop a child for good and wait until it has ended.

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
        """End a child's life like `exit(Pid, kill)`: as a failure, so its restart type decides.

        Nothing happens to a child that is between two lives or being stopped.

        Raises:
            ChildNotFound: There is no such child.
        """
        self._find(id).kill(reason)

    def which_children(self, limit: int | None = None) -> tuple[ChildInfo, ...]:
        """Describe the children, oldest first, at most `limit` of them."""
        now = trio.current_time()
        return tuple(child.info(now) for child in islice(self._children.values(), limit))

    def child_info(self, id: Hashable) -> ChildInfo:
        """Describe one child; O(1).

        Raises:
            ChildNotFound: There is none of that id.
        """
        return self._find(id).info(trio.current_time())

    def child_ids(self) -> tuple[Hashable, ...]:
        """Ids of all children now, oldest first."""
        return tuple(self._children)

    def count_children(self) -> ChildCounts:
        """Count the children; O(1)."""
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
                # What a child raises ends that child only: this is what supervisors are for. A
                # cancellation by this supervisor is removed by the scope; `_after` raises others on.
                except BaseException as raised:
                    if is_being_closed(raised, child.task):
                        raise
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
            if child.state is not State.STOPPED:
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
            BaseException: What interrupted the child from outside its scope.
        """
        if isinstance(raised, trio.Cancelled):
            # The whole supervisor is being cancelled. This task ends here either way, and a group of
            # 100,000 exceptions is slow to take apart: stopping took 6.8 s with it, 4.0 s without.
            return None
        if raised is not None and is_interruption(raised):
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
        self._forget(child)
        if self._on_given_up is None:
            return
        try:
            self._on_given_up(child.spec, Shutdown(child.last_reason) if reason is None else reason)
        # The hook runs in the child's task; what it raises must not end the siblings.
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
        """Ask a child to stop; returns how many seconds it has."""
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
        """End all children: by one cancellation if none of them traps exits."""
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
