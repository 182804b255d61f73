"""Changes made by other nodes on the same PostgreSQL, for the streams of this node.

Where LISTEN cannot be had (behind a connection pooler, on a server without a
connection to spare) the database is asked once a second instead.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

import trio

from actors.links import CannotListen, LinkDown
from actors.players.posting import read_payload

if TYPE_CHECKING:
    from actors.links import Database, DatabaseChannel, DatabasePart
    from actors.players.players import Players
    from supervision import Life

logger: Final = logging.getLogger(__name__)

LISTEN_AGAIN_S: Final = 0.2
# No news is older than this when it is read. Each look costs as much as some ten changes, and a node
# hears what it has said itself too, with every transaction.
PAUSE_S: Final = 0.025
# While the channel cannot be listened to: between two looks at the players somebody listens to.
POLL_S: Final = 1.0
# How often it is tried again to listen.
POLLS_PER_ATTEMPT: Final = 30


class News:
    """Receives notifications of changes; reads the database whenever some may have been lost.

    Args:
        origin: Marks this node's own notifications.

    Attributes:
        is_polling: Whether it polls, LISTEN being impossible for now.
    """

    def __init__(
        self,
        database: Database | DatabasePart,
        channel: DatabaseChannel,
        players: Players,
        *,
        origin: str,
    ) -> None:
        self._database = database
        self._channel = channel
        self._players = players
        self._origin = origin
        self._gaps = 0
        self.is_polling = False

    async def run(self, life: Life) -> None:
        """Listen for ever."""
        life.started()
        try:
            while True:
                await self._database.until_up()
                try:
                    await self._listen()
                except CannotListen as cannot:
                    await self._poll(cannot.reason)
                except LinkDown:
                    # A connection of its own: whether the database is away is for the link to say.
                    await trio.sleep(LISTEN_AGAIN_S)
        finally:
            self._channel.close()

    async def _listen(self) -> None:
        messages = await self._channel.read()
        if self.is_polling:
            self.is_polling = False
            logger.info("stats_news_listening")
        if self._channel.gaps != self._gaps:
            await self._players.refresh()
            self._gaps = self._channel.gaps
        for message in messages:
            self._take(message)
        if messages:
            await trio.sleep(PAUSE_S)

    async def _poll(self, reason: str) -> None:
        if not self.is_polling:
            self.is_polling = True
            logger.warning("stats_news_polling", extra={"reason": reason, "every_s": POLL_S})
        for _ in range(POLLS_PER_ATTEMPT):
            try:
                await self._players.refresh()
            except LinkDown:
                await self._database.until_up()
            await trio.sleep(POLL_S)

    def _take(self, message: str) -> None:
        try:
            origin, accounts = read_payload(message)
        except ValueError:
            logger.warning("stats_news_unreadable", extra={"bytes": len(message)})
            return
        if origin != self._origin:
            self._players.learn(accounts)
