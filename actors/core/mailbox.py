"""An actor's bounded message queue, and the pending answer of a call.

A mailbox is a deque and the one task that may be parked on it. An idle mailbox has no deque (an empty
one takes 600 bytes, and most actors are idle): its queue is the shared empty tuple, which also means
that the reader is parked. So appending to a busy mailbox is a length check and an append.
"""

from __future__ import annotations

from collections import deque
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import trio

from actors.core.errors import ActorGone, CallTimeout, MailboxFull
from actors.core.histogram import Histogram
from actors.core.inline_call import InlineCall, wait_for_answer
from actors.core.timers import timers

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from actors.core.timers import Timers

_IDLE: Final[tuple[()]] = ()
# Empty deques for the next mailbox that needs one: with many actors, allocating one for every message
# would be a tenth of the work on it.
SPARE_QUEUES: Final = 64
_spare: Final[list[deque[Any]]] = []


# Of all mailboxes of the process, sampled: how long a message waits until it is read.
mailbox_waits: Final = Histogram()
_is_sample_due = False


class Run(NamedTuple):
    """An entry of a mailbox: call a function in the actor's task, between two messages."""

    call: Callable[[], None]


def sample_mailbox_wait() -> None:
    """Measure the wait of the next message put into any mailbox, for `mailbox_waits`.

    One at a time, when somebody asks: a clock read for every message would cost as much as the message.
    """
    global _is_sample_due  # noqa: PLW0603  # a process has one loop, and `put` no time to look elsewhere
    _is_sample_due = True


class NoTimers:
    """Stands for the timers of a call that has no deadline of its own."""

    def note_cancelled(self) -> None:
        """There was none to cancel."""


NO_TIMERS: Final = NoTimers()


class PendingCall:
    """A call that waits for its answer: OTP's `From`, with a deadline.

    >>> async def main() -> None:
    ...     pending = PendingCall("clerk", "what time is it?")
    ...     pending.send("noon")
    ...     pending.send("midnight")  # only the first answer counts
    ...     print(await pending.wait(timeout_s=1))
    >>> trio.run(main)
    noon

    Made by the task or inline call that waits for it. An actor gets its own from `Actor.defer`.

    Attributes:
        message: The request.
        waiter: The task or inline call that waits; None once it waits no longer.
    """

    __slots__ = ("_actor", "_answer", "_error", "_timers", "message", "waiter")

    def __init__(self, actor: Hashable, message: object) -> None:
        self._actor = actor
        self._answer: object = None
        self._error: BaseException | None = None
        self.waiter: trio.lowlevel.Task | InlineCall[Any] | None = (
            InlineCall.current or trio.lowlevel.current_task()
        )
        self._timers: Timers | NoTimers | None = None
        self.message = message

    @property
    def is_pending(self) -> bool:
        """Whether the caller still waits: there was no answer, and the deadline has not passed."""
        return self.waiter is not None

    def send(self, answer: object) -> None:
        """Answer the call. Dropped if the caller waits no longer."""
        if self.waiter is not None:
            self._answer = answer
            self._wake()

    def fail(self, error: BaseException) -> None:
        """Raise `error` in the caller instead."""
        if self.waiter is not None:
            self._error = error
            self._wake()

    def fire(self) -> None:
        """The deadline has passed."""
        if self.waiter is not None:
            self._error = CallTimeout(self._actor, self.message)
            self._wake(is_in_heap=False)

    def _wake(self, *, is_in_heap: bool = True) -> None:
        waiter, self.waiter = self.waiter, None
        if self._timers is None:
            return  # Answered before anybody waits: `wait` returns at once.
        if is_in_heap:
            self._timers.note_cancelled()
        if isinstance(waiter, InlineCall):
            waiter.resume()
        elif waiter is not None:
            trio.lowlevel.reschedule(waiter)

    def _give_up(self, _raise_cancel: Callable[[], Any]) -> trio.lowlevel.Abort:
        """The caller is cancelled: drop it now, since a task must not be rescheduled twice."""
        self.waiter = None
        if self._timers is not None:
            self._timers.note_cancelled()
        return trio.lowlevel.Abort.SUCCEEDED

    async def wait(self, timeout_s: float | None) -> Any:
        """Wait for the answer, at most `timeout_s` seconds; None where whoever answers has a deadline itself.

        Raises:
            CallTimeout: No answer in time.
            ActorGone: The receiver ended first.
        """
        if self.waiter is not None:
            if timeout_s is None:
                self._timers = NO_TIMERS
            else:
                running = timers()
                running.add(timeout_s, self)
                self._timers = running
            if isinstance(self.waiter, InlineCall):
                await wait_for_answer()
            else:
                await trio.lowlevel.wait_task_rescheduled(self._give_up)
        if self._error is not None:
            raise self._error
        return self._answer


class Mailbox:
    """A bounded queue with one reader; closed while there is no life to read it.

    `put` refuses at `slots` unread entries; `put_always` does not, and is for entries whose number the
    reader bounds (timers, `Down`).
    """

    __slots__ = ("_open_slots", "_parked", "_queue", "_slots")

    def __init__(self, slots: int) -> None:
        if not slots >= 1:
            msg = f"a mailbox needs at least one slot, not {slots}"
            raise ValueError(msg)
        self._queue: deque[Any] | tuple[()] = _IDLE
        self._slots = slots
        self._open_slots = slots  # 0 while closed, so that one comparison covers both refusals
        self._parked: trio.lowlevel.Task | None = None

    def __len__(self) -> int:
        return len(self._queue)

    @property
    def is_open(self) -> bool:
        """Whether entries are accepted."""
        return self._open_slots > 0

    @property
    def slots(self) -> int:
        """How many unread entries it may hold."""
        return self._slots

    def put(self, actor: Hashable, entry: object, message: object) -> None:
        """Append `entry` and wake the reader.

        Raises:
            MailboxFull: `slots` entries are unread.
            ActorGone: The mailbox is closed.
        """
        queue = self._queue
        if len(queue) >= self._open_slots:
            raise (MailboxFull if self._open_slots else ActorGone)(actor, message)
        if _is_sample_due:
            self._put_sample()
            queue = self._queue
        if queue:
            queue.append(entry)
        else:
            self._put_first(entry)

    def put_always(self, entry: object) -> bool:
        """Append `entry` whatever the length; false if the mailbox is closed."""
        if not self._open_slots:
            return False
        if self._queue:
            self._queue.append(entry)
        else:
            self._put_first(entry)
        return True

    def _put_sample(self) -> None:
        """Put an entry that notes when it is read, in front of the message that is put next."""
        global _is_sample_due  # noqa: PLW0603  # see `sample_mailbox_wait`
        _is_sample_due = False
        put_at = perf_counter()
        self.put_always(Run(lambda: mailbox_waits.observe(perf_counter() - put_at)))

    def _put_first(self, entry: object) -> None:
        if isinstance(self._queue, deque):
            self._queue.append(entry)
            return
        self._queue = _spare.pop() if _spare else deque()
        self._queue.append(entry)
        task, self._parked = self._parked, None
        if task is not None:
            trio.lowlevel.reschedule(task)

    async def take(self) -> deque[Any]:
        """Wait until there is something to read, and return the queue itself, to be popped from the left."""
        if not self._queue:
            if self._queue is not _IDLE and len(_spare) < SPARE_QUEUES:
                _spare.append(self._queue)  # type: ignore[arg-type]  # not idle: a deque
            self._queue = _IDLE
            self._parked = trio.lowlevel.current_task()
            await trio.lowlevel.wait_task_rescheduled(self._give_up)
        return self._queue  # type: ignore[return-value]  # whoever woke us has put a deque there

    def _give_up(self, _raise_cancel: Callable[[], Any]) -> trio.lowlevel.Abort:
        """The reader is cancelled: drop it now, since a task must not be rescheduled twice."""
        self._parked = None
        return trio.lowlevel.Abort.SUCCEEDED

    def open(self) -> None:
        """Accept entries (again)."""
        self._open_slots = self._slots

    def close(self) -> tuple[Any, ...]:
        """Refuse entries from now on; returns those unread."""
        self._open_slots = 0
        unread, self._queue = tuple(self._queue), _IDLE
        return unread
