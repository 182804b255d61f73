"""What other nodes on the same PostgreSQL have counted, for the streams of this one."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

import trio

from actors.links import LinkDown
from actors.players.posting import read_payload

if TYPE_CHECKING:
    from actors.links import Database, DatabaseChannel
    from actors.players.players import Players
    from supervision import Life

logger: Final = logging.getLogger(__name__)

LISTEN_AGAIN_S: Final = 0.2
# No news is older than this when it is read. Each look costs as much as some ten changes, and a node
# hears what it has said itself too, with every transaction.
PAUSE_S: Final = 0.025


class News:
    """Hears what is said about changes, and asks the database whenever something may have been missed.

    Args:
        origin: What this node's own news begin with.
    """

    def __init__(
        self, database: Database, channel: DatabaseChannel, players: Players, *, origin: str
    ) -> None:
        self._database = database
        self._channel = channel
        self._players = players
        self._origin = origin
        self._gaps = 0

    async def run(self, life: Life) -> None:
        """Listen for ever."""
        life.started()
        try:
            while True:
                await self._database.until_up()
                try:
                    await self._listen()
                except LinkDown:
                    # A connection of its own: whether the database is away is for the link to say.
                    await trio.sleep(LISTEN_AGAIN_S)
        finally:
            self._channel.close()

    async def _listen(self) -> None:
        messages = await self._channel.read()
        if self._channel.gaps != self._gaps:
            await self._players.refresh()
            self._gaps = self._channel.gaps
        for message in messages:
            self._take(message)
        if messages:
            await trio.sleep(PAUSE_S)

    def _take(self, message: str) -> None:
        try:
            origin, accounts = read_payload(message)
        except ValueError:
            logger.warning("stats_news_unreadable", extra={"bytes": len(message)})
            return
        if origin != self._origin:
            self._players.learn(accounts)
