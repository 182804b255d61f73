"""All open streams of the node: who may open one, how it begins, and how all of them end."""

from __future__ import annotations

import logging
import random
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

import trio

from web.handlers.http import Answer, Headers, Opening, retry_later
from web.handlers.limits import ConcurrentPerClient
from web.handlers.resume import retry

if TYPE_CHECKING:
    from web.handlers.expiries import Expiries
    from web.handlers.http import OpenStream, StreamMember

logger = logging.getLogger(__name__)

EVENT_STREAM: Final[Headers] = (
    ("Content-Type", "text/event-stream"),
    ("Cache-Control", "no-cache"),
    ("X-Accel-Buffering", "no"),
)
# HTTP/2 forbids it (RFC 9113, section 8.2.2).
KEEP_ALIVE: Final[Headers] = (("Connection", "keep-alive"),)
RETRY_AFTER_S: Final = 5
DRAINING: Final = retry_later(503, "draining", RETRY_AFTER_S, "this server is stopping")
TOO_MANY: Final = retry_later(
    429, "too_many_streams", RETRY_AFTER_S, "too many streams are open from this address"
)
CLIENT_GONE: Final = "client_gone"
DRAINED: Final = "drained"
STALLED: Final = "stalled"
EXPIRED: Final = "expired"
# Reasons to end that are nobody's trouble.
ORDERLY: Final = frozenset({CLIENT_GONE, DRAINED, EXPIRED})


@dataclass(frozen=True, slots=True)
class StreamStatistics:
    """Counts since the start, and how things stand.

    Attributes:
        open: Streams now.
        opened: Streams there have been.
        refused: Streams turned down, by reason.
        ended: Streams that ended, by reason.
    """

    open: int
    opened: int
    refused: dict[str, int]
    ended: dict[str, int]


class Streams:
    """Lets members in and out, and knows them all.

    Args:
        per_client: How many streams one address may have at once; 0 for no limit.
        expiries: Ends streams whose token expires.
        rng: For the jitter of `retry:`.
    """

    def __init__(
        self, *, per_client: int = 0, expiries: Expiries | None = None, rng: random.Random | None = None
    ) -> None:
        self._expiries = expiries
        self._members: dict[StreamMember, None] = {}
        self._clients = ConcurrentPerClient(per_client)
        self._rng = rng or random.Random()  # spreads load, keeps no secret
        self._opened = 0
        self._refused: dict[str, int] = {}
        self._ended: dict[str, int] = {}
        self._last_left: trio.Event | None = None
        self.draining = False

    def __len__(self) -> int:
        return len(self._members)

    def enter(self, wanted: OpenStream, member: StreamMember) -> Opening | Answer:
        """Let `member` hear what is wanted from now on: what to send first, or why not."""
        if self.draining:
            return self._refuse("draining", DRAINING)
        if not self._clients.enter(wanted.client):
            return self._refuse("per_client", TOO_MANY)
        opening = wanted.source.join(wanted, member)
        if isinstance(opening, Answer):
            self._clients.leave(wanted.client)
            return self._refuse("limit", opening)
        self._members[member] = None
        self._opened += 1
        if wanted.expires_at is not None and self._expiries is not None:
            self._expiries.add(member, wanted.expires_at, partial(member.close, EXPIRED, wanted.expired))
        return Opening((retry(self._rng), *opening.parts), opening.seq)

    def leave(self, wanted: OpenStream, member: StreamMember, reason: str) -> None:
        """Forget `member`, which ended for `reason`; nothing happens if it is not there."""
        if member not in self._members:
            return
        del self._members[member]
        if wanted.expires_at is not None and self._expiries is not None:
            self._expiries.discard(member)
        self._ended[reason] = self._ended.get(reason, 0) + 1
        if reason not in ORDERLY:
            logger.warning("stream_cut_off", extra={"topic": wanted.topic, "reason": reason})
        self._clients.leave(wanted.client)
        wanted.source.leave(wanted, member)
        if not self._members and self._last_left is not None:
            self._last_left.set()
            self._last_left = None

    async def wait_none(self) -> None:
        """Return when no stream is open."""
        while self._members:
            if self._last_left is None:
                self._last_left = trio.Event()
            await self._last_left.wait()

    def members(self) -> tuple[StreamMember, ...]:
        """All of them, as of now, oldest first."""
        return tuple(self._members)

    def statistics(self) -> StreamStatistics:
        """How things stand."""
        return StreamStatistics(len(self._members), self._opened, dict(self._refused), dict(self._ended))

    def _refuse(self, reason: str, answer: Answer) -> Answer:
        self._refused[reason] = self._refused.get(reason, 0) + 1
        return answer
