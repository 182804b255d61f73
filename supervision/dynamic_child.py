"""What a dynamic supervisor keeps about a child, as little as it can."""

from collections.abc import Awaitable

import trio
from trio.lowlevel import Task

from supervision import lazy_cancel_scope
from supervision.child import STOP, Child, exit_scope
from supervision.policy import Exit, RestartWindow
from supervision.spec import ChildSpec, State


class DynamicChild(Child):
    """A child's record; what only few children need is made when the need comes.

    Attributes:
        task: Runs the life under way; None between lives.
        news: Set at the next change, if somebody waits for one.
        window: Its restarts, once there was one.
        failures: Failures in a row, for the backoff.
    """

    __slots__ = ("failures", "news", "task", "window")

    def __init__(self, spec: ChildSpec) -> None:
        """A child that has not lived yet."""
        super().__init__(spec)
        self.task: Task | None = None
        self.news: trio.Event | None = None
        self.window: RestartWindow | None = None
        self.failures = 0

    def notify(self) -> None:
        """Wake whoever waits for a change."""
        if self.news is not None:
            self.news.set()
            self.news = None

    async def change(self) -> None:
        """Wait for the next change."""
        if self.news is None:
            self.news = trio.Event()
        await self.news.wait()

    async def end(self) -> None:
        """Wait until the child is forgotten."""
        while self.state is not State.STOPPED:
            await self.change()

    def cancel(self) -> None:
        """Cancel the life under way."""
        # Between lives there is nothing to cancel: the next one looks at `stop_reason` before it begins.
        if self.scope is None and self.task is not None and lazy_cancel_scope.SUPPORTED:
            self.scope = lazy_cancel_scope.enter_for(self.task)
        if self.scope is not None:
            self.scope.cancel()

    def one_life(self) -> Awaitable[None]:
        """Begin a life that `cancel` can reach."""
        return self.spec.start(self) if lazy_cancel_scope.SUPPORTED else self.life_in_own_scope()

    async def life_in_own_scope(self) -> None:
        """Live inside a scope of the ordinary kind, for a trio that `lazy_cancel_scope` does not know."""
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
        """Close a life; says what it raised, without the cancellation that was meant for it."""
        scope, self.scope, self.task = self.scope, None, None
        return raised if scope is None else exit_scope(scope, raised)


class FirstStart:
    """What a `start_child` waits for: the fate of the first life up to `started()`."""

    __slots__ = ("cause", "failed", "ignored", "is_known")

    def __init__(self) -> None:
        """A fate not known yet."""
        self.is_known = self.failed = self.ignored = False
        self.cause: BaseException | None = None

    def note_end(self, *, started: bool, end: Exit | None = None, cause: BaseException | None = None) -> bool:
        """Note the end of a life; says whether that was a start that came to nothing."""
        if self.is_known:
            return False
        self.is_known = True
        self.ignored = not started and end is Exit.IGNORED
        self.failed = not started and not self.ignored
        self.cause = cause
        return not started
