"""One connection in the lane: request after request, until it ends, becomes a stream or is handed over.

Only plain requests for the hot routes are answered here. At the first other
one, the bytes read so far go with the connection to Hypercorn, which reads
them as if it had had the connection from the beginning.
"""

from __future__ import annotations

import math
from enum import Enum
from functools import partial
from typing import TYPE_CHECKING, Any, Final, cast

import trio

from actors.core import InlineCall, at_batch_end
from web.channels.handshake import accept
from web.fastlane.connection import CachedHead, Connection, ParsedRequest, PendingWrite
from web.fastlane.encoding import encode_answer, encode_stream_head
from web.fastlane.head import END_OF_HEAD, MAX_HEAD_BYTES, may_become_plain
from web.fastlane.poller import ENDED, READABLE
from web.fastlane.raw_socket import RawSocket
from web.fastlane.raw_streams import RawStream
from web.handlers.dispatcher import Pending
from web.handlers.http import Answer
from web.handlers.paths import split_target

if TYPE_CHECKING:
    import socket
    from collections.abc import Awaitable, Coroutine

    from supervision import Life
    from web.channels.socket_auth import SocketAuth
    from web.fastlane.connection import Timeouts
    from web.fastlane.head import Head
    from web.fastlane.poller import Poller
    from web.fastlane.raw_streams import RawStreams
    from web.handlers.dispatcher import Dispatcher
    from web.handlers.http import OpenStream
    from web.handlers.streams import Streams

SOCKET_PATH: Final = ("socket", "websocket")
# An answer that is ready at once lets no other task run; a client that sends
# its requests in one go must not have all the turns.
YIELD_EVERY: Final = 16
# How often connections are looked at whose clients may have taken too long.
LOOK_EVERY_S: Final = 1.0
HOT: Final = frozenset(
    {
        ("/api/rooms/{id}", "GET"),
        ("/api/rooms/{id}", "PUT"),
        ("/api/rooms/{id}/stream", "GET"),
        ("/players/{steamid}/stats", "PATCH"),
        ("/internal/players/{steamid}/stats", "PATCH"),
        ("/roblox/events/player-activity", "POST"),
        ("/healthz", "GET"),
    }
)


# Those of them where every plain id leads to the same route.
ENDS_IN_ANY_ID: Final = frozenset({"/api/rooms/{id}"})


class Ending(Enum):
    """What became of a connection: over, for Hypercorn, or now a stream's or a WebSocket's."""

    DONE = "done"
    HANDED_OVER = "handed_over"
    TAKEN = "taken"


# The parsed for every head that is not for this lane.
NOT_OURS: Final = ParsedRequest(cast("Pending", None))


class Lane:
    """All connections in the lane.

    Args:
        dispatcher: Finds and gives the answers.
        streams: Who may open a stream.
        poller: Says when sockets change.
        raw_streams: Keeps the streams.
        auth: Lets WebSockets in; None to leave them to Hypercorn.
        timeouts: How long clients may take.

    Attributes:
        closing: Set to end each connection with the answer under way.
        answered: Requests answered here.
        handed_over: Connections that went to Hypercorn.
        timed_out: Connections ended because their client took too long.
    """

    def __init__(
        self,
        dispatcher: Dispatcher,
        streams: Streams,
        poller: Poller,
        raw_streams: RawStreams,
        *,
        auth: SocketAuth | None,
        timeouts: Timeouts,
    ) -> None:
        self._dispatcher = dispatcher
        self._streams = streams
        self._poller = poller
        self._raw_streams = raw_streams
        self._auth = auth
        self._timeouts = timeouts
        self._connections: set[Connection] = set()
        self._next_look = 0.0
        self.closing = False
        self.answered = self.handed_over = self.timed_out = 0

    async def serve(self, sock: socket.socket, peer: str) -> tuple[Ending, bytes]:
        """Answer what the client asks, until it is done.

        Args:
            sock: Non-blocking. After `TAKEN` it belongs to a stream or a WebSocket, else still to the caller.
            peer: The client's address.

        Returns:
            What became of it, and with `HANDED_OVER` the bytes read and not answered.
        """
        connection = Connection(sock, peer)
        self._connections.add(connection)
        self._poller.add(sock.fileno(), connection)
        ending = None
        try:
            ending = await self._serve(connection)
        finally:
            self._connections.discard(connection)
            if ending is not Ending.TAKEN:
                self._poller.forget(sock.fileno(), stays_open=True)
        self.handed_over += ending is Ending.HANDED_OVER
        return ending, connection.data

    async def _serve(self, connection: Connection) -> Ending:
        served = 0
        while True:
            parsed = self._parse_next(connection)
            if parsed is None:
                if not await self._receive_head(connection) or not await self._send_pending_write(connection):
                    return Ending.DONE
                continue
            if parsed is NOT_OURS:
                return Ending.HANDED_OVER
            if parsed.handshake is not None:
                return await self._open_socket(connection, parsed.handshake)
            ending = await self._answer(connection, parsed)
            if ending is not None:
                return ending
            served += 1
            if served % YIELD_EVERY == 0 and connection.data:
                await trio.lowlevel.checkpoint()

    # -- a request that comes while the task sleeps -------------------------------------------

    def _serve_at_once(self, connection: Connection) -> bool:
        """Answer a request without waking the connection's task; false if the task has to.

        That saves two of the four turns of the loop a PUT takes, and the only
        one of a GET. It is for the plainest case: one whole request, nothing
        behind it, and an answer that waits for actors at the most.
        """
        if connection.mask & ENDED:
            return False
        got = connection.read()
        if not got:
            connection.mask |= 0 if got is None else ENDED
            return got is None
        if self._answer_at_once(connection):
            return True
        parsed = self._parse_next(connection)
        if parsed is None or not parsed.at_once or parsed.end != len(connection.data):
            connection.call()
            return True
        body, connection.data = connection.data[parsed.body_at :], b""
        connection.is_answering, connection.deadline = True, math.inf
        done = partial(self._answered_at_once, connection, parsed)
        complete = cast("Coroutine[Any, Any, Answer]", self._dispatcher.complete(parsed.pending, body))
        InlineCall(complete, done).resume()
        return True

    def _answer_at_once(self, connection: Connection) -> bool:
        """Answer a request like an earlier one without waiting even for actors; false if it has to."""
        cached_head = connection.cached_head
        filled = None if cached_head is None else cached_head.fill(connection.data)
        if cached_head is None or filled is None:
            return False
        # The id is not validated yet: `at_once` answers only ids that exist, others take the full path.
        answer = self._dispatcher.complete_at_once(cached_head.parsed.pending, *filled)
        if answer is None:
            return False
        connection.data = b""
        connection.is_answering, connection.deadline = True, math.inf
        self._answered_at_once(connection, cached_head.parsed, answer)
        return True

    def _answered_at_once(self, connection: Connection, parsed: ParsedRequest, answer: Answer) -> None:
        self.answered += 1
        keep_alive = parsed.keep_alive and not self.closing
        encoded = encode_answer(answer, keep_alive=keep_alive)
        at_batch_end(self._send_at_once, connection, encoded, keep_alive)

    def _send_at_once(self, connection: Connection, encoded: bytes, keep_alive: bool) -> None:  # noqa: FBT001
        sent = connection.send_now(encoded)
        connection.is_answering = False
        if sent != len(encoded) or not keep_alive:
            rest = memoryview(encoded)[sent:] if sent >= 0 else memoryview(b"")
            connection.pending_write = PendingWrite(rest, keep_alive=keep_alive and sent >= 0)
            connection.call()
        elif connection.mask & (READABLE | ENDED):
            connection.ready(0)  # what came meanwhile is for the task
        else:
            connection.deadline = self._next_look + self._timeouts.idle_s

    async def _send_pending_write(self, connection: Connection) -> bool:
        """Finish an answer that was given while the task slept; false if that was the last."""
        pending_write, connection.pending_write = connection.pending_write, None
        if pending_write is None:
            return True
        sent = await connection.send_rest(pending_write.rest, self._timeouts.send_s)
        return sent and pending_write.keep_alive

    # -- any other ------------------------------------------------------------------------------

    def _parse_next(self, connection: Connection) -> ParsedRequest | None:
        """What to do about the head that was read; None if it is not all here."""
        head_end = connection.data.find(END_OF_HEAD)
        if head_end < 0:
            waits = len(connection.data) <= MAX_HEAD_BYTES and may_become_plain(connection.data)
            return None if waits else NOT_OURS
        head = connection.data[: head_end + len(END_OF_HEAD)]
        # A client that asks again mostly repeats its head to the letter, or but for the room's id,
        # and what it means is half of the work on a GET. One is remembered, not a table: objects
        # that live for some thousand requests are what makes the collector look at all rooms
        # again and again.
        if head != connection.head:
            cached_head = connection.cached_head
            parsed = None if cached_head is None else cached_head.read(head)
            connection.head, connection.parsed = head, parsed or self._parse(head, connection)
        return connection.parsed

    def _receive_head(self, connection: Connection) -> Awaitable[bool]:
        if connection.data:
            return connection.receive(self._timeouts.head_s)
        return connection.receive(self._timeouts.idle_s, self._serve_at_once)

    async def _answer(self, connection: Connection, parsed: ParsedRequest) -> Ending | None:
        """Read the body and answer; None if there may be another request."""
        while len(connection.data) < parsed.end:
            if not await connection.receive(self._timeouts.body_s):
                return Ending.DONE
        body, connection.data = connection.data[parsed.body_at : parsed.end], connection.data[parsed.end :]
        connection.is_answering, connection.deadline = True, math.inf
        answer = await self._dispatcher.complete(parsed.pending, body)
        connection.is_answering = False
        self.answered += 1
        if not isinstance(answer, Answer):
            refusal = self._open_stream(connection, answer)
            if refusal is None:
                return Ending.TAKEN
            answer = self._dispatcher.finalize(refusal, parsed.pending.request.headers)
        keep_alive = parsed.keep_alive and not self.closing
        encoded = encode_answer(answer, keep_alive=keep_alive)
        sent = connection.send_now(encoded)
        if sent != len(encoded) and not await self._send_rest(connection, encoded, sent):
            return Ending.DONE
        return None if keep_alive else Ending.DONE

    async def _send_rest(self, connection: Connection, encoded: bytes, sent: int) -> bool:
        return sent >= 0 and await connection.send_rest(memoryview(encoded)[sent:], self._timeouts.send_s)

    def _parse(self, head: bytes, connection: Connection) -> ParsedRequest:
        """What to do about a head."""
        read = connection.reader.read(head)
        if read is None:
            return NOT_OURS
        if read.fields.wants_websocket:
            path, _ = split_target(read.target)
            mine = self._auth is not None and tuple(filter(None, path.split("/"))) == SOCKET_PATH
            return NOT_OURS._replace(handshake=read) if mine else NOT_OURS
        pending = self._dispatcher.find(read.method, read.target, read.fields.headers, peer=connection.peer)
        if not isinstance(pending, Pending) or (pending.route.pattern, read.method) not in HOT:
            return NOT_OURS
        end = len(head) + read.fields.content_length
        at_once = pending.endpoint.waits_for_actors_only
        parsed = ParsedRequest(pending, len(head), end, read.fields.keep_alive, at_once=at_once)
        if pending.route.pattern in ENDS_IN_ANY_ID:
            connection.cached_head = CachedHead.of(head, parsed)
        return parsed

    def _open_stream(self, connection: Connection, wanted: OpenStream) -> Answer | None:
        """Make the connection a stream; an answer if it may not become one."""
        stream = RawStream(connection.sock, wanted, self._raw_streams)
        opening = self._streams.enter(wanted, stream)
        if isinstance(opening, Answer):
            return opening
        self._raw_streams.add(stream)
        stream.begin(encode_stream_head(wanted.headers), opening)
        return None

    async def _open_socket(self, connection: Connection, head: Head) -> Ending:
        """Make the connection a WebSocket, if its client may have one."""
        auth = cast("SocketAuth", self._auth)
        connection.data = connection.data.partition(END_OF_HEAD)[2]
        admitted = await auth.admit(split_target(head.target)[1], head.fields.headers)
        self.answered += 1
        switch = (
            admitted if isinstance(admitted, Answer) else accept(head.fields.headers, admitted.subprotocol)
        )
        if isinstance(admitted, Answer) or isinstance(switch, Answer):
            refusal = self._dispatcher.finalize(cast("Answer", switch), head.fields.headers)
            connection.send_now(encode_answer(refusal, keep_alive=False))
            return Ending.DONE
        if connection.send_now(switch) != len(switch):
            return Ending.DONE  # a client whose receive buffer is full before it has asked for anything
        RawSocket(connection.sock, self._poller, auth.sockets, admitted).begin(
            connection.data, connection.mask
        )
        return Ending.TAKEN

    async def run(self, life: Life) -> None:
        """End connections whose clients take too long; for ever."""
        life.started()
        while True:
            self._next_look = trio.current_time() + LOOK_EVERY_S
            await trio.sleep_until(self._next_look)
            now = trio.current_time()
            for connection in tuple(self._connections):
                if connection.deadline < now:
                    self.timed_out += 1
                    connection.hang_up()

    def close_idle(self) -> None:
        """End the connections that have asked for nothing; the others end with their answers."""
        self.closing = True
        for connection in tuple(self._connections):
            if not connection.data and not connection.is_answering:
                connection.hang_up()
