"""One Pub/Sub channel, read in a worker thread.

Redis keeps no message for a subscriber that is away: what is published during
an outage is lost to this node.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import trio

from actors.links.errors import LinkDown
from actors.links.redis_link import OUTAGES

if TYPE_CHECKING:
    from actors.links.redis_link import RedisLink

# Messages carried over the thread border together.
BATCH: Final = 100


class Subscription:
    """A channel's messages, batch by batch; subscribes when first asked and again after an outage.

    Args:
        link: Whose Redis.
        channel: Name of the channel.
        wait_s: Longest wait for a message in the thread, and so the longest a cancellation takes.
    """

    def __init__(self, link: RedisLink, channel: str, *, wait_s: float = 0.25) -> None:
        self._link = link
        self._channel = channel
        self._wait_s = wait_s
        self._limiter = trio.CapacityLimiter(1)
        self._client = link.new_client()
        self._pubsub: Any = None
        self._seen = -1

    async def read(self) -> list[bytes]:
        """The next messages; an empty list if none came for a while.

        Raises:
            LinkDown: Redis is away, or went away meanwhile. The next call subscribes again.
        """
        if not self._link.state.up:
            raise LinkDown(self._link.name)
        if self._seen != self._link.outages:
            self._drop()
        self._seen = self._link.outages
        try:
            return await trio.to_thread.run_sync(self._read, limiter=self._limiter)
        except OUTAGES as error:
            self._drop()
            self._link.note_outage(self._seen, error)
            raise LinkDown(self._link.name, error) from error

    def close(self) -> None:
        """Leave the channel and close the connection, once nothing is under way."""
        self._drop()
        self._client.close()

    def _drop(self) -> None:
        pubsub, self._pubsub = self._pubsub, None
        if pubsub is not None:
            pubsub.close()

    def _read(self) -> list[bytes]:
        if self._pubsub is None:
            self._pubsub = self._client.pubsub(ignore_subscribe_messages=True)  # type: ignore[no-untyped-call]
            self._pubsub.subscribe(self._channel)
        messages: list[bytes] = []
        message = self._pubsub.get_message(timeout=self._wait_s)
        while message is not None:
            messages.append(message["data"])
            message = self._pubsub.get_message(timeout=0.0) if len(messages) < BATCH else None
        return messages
