"""The ledger: takes everybody's changes, commits them together, then answers everybody.

A commit costs little more for a hundred changes than for one. So what has come
in while one was under way makes the next, and the first of them waits for
company: a few for `max_wait_s`, a crowd only as long as each turn of the loop
brings more.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, ClassVar, Final, NamedTuple, Protocol, TypeVar

import trio
from sqlalchemy.exc import DataError

from actors.core import Actor, send_after, write_batch
from actors.links import LinkDown, described
from actors.players.entry import Posted, Refused
from actors.players.posting import post

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

    from sqlalchemy import Connection

    from actors.players.decision import Decided
    from actors.players.entry import Account, Asker, Entry, Outcome
    from actors.players.posting import Rules

logger: Final = logging.getLogger(__name__)

T = TypeVar("T")

# About half a second of work at the rate `bench deltas` measures; past that, a refusal is the better answer.
MAX_WAITING: Final = 16_384
# A transaction of this many takes some 40 ms; more at once would gain little, and make the first wait.
MAX_ENTRIES: Final = 2_048
MAX_WAIT_S: Final = 0.002
# An answer may take its asker's request to its end at once: two milliseconds or so a slice.
ANSWERS_PER_SLICE: Final = 128
# Fewer are worth waiting for: their commit takes longer than all the rest of them.
CROWD: Final = 8
# From a socket that has become readable to this mailbox it takes two turns of the loop.
PATIENCE: Final = 3

UNAVAILABLE: Final = Refused("database_unavailable")
FAILED: Final = Refused("ledger_failed")
UNSTORABLE: Final = Refused("unstorable")
BUSY: Final = Refused("busy")


class _Change(NamedTuple):
    """One entry, and who waits for its outcome."""

    entry: Entry
    asker: Asker


class Gathered(NamedTuple):
    """From the ledger to itself, a turn of the loop later: has that brought company?

    Attributes:
        size: How many entries were waiting then.
        patience: Turns without company before a crowd is committed.
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


class Ledger(Actor[Gathered]):
    """One transaction at a time.

    An answer is given after the commit, so it survives anything. Entries do
    not come as messages but are put where they wait for the next transaction,
    so that whoever ends this life finds them: everybody left is answered, and
    the next life begins empty.

    Args:
        database: Where it is written.
        rules: What holds for all entries.
        on_committed: Hears of the accounts each transaction has changed, before anybody is answered.
        max_wait_s: How long an entry waits for company.
        max_entries: Most entries of one transaction.
        max_waiting: Most entries waiting; more are refused.
        clock: Unix seconds.
    """

    # The last entries are committed before an orderly end.
    traps_exit: ClassVar[bool] = True

    __slots__ = (
        "_applied",
        "_clock",
        "_database",
        "_is_gathering",
        "_max_entries",
        "_max_wait_s",
        "_max_waiting",
        "_on_committed",
        "_refused",
        "_repeated",
        "_rules",
        "_transactions",
        "_waiting",
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
        super().__init__("ledger")
        self._database = database
        self._rules = rules
        self._on_committed = on_committed
        self._max_wait_s = max_wait_s
        self._max_entries = max_entries
        self._max_waiting = max_waiting
        self._clock = clock
        self._waiting: deque[_Change] = deque()
        self._is_gathering = False
        self._transactions = self._applied = self._repeated = 0
        self._refused: dict[str, int] = {}

    def statistics(self) -> LedgerStatistics:
        """How things stand."""
        return LedgerStatistics(
            len(self._waiting), self._transactions, self._applied, self._repeated, dict(self._refused)
        )

    def ended(self) -> None:
        """Leave nobody waiting."""
        self._is_gathering = False
        self._answer_all(self._take(len(self._waiting)), FAILED)

    def submit(self, entry: Entry, asker: Asker) -> Refused | None:
        """Count `entry` with the next transaction, and answer `asker` then; or say at once why not.

        Never waits. Entries count in the order submitted.
        """
        if len(self._waiting) >= self._max_waiting:
            return self._count(BUSY)
        if not self.is_alive:
            return self._count(FAILED)
        self._waiting.append(_Change(entry, asker))
        if not self._is_gathering:
            self._gather()
        return None

    async def receive(self, message: Gathered) -> None:
        """Wait another turn, or commit."""
        # A timer armed by a life that crashed reaches the next.
        if self._is_gathering:
            await self._look(message)

    async def terminate(self) -> None:
        """Commit what is left."""
        while self._waiting:
            await self._commit(self._max_entries)

    def _gather(self) -> None:
        self._is_gathering = True
        until_s = trio.current_time() + self._max_wait_s
        self.force_cast(Gathered(len(self._waiting), PATIENCE, until_s))

    async def _look(self, before: Gathered) -> None:
        size = len(self._waiting)
        patience = PATIENCE if size > before.size else before.patience - 1
        left_s = before.until_s - trio.current_time()
        if left_s > 0 and size < self._max_entries:
            if patience > 0:
                await trio.lowlevel.checkpoint()
                self.force_cast(Gathered(size, patience, before.until_s))
                return
            if size < CROWD:
                send_after(left_s, self, Gathered(size, 0, before.until_s))
                return
        await self._commit(self._max_entries)
        self._is_gathering = False
        if self._waiting:
            self._gather()

    async def _commit(self, most: int) -> None:
        """Commit the first `most` together; by halves where that fails, until the one to blame is alone."""
        if not self._waiting:
            return
        changes = self._take(most)
        try:
            decided = await self._post([change.entry for change in changes])
        except LinkDown:
            self._answer_all(changes, UNAVAILABLE)
        except Exception as error:  # noqa: BLE001  # one entry's fault must not cost the others; the log has it
            if len(changes) == 1:
                self._answer_all(changes, _refusal(changes[0].entry, error))
                return
            # Back to where whoever ends this life finds them.
            self._waiting.extendleft(reversed(changes))
            half = len(changes) // 2
            await self._commit(half)
            await self._commit(len(changes) - half)
        except BaseException:
            self._answer_all(changes, FAILED)
            raise
        else:
            await self._take_note(changes, decided)

    async def _take_note(self, changes: list[_Change], decided: Decided) -> None:
        self._transactions += 1
        self._applied += len(decided.rows)
        self._on_committed(decided.accounts)
        self._repeated += sum(_is_repeat(outcome) for outcome in decided.outcomes)
        await self._answer(changes, decided.outcomes)

    async def _post(self, entries: list[Entry]) -> Decided:
        now_ms = int(self._clock() * 1000)
        return await self._database.write(partial(post, entries=entries, rules=self._rules, now_ms=now_ms))

    async def _answer(self, changes: list[_Change], outcomes: Sequence[Outcome]) -> None:
        """Tell everybody, in slices between which other tasks run; without them if this life is ended."""
        rest = iter(zip(changes, outcomes, strict=True))
        try:
            while self._answer_slice(islice(rest, ANSWERS_PER_SLICE)):
                await trio.lowlevel.checkpoint()
        finally:
            self._answer_slice(rest)

    def _answer_slice(self, slice_: Iterable[tuple[_Change, Outcome]]) -> int:
        answered = 0
        with write_batch():
            for change, outcome in slice_:
                if type(outcome) is Refused:
                    self._count(outcome)
                change.asker.send(outcome)
                answered += 1
        return answered

    def _take(self, most: int) -> list[_Change]:
        taken = list(islice(self._waiting, most))
        for _ in taken:
            self._waiting.popleft()
        return taken

    def _answer_all(self, changes: list[_Change], refusal: Refused) -> None:
        for change in changes:
            change.asker.send(self._count(refusal))

    def _count(self, refusal: Refused) -> Refused:
        self._refused[refusal.code] = self._refused.get(refusal.code, 0) + 1
        return refusal


def _is_repeat(outcome: Outcome) -> bool:
    return isinstance(outcome, Posted) and not outcome.applied


def _refusal(entry: Entry, error: Exception) -> Refused:
    """What an entry is told that cannot be written even alone: for good, if it holds what no row can hold."""
    said = {"steam_id": entry.steam_id, "server_id": entry.server_id}
    if isinstance(error, DataError):
        logger.error("ledger_entry_refused", extra=said | {"error": described(error)})
        return UNSTORABLE
    logger.error("ledger_entry_failed", extra=said, exc_info=error)
    return FAILED
