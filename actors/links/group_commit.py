"""Group commit: an actor that writes the entries of many callers in one transaction, then answers each.

A commit costs little more for a hundred entries than for one. The entries that arrive while a transaction
is under way make up the next. The first of them waits for more: as long as each iteration of the event
loop brings some, and `max_wait_s` at most; a batch smaller than `worth_waiting_for` waits `max_wait_s` in any
case, because its commit takes longer than that.
"""

from __future__ import annotations

from collections import deque
from itertools import islice
from time import perf_counter
from typing import TYPE_CHECKING, ClassVar, Final, Generic, NamedTuple, Protocol, TypeVar

import trio

from actors.core import Actor, Histogram, send_after, write_batch
from actors.links.errors import LinkDown

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

EntryT = TypeVar("EntryT")
WrittenT = TypeVar("WrittenT")
RefusalT = TypeVar("RefusalT")

# An answer may run its caller's request to the end at once: about two milliseconds for this many.
ANSWERS_PER_SLICE: Final = 128
# From a socket that has become readable to `submit` takes two iterations of the event loop.
QUIET_ITERATIONS: Final = 3


class Caller(Protocol):
    """Who waits for an outcome, such as a `PendingCall`. Never waits or raises; later answers are dropped."""

    def send(self, answer: object) -> None:
        """Take the outcome."""


class _Waiting(NamedTuple, Generic[EntryT]):
    """One entry, and who waits for its outcome."""

    entry: EntryT
    caller: Caller


class Gathered(NamedTuple):
    """Message of the actor to itself, one iteration of the loop later: have more entries arrived?

    Attributes:
        size: How many entries were waiting then.
        quiet_left: Iterations without a new entry before the batch is committed.
        until_s: When to wait no longer, on trio's clock.
    """

    size: int
    quiet_left: int
    until_s: float


class GroupCommit(Actor[Gathered], Generic[EntryT, WrittenT, RefusalT]):
    """One transaction at a time, for entries that many callers `submit`.

    A caller is answered after the commit. Entries are kept in a queue of their own instead of the mailbox,
    so that they can be answered however a life ends: nobody is left waiting, and the next life begins
    with an empty queue.

    A transaction that fails with anything but `LinkDown` is tried again in halves, until the entry at
    fault is alone and refused.

    A subclass says what a transaction is (`commit`), what each caller is told of it (`outcomes`), and what
    an entry is told that cannot be written (`refusal`).

    Args:
        name: In logs.
        unavailable: Told while the database is away; it may have been written.
        failed: Told when this actor ends first.
        busy: Told when too many entries are waiting.
        max_wait_s: Longest time an entry waits for others.
        max_entries: Most entries of one transaction.
        max_waiting: Most entries waiting; more are refused.
        worth_waiting_for: Batches with fewer entries wait `max_wait_s`, whatever arrives.

    Attributes:
        commits: How long the transactions took that were committed.
        transactions: Committed since the start.
    """

    # The last entries are committed before an orderly end.
    traps_exit: ClassVar[bool] = True

    __slots__ = (
        "_busy",
        "_failed",
        "_is_gathering",
        "_max_entries",
        "_max_wait_s",
        "_max_waiting",
        "_queue",
        "_unavailable",
        "_worth_waiting_for",
        "commits",
        "transactions",
    )

    def __init__(
        self,
        name: str,
        *,
        unavailable: RefusalT,
        failed: RefusalT,
        busy: RefusalT,
        max_wait_s: float,
        max_entries: int,
        max_waiting: int,
        worth_waiting_for: int = 0,
    ) -> None:
        super().__init__(name)
        self._unavailable = unavailable
        self._failed = failed
        self._busy = busy
        self._max_wait_s = max_wait_s
        self._max_entries = max_entries
        self._max_waiting = max_waiting
        self._worth_waiting_for = worth_waiting_for
        self._queue: deque[_Waiting[EntryT]] = deque()
        self._is_gathering = False
        self.commits = Histogram()
        self.transactions = 0

    # -- for subclasses to override -------------------------------------------------------

    async def commit(self, entries: list[EntryT]) -> WrittenT:
        """Write entries in one transaction.

        Raises:
            LinkDown: The database is away.
            Exception: An entry is at fault; nothing was written.
        """
        raise NotImplementedError

    def outcomes(self, written: WrittenT) -> Sequence[object]:
        """What each caller is told, in order, after `commit`. What it raises crashes the actor."""
        raise NotImplementedError

    def refusal(self, entry: EntryT, error: Exception) -> RefusalT:
        """What an entry is told that could not be written even alone."""
        raise NotImplementedError

    def count(self, refusal: RefusalT) -> None:
        """Called for each entry that is refused without being written."""

    # -- for callers ----------------------------------------------------------------------

    @property
    def waiting(self) -> int:
        """Entries in the queue, not answered yet."""
        return len(self._queue)

    def submit(self, entry: EntryT, caller: Caller) -> RefusalT | None:
        """Write `entry` with the next transaction and answer `caller` then; or return at once why not.

        Never waits. Entries are written in the order submitted.
        """
        if len(self._queue) >= self._max_waiting:
            self.count(self._busy)
            return self._busy
        if not self.is_alive:
            self.count(self._failed)
            return self._failed
        self._queue.append(_Waiting(entry, caller))
        if not self._is_gathering:
            self._gather()
        return None

    # -- one life -------------------------------------------------------------------------

    async def receive(self, message: Gathered) -> None:
        """Wait another iteration, or commit."""
        # A timer set by a life that crashed reaches the next.
        if self._is_gathering:
            await self._look(message)

    async def terminate(self) -> None:
        """Commit what is left."""
        while self._queue:
            await self._commit_first(self._max_entries)

    def ended(self) -> None:
        """Answer everybody left."""
        self._is_gathering = False
        self._refuse_all(self._take(len(self._queue)), self._failed)

    def _gather(self) -> None:
        self._is_gathering = True
        until_s = trio.current_time() + self._max_wait_s
        self.force_cast(Gathered(len(self._queue), QUIET_ITERATIONS, until_s))

    async def _look(self, before: Gathered) -> None:
        size = len(self._queue)
        quiet_left = QUIET_ITERATIONS if size > before.size else before.quiet_left - 1
        left_s = before.until_s - trio.current_time()
        if left_s > 0 and size < self._max_entries:
            if quiet_left > 0:
                await trio.lowlevel.checkpoint()
                self.force_cast(Gathered(size, quiet_left, before.until_s))
                return
            if size < self._worth_waiting_for:
                send_after(left_s, self, Gathered(size, 0, before.until_s))
                return
        await self._commit_first(self._max_entries)
        self._is_gathering = False
        if self._queue:
            self._gather()

    async def _commit_first(self, most: int) -> None:
        """Commit the first `most` entries together; in halves where that fails, until one is alone."""
        if not self._queue:
            return
        taken = self._take(most)
        began = perf_counter()
        try:
            written = await self.commit([waiting.entry for waiting in taken])
        except LinkDown:
            self._refuse_all(taken, self._unavailable)
        except Exception as error:  # noqa: BLE001  # one entry's fault must not cost the others; `refusal` logs it
            if len(taken) == 1:
                self._refuse_all(taken, self.refusal(taken[0].entry, error))
                return
            # Back into the queue, where `ended` finds them.
            self._queue.extendleft(reversed(taken))
            half = len(taken) // 2
            await self._commit_first(half)
            await self._commit_first(len(taken) - half)
        except BaseException:
            self._refuse_all(taken, self._failed)
            raise
        else:
            self.commits.observe(perf_counter() - began)
            self.transactions += 1
            await self._answer(taken, written)

    async def _answer(self, taken: list[_Waiting[EntryT]], written: WrittenT) -> None:
        """Answer in slices, between which other tasks run; all at once if this life is cancelled."""
        try:
            outcomes = self.outcomes(written)
        except BaseException:
            self._refuse_all(taken, self._failed)
            raise
        rest = iter(zip(taken, outcomes, strict=True))
        try:
            while _answer_slice(islice(rest, ANSWERS_PER_SLICE)):
                await trio.lowlevel.checkpoint()
        finally:
            _answer_slice(rest)

    def _take(self, most: int) -> list[_Waiting[EntryT]]:
        taken = list(islice(self._queue, most))
        for _ in taken:
            self._queue.popleft()
        return taken

    def _refuse_all(self, taken: list[_Waiting[EntryT]], refusal: RefusalT) -> None:
        for waiting in taken:
            self.count(refusal)
            waiting.caller.send(refusal)


def _answer_slice(slice_: Iterable[tuple[_Waiting[EntryT], object]]) -> int:
    answered = 0
    with write_batch():
        for waiting, outcome in slice_:
            waiting.caller.send(outcome)
            answered += 1
    return answered
