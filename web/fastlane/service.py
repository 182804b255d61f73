"""The lane as the program sees it: serves accepted sockets, and runs a few tasks of its own."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING

from supervision import ChildSpec
from web.fastlane.connection import Timeouts
from web.fastlane.lane import Ending, Lane
from web.fastlane.poller import Poller
from web.fastlane.raw_streams import RawStreams

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from web.channels.socket_auth import SocketAuth
    from web.handlers.dispatcher import Dispatcher
    from web.handlers.streams import Streams

    HandOver = Callable[[socket.socket, bytes], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class FastLaneStatistics:
    """Counts since the start, and how things stand.

    Attributes:
        answered: Requests answered in the lane.
        handed_over: Connections that went on with Hypercorn.
        timed_out: Connections ended because their client took too long.
        streams: Streams in the lane now.
        conflated: Events that a stream skipped for a newer one.
    """

    answered: int
    handed_over: int
    timed_out: int
    streams: int
    conflated: int


class FastLane:
    """Answers what it can on the raw socket, and hands over the rest.

    Args:
        dispatcher: Finds and gives the answers.
        streams: Who may open a stream.
        hand_over: Serves a connection that is not for the lane, given the bytes already read.
        auth: Lets WebSockets in; None to leave them to Hypercorn.
        stall_s: Seconds a client may take nothing.
        heartbeat_s: No stream is left without a byte for longer.
    """

    def __init__(
        self,
        dispatcher: Dispatcher,
        streams: Streams,
        hand_over: HandOver,
        *,
        auth: SocketAuth | None,
        stall_s: float,
        heartbeat_s: float,
    ) -> None:
        self._hand_over = hand_over
        self._poller = Poller()
        self._raw_streams = RawStreams(self._poller, streams, stall_s=stall_s, heartbeat_s=heartbeat_s)
        timeouts = Timeouts(send_s=stall_s)
        self._lane = Lane(dispatcher, streams, self._poller, self._raw_streams, auth=auth, timeouts=timeouts)

    async def serve(self, sock: socket.socket) -> None:
        """Serve an accepted, non-blocking socket until it ends, or a stream or WebSocket has it."""
        try:
            peer = sock.getpeername()[0]
        except OSError:
            sock.close()
            return
        # A stream or a WebSocket outlives this task, and whoever gave us `sock` closes it then.
        own = socket.socket(sock.family, sock.type, sock.proto, sock.detach())
        ending: Ending | None = None
        try:
            ending, unread = await self._lane.serve(own, peer)
            if ending is Ending.HANDED_OVER:
                await self._hand_over(own, unread)
        finally:
            if ending is not Ending.TAKEN:
                own.close()

    def children(self) -> tuple[ChildSpec, ...]:
        """The tasks to be supervised. None of them holds anything that a crash could lose."""
        return (
            ChildSpec(id="poller", start=self._poller.run),
            ChildSpec(id="raw_streams", start=self._raw_streams.run),
            ChildSpec(id="lane", start=self._lane.run),
        )

    def wind_up(self) -> None:
        """End idle connections now, and others after the answer they are at."""
        self._lane.close_idle()

    def statistics(self) -> FastLaneStatistics:
        """How things stand."""
        lane, raw_streams = self._lane, self._raw_streams
        return FastLaneStatistics(
            lane.answered, lane.handed_over, lane.timed_out, len(raw_streams), raw_streams.conflated
        )
