"""One Pub/Sub channel, read in a worker thread.

Redis keeps no message for a subscriber that is away: what is published during
an outage is lost to this node. A connection can also be cut without either end
hearing of it, so a subscriber that hears nothing sends a PING every few seconds
and takes the missing answer for an outage.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

import redis
import trio

from actors.links.errors import LinkDown
from actors.links.redis_link import OUTAGES

if TYPE_CHECKING:
    from actors.links.redis_link import RedisLink

# Messages carried over the thread border together.
BATCH: Final = 100
PING_EVERY_S: Final = 3.0


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
        self._heard_at = 0.0
        self._pinged_at: float | None = None

    async def read(self) -> list[bytes]:
        """The next messages; an empty list if none came for a while.

        Raises:
            LinkDown: Redis is away, or went away meanwhile. The next call subscribes again.
            LinkRefused: It does not let this user subscribe.
        """
        if not self._link.state.up:
            raise LinkDown(self._link.name)
        if self._seen != self._link.outages:
            self._drop()
        self._seen = self._link.outages
        try:
            messages = await trio.to_thread.run_sync(self._read, limiter=self._limiter)
        except redis.ResponseError as error:
            self._drop()
            raise self._link.note_refusal("SUBSCRIBE", error) from error
        except OUTAGES as error:
            self._drop()
            self._link.note_outage(self._seen, error)
            raise LinkDown(self._link.name, error) from error
        self._link.note_success(("SUBSCRIBE",))
        return messages

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
            self._pubsub = self._client.pubsub()  # type: ignore[no-untyped-call]
            self._pubsub.subscribe(self._channel)
            self._heard_at, self._pinged_at = time.monotonic(), None
        messages: list[bytes] = []
        message = self._pubsub.get_message(timeout=self._wait_s)
        while message is not None:
            self._heard_at, self._pinged_at = time.monotonic(), None
            if message["type"] == "message":
                messages.append(message["data"])
            message = self._pubsub.get_message(timeout=0.0) if len(messages) < BATCH else None
        self._prove_hearing(time.monotonic())
        return messages

    def _prove_hearing(self, now: float) -> None:
        """Send a PING if nothing was heard for a while; its answer counts as heard.

        Raises:
            redis.TimeoutError: The answer is missing.
        """
        if self._pinged_at is None:
            if now - self._heard_at >= PING_EVERY_S:
                self._pinged_at = now
                self._pubsub.ping()
        elif now - self._pinged_at >= self._link.answer_timeout_s:
            raise redis.TimeoutError("a subscriber's PING was not answered")
