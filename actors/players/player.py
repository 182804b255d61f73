"""One active player: what all changes of the player's stats go through, and all news of them."""

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
    """Tell the audience what is known now."""


class Player(RetiringActor[Announce]):
    """Hands one player's changes to the ledger, in order; never waits for a commit.

    It is the ledger that answers, so any number of a player's changes share a
    transaction. A change is handed on by whoever brings it, without a turn of
    the player's task: that only tells the news, and retires when idle.
    What is known of the player stands in a table, so a crash
    of the task loses nothing.

    Args:
        name: `("steam", steam_id)`.
        ledger: Where changes go.
        accounts: Where what is known of the player stands.
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

    def hand_on(self, entry: Entry, caller: Caller) -> Refused | None:
        """Let the ledger count `entry` and answer `caller`, or say at once why not. Never waits.

        Raises:
            ActorGone: The player has retired; its successor may be asked.
        """
        if not self.is_alive:
            raise ActorGone(self.name, entry)
        self.touch()
        return self._ledger.submit(entry, caller)

    async def init(self) -> None:
        """Take the name, and tell what a life before may not have told."""
        self._registry.register(self.name, self)
        self._accounts.open(self.steam_id)
        await self._announce()

    async def receive(self, message: Announce) -> None:  # noqa: ARG002  # there is only one
        """Tell the audience."""
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
