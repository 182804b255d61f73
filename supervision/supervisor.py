"""OTP's `supervisor`: children in a fixed order, restarted alone or together.

The ends of lives, further attempts and callers' requests go through one inbox, and the task that
runs the supervisor handles them one at a time. So restarts do not interleave, and a child that keeps
failing cannot starve callers: its next attempt queues behind their requests.
"""

import logging
import math
import random
from collections import deque
from collections.abc import Awaitable, Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Final, assert_never

import trio

from supervision.child import trap_exit_as
from supervision.child_list import ChildList, Ended, StaticChild, Wakeup
from supervision.errors import (
    AlreadyPresent,
    AlreadyStarted,
    ChildRestarting,
    ChildRunning,
    ChildStartError,
    InvalidSpec,
    RestartLimitReached,
    Shutdown,
    SupervisionError,
    SupervisorNotRunning,
)
from supervision.policy import RESTARTS, Backoff, Exit, RestartWindow, check_limit
from supervision.spec import (
    AutoShutdown,
    ChildCounts,
    ChildInfo,
    ChildSpec,
    ChildType,
    Life,
    State,
    Statistics,
    Strategy,
)

logger: Final = logging.getLogger("supervision")


@dataclass(frozen=True, slots=True)
class _Retry:
    """Another attempt for a child that failed to start while it was restarted with others."""

    child: StaticChild
    generation: int


@dataclass(slots=True)
class _Request:
    """Work that a caller has the supervisor's task do, and waits for."""

    work: Callable[[ChildList], Awaitable[bool]]
    done: trio.Event = field(default_factory=trio.Event)
    answer: bool = False
    error: SupervisionError | None = None


class Supervisor:
    """Starts children in order, restarts those that fail, stops them in reverse order.

    >>> async def connection(life: Life) -> None:
    ...     print("connected")
    ...     life.started()
    ...     await trio.sleep_forever()
    >>> async def main() -> None:
    ...     supervisor = Supervisor([ChildSpec(id="connection", start=connection)], max_restarts=3)
    ...     async with trio.open_nursery() as nursery:
    ...         nursery.start_soon(supervisor.run)
    ...         await trio.testing.wait_all_tasks_blocked()
    ...         supervisor.kill_child("connection")
    ...         await trio.testing.wait_all_tasks_blocked()
    ...         print(supervisor.which_children()[0].restarts, "restart")
    ...         supervisor.stop()
    >>> trio.run(main)
    connected
    connected
    1 restart

    The semantics are those of OTP's `supervisor(3)`; differences are noted at the methods. As in
    OTP, a child must not call its own supervisor before `started()`: the supervisor waits for that.
    """

    def __init__(
        self,
        children: Sequence[ChildSpec],
        *,
        strategy: Strategy = Strategy.ONE_FOR_ONE,
        max_restarts: int | None = 3,
        max_seconds: float = 5.0,
        auto_shutdown: AutoShutdown = AutoShutdown.NEVER,
        backoff: Backoff | None = None,
    ) -> None:
        """Check the specs; `run` starts the children.

        Args:
            children: In the order of their start. Every `run` begins with exactly these.
            strategy: Which children are restarted with one that failed.
            max_restarts: Restarts allowed within `max_seconds`, all children together; at one more
                the supervisor stops everything and raises `RestartLimitReached`. None: no limit,
                which needs a backoff.
            max_seconds: Length of the sliding window of restarts, in seconds.
            auto_shutdown: Whether the end of significant children ends the supervisor.
            backoff: Delays before restarts; siblings that a strategy takes down with the child
                are stopped at once and started together with it.

        Raises:
            InvalidSpec: Two children with one id, impossible limits, or a significant child where
                `auto_shutdown` is never (OTP: `bad_combination`).
        """
        check_limit(max_restarts, max_seconds, backoff)
        self._specs = tuple(children)
        self._strategy = strategy
        self._max_restarts = max_restarts
        self._max_seconds = max_seconds
        self._auto_shutdown = auto_shutdown
        self._backoff = backoff
        ids = set[Hashable]()
        for spec in self._specs:
            self._check(spec)
            if spec.id in ids:
                raise InvalidSpec(f"two children called {spec.id!r}")
            ids.add(spec.id)
        self._list: ChildList | None = None
        self._wakeup = Wakeup()
        self._inbox: deque[Ended | _Retry | _Request] = deque()
        self._window: RestartWindow | None = None
        self._restarts = self._crashes = self._given_up = 0

    async def run(self, life: Life | None = None) -> None:
        """Start the children and keep them running; usable as a `ChildSpec.start`.

        Returns after an orderly stop, by `stop` or by the supervisor above. Cancelling `run` cancels
        all children at once, in no order.

        Raises:
            ChildStartError: A child failed at the first start; those before it are stopped.
            RestartLimitReached: See `max_restarts`; all children are stopped.
            Shutdown: `auto_shutdown` applied; all children are stopped.
        """
        if self._list is not None:
            raise RuntimeError("this supervisor is already running")
        failure: Exception | None = None
        try:
            async with trio.open_nursery() as nursery:
                children = self._list = ChildList(nursery, self._wakeup, self._inbox.append)
                if life is not None:
                    nursery.start_soon(self._stop_when_asked, trap_exit_as(self, life))
                try:
                    await self._serve(children, life)
                except (Shutdown, ChildStartError) as error:
                    failure = error
                children.is_stopping = True
                await children.stop_in_reverse(children)
                nursery.cancel_scope.cancel()
        finally:
            self._close()
        if failure is not None:
            raise failure

    @property
    def is_running(self) -> bool:
        """Whether `run` is under way."""
        return self._list is not None

    def stop(self) -> None:
        """Ask for an orderly stop; `run` returns when all children have ended."""
        if self._list is not None:
            self._list.is_stopping = True
            self._wakeup.notify()

    async def start_child(self, spec: ChildSpec) -> bool:
        """Add a child after all others and start it.

        Returns:
            Whether it runs; False if it raised `Ignore` (the spec is kept unless temporary).

        Raises:
            ChildStartError: It failed to start; the spec is not kept.
            AlreadyStarted: A child of this id runs or is being restarted.
            AlreadyPresent: A child of this id is kept, not running.
            InvalidSpec: Significant where `auto_shutdown` is never.
            SupervisorNotRunning: The request was not handled.
        """
        self._check(spec)

        async def work(children: ChildList) -> bool:
            self._check_absent(children.get(spec.id))
            child = children.add(spec)
            try:
                running = await children.start(child)
            except ChildStartError:
                children.remove(child)
                raise
            if not running:
                children.finish(child)
            return running

        return await self._request(work)

    async def terminate_child(self, id: Hashable) -> None:
        """Stop a child and wait until it has ended; its spec is kept unless temporary.

        The pending restart of a child between two lives is cancelled.

        Raises:
            ChildNotFound: There is no child of this id.
            SupervisorNotRunning: The request was not handled.
        """

        async def work(children: ChildList) -> bool:
            child = children.find(id)
            await children.stop(child)
            children.finish(child)
            return True

        await self._request(work)

    async def restart_child(self, id: Hashable) -> bool:
        """Start a child that is stopped; this does not count as a restart.

        Returns:
            As `start_child`.

        Raises:
            ChildNotFound: There is no child of this id.
            ChildRunning: It runs.
            ChildRestarting: It is being restarted anyway.
            ChildStartError: It failed to start; the spec is kept.
            SupervisorNotRunning: The request was not handled.
        """

        async def work(children: ChildList) -> bool:
            return await children.start(self._stopped_child(children, id))

        return await self._request(work)

    async def delete_child(self, id: Hashable) -> None:
        """Drop the spec of a child that is stopped.

        Raises:
            ChildNotFound, ChildRunning, ChildRestarting, SupervisorNotRunning: As `restart_child`.
        """

        async def work(children: ChildList) -> bool:
            children.remove(self._stopped_child(children, id))
            return True

        await self._request(work)

    def kill_child(self, id: Hashable, reason: object = None) -> None:
        """End a child's life like `exit(Pid, kill)`: as a failure, so its restart type decides.

        Nothing happens to a child without a life under way.

        Raises:
            ChildNotFound: There is no child of this id.
            SupervisorNotRunning: The supervisor does not run.
        """
        self._running_children().find(id).kill(reason)

    def which_children(self, limit: int | None = None) -> tuple[ChildInfo, ...]:
        """Describe the children in the order of their start, at most `limit` of them."""
        now = trio.current_time()
        return tuple(child.info(now) for child in islice(self._children(), limit))

    def count_children(self) -> ChildCounts:
        """Count the children, by OTP's terms."""
        children = list(self._children())
        supervisors = sum(child.spec.type is ChildType.SUPERVISOR for child in children)
        return ChildCounts(
            specs=len(children),
            active=sum(child.is_alive for child in children),
            supervisors=supervisors,
            workers=len(children) - supervisors,
        )

    def statistics(self) -> Statistics:
        """Counters since the beginning, over all runs."""
        return Statistics(restarts=self._restarts, crashes=self._crashes, given_up=self._given_up)

    # Callers' requests

    def _children(self) -> Iterator[StaticChild]:
        return iter(()) if self._list is None else iter(self._list)

    def _check(self, spec: ChildSpec) -> None:
        if spec.significant and self._auto_shutdown is AutoShutdown.NEVER:
            raise InvalidSpec(f"child {spec.id!r} is significant, but auto_shutdown is never")

    def _check_absent(self, child: StaticChild | None) -> None:
        if child is None:
            return
        if child.state is State.STOPPED:
            raise AlreadyPresent(child.spec.id)
        raise AlreadyStarted(child.spec.id)

    def _stopped_child(self, children: ChildList, id: Hashable) -> StaticChild:
        child = children.find(id)
        if child.is_alive:
            raise ChildRunning(id)
        if child.state is State.RESTARTING:
            raise ChildRestarting(id)
        return child

    def _running_children(self) -> ChildList:
        if self._list is None:
            raise SupervisorNotRunning("the supervisor is not running")
        return self._list

    async def _request(self, work: Callable[[ChildList], Awaitable[bool]]) -> bool:
        """Have the supervisor's task do `work`; it does so even if the caller is cancelled meanwhile."""
        if self._running_children().is_stopping:
            raise SupervisorNotRunning("the supervisor is stopping")
        request = _Request(work)
        self._inbox.append(request)
        self._wakeup.notify()
        await request.done.wait()
        if request.error is not None:
            raise request.error
        return request.answer

    def _close(self) -> None:
        self._list = self._window = None
        for item in self._inbox:
            if isinstance(item, _Request):
                item.error = SupervisorNotRunning("the supervisor ended before it handled the request")
                item.done.set()
        self._inbox.clear()

    # The supervisor's task

    async def _stop_when_asked(self, trap: trio.Event) -> None:
        await trap.wait()
        self.stop()

    async def _serve(self, children: ChildList, life: Life | None) -> None:
        for spec in self._specs:
            await self._first_start(children, spec)
            if children.is_stopping:
                return
        if life is not None:
            life.started()
        while not children.is_stopping:
            due = self._next_due(children)
            if due is not None and due.retry_at <= trio.current_time():
                await self._start_again(children, due)
            elif self._inbox:
                await self._handle(children, self._inbox.popleft())
            else:
                with trio.move_on_at(math.inf if due is None else due.retry_at):
                    await self._wakeup.wait_until(lambda: bool(self._inbox) or children.is_stopping)

    def _next_due(self, children: ChildList) -> StaticChild | None:
        if self._backoff is None:
            return None
        return min(children, key=lambda child: child.retry_at, default=None)

    async def _first_start(self, children: ChildList, spec: ChildSpec) -> None:
        child = children.add(spec)
        try:
            if not await children.start(child):
                children.finish(child)
        except ChildStartError:
            if children.is_stopping:
                return
            # The child's own task has logged the crash.
            logger.error("child_start_failed", extra={"child": spec.id, "reason": child.last_reason})  # noqa: TRY400
            raise

    async def _handle(self, children: ChildList, item: Ended | _Retry | _Request) -> None:
        match item:
            case Ended(child, generation):
                if generation == child.generation:
                    await self._after(children, child)
            case _Retry(child, generation):
                if generation == child.generation:
                    await self._restart(children, child)
            case _Request():
                try:
                    item.answer = await item.work(children)
                except SupervisionError as error:
                    item.error = error
                item.done.set()
            case _:
                assert_never(item)

    async def _after(self, children: ChildList, child: StaticChild) -> None:
        """Decide what follows a life that ended by itself.

        Failing in the own start while being restarted is always another attempt, whatever the
        restart type (OTP: `try_again_restart`).
        """
        self._crashes += child.end is Exit.CRASHED
        failed_to_start = not child.is_started and child.end is not Exit.IGNORED
        if failed_to_start or RESTARTS[child.spec.restart, child.end]:
            await self._restart(children, child)
        else:
            children.finish(child)
            self._judge_significance(children, child)

    def _judge_significance(self, children: ChildList, child: StaticChild) -> None:
        if not child.spec.significant or child.end is Exit.IGNORED:
            return
        others = any(other.spec.significant and other.state is not State.STOPPED for other in children)
        if self._auto_shutdown is AutoShutdown.ANY_SIGNIFICANT or not others:
            raise Shutdown("auto_shutdown")

    async def _restart(self, children: ChildList, child: StaticChild) -> None:
        now = trio.current_time()
        self._count_restart(child, now)
        child.reset(State.RESTARTING)
        await children.stop_in_reverse(other for other in self._group(children, child) if other is not child)
        if self._backoff is None:
            await self._start_again(children, child)
        else:
            child.failures = self._backoff.row(child.failures, now - child.born) + 1
            child.retry_at = now + self._backoff.delay(child.failures - 1, random.random())

    def _count_restart(self, child: StaticChild, now: float) -> None:
        if self._max_restarts is not None:
            if self._window is None:
                self._window = RestartWindow(self._max_restarts, self._max_seconds)
            if not self._window.allows(now):
                self._given_up += 1
                facts = {
                    "child": child.spec.id,
                    "last_reason": child.last_reason,
                    "restarts": child.restarts,
                    "max_restarts": self._max_restarts,
                    "max_seconds": self._max_seconds,
                }
                logger.error("restart_limit_reached", extra=facts)
                raise RestartLimitReached(child.spec.id, self._max_restarts, self._max_seconds)
        self._restarts += 1

    def _group(self, children: ChildList, child: StaticChild) -> list[StaticChild]:
        """The children that are restarted with `child`, in order."""
        match self._strategy:
            case Strategy.ONE_FOR_ONE:
                return [child]
            case Strategy.ONE_FOR_ALL:
                return list(children)
            case Strategy.REST_FOR_ONE:
                everyone = list(children)
                return everyone[everyone.index(child) :]
            case _:
                assert_never(self._strategy)

    async def _start_again(self, children: ChildList, child: StaticChild) -> None:
        """Start a child again, and its group with it.

        A single child is not waited for: if its start fails, that is reported like any end. The members
        of a group start one after the other, each waited for; the first to fail gets another attempt.
        """
        if self._strategy is Strategy.ONE_FOR_ONE:
            children.begin(child)
            return
        for member in self._group(children, child):
            if member.is_alive:
                continue
            try:
                if not await children.start(member):
                    children.finish(member)
            except ChildStartError:
                if children.is_stopping:
                    return
                facts = {"child": member.spec.id, "reason": member.last_reason}
                logger.warning("child_start_failed", extra=facts)
                member.reset(State.RESTARTING)
                self._inbox.append(_Retry(member, member.generation))
                return
