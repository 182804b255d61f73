"""The lane as the program sees it: serves accepted sockets, and runs a few tasks of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from supervision import ChildSpec
from web.fastlane.connection import Timeouts
from web.fastlane.lane import Ending, Lane
from web.fastlane.poller import Poller
from web.fastlane.raw_streams import RawStreams

if TYPE_CHECKING:
    import socket
    from collections.abc import Awaitable, Callable

    from web.channels.socket_auth import SocketAuth
    from web.handlers.dispatcher import Dispatcher
    from web.handlers.streams import Streams

    ServeHttp2 = Callable[[socket.socket, bytes], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class FastLaneStatistics:
    """Counts since the start, and current ones.

    Attributes:
        answered: Requests answered in the lane.
        refused: Connections ended because what came was no HTTP that is served here.
        timed_out: Connections ended because their client took too long.
        streams: Streams in the lane now.
        conflated: Events that a stream skipped for a newer one.
    """

    answered: int
    refused: int
    timed_out: int
    streams: int
    conflated: int


class FastLane:
    """Serves HTTP/1.1 and WebSockets on raw sockets.

    Args:
        dispatcher: Finds and gives the answers.
        streams: Who may open a stream.
        auth: Lets WebSockets in; None where there are none.
        http2: Serves HTTP/2 on a socket, given the bytes already read, for clients that begin with it
            (prior knowledge); None to refuse them.
        stall_s: Seconds a client may take nothing.
        heartbeat_s: No stream is left without a byte for longer.
    """

    def __init__(
        self,
        dispatcher: Dispatcher,
        streams: Streams,
        *,
        auth: SocketAuth | None,
        http2: ServeHttp2 | None = None,
        stall_s: float,
        heartbeat_s: float,
    ) -> None:
        self._http2 = http2
        self._poller = Poller()
        self._raw_streams = RawStreams(self._poller, streams, stall_s=stall_s, heartbeat_s=heartbeat_s)
        timeouts = Timeouts(send_s=stall_s)
        self._lane = Lane(dispatcher, streams, self._poller, self._raw_streams, auth=auth, timeouts=timeouts)

    async def serve(self, sock: socket.socket, peer: str | None = None) -> bool:
        """Serve a non-blocking socket until it ends, or a stream or WebSocket has it.

        Args:
            sock: Still the caller's afterwards, unless this is true.
            peer: The client's address; None to ask the socket.

        Returns:
            Whether the socket belongs to a stream or a WebSocket, which outlives this call.
        """
        in_clear = peer is None
        if peer is None:
            try:
                peer = str(sock.getpeername()[0])
            except OSError:
                return False
        ending, unread = await self._lane.serve(sock, peer, http2=in_clear and self._http2 is not None)
        if ending is Ending.HTTP2 and self._http2 is not None:
            await self._http2(sock, unread)
        return ending is Ending.TAKEN

    def taken(self) -> int:
        """How many sockets streams and WebSockets have."""
        return len(self._raw_streams) + self._lane.sockets

    def children(self) -> tuple[ChildSpec, ...]:
        """The tasks to be supervised. None of them holds anything that a crash could lose."""
        return (
            ChildSpec(id="poller", start=self._poller.run),
            ChildSpec(id="raw_streams", start=self._raw_streams.run),
            ChildSpec(id="lane", start=self._lane.run),
        )

    def close_after_answers(self) -> None:
        """End each connection after its next answer; idle ones may ask once more."""
        self._lane.closing = True

    def wind_up(self) -> None:
        """End idle connections now, and others after the answer they are at."""
        self._lane.close_idle()

    def statistics(self) -> FastLaneStatistics:
        """Current counts."""
        lane, raw_streams = self._lane, self._raw_streams
        return FastLaneStatistics(
            lane.answered, lane.refused, lane.timed_out, len(raw_streams), raw_streams.conflated
        )
