"""The ledger: an actor that commits the changes of all players together (group commit)."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

from sqlalchemy.exc import DataError

from actors.links import GroupCommit, described
from actors.players.decision import Decided
from actors.players.entry import Entry, Refused
from actors.players.posting import post

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from actors.links import Writer
    from actors.players.entry import Account, Outcome
    from actors.players.posting import Rules

logger: Final = logging.getLogger(__name__)

# About half a second of work at the rate `bench deltas` measures; past that, a refusal is the better answer.
MAX_WAITING: Final = 16_384
# A transaction of this many takes some 40 ms; more at once would gain little, and make the first wait.
MAX_ENTRIES: Final = 2_048
MAX_WAIT_S: Final = 0.002
# Fewer are worth waiting for: their commit takes longer than all the rest of them.
WORTH_WAITING_FOR: Final = 8

UNAVAILABLE: Final = Refused("database_unavailable")
FAILED: Final = Refused("ledger_failed")
UNSTORABLE: Final = Refused("unstorable")
BUSY: Final = Refused("busy")


@dataclass(frozen=True, slots=True)
class LedgerStatistics:
    """Counts since the start.

    Attributes:
        waiting: Entries not yet answered, as of now.
        transactions: Transactions committed.
        applied: Entries counted.
        repeated: Entries that had been counted before.
        refused: Entries refused, by code.
    """

    waiting: int
    transactions: int
    applied: int
    repeated: int
    refused: Mapping[str, int]


class Ledger(GroupCommit[Entry, Decided, Refused]):
    """Commits entries, one transaction at a time; an answer is given after the commit, so it is durable.

    Args:
        database: Where entries are written.
        rules: What holds for all entries.
        on_committed: Called with the accounts each transaction has changed, before anybody is answered.
        max_wait_s: How long an entry waits for others.
        max_entries: Most entries of one transaction.
        max_waiting: Most entries waiting; more are refused.
        clock: Unix seconds.
    """

    __slots__ = (
        "_applied",
        "_clock",
        "_database",
        "_on_committed",
        "_refused",
        "_repeated",
        "_rules",
    )

    def __init__(
        self,
        database: Writer,
        rules: Rules,
        *,
        on_committed: Callable[[Mapping[int, Account]], None],
        max_wait_s: float = MAX_WAIT_S,
        max_entries: int = MAX_ENTRIES,
        max_waiting: int = MAX_WAITING,
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(
            "ledger",
            unavailable=UNAVAILABLE,
            failed=FAILED,
            busy=BUSY,
            max_wait_s=max_wait_s,
            max_entries=max_entries,
            max_waiting=max_waiting,
            worth_waiting_for=WORTH_WAITING_FOR,
        )
        self._database = database
        self._rules = rules
        self._on_committed = on_committed
        self._clock = clock
        self._applied = self._repeated = 0
        self._refused: dict[str, int] = {}

    def statistics(self) -> LedgerStatistics:
        """Current counts."""
        return LedgerStatistics(
            self.waiting, self.transactions, self._applied, self._repeated, dict(self._refused)
        )

    async def commit(self, entries: list[Entry]) -> Decided:
        """Decide about entries and write them in one transaction."""
        now_ms = int(self._clock() * 1000)
        return await self._database.write(partial(post, entries=entries, rules=self._rules, now_ms=now_ms))

    def outcomes(self, written: Decided) -> Sequence[Outcome]:
        """Count them, and hand on the accounts that have changed."""
        self._applied += len(written.rows)
        self._on_committed(written.accounts)
        for outcome in written.outcomes:
            if isinstance(outcome, Refused):
                self.count(outcome)
            elif not outcome.applied:
                self._repeated += 1
        return written.outcomes

    def refusal(self, entry: Entry, error: Exception) -> Refused:
        """What an entry is told that cannot be written alone: for good, if no row can hold it."""
        said = {"steam_id": entry.steam_id, "server_id": entry.server_id}
        if isinstance(error, DataError):
            logger.error("ledger_entry_refused", extra=said | {"error": described(error)})
            return UNSTORABLE
        logger.error("ledger_entry_failed", extra=said, exc_info=error)
        return FAILED

    def count(self, refusal: Refused) -> None:
        """Count a refused entry by its code."""
        self._refused[refusal.code] = self._refused.get(refusal.code, 0) + 1
