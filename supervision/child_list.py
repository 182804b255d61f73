"""The children of a static supervisor, in order, and how one of them is started and stopped.

Only the supervisor's task waits here, so one event suffices.
"""

import logging
import math
from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

import trio

from supervision.child import TASK_OF, Child, is_being_closed, is_interruption, without_crashes
from supervision.errors import ChildNotFound, ChildStartError
from supervision.policy import Exit
from supervision.spec import ChildSpec, Restart, State

logger: Final = logging.getLogger("supervision")


class Wakeup:
    """A condition that the one task that runs a supervisor waits for."""

    __slots__ = ("_event",)

    def __init__(self) -> None:
        """Not notified yet."""
        self._event = trio.Event()

    def notify(self) -> None:
        """Have the task check its condition again."""
        self._event.set()

    async def wait_until(self, condition: Callable[[], bool]) -> None:
        """Wait until the condition holds; whoever makes it true must call `notify`."""
        while not condition():
            await self._event.wait()
            self._event = trio.Event()


class StaticChild(Child):
    """A child's record, with the outcome of its last life.

    Attributes:
        generation: Grows with every decision about what follows a life. The end of a life is
            reported with its generation; a report of an earlier one is stale, since the child has
            been stopped, restarted or removed meanwhile, and is dropped.
        end: How the last life ended.
        reason: What it raised.
        failures: Failures in a row, for the backoff.
        retry_at: When the next attempt is due, in trio's time; infinity if none is.
    """

    __slots__ = ("end", "failures", "generation", "reason", "retry_at", "wakeup")

    def __init__(self, spec: ChildSpec, wakeup: Wakeup) -> None:
        """A child before its first life."""
        super().__init__(spec)
        self.state = State.STOPPED
        self.wakeup = wakeup
        self.generation = 0
        self.end = Exit.NORMAL
        self.reason: BaseException | None = None
        self.failures = 0
        self.retry_at = math.inf

    @property
    def is_temporary(self) -> bool:
        """Whether its spec is dropped when it ends."""
        return self.spec.restart is Restart.TEMPORARY

    def notify(self) -> None:
        """Wake the supervisor."""
        self.wakeup.notify()

    def cancel(self) -> None:
        """Cancel the life under way."""
        if self.scope is not None:
            self.scope.cancel()

    def reset(self, state: State = State.STOPPED) -> None:
        """Mark as not running and drop what belonged to the last life."""
        self.state = state
        self.generation += 1
        self.retry_at = math.inf
        self.reason = None


@dataclass(frozen=True, slots=True)
class Ended:
    """Report: a life ended, and not because its supervisor stopped it."""

    child: StaticChild
    generation: int


class ChildList:
    """Children in the order of their start."""

    def __init__(self, nursery: trio.Nursery, wakeup: Wakeup, report: Callable[[Ended], None]) -> None:
        """An empty list whose children will run in this nursery."""
        self._nursery = nursery
        self._wakeup = wakeup
        self._report = report
        self._children: dict[Hashable, StaticChild] = {}
        self.is_stopping = False

    def __len__(self) -> int:
        """How many specs there are."""
        return len(self._children)

    def __iter__(self) -> Iterator[StaticChild]:
        """In the order of their start."""
        return iter(self._children.values())

    def get(self, id: Hashable) -> StaticChild | None:
        """The child of this id, if there is one."""
        return self._children.get(id)

    def find(self, id: Hashable) -> StaticChild:
        """The child of this id, or `ChildNotFound`."""
        try:
            return self._children[id]
        except KeyError:
            raise ChildNotFound(id) from None

    def add(self, spec: ChildSpec) -> StaticChild:
        """Append a spec."""
        child = self._children[spec.id] = StaticChild(spec, self._wakeup)
        return child

    def remove(self, child: StaticChild) -> None:
        """Drop a child that has no life under way, and its spec."""
        child.reset()
        del self._children[child.spec.id]

    def finish(self, child: StaticChild) -> None:
        """Mark a child as stopped; a temporary one is removed."""
        if child.is_temporary:
            self.remove(child)
        else:
            child.reset()

    def begin(self, child: StaticChild) -> None:
        """Begin a life and return at once; its end is reported."""
        child.reset(State.STARTING)
        if child.last_reason is not None:
            child.restarts += 1
        child.is_started = False
        child.born = trio.current_time()
        child.scope = trio.CancelScope()
        self._nursery.start_soon(self._live, child, child.scope, name=f"{TASK_OF}{child.spec.id!r}")

    async def start(self, child: StaticChild) -> bool:
        """Begin a life and wait until it has called `started()`.

        The supervisor's task handles nothing else meanwhile, so the end of this life is decided here
        and its report, already in the inbox, goes stale by `reset`. Four ways to go on: it started (also
        if it has ended again since: then the report decides); the supervisor is asked to stop; the
        life raised `Ignore`; it ended in any other way.

        Returns:
            False if it raised `Ignore`.

        Raises:
            ChildStartError: It ended before, or the supervisor was asked to stop meanwhile. The
                child is stopped; a temporary one is not removed.
        """
        self.begin(child)
        await self._wakeup.wait_until(lambda: child.state is not State.STARTING or self.is_stopping)
        if child.state is State.STARTING:
            await self.stop(child)
            raise ChildStartError(child.spec.id)
        if child.is_alive or child.is_started:
            return True
        end, reason = child.end, child.reason
        child.reset()
        if end is Exit.IGNORED:
            return False
        raise ChildStartError(child.spec.id, reason)

    async def stop(self, child: StaticChild) -> None:
        """End the life under way as the spec says and wait for its end; drop a pending restart."""
        if child.is_alive:
            grace = child.ask_to_stop()
            if grace > 0:
                await self._wait_then_cancel(child, grace)
            await self._wakeup.wait_until(lambda: not child.is_alive)
        child.reset()

    async def stop_in_reverse(self, children: Iterable[StaticChild]) -> None:
        """Stop these, the last one first; temporary ones are removed."""
        for child in reversed(list(children)):
            await self.stop(child)
            if child.is_temporary:
                self.remove(child)

    async def _wait_then_cancel(self, child: StaticChild, grace: float) -> None:
        with trio.move_on_after(grace):
            await self._wakeup.wait_until(lambda: not child.is_alive)
        if child.is_alive:
            logger.warning("child_outstayed_shutdown", extra={"child": child.spec.id, "shutdown_s": grace})
            child.cancel()

    async def _live(self, child: StaticChild, scope: trio.CancelScope) -> None:
        raised: BaseException | None = None
        task = trio.lowlevel.current_task()
        with scope:
            try:
                await child.spec.start(child)
            # What a child raises ends that child only: this is what supervisors are for.
            except BaseException as error:
                if is_being_closed(error, task):
                    raise
                if is_interruption(error):
                    rest = without_crashes(child, error)
                    if rest is error:
                        raise
                    raise rest from None
                raised = error
        self._life_over(child, raised)

    def _life_over(self, child: StaticChild, raised: BaseException | None) -> None:
        stopped = child.state is State.STOPPING
        child.end, child.reason = child.judge(raised)
        if stopped:
            child.reset()
        else:
            child.state = State.RESTARTING
            self._report(Ended(child, child.generation))
        child.notify()
