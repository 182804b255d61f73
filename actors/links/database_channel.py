"""Notifications of other nodes through PostgreSQL (LISTEN and NOTIFY), read in a worker thread.

PostgreSQL keeps nothing for a listener that is away: notifications sent during an
outage are lost to this node; `gaps` counts such gaps.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import psycopg
import trio
from sqlalchemy.exc import DBAPIError

from actors.links.database import described
from actors.links.database_engine import is_pooled
from actors.links.errors import CannotListen, LinkDown

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from actors.links.database import Database

# Messages carried over the thread border together.
BATCH: Final = 1000
# Failures to listen, one after the other, past which it is no outage that the link has yet to see.
REFUSALS: Final = 5
# A LISTEN would stay behind on a connection that others use next, and hear nothing for us.
POOLED: Final = "a connection pooler stands in between"


class DatabaseChannel:
    """A channel's messages, batch by batch; listens when first asked and again after an outage.

    Args:
        database: Which; a PostgreSQL.
        channel: A plain identifier.
        url: Where to listen, if that is another address than the database's: past a connection pooler.
        wait_s: Longest wait for a message in the thread, and so the longest a cancellation takes.

    Attributes:
        gaps: How often it began to listen: messages from before such a moment are lost.
    """

    def __init__(
        self, database: Database, channel: str, *, url: str | None = None, wait_s: float = 0.5
    ) -> None:
        self.gaps = 0
        self._database = database
        self._channel = channel
        self._wait_s = wait_s
        self._engine = database.new_engine(writes=False, url=url)
        self._limiter = trio.CapacityLimiter(1)
        self._connection: Connection | None = None
        self._seen = -1
        self._failures = 0

    async def read(self) -> list[str]:
        """The next messages; an empty list if none came for a while, or it has just begun to listen.

        Raises:
            CannotListen: It cannot be listened to, at least for now.
            LinkDown: The database is away, or went away meanwhile. The next call listens again.
        """
        if not self._database.state.up:
            raise LinkDown(self._database.name)
        if self._seen != self._database.outages:
            self.close()
        self._seen = self._database.outages
        is_new = self._connection is None
        try:
            messages = await trio.to_thread.run_sync(self._read, limiter=self._limiter)
        except CannotListen:
            self.close()
            raise
        # The driver's own errors where SQLAlchemy is not in between.
        except (DBAPIError, psycopg.Error) as error:
            self.close()
            self._failures += is_new
            if self._failures >= REFUSALS and self._database.is_up:
                # Others have a connection: this one is refused, or LISTEN is.
                raise CannotListen(self._database.name, described(error)) from error
            raise LinkDown(self._database.name, error) from error
        self._failures = 0
        return messages

    def close(self) -> None:
        """Close the connection, once nothing is under way."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.invalidate()
            connection.close()

    def _read(self) -> list[str]:
        if self._connection is None:
            connection = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
            self._connection = connection
            if is_pooled(connection):
                raise CannotListen(self._database.name, POOLED)
            connection.exec_driver_sql(f"LISTEN {self._channel}")
            self.gaps += 1
            return []
        driver: Any = self._connection.connection.driver_connection
        messages = [notice.payload for notice in driver.notifies(timeout=self._wait_s, stop_after=1)]
        if messages:
            messages += [notice.payload for notice in driver.notifies(timeout=0, stop_after=BATCH)]
        return messages
