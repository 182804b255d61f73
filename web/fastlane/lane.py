"""Serves connections: request after request, until each ends or becomes an event stream or a WebSocket.

All of HTTP/1.1 in clear is served here, and what is not HTTP is refused here: a
connection is read by one parser from its first byte to its last. The states of
a connection are drawn in `connection`.
"""

from __future__ import annotations

import logging
from enum import Enum
from functools import partial
from typing import TYPE_CHECKING, Any, Final, cast

import trio

from actors.core import InlineCall, at_batch_end
from web.channels.handshake import upgrade
from web.fastlane.body import BadChunk, BodyTooLong, ChunkedBody, SizedBody
from web.fastlane.connection import (
    ANSWERING,
    IDLE,
    CachedHead,
    Connection,
    PendingWrite,
    Refuse,
    Serve,
    State,
    Upgrade,
)
from web.fastlane.encoding import CONTINUE, encode_answer, encode_stream_head
from web.fastlane.head import END_OF_HEAD, BadHead, refuse_early
from web.fastlane.poller import ENDED, READABLE
from web.fastlane.raw_socket import RawSocket
from web.fastlane.raw_streams import kind_of
from web.handlers.dispatcher import BODY_TOO_SLOW
from web.handlers.http import Answer, error
from web.handlers.paths import SOCKET_PATH, BadPath, segments_of, split_target
from web.handlers.streams import CLIENT_GONE

if TYPE_CHECKING:
    import socket
    from collections.abc import Awaitable, Callable, Coroutine

    from supervision import Life
    from web.channels.socket_auth import SocketAuth
    from web.fastlane.body import Body
    from web.fastlane.connection import ParsedRequest, Timeouts
    from web.fastlane.head import Head
    from web.fastlane.poller import Poller
    from web.fastlane.raw_streams import RawStreams
    from web.handlers.dispatcher import Dispatcher
    from web.handlers.http import OpenStream
    from web.handlers.streams import Streams

logger = logging.getLogger(__name__)

# An answer that is ready at once lets no other task run; a client that sends
# its requests in one go must not have all the turns.
YIELD_EVERY: Final = 16
# How often connections are looked at whose deadline may have passed.
LOOK_EVERY_S: Final = 1.0
# What a client may still send after its last answer without losing that.
LINGER_BYTES: Final = 1 << 20
# The first line of HTTP/2's connection preface (RFC 9113, section 3.4), which is no request.
PREFACE: Final = b"PRI * HTTP/2.0\r\n"
HEAD_TOO_SLOW: Final = error(408, "request_timeout", "the head did not arrive in time")
BAD_CHUNK: Final = error(400, "bad_request", "the chunks of the body are malformed")


class Ending(Enum):
    """What became of a connection: over, now a stream's or a WebSocket's, or HTTP/2 from its first byte."""

    DONE = "done"
    TAKEN = "taken"
    HTTP2 = "http2"


class Lane:
    """All connections in the lane.

    Args:
        dispatcher: Finds and gives the answers.
        streams: Who may open a stream.
        poller: Says when sockets change.
        raw_streams: Keeps the streams.
        auth: Lets WebSockets in; None where there are none.
        timeouts: How long clients may take.

    Attributes:
        closing: Set to end each connection with the answer under way.
        answered: Requests answered here.
        refused: Connections ended because what came was no HTTP that is served here.
        timed_out: Connections ended because their client took too long.
        sockets: WebSockets now.
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
        self.answered = self.refused = self.timed_out = self.sockets = 0

    async def serve(self, sock: socket.socket, peer: str, *, http2: bool = False) -> tuple[Ending, bytes]:
        """Answer what the client asks, until it is done.

        Args:
            sock: Non-blocking. After `TAKEN` it belongs to a stream or a WebSocket, else still to the caller.
            peer: The client's address.
            http2: Whether the client may begin with HTTP/2, which is then for the caller to serve.

        Returns:
            What became of it, and what was read and not used.
        """
        connection = Connection(sock, peer)
        connection.enter(IDLE, trio.current_time() + self._timeouts.idle_s)
        self._connections.add(connection)
        self._poller.add(sock.fileno(), connection)
        try:
            if http2 and await self._begins_with_http2(connection):
                return Ending.HTTP2, connection.data
            while await self._serve_next(connection):
                pass
            if connection.state is State.CLOSING:
                await self._linger(connection)
        finally:
            self._connections.discard(connection)
            if connection.state is not State.TAKEN:
                self._poller.forget(sock.fileno(), stays_open=True)
        return Ending.TAKEN if connection.state is State.TAKEN else Ending.DONE, b""

    async def _begins_with_http2(self, connection: Connection) -> bool:
        """Whether the first bytes are the preface of HTTP/2; reads until that is clear, and no further."""
        while PREFACE.startswith(connection.data):
            if connection.data == PREFACE:
                return True
            if connection.data:
                connection.enter(State.READING_HEAD, trio.current_time() + self._timeouts.head_s)
            if not await connection.receive():
                return False
        return connection.data.startswith(PREFACE)

    async def _serve_next(self, connection: Connection) -> bool:
        """Answer requests as long as they are here, else wait for more; false if there will be no other."""
        for _ in range(YIELD_EVERY):
            parsed = self._parse_next(connection)
            if parsed is None:
                return await self._receive_head(connection) and await self._send_pending_write(connection)
            if isinstance(parsed, Upgrade):
                await self._open_socket(connection, parsed)
                return False
            if isinstance(parsed, Refuse):
                goes_on = await self._refuse(connection, parsed)
            else:
                goes_on = await self._answer(connection, parsed)
            if not goes_on:
                return False
        await trio.lowlevel.checkpoint()
        return True

    # -- a request that comes while the task sleeps -------------------------------------------

    def _serve_inline(self, connection: Connection) -> bool:
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
        if not isinstance(parsed, Serve) or not parsed.inline or parsed.end != len(connection.data):
            connection.call()
            return True
        body, connection.data = connection.data[parsed.body_at :], b""
        connection.enter(ANSWERING)
        done = partial(self._answered_inline, connection, parsed)
        complete = cast("Coroutine[Any, Any, Answer]", self._dispatcher.complete(parsed.pending, body))
        InlineCall(complete, done).resume()
        return True

    def _answer_at_once(self, connection: Connection) -> bool:
        """Answer a request like an earlier one without a coroutine; false if it needs one."""
        cached_head = connection.at_once_head
        filled = None if cached_head is None else cached_head.fill(connection.data)
        if cached_head is None or filled is None:
            return False
        # The id is not validated yet: `at_once` answers only ids that exist, others take the full path.
        answer = self._dispatcher.complete_at_once(cached_head.parsed.pending, *filled)
        if answer is None:
            return self._answer_by_callback(connection, cached_head.parsed, *filled)
        connection.data = b""
        self._answered_inline(connection, cached_head.parsed, answer)
        return True

    def _answer_by_callback(self, connection: Connection, request: Serve, last: str, body: bytes) -> bool:
        """The same where the answer is given to a callback, perhaps before this returns."""
        deadline = connection.deadline
        connection.enter(ANSWERING)
        data, connection.data = connection.data, b""
        reply = partial(self._reply_later, connection, request, self._dispatcher.sampled_clock())
        if self._dispatcher.complete_later(request.pending, last, body, reply):
            return True
        connection.enter(IDLE, deadline)
        connection.data = data
        return False

    def _reply_later(
        self,
        connection: Connection,
        request: Serve,
        began: float,
        make: Callable[..., Answer],
        *facts: object,
    ) -> None:
        answer = self._dispatcher.answer_later(request.pending, began, make, *facts)
        self._answered_inline(connection, request, answer)

    def _answered_inline(self, connection: Connection, request: Serve, answer: Answer) -> None:
        self.answered += 1
        keep_alive = request.keep_alive and not self.closing
        encoded = encode_answer(answer, keep_alive=keep_alive, method=request.head.method)
        at_batch_end(self._send_inline, connection, encoded, keep_alive)

    def _send_inline(self, connection: Connection, encoded: bytes, keep_alive: bool) -> None:  # noqa: FBT001
        sent = connection.send_now(encoded)
        connection.enter(IDLE, self._next_look + self._timeouts.idle_s)
        if sent != len(encoded) or not keep_alive:
            rest = memoryview(encoded)[sent:] if sent >= 0 else None
            connection.pending_write = PendingWrite(rest, keep_alive=keep_alive)
            connection.call()
        elif connection.mask & (READABLE | ENDED):
            connection.ready(0)  # what came meanwhile is for the task

    async def _send_pending_write(self, connection: Connection) -> bool:
        """Finish an answer that was given while the task slept; false if that was the last."""
        pending, connection.pending_write = connection.pending_write, None
        if pending is None:
            return True
        if pending.rest is None or not await connection.send_rest(pending.rest, self._timeouts.send_s):
            return False
        return self._sent(connection, keep_alive=pending.keep_alive)

    # -- heads ------------------------------------------------------------------------------

    def _parse_next(self, connection: Connection) -> ParsedRequest | None:
        """What the next head means; None if it is not all here."""
        head_end = connection.data.find(END_OF_HEAD)
        if head_end > 0:
            head = connection.data[: head_end + len(END_OF_HEAD)]
            # A client that asks again mostly repeats its head to the letter, or but for the room's
            # id, and what it means is half of the work on a GET. One is remembered, not a table:
            # objects that live for some thousand requests are what makes the collector look at all
            # rooms again and again.
            if head == connection.head:
                return connection.parsed
            cached_head = connection.cached_head
            parsed = None if cached_head is None else cached_head.read(head)
            if parsed is not None:
                connection.head, connection.parsed = head, parsed
                return parsed
        data = connection.data
        if data.startswith(b"\r"):
            # Old clients leave an empty line behind a body (RFC 9112, section 2.2).
            while data.startswith(b"\r\n"):
                data = data[2:]
            if data in {b"", b"\r"}:
                connection.data = data
                return None
            if data is not connection.data:
                connection.data = data
                return self._parse_next(connection)
        if head_end >= 0:
            return self._parse(head, connection)
        refusal = refuse_early(data) if data else None
        return None if refusal is None else self._refusal_of(refusal)

    def _refusal_of(self, bad: BadHead) -> Refuse:
        self.refused += 1
        logger.debug("request_refused", extra={"status": bad.status, "reason": bad.message})
        return Refuse(error(bad.status, bad.code, bad.message))

    def _parse(self, head: bytes, connection: Connection) -> ParsedRequest:
        read = connection.reader.read(head)
        if isinstance(read, BadHead):
            return self._refusal_of(read)
        if read.wants_websocket and self._auth is not None and _is_socket_path(read.target):
            return Upgrade(read, len(head))
        fields = read.fields
        pending = self._dispatcher.find(read.method, read.target, fields.headers, peer=connection.peer)
        if isinstance(pending, Answer):
            # What is behind such a head is not worth reading.
            return Refuse(pending, len(head), read, read.keep_alive and not read.has_body)
        endpoint = pending.endpoint
        inline = endpoint.waits_for_actors_only and not (fields.is_chunked or fields.expects_continue)
        parsed = Serve(pending, len(head), len(head) + fields.content_length, read, read.keep_alive, inline)
        connection.head, connection.parsed = head, parsed
        if inline and pending.route.ends_in_any_id:
            connection.cached_head = CachedHead.of(head, parsed)
            connection.at_once_head = (
                connection.cached_head if endpoint.at_once or endpoint.by_callback else None
            )
        return parsed

    def _receive_head(self, connection: Connection) -> Awaitable[bool]:
        now = trio.current_time()
        if connection.data and connection.data != b"\r":  # which may be half of an empty line
            if connection.state is not State.READING_HEAD:
                connection.enter(State.READING_HEAD, now + self._timeouts.head_s)
            return connection.receive()
        if connection.state is not IDLE:
            connection.enter(IDLE, now + self._timeouts.idle_s)
        return connection.receive(None if connection.data else self._serve_inline)

    # -- answers ------------------------------------------------------------------------------

    async def _refuse(self, connection: Connection, refused: Refuse) -> bool:
        """Answer from the head alone; false if that was the last answer."""
        head = refused.head
        headers = {} if head is None else head.fields.headers
        connection.data = connection.data[refused.body_at :] if refused.keep_alive else b""
        answer = self._dispatcher.finalize(refused.answer, headers)
        method = "" if head is None else head.method
        return await self._send(connection, answer, keep_alive=refused.keep_alive, method=method)

    async def _answer(self, connection: Connection, request: Serve) -> bool:
        """Read the body and answer; false if that was the last answer."""
        body = await self._read_body(connection, request)
        if body is None:
            return False
        method, headers = request.head.method, request.pending.request.headers
        if isinstance(body, Answer):
            answer = self._dispatcher.finalize(body, headers)
            return await self._send(connection, answer, keep_alive=False, method=method)
        connection.enter(ANSWERING)
        made = await self._complete(connection, request, body)
        if made is None:
            return False
        if not isinstance(made, Answer):
            refusal = self._open_stream(connection, made, request.head)
            if refusal is None:
                return False
            made = self._dispatcher.finalize(refusal, headers)
        return await self._send(connection, made, keep_alive=request.keep_alive, method=method)

    async def _read_body(self, connection: Connection, request: Serve) -> bytes | Answer | None:
        """The body; an answer that refuses it; None if the client has gone."""
        data, fields = connection.data, request.head.fields
        if len(data) >= request.end and not fields.is_chunked:
            connection.data = data[request.end :]
            return data[request.body_at : request.end]
        endpoint = request.pending.endpoint
        body: Body = ChunkedBody(endpoint.max_body) if fields.is_chunked else SizedBody(fields.content_length)
        data, connection.data = data[request.body_at :], b""
        if fields.expects_continue and not data:
            connection.send_now(CONTINUE)
        try:
            rest = body.feed(data)
            if rest is None:
                rest = await self._receive_body(connection, body)
        except BodyTooLong:
            return endpoint.too_large
        except BadChunk:
            self.refused += 1
            return BAD_CHUNK
        if rest is None:
            return None
        connection.data = rest
        return bytes(body.content)

    async def _receive_body(self, connection: Connection, body: Body) -> bytes | None:
        """Feed `body` until it is whole: what follows it. None if the client has gone."""
        latest = trio.current_time() + self._timeouts.body_s
        rest = None
        while rest is None:
            earned_s = len(body.content) / self._timeouts.body_bytes_per_s
            connection.enter(State.READING_BODY, latest + earned_s)
            if not await connection.receive():
                return None
            data, connection.data = connection.data, b""
            rest = body.feed(data)
        return rest

    async def _complete(
        self, connection: Connection, request: Serve, body: bytes
    ) -> Answer | OpenStream | None:
        """The answer; None if nobody waits for it any more and the endpoint would rather not give it."""
        if not request.pending.endpoint.ends_with_client:
            return await self._dispatcher.complete(request.pending, body)
        with trio.CancelScope() as scope:
            connection.on_ended = scope.cancel
            if connection.mask & ENDED:
                scope.cancel()
            try:
                return await self._dispatcher.complete(request.pending, body)
            finally:
                connection.on_ended = None
        return None

    async def _send(self, connection: Connection, answer: Answer, *, keep_alive: bool, method: str) -> bool:
        """Send a finalized answer; false if it was the last."""
        self.answered += 1
        keep_alive = keep_alive and not self.closing
        encoded = encode_answer(answer, keep_alive=keep_alive, method=method)
        sent = connection.send_now(encoded)
        if sent < 0:
            return False
        if sent != len(encoded):
            rest = memoryview(encoded)[sent:]
            if not await connection.send_rest(rest, self._timeouts.send_s):
                return False
        return self._sent(connection, keep_alive=keep_alive)

    def _sent(self, connection: Connection, *, keep_alive: bool) -> bool:
        """The answer is out: what the connection does next."""
        now = trio.current_time()
        if keep_alive:
            connection.enter(IDLE, now + self._timeouts.idle_s)
        else:
            connection.enter(State.CLOSING, now + self._timeouts.linger_s)
        return keep_alive

    async def _linger(self, connection: Connection) -> None:
        """Let the client hear the last answer: closing a socket with unread bytes would take it away."""
        connection.shut_down_writing()
        left = LINGER_BYTES
        while left > 0:
            left -= len(connection.data)
            connection.data = b""
            if not await connection.receive():
                return

    # -- what a connection may become --------------------------------------------------------

    def _open_stream(self, connection: Connection, wanted: OpenStream, head: Head) -> Answer | None:
        """Make the connection a stream; an answer if it may not become one, or only its head is asked for."""
        if head.method == "HEAD":
            return Answer(200, headers=wanted.headers)
        kind = kind_of(wanted, is_chunked=not head.is_1_0)
        stream = kind(connection.sock, wanted, self._raw_streams)
        opening = self._streams.enter(wanted, stream)
        if isinstance(opening, Answer):
            return opening
        connection.enter(State.TAKEN)
        self._raw_streams.add(stream)
        stream.begin(encode_stream_head(wanted.headers, is_chunked=not head.is_1_0), opening)
        if connection.mask & ENDED:
            stream.close(CLIENT_GONE)
        return None

    async def _open_socket(self, connection: Connection, asked: Upgrade) -> None:
        """Make the connection a WebSocket, if its client may have one."""
        auth = cast("SocketAuth", self._auth)
        headers, query = asked.head.fields.headers, split_target(asked.head.target)[1]
        connection.data = connection.data[asked.body_at :]
        connection.enter(ANSWERING)
        try:
            admitted = await auth.admit(query, headers, connection.peer)
        except Exception:  # noqa: BLE001  # as `Dispatcher.complete`: the client gets 500, the log the trace
            admitted = self._dispatcher.fault("GET", "/".join(("", *SOCKET_PATH)), headers)
        switch = admitted if isinstance(admitted, Answer) else upgrade(headers, admitted.subprotocol)
        if isinstance(admitted, Answer) or isinstance(switch, Answer):
            refusal = self._dispatcher.finalize(cast("Answer", switch), headers)
            await self._send(connection, refusal, keep_alive=False, method="GET")
            return
        self.answered += 1
        if connection.send_now(switch) != len(switch):
            return  # a client whose receive buffer is full before it has asked for anything
        connection.enter(State.TAKEN)
        self.sockets += 1
        socket = RawSocket(connection.sock, self._poller, auth.sockets, admitted, on_end=self._socket_ended)
        socket.begin(connection.data, connection.mask)

    def _socket_ended(self) -> None:
        self.sockets -= 1

    # -- all connections ---------------------------------------------------------------------

    async def run(self, life: Life) -> None:
        """End connections whose clients take too long; for ever."""
        life.started()
        while True:
            self._next_look = trio.current_time() + LOOK_EVERY_S
            await trio.sleep_until(self._next_look)
            now = trio.current_time()
            for connection in tuple(self._connections):
                if connection.deadline < now:
                    self._expire(connection)

    def _expire(self, connection: Connection) -> None:
        """End a connection whose deadline has passed; whoever owes us a request is told so."""
        if connection.state is not State.CLOSING:
            self.timed_out += 1
        late = {State.READING_HEAD: HEAD_TOO_SLOW, State.READING_BODY: BODY_TOO_SLOW}.get(connection.state)
        if late is not None:
            answer = self._dispatcher.finalize(late, {})
            connection.send_now(encode_answer(answer, keep_alive=False, method=""))
        connection.enter(State.CLOSING)
        connection.hang_up()

    def close_idle(self) -> None:
        """End the connections that have asked for nothing; the others end with their answers."""
        self.closing = True
        for connection in tuple(self._connections):
            if connection.state is IDLE and not connection.data:
                connection.hang_up()


def _is_socket_path(target: str) -> bool:
    try:
        return segments_of(split_target(target)[0]) == SOCKET_PATH
    except BadPath:
        return False
