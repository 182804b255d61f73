"""The recorder: group commit for snapshots and manual decisions of all players."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import partial
from itertools import groupby
from typing import Final, NamedTuple

from sqlalchemy import Connection
from sqlalchemy.exc import DataError, IntegrityError

from actors.automation import transactions
from actors.automation.batch import DecisionContext, Recorded, SnapshotEntry
from actors.automation.snapshot import DecisionRequest
from actors.links import GroupCommit, Writer, described

logger: Final = logging.getLogger(__name__)

# A second of work or so at the rate `bench snapshots` measures; past that, a refusal is the better answer.
MAX_WAITING: Final = 4096
# More at once would gain little, and make the first wait.
MAX_ENTRIES: Final = 256
MAX_WAIT_S: Final = 0.02


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
    """Why an entry was not recorded; except for BUSY and FULL it may have been. It may be sent again."""

    BUSY = "busy"
    FULL = "too_many_players"
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
            outcomes += _record_snapshots(connection, snapshots, context)
        else:
            outcomes += [
                _apply_manually(connection, entry, context)
                for entry in run
                if isinstance(entry, ManualDecision)
            ]
    return outcomes


def _record_snapshots(
    connection: Connection, entries: Sequence[SnapshotEntry], context: DecisionContext
) -> Sequence[RecordOutcome]:
    if context.max_open is None:
        return transactions.record_snapshots(connection, entries, context)
    recorded = transactions.record_open_snapshots(connection, entries, context, most=context.max_open)
    return [NotRecorded.FULL if one is None else one for one in recorded]


def _apply_manually(connection: Connection, entry: ManualDecision, context: DecisionContext) -> RecordOutcome:
    recorded = transactions.apply_decision(
        connection, entry.request, request_id=entry.request_id, context=context
    )
    return Unknown() if recorded is None else recorded


class Recorder(GroupCommit[Entry, list[RecordOutcome], NotRecorded]):
    """Commits entries, one transaction at a time; an answer is sent after the commit.

    Args:
        database: Where entries are written.
        context: What decisions are taken by, asked for anew for each transaction.
        on_recorded: Called with what each transaction has written, before answers are sent. Must not wait.
        max_wait_s: How long an entry waits for others while more and more come.
        max_entries: Most entries of one transaction.
        max_waiting: Most entries waiting; more are refused.
    """

    __slots__ = ("_context", "_database", "_not_recorded", "_on_recorded", "_recorded")

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
        super().__init__(
            "recorder",
            unavailable=NotRecorded.UNAVAILABLE,
            failed=NotRecorded.FAILED,
            busy=NotRecorded.BUSY,
            max_wait_s=max_wait_s,
            max_entries=max_entries,
            max_waiting=max_waiting,
        )
        self._database = database
        self._context = context
        self._on_recorded = on_recorded
        self._recorded = self._not_recorded = 0

    def statistics(self) -> RecorderStatistics:
        """Current counts."""
        return RecorderStatistics(
            waiting=self.waiting,
            transactions=self.transactions,
            recorded=self._recorded,
            failed=self._not_recorded,
        )

    async def commit(self, entries: list[Entry]) -> list[RecordOutcome]:
        """Write entries in one transaction."""
        return await self._database.write(partial(record, entries=entries, context=self._context()))

    def outcomes(self, written: list[RecordOutcome]) -> list[RecordOutcome]:
        """Count them, and hand on what was recorded."""
        self._recorded += len(written)
        self._on_recorded([outcome for outcome in written if isinstance(outcome, Recorded)])
        return written

    def refusal(self, entry: Entry, error: Exception) -> NotRecorded:
        """Log why an entry cannot be written even alone."""
        facts = {"user_id": user_of(entry)}
        if isinstance(error, IntegrityError | DataError):
            logger.error("snapshot_refused", extra=facts | {"error": described(error)})
        else:
            logger.error("snapshot_failed", extra=facts, exc_info=error)
        return NotRecorded.FAILED

    def count(self, refusal: NotRecorded) -> None:  # noqa: ARG002  # one counter for all
        """Count an entry that was not recorded."""
        self._not_recorded += 1
