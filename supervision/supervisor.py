"""A row of children that know of each other: OTP's `supervisor`.

Everything that happens to a supervisor goes through one inbox and is handled one at a time by the
task that runs it: the end of a life, another attempt, a caller's request. So a restart is never
interleaved with another, and a child that always fails again cannot keep callers waiting: its next
attempt stands in line behind them.
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
    """A child failed in its own start while it was being restarted with others."""

    child: StaticChild
    generation: int


@dataclass(slots=True)
class _Request:
    """A caller waits for `work` to be done by the supervisor's task."""

    work: Callable[[ChildList], Awaitable[bool]]
    done: trio.Event = field(default_factory=trio.Event)
    answer: bool = False
    error: SupervisionError | None = None


class Supervisor:
    """Starts children from left to right, stops them from right to left, restarts them between.

    The semantics are those of OTP's `supervisor(3)`; where words differ, the difference is said
    at the method. Also OTP's: a child must not ask something of its own supervisor before it has
    said `started()`, for the supervisor waits for exactly that.
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
        """Check the recipe; `run` brings it up.

        Args:
            children: In the order of their start. Every `run` begins with exactly these.
            strategy: Who is restarted with a child that failed.
            max_restarts: Restarts allowed within `max_seconds`, all children together; one more
                and the supervisor stops everything and raises `RestartLimitReached`. None (only
                with a backoff): never.
            max_seconds: See there.
            auto_shutdown: Whether the end of significant children ends the supervisor.
            backoff: Delays before restarts; siblings that a strategy takes down with the child
                are stopped at once and started together with it.

        Raises:
            InvalidSpec: Ids twice, limits that cannot be meant, or a significant child where
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
        """Bring the children up and keep them up; usable as a `ChildSpec.start`.

        Returns after an orderly stop (`stop`, or the supervisor above). Cancelling `run` cancels
        all children at once, in no order.

        Raises:
            ChildStartError: A child failed at the first start; those before it are stopped.
            RestartLimitReached: See `max_restarts`; all children are stopped.
            Shutdown: `auto_shutdown` came true; all children are stopped.
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
        """Add a recipe after all others and start it.

        Returns:
            Whether it runs; False if it raised `Ignore` (the recipe is kept unless temporary).

        Raises:
            ChildStartError: It failed to start; the recipe is not kept.
            AlreadyStarted: A child of this id runs or is being restarted.
            AlreadyPresent: A recipe of this id is kept, not running.
            InvalidSpec: Significant where `auto_shutdown` is never.
            SupervisorNotRunning: Nobody handled the request.
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
        """End a child and wait until it has ended; its recipe is kept unless temporary.

        A child between two attempts is called off.

        Raises:
            ChildNotFound: There is no such recipe.
            SupervisorNotRunning: Nobody handled the request.
        """

        async def work(children: ChildList) -> bool:
            child = children.find(id)
            await children.stop(child)
            children.finish(child)
            return True

        await self._request(work)

    async def restart_child(self, id: Hashable) -> bool:
        """Start a child that stands still; this is not counted as a restart.

        Returns:
            As `start_child`.

        Raises:
            ChildNotFound: There is no such recipe.
            ChildRunning: It runs.
            ChildRestarting: It is being restarted anyway.
            ChildStartError: It failed to start; the recipe is kept.
            SupervisorNotRunning: Nobody handled the request.
        """

        async def work(children: ChildList) -> bool:
            return await children.start(self._stopped_child(children, id))

        return await self._request(work)

    async def delete_child(self, id: Hashable) -> None:
        """Forget the recipe of a child that stands still.

        Raises:
            ChildNotFound, ChildRunning, ChildRestarting, SupervisorNotRunning: As `restart_child`.
        """

        async def work(children: ChildList) -> bool:
            children.remove(self._stopped_child(children, id))
            return True

        await self._request(work)

    def kill_child(self, id: Hashable, reason: object = None) -> None:
        """End a child's life like `exit(Pid, kill)`: abnormally, so its restart type decides.

        Nothing happens to a child without a life under way.

        Raises:
            ChildNotFound: There is no such recipe.
            SupervisorNotRunning: There are no children.
        """
        self._running_children().find(id).kill(reason)

    def which_children(self, limit: int | None = None) -> tuple[ChildInfo, ...]:
        """Describe the children in the order of their start, at most `limit` of them."""
        now = trio.current_time()
        return tuple(child.info(now) for child in islice(self._children(), limit))

    def count_children(self) -> ChildCounts:
        """Count recipes and lives."""
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

    # What callers ask for

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
        """Have the supervisor's task do something; a caller cancelled meanwhile changes nothing."""
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
                item.error = SupervisorNotRunning("the supervisor ended before it got to this")
                item.done.set()
        self._inbox.clear()

    # The one task

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
            # The crash itself has been logged by the child's own task.
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
                facts = {"child": child.spec.id, "last_reason": child.last_reason}
                logger.error("restart_limit_reached", extra=facts)
                raise RestartLimitReached(child.spec.id, self._max_restarts, self._max_seconds)
        self._restarts += 1

    def _group(self, children: ChildList, child: StaticChild) -> list[StaticChild]:
        """Who goes down and up with a child, in the order of the row."""
        match self._strategy:
            case Strategy.ONE_FOR_ONE:
                return [child]
            case Strategy.ONE_FOR_ALL:
                return list(children)
            case Strategy.REST_FOR_ONE:
                everybody = list(children)
                return everybody[everybody.index(child) :]
            case _:
                assert_never(self._strategy)

    async def _start_again(self, children: ChildList, child: StaticChild) -> None:
        """Start a child again, and its group with it.

        Alone, it is not waited for: what comes of its start arrives as a report. A group starts
        one after the other, so each is waited for; the first to fail gets another attempt.
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
