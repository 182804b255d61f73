"""The recorder: group commit for snapshots and manual decisions of all players.

A commit costs little more for a hundred entries than for one. Entries that arrive while one commit runs make
the next; before it the recorder waits for as long as each turn of the loop brings more entries, since those
just answered are about to send again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import partial
from itertools import groupby, islice
from typing import ClassVar, Final, NamedTuple, Protocol, TypeVar

import trio
from sqlalchemy import Connection
from sqlalchemy.exc import DataError, IntegrityError

from actors.automation import transactions
from actors.automation.batch import DecisionContext, Recorded, SnapshotEntry
from actors.automation.snapshot import DecisionRequest
from actors.core import Actor, write_batch
from actors.links import LinkDown

T = TypeVar("T")

# A second of work or so at the rate `bench snapshots` measures; past that, a refusal is the better answer.
MAX_WAITING: Final = 4096
# More at once would gain little, and make the first wait.
MAX_ENTRIES: Final = 256
MAX_WAIT_S: Final = 0.02
# From a socket that has become readable to this mailbox it takes two turns of the loop.
PATIENCE: Final = 3


class ManualDecision(NamedTuple):
    """A decision that a person or program asked for, to be applied.

    Attributes:
        request_id: Unique, at most 36 characters.
    """

    request: DecisionRequest
    request_id: str

    @property
    def user_id(self) -> int:
        """The player it concerns."""
        return self.request.user_id


class NotRecorded(Enum):
    """Why an entry was not recorded; except for BUSY it may have been. Snapshots may be sent again."""

    BUSY = "busy"
    UNAVAILABLE = "database_unavailable"
    FAILED = "recording_failed"
    TIMEOUT = "timeout"


class Unknown(NamedTuple):
    """There is no such player."""


Entry = SnapshotEntry | ManualDecision
RecordOutcome = Recorded | Unknown | NotRecorded


def user_of(entry: Entry) -> int:
    """The player an entry concerns."""
    return entry.user_id if isinstance(entry, ManualDecision) else entry.snapshot.user_id


class Asker(Protocol):
    """Takes the outcome of an entry. Never waits or raises; only the first answer counts."""

    def send(self, answer: object) -> None:
        """Take the outcome."""


class _Change(NamedTuple):
    """One entry, and who is answered."""

    entry: Entry
    asker: Asker


class Gathered(NamedTuple):
    """To itself, one turn of the loop later: commit unless more entries arrived.

    Attributes:
        size: How many entries were waiting then.
        patience: Turns without company before a commit.
        until_s: When to wait no longer, on trio's clock.
    """

    size: int
    patience: int
    until_s: float


class Writer(Protocol):
    """What runs transactions: `actors.links.Database`."""

    def write(self, function: Callable[[Connection], T], /) -> Awaitable[T]:
        """Commit, then return; raise `LinkDown`, as a rule with nothing written."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class RecorderStatistics:
    """Counts since the start.

    Attributes:
        waiting: Entries not yet answered, as of now.
        transactions: Transactions committed.
        recorded: Entries written, or found to be written already.
        failed: Entries that were not, for a fault of the database or of ours.
    """

    waiting: int
    transactions: int
    recorded: int
    failed: int


def record(connection: Connection, entries: Sequence[Entry], context: DecisionContext) -> list[RecordOutcome]:
    """Write entries in order, in the transaction at hand; one outcome for each."""
    outcomes: list[RecordOutcome] = []
    for is_snapshot, run in groupby(entries, lambda entry: isinstance(entry, SnapshotEntry)):
        if is_snapshot:
            snapshots = [entry for entry in run if isinstance(entry, SnapshotEntry)]
            outcomes += transactions.record_snapshots(connection, snapshots, context)
        else:
            outcomes += [
                _apply_manually(connection, entry, context)
                for entry in run
                if isinstance(entry, ManualDecision)
            ]
    return outcomes


def _apply_manually(connection: Connection, entry: ManualDecision, context: DecisionContext) -> RecordOutcome:
    recorded = transactions.apply_decision(
        connection, entry.request, request_id=entry.request_id, context=context
    )
    return Unknown() if recorded is None else recorded


class Recorder(Actor[Gathered]):
    """One transaction at a time.

    Answers are sent after the commit. Entries are not messages but stand in a queue that outlives a run of
    the task: when a run ends, every entry left is answered, and the next run begins with an empty queue.

    Args:
        database: Where it is written.
        context: What decisions are taken by, asked for anew for each transaction.
        on_recorded: Called with what each transaction has written, before answers are sent. Must not wait.
        max_wait_s: How long an entry waits for company while more and more comes.
        max_entries: Most entries of one transaction.
        max_waiting: Most entries waiting; more are refused.
    """

    # The last entries are committed before an orderly end.
    traps_exit: ClassVar[bool] = True

    __slots__ = (
        "_context",
        "_database",
        "_failed",
        "_is_gathering",
        "_max_entries",
        "_max_wait_s",
        "_max_waiting",
        "_on_recorded",
        "_recorded",
        "_transactions",
        "_waiting",
    )

    def __init__(
        self,
        database: Writer,
        *,
        context: Callable[[], DecisionContext],
        on_recorded: Callable[[Sequence[Recorded]], None],
        max_wait_s: float = MAX_WAIT_S,
        max_entries: int = MAX_ENTRIES,
        max_waiting: int = MAX_WAITING,
    ) -> None:
        super().__init__("recorder")
        self._database = database
        self._context = context
        self._on_recorded = on_recorded
        self._max_wait_s = max_wait_s
        self._max_entries = max_entries
        self._max_waiting = max_waiting
        self._waiting: deque[_Change] = deque()
        self._is_gathering = False
        self._transactions = self._recorded = self._failed = 0

    def statistics(self) -> RecorderStatistics:
        """Current counts."""
        return RecorderStatistics(
            waiting=len(self._waiting),
            transactions=self._transactions,
            recorded=self._recorded,
            failed=self._failed,
        )

    def ended(self) -> None:
        """Answer every entry left."""
        self._is_gathering = False
        self._answer(self._take(len(self._waiting)), NotRecorded.FAILED)

    def submit(self, entry: Entry, asker: Asker) -> NotRecorded | None:
        """Record `entry` with the next transaction, and answer `asker` then; or say at once why not.

        Never waits. Entries are taken in the order submitted.
        """
        if len(self._waiting) >= self._max_waiting:
            return self._refused(NotRecorded.BUSY)
        if not self.is_alive:
            return self._refused(NotRecorded.FAILED)
        self._waiting.append(_Change(entry, asker))
        if not self._is_gathering:
            self._gather()
        return None

    def _refused(self, why: NotRecorded) -> NotRecorded:
        self._failed += 1
        return why

    async def receive(self, message: Gathered) -> None:
        """Wait another turn, or commit."""
        size = len(self._waiting)
        patience = PATIENCE if size > message.size else message.patience - 1
        if patience and size < self._max_entries and trio.current_time() < message.until_s:
            await trio.lowlevel.checkpoint()
            self.force_cast(Gathered(size, patience, message.until_s))
            return
        await self._commit()
        self._is_gathering = False
        if self._waiting:
            self._gather()

    async def terminate(self) -> None:
        """Commit what is left."""
        while self._waiting:
            await self._commit()

    def _gather(self) -> None:
        self._is_gathering = True
        until_s = trio.current_time() + self._max_wait_s
        self.force_cast(Gathered(len(self._waiting), PATIENCE, until_s))

    async def _commit(self) -> None:
        changes = self._take(self._max_entries)
        if not changes:
            return
        try:
            await self._write(changes)
        except (IntegrityError, DataError):
            # One of them is not what the database takes: the others must not pay for it.
            for change in changes:
                await self._write_alone(change)
        except LinkDown:
            self._answer(changes, NotRecorded.UNAVAILABLE)
        except BaseException:
            self._answer(changes, NotRecorded.FAILED)
            raise

    async def _write_alone(self, change: _Change) -> None:
        try:
            await self._write([change])
        except (IntegrityError, DataError):
            self._answer([change], NotRecorded.FAILED)
        except LinkDown:
            self._answer([change], NotRecorded.UNAVAILABLE)

    async def _write(self, changes: Sequence[_Change]) -> None:
        entries = [change.entry for change in changes]
        outcomes = await self._database.write(partial(record, entries=entries, context=self._context()))
        self._transactions += 1
        self._recorded += len(changes)
        self._on_recorded([outcome for outcome in outcomes if isinstance(outcome, Recorded)])
        with write_batch():
            for change, outcome in zip(changes, outcomes, strict=True):
                change.asker.send(outcome)

    def _take(self, most: int) -> list[_Change]:
        taken = list(islice(self._waiting, most))
        for _ in taken:
            self._waiting.popleft()
        return taken

    def _answer(self, changes: Sequence[_Change], refusal: NotRecorded) -> None:
        self._failed += len(changes)
        for change in changes:
            change.asker.send(refusal)
