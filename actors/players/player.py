"""The actor of one active player: passes changes on to the ledger, and publishes the new totals."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from actors.core import ActorGone, RetiringActor

if TYPE_CHECKING:
    from collections.abc import Callable

    from actors.core import Event, Registry
    from actors.links import Caller
    from actors.players.accounts import Accounts, Known
    from actors.players.entry import Entry, Refused
    from actors.players.ledger import Ledger


class Announce(NamedTuple):
    """Message: publish the account as it is known now."""


class Player(RetiringActor[Announce]):
    """Passes one player's changes to the ledger in order; never waits for a commit.

    The ledger answers, so that any number of changes share a transaction. Callers pass a change on directly,
    without a message to the task: the task only publishes new totals, and retires when idle. The account is
    kept in `Accounts`, so a crash loses nothing.

    Args:
        name: `("steam", steam_id)`.
        ledger: Commits the changes.
        accounts: Keeps the account.
        event: An account as a stream sends it.
    """

    __slots__ = (
        "_accounts",
        "_event",
        "_ledger",
        "_registry",
        "steam_id",
    )

    def __init__(
        self,
        steam_id: int,
        *,
        ledger: Ledger,
        accounts: Accounts,
        registry: Registry,
        event: Callable[[int, Known], Event],
        mailbox_slots: int,
    ) -> None:
        super().__init__(("steam", steam_id), mailbox_slots=mailbox_slots)
        self.steam_id = steam_id
        self._ledger = ledger
        self._accounts = accounts
        self._registry = registry
        self._event = event

    def submit(self, entry: Entry, caller: Caller) -> Refused | None:
        """Have the ledger count `entry` and answer `caller`, or return at once why not. Never waits.

        Raises:
            ActorGone: The player has retired; its successor may be asked.
        """
        if not self.is_alive:
            raise ActorGone(self.name, entry)
        self.touch()
        return self._ledger.submit(entry, caller)

    async def init(self) -> None:
        """Register, and publish what the run before may not have published."""
        self._registry.register(self.name, self)
        self._accounts.open(self.steam_id)
        await self._announce()

    async def receive(self, message: Announce) -> None:  # noqa: ARG002  # there is only one
        """Publish the account."""
        await self._announce()

    async def terminate(self) -> None:
        """Forget the player; the database does not."""
        self._accounts.close(self.steam_id)

    async def _announce(self) -> None:
        known = self._accounts.get(self.steam_id)
        if known is not None and self._registry.audiences.count(self.name):
            await self._registry.broadcast(self.name, self._event(self.steam_id, known))

    @property
    def is_needed(self) -> bool:
        """Whether somebody listens."""
        return self._registry.audiences.count(self.name) > 0
