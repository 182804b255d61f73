"""What a dynamic supervisor keeps about a child, as little as it can."""

from collections.abc import Awaitable

import trio
from trio.lowlevel import Task

from supervision import late
from supervision.child import STOP, Child, leave
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

    def tell(self) -> None:
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
        # Between lives there is nothing to cancel: the next one looks at `told` before it begins.
        if self.scope is None and self.task is not None and late.SUPPORTED:
            self.scope = late.enter_for(self.task)
        if self.scope is not None:
            self.scope.cancel()

    def one_life(self) -> Awaitable[None]:
        """Begin a life that `cancel` can reach."""
        return self.spec.start(self) if late.SUPPORTED else self.life_in_own_scope()

    async def life_in_own_scope(self) -> None:
        """Live inside a scope of the ordinary kind, for a trio that `late` does not know."""
        try:
            with trio.CancelScope() as self.scope:
                await self.spec.start(self)
        finally:
            self.scope = None

    def call_off(self) -> None:
        """Stop a child that is between two lives."""
        self.state = State.STOPPING
        self.told = STOP
        self.tell()

    def leave_scope(self, raised: BaseException | None) -> BaseException | None:
        """Close a life; says what it raised, without the cancellation that was meant for it."""
        scope, self.scope, self.task = self.scope, None, None
        return raised if scope is None else leave(scope, raised)


class FirstStart:
    """What a `start_child` waits for: the fate of the first life up to `started()`."""

    __slots__ = ("cause", "failed", "ignored", "settled")

    def __init__(self) -> None:
        """A fate not known yet."""
        self.settled = self.failed = self.ignored = False
        self.cause: BaseException | None = None

    def settle(self, *, begun: bool, end: Exit | None = None, cause: BaseException | None = None) -> bool:
        """Note the end of a life; says whether that was a start that came to nothing."""
        if self.settled:
            return False
        self.settled = True
        self.ignored = not begun and end is Exit.IGNORED
        self.failed = not begun and not self.ignored
        self.cause = cause
        return not begun
