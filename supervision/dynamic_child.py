"""A dynamic supervisor's record of a child, kept small."""

from collections.abc import Awaitable

import trio
from trio.lowlevel import Task

from supervision import lazy_cancel_scope
from supervision.child import STOP, Child, exit_scope
from supervision.policy import Exit, RestartWindow
from supervision.spec import ChildSpec, State


class DynamicChild(Child):
    """A child's record; what only few children need is made on demand.

    Attributes:
        task: Runs the life under way; None between lives.
        changed: Set at the next change, if somebody waits for one.
        window: Its restarts, once there was one.
        failures: Failures in a row, for the backoff.
    """

    __slots__ = ("changed", "failures", "task", "window")

    def __init__(self, spec: ChildSpec) -> None:
        """A child before its first life."""
        super().__init__(spec)
        self.task: Task | None = None
        self.changed: trio.Event | None = None
        self.window: RestartWindow | None = None
        self.failures = 0

    def notify(self) -> None:
        """Wake whoever waits for a change."""
        if self.changed is not None:
            self.changed.set()
            self.changed = None

    async def change(self) -> None:
        """Wait for the next change."""
        if self.changed is None:
            self.changed = trio.Event()
        await self.changed.wait()

    async def end(self) -> None:
        """Wait until the supervisor has dropped the child."""
        while self.state is not State.STOPPED:
            await self.change()

    def cancel(self) -> None:
        """Cancel the life under way."""
        # Between lives there is nothing to cancel: `stop_reason` keeps the next one from beginning.
        if self.scope is None and self.task is not None and lazy_cancel_scope.SUPPORTED:
            self.scope = lazy_cancel_scope.enter_for(self.task)
        if self.scope is not None:
            self.scope.cancel()

    def one_life(self) -> Awaitable[None]:
        """Begin a life that `cancel` can reach."""
        return self.spec.start(self) if lazy_cancel_scope.SUPPORTED else self.life_in_own_scope()

    async def life_in_own_scope(self) -> None:
        """Run inside an ordinary cancel scope, for a trio that `lazy_cancel_scope` does not support."""
        try:
            with trio.CancelScope() as self.scope:
                await self.spec.start(self)
        finally:
            self.scope = None

    def call_off(self) -> None:
        """Stop a child that is between two lives."""
        self.state = State.STOPPING
        self.stop_reason = STOP
        self.notify()

    def leave_scope(self, raised: BaseException | None) -> BaseException | None:
        """Leave the life's scope; returns what the life raised, without the scope's own cancellation."""
        scope, self.scope, self.task = self.scope, None, None
        return raised if scope is None else exit_scope(scope, raised)


class FirstStart:
    """What `start_child` waits for: the outcome of the first life up to `started()`."""

    __slots__ = ("cause", "failed", "ignored", "is_known")

    def __init__(self) -> None:
        """Not known yet."""
        self.is_known = self.failed = self.ignored = False
        self.cause: BaseException | None = None

    def note_end(self, *, started: bool, end: Exit | None = None, cause: BaseException | None = None) -> bool:
        """Note the end of a life; true if it ended before `started()`."""
        if self.is_known:
            return False
        self.is_known = True
        self.ignored = not started and end is Exit.IGNORED
        self.failed = not started and not self.ignored
        self.cause = cause
        return not started
