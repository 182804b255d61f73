"""The API of players' stats: changes, reads and streams, for handlers."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

import orjson

from actors.core import ActorGone, CallTimeout, Directory, Event, PendingCall, Unavailable
from actors.links import LinkDown
from actors.players.accounts import Accounts, Known
from actors.players.decision import NOBODY
from actors.players.entry import Refused
from actors.players.ledger import BUSY, MAX_WAIT_S, UNAVAILABLE, Ledger
from actors.players.player import Announce, Player
from actors.players.posting import read_accounts, read_history
from actors.players.submit_all import submit_all

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from actors.core import Member, Registry
    from actors.links import Caller, Transactions
    from actors.players.entry import Account, Entry, Outcome
    from actors.players.posting import HistoryRow, Rules
    from supervision import DynamicSupervisor, Life

MAX_ACTIVE: Final = 100_000
# A game server sends each player every 30 s: one that sends no more is gone after two of them.
IDLE_S: Final = 60.0
# It hears of news and of time passing only, one of each at a time.
PLAYER_MAILBOX_SLOTS: Final = 16
# Longer than any transaction takes that is going to succeed.
TIMEOUT_S: Final = 10.0
# A player that retires may be met at its very end, once.
ATTEMPTS: Final = 2
TIMED_OUT: Final = Refused("timeout")


@dataclass(frozen=True, slots=True)
class PlayerStatistics:
    """Current counts, and counts since the start.

    Attributes:
        active: Players with a task.
        crashes: Lives of players that crashed.
        without_task: Changes that went to the ledger without a task, since `max_active` was reached.
    """

    active: int
    crashes: int
    without_task: int


class Players:
    """Changes, reads and streams of stats, by SteamID64.

    A change starts the player's task if there is none, and is passed on to the ledger. Reads ask the
    database, which has the changes of other nodes too; while it is away they answer with the account last
    seen, if somebody has asked about the player before. `run`, a child for a supervisor, is the dynamic
    supervisor of the players' tasks.

    Args:
        database: Where stats are kept.
        registry: Names and audiences.
        rules: What holds for all entries.
        stats: Names of the stats that are shown, in order.
        max_wait_s: How long an entry waits for others to share its transaction.
        max_active: Most players with a task; past it, changes go to the ledger straight away.
        idle_s: After how long without a change a player retires; at most twice that.
        timeout_s: Longest wait for an outcome.
        clock: Unix seconds.

    Attributes:
        ledger: A child of its own, since it leans on the database.
    """

    def __init__(
        self,
        database: Transactions,
        registry: Registry,
        rules: Rules,
        *,
        stats: Sequence[str],
        max_wait_s: float = MAX_WAIT_S,
        max_active: int = MAX_ACTIVE,
        idle_s: float = IDLE_S,
        timeout_s: float = TIMEOUT_S,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._database = database
        self._registry = registry
        self._stats = tuple(stats)
        self._accounts = Accounts()
        self._timeout_s = timeout_s
        self._without_task = 0
        self.ledger = Ledger(database, rules, on_committed=self.learn, max_wait_s=max_wait_s, clock=clock)
        self._active = Directory[int, Player](
            "steam",
            registry,
            self._make,
            max_actors=max_active,
            on_given_up=self._on_given_up,
            idle_s=idle_s,
        )

    @property
    def supervisor(self) -> DynamicSupervisor:
        """Of the players' tasks."""
        return self._active.supervisor

    def statistics(self) -> PlayerStatistics:
        """Current counts."""
        supervisor = self.supervisor
        return PlayerStatistics(
            supervisor.count_children().active, supervisor.statistics().crashes, self._without_task
        )

    # -- changing ----------------------------------------------------------------------

    async def change(self, entry: Entry) -> Outcome:
        """Add to a player's stats; with `Posted` that is durable."""
        if not self._database.is_up:
            return UNAVAILABLE
        reply = PendingCall(self.ledger.name, entry)
        refused = self._submit(entry, reply)
        if refused is not None:
            return refused
        try:
            return await reply.wait(self._timeout_s)  # type: ignore[no-any-return]  # an Outcome
        except CallTimeout:
            return TIMED_OUT

    async def change_all(self, entries: Sequence[Entry]) -> list[Outcome]:
        """Add to many players' stats; one player's entries count in the order given."""
        if not self._database.is_up:
            return [UNAVAILABLE] * len(entries)
        return await submit_all(entries, self._submit, timeout_s=self._timeout_s, late=TIMED_OUT)

    def _submit(self, entry: Entry, caller: Caller) -> Refused | None:
        for _ in range(ATTEMPTS):
            player = self._active.open(entry.steam_id)
            if isinstance(player, Unavailable):
                break
            try:
                return player.submit(entry, caller)
            except ActorGone:
                continue
        self._without_task += 1
        return self.ledger.submit(entry, caller)

    # -- reading -----------------------------------------------------------------------

    async def read(self, steam_id: int) -> Account | None:
        """The totals; None for a player of whom nothing was ever counted.

        Raises:
            LinkDown: The database is away, and nothing is known of the player here.
        """
        # Before the database is: what is counted meanwhile must not be missed.
        self._accounts.ask(steam_id)
        try:
            found = await self._database.read(partial(read_accounts, steam_ids=[steam_id]))
        except LinkDown:
            known = self._accounts.get(steam_id)
            if known is None:
                raise
            return known.account if known.account.version else None
        self.learn(found)
        return found.get(steam_id)

    async def history(self, steam_id: int, *, limit: int) -> list[HistoryRow]:
        """The newest changes that are still kept, newest first.

        Raises:
            LinkDown: The database is away.
        """
        return await self._database.read(partial(read_history, steam_id=steam_id, limit=limit))

    def shown(self, account: Account) -> dict[str, int]:
        """Every stat with its total, in the order of their names' list."""
        totals = account.totals
        return {stat: totals.get(stat, 0) for stat in self._stats}

    # -- listening ---------------------------------------------------------------------

    async def prepare(self, steam_id: int) -> Refused | None:
        """Load a player's account, so that somebody may `join`.

        Raises:
            LinkDown: The database is away, and nothing is known of the player here.
        """
        player = self._active.open(steam_id)
        if isinstance(player, Unavailable):
            return BUSY
        # It may be about to retire, and reading takes a while.
        player.touch()
        self._accounts.open(steam_id)
        if self._accounts.get(steam_id) is None and await self.read(steam_id) is None:
            self._accounts.learn(steam_id, NOBODY)
        return None

    def join(self, steam_id: int, member: Member) -> tuple[Account, Event] | None:
        """Subscribe `member` to a player; returns the account as of now, and the event that shows it.

        The caller sends that event before it awaits anything, so that no event comes between the two. None
        if nothing is known of the player (any more): `prepare`, and try again.

        Raises:
            TooMany: A limit of the audiences is reached.
        """
        known = self._accounts.get(steam_id)
        if known is None:
            return None
        self._registry.audiences.join(("steam", steam_id), member)
        return known.account, self._event(steam_id, known)

    def leave(self, steam_id: int, member: Member) -> None:
        """Unsubscribe `member`; nothing happens if it was not subscribed."""
        self._registry.audiences.leave(("steam", steam_id), member)
        if not self._is_heard(steam_id) and self._active.find(steam_id) is None:
            # Given up, or without a place: there is no task that would do this when it retires.
            self._accounts.close(steam_id)

    def _event(self, steam_id: int, known: Known) -> Event:
        account = known.account
        data = {"steamid": str(steam_id), "stats": self.shown(account), "version": account.version}
        return Event(known.seq, "stats", str(account.version), orjson.dumps(data))

    # -- news --------------------------------------------------------------------------

    def learn(self, accounts: Mapping[int, Account]) -> None:
        """Store accounts that have changed, on this node or another, and publish them to listeners."""
        count, learn = self._registry.audiences.count, self._accounts.learn
        for steam_id, account in accounts.items():
            if learn(steam_id, account) and count(("steam", steam_id)):
                self._announce(steam_id)

    async def refresh(self) -> None:
        """Read all players that somebody listens to again, since notifications may have been lost.

        Raises:
            LinkDown: The database is away.
        """
        watched = [steam_id for steam_id in self._accounts if self._is_heard(steam_id)]
        if watched:
            self.learn(await self._database.read(partial(read_accounts, steam_ids=watched)))

    def _announce(self, steam_id: int) -> None:
        player = self._active.open(steam_id)
        if not isinstance(player, Unavailable):
            player.force_cast(Announce())

    # -- tasks -------------------------------------------------------------------------

    async def run(self, life: Life) -> None:
        """Supervise the players' tasks, and let the idle ones retire, until cancelled."""
        for steam_id in self._accounts:
            # Left by a run that crashed; whoever has listeners is started again below.
            if not self._is_heard(steam_id):
                self._accounts.close(steam_id)
        await self._active.run(life)

    def _make(self, steam_id: int) -> Player:
        return Player(
            steam_id,
            ledger=self.ledger,
            accounts=self._accounts,
            registry=self._registry,
            event=self._event,
            mailbox_slots=PLAYER_MAILBOX_SLOTS,
        )

    def _on_given_up(self, steam_id: int, _reason: BaseException) -> None:
        # Those who listen are to hear of the next change, which starts the player again.
        if not self._is_heard(steam_id):
            self._accounts.close(steam_id)

    def _is_heard(self, steam_id: int) -> bool:
        return self._registry.audiences.count(("steam", steam_id)) > 0
