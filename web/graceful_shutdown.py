"""How open streams and sockets come to an end when the program stops.

Every stream is told when to come back (`retry`), later ones later, and is
closed in that order. An unmodified EventSource gives up for good when it is
answered 503, so nobody may be told to come back while this node still
answers: closing is done within the first part of the time, and the earliest
come back after it.

A socket cannot be told when to come back: the Phoenix client does so at once,
whatever it is told. Sockets are closed in small batches over the same time.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, NamedTuple

import trio

from web.handlers.streams import DRAINED

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from web.channels.session_registry import SessionRegistry
    from web.handlers.http import StreamMember
    from web.handlers.streams import Streams
    from web.server.connections import Connections

# Parts of the time for the drain: closings are spread over the first, retries
# over the rest of it.
CLOSING: Final = 0.4
EARLIEST_RETRY: Final = 0.5
# How long /healthz says 503 at the least, for whoever looks now and then.
NOTICE_S: Final = 1.0
SLICES_PER_S: Final = 20
# For requests under way, and for the last bytes to reach their readers.
GRACE_S: Final = 5.0


class Slice(NamedTuple):
    """Streams that are closed together.

    Attributes:
        at_s: Seconds from the beginning of the drain.
        first: Index of the first of them.
        last: Index after the last of them.
    """

    at_s: float
    first: int
    last: int


def closing_s(drain_s: float, *, hurry: bool = False) -> float:
    """What closings are spread over."""
    return 0.0 if hurry else drain_s * CLOSING


def plan(count: int, drain_s: float) -> Iterator[Slice]:
    """When to close which of `count` streams."""
    spread_s = closing_s(drain_s)
    slices = max(1, min(count, math.ceil(spread_s * SLICES_PER_S)))
    for number in range(slices):
        yield Slice(spread_s * number / slices, count * number // slices, count * (number + 1) // slices)


def retry_ms(index: int, count: int, drain_s: float) -> int:
    """When stream `index` of `count` is to come back."""
    part = EARLIEST_RETRY + (1 - EARLIEST_RETRY) * (index + 1) / count
    return round(drain_s * part * 1000)


def farewell(wait_ms: int) -> bytes:
    """What a stream is sent last."""
    return b'event: drain\ndata: {"retry_ms":%d}\nretry: %d\n\n' % (wait_ms, wait_ms)


async def close_streams(streams: Streams, drain_s: float, *, hurry: bool = False) -> None:
    """Tell every stream to come back later, and end it. New ones are refused from now on.

    Args:
        streams: All of them.
        drain_s: What the closing and the coming back are spread over.
        hurry: Close all at once, still spreading when they come back.
    """
    streams.draining = True
    members = streams.members()
    start = trio.current_time()
    for piece in plan(len(members), 0.0 if hurry else drain_s):
        await trio.sleep_until(start + piece.at_s)
        _close(members, piece, drain_s)


async def hand_over_streams(streams: Streams, drain_s: float) -> None:
    """End every stream as `close_streams` does, and refuse none: whoever comes back reaches the successor.

    A stream that opens meanwhile, on a connection from before, is ended with the last ones.
    """
    members = streams.members()
    start = trio.current_time()
    for piece in plan(len(members), drain_s):
        await trio.sleep_until(start + piece.at_s)
        _close(members, piece, drain_s)
    await trio.sleep_until(start + closing_s(drain_s))
    streams.draining = True
    late = streams.members()
    _close(late, Slice(0.0, 0, len(late)), drain_s)


def _close(members: Sequence[StreamMember], piece: Slice, drain_s: float) -> None:
    for index in range(piece.first, piece.last):
        members[index].close(DRAINED, farewell(retry_ms(index, len(members), drain_s)))


async def finish(
    streams: Streams, connections: Connections, sockets: SessionRegistry, grace_s: float = GRACE_S
) -> None:
    """Wait for the last bytes and the requests under way, then cut off whoever still holds on."""
    with trio.move_on_after(min(grace_s, NOTICE_S)):
        await streams.wait_none()
        await sockets.wait_none()
    for member in streams.members():
        member.abort()
    sockets.abort_all()
    with trio.move_on_after(grace_s):
        await connections.wait_none()
    connections.abort_all()
    with trio.move_on_after(NOTICE_S):
        await connections.wait_none()
