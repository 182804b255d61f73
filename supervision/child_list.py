"""The children of a static supervisor, in order, and how one of them is started and stopped.

Only the task that runs the supervisor calls what waits in here; that is why one wakeup is enough.
"""

import logging
import math
from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

import trio

from supervision.child import Child, without_crashes
from supervision.errors import ChildNotFound, ChildStartError
from supervision.policy import Exit
from supervision.spec import ChildSpec, Restart, State

logger: Final = logging.getLogger("supervision")


class Wakeup:
    """Wakes the one task that runs a supervisor."""

    __slots__ = ("_event",)

    def __init__(self) -> None:
        """A wakeup that has not rung."""
        self._event = trio.Event()

    def notify(self) -> None:
        """Have the task look at its condition again."""
        self._event.set()

    async def wait_until(self, condition: Callable[[], bool]) -> None:
        """Wait until the condition holds; whoever makes it true must ring."""
        while not condition():
            await self._event.wait()
            self._event = trio.Event()


class StaticChild(Child):
    """A child's record, with what its last life left behind.

    Attributes:
        generation: Grows whenever the supervisor has settled what follows a life; news from an
            earlier generation is void.
        end: How it ended.
        reason: What it raised.
        failures: Failures in a row, for the backoff.
        retry_at: When the next attempt is due, in trio's time; infinity if none is.
    """

    __slots__ = ("end", "failures", "generation", "reason", "retry_at", "wakeup")

    def __init__(self, spec: ChildSpec, wakeup: Wakeup) -> None:
        """A child that has not lived yet."""
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
        """Whether its recipe goes with its life."""
        return self.spec.restart is Restart.TEMPORARY

    def notify(self) -> None:
        """Wake the supervisor."""
        self.wakeup.notify()

    def cancel(self) -> None:
        """Cancel the life under way."""
        if self.scope is not None:
            self.scope.cancel()

    def reset(self, state: State = State.STOPPED) -> None:
        """Be between two lives, or after the last."""
        self.state = state
        self.generation += 1
        self.retry_at = math.inf
        self.reason = None


@dataclass(frozen=True, slots=True)
class Ended:
    """A life ended, and not because its supervisor stopped it."""

    child: StaticChild
    generation: int


class ChildList:
    """Children in the order of their start."""

    def __init__(self, nursery: trio.Nursery, wakeup: Wakeup, report: Callable[[Ended], None]) -> None:
        """An empty row whose children will live in this nursery."""
        self._nursery = nursery
        self._wakeup = wakeup
        self._report = report
        self._children: dict[Hashable, StaticChild] = {}
        self.is_stopping = False

    def __len__(self) -> int:
        """How many recipes there are."""
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
        """Put a recipe last."""
        child = self._children[spec.id] = StaticChild(spec, self._wakeup)
        return child

    def remove(self, child: StaticChild) -> None:
        """Forget a child between lives."""
        child.reset()
        del self._children[child.spec.id]

    def finish(self, child: StaticChild) -> None:
        """Put a child to rest for good; a temporary one is forgotten."""
        if child.is_temporary:
            self.remove(child)
        else:
            child.reset()

    def begin(self, child: StaticChild) -> None:
        """Begin a life without waiting for it; whatever comes of it arrives as a report."""
        child.reset(State.STARTING)
        if child.last_reason is not None:
            child.restarts += 1
        child.is_started = False
        child.born = trio.current_time()
        child.scope = trio.CancelScope()
        self._nursery.start_soon(self._live, child, child.scope, name=f"child {child.spec.id!r}")

    async def start(self, child: StaticChild) -> bool:
        """Begin a life and wait until it has said `started()`.

        Returns:
            False if it raised `Ignore`.

        Raises:
            ChildStartError: It ended before, or the supervisor was told to stop meanwhile. The
                child is at rest, a temporary one too.
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
        """End a life as its recipe says and wait until it has ended; a resting child stays so."""
        if child.is_alive:
            grace = child.ask_to_stop()
            if grace > 0:
                await self._wait_then_cancel(child, grace)
            await self._wakeup.wait_until(lambda: not child.is_alive)
        child.reset()

    async def stop_in_reverse(self, children: Iterable[StaticChild]) -> None:
        """End these, the last one first; temporary ones are forgotten."""
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
        with scope:
            try:
                await child.spec.start(child)
            # The one reason for a supervisor: whatever a child raises is its own affair.
            # Cancellation and KeyboardInterrupt are no `Exception`s.
            except Exception as crash:  # noqa: BLE001 - see above
                raised = crash
            except BaseExceptionGroup as mixed:
                raise without_crashes(child, mixed) from None
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
