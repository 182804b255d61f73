"""One connection in the lane: request after request, until it ends, becomes a stream or is handed over.

Only plain requests for the hot routes are answered here. At the first other
one, the bytes read so far go with the connection to Hypercorn, which reads
them as if it had had the connection from the beginning.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Final, NamedTuple

import trio

from web.fastlane.connection import Connection
from web.fastlane.encoding import encode_answer, encode_stream_head
from web.fastlane.head import END_OF_HEAD, MAX_HEAD_BYTES, read_head
from web.fastlane.outlet import RawStream
from web.handlers.front import Pending
from web.handlers.http import Answer

if TYPE_CHECKING:
    import socket

    from supervision import Life
    from web.fastlane.connection import Patience
    from web.fastlane.outlet import Outlet
    from web.handlers.front import Front
    from web.handlers.http import OpenStream
    from web.handlers.streams import Streams

# A client repeats its head to the letter from request to request, so
# remembering what a head means saves most of the work on it; 4 MiB at most.
REMEMBERED_HEADS: Final = 4096
REMEMBERED_HEAD_BYTES: Final = 1024
# An answer that is ready at once lets no other task run; a client that sends
# its requests in one go must not have all the turns.
YIELD_EVERY: Final = 16
HOT: Final = frozenset(
    {
        ("/api/rooms/{id}", "GET"),
        ("/api/rooms/{id}", "PUT"),
        ("/api/rooms/{id}/stream", "GET"),
        ("/players/{steamid}/stats", "PATCH"),
        ("/healthz", "GET"),
    }
)


class Ending(Enum):
    """What became of a connection."""

    DONE = "done"
    HANDED_OVER = "handed_over"
    STREAM = "stream"


class Plan(NamedTuple):
    """What a head means.

    Attributes:
        pending: The request, up to its body.
        body_bytes: Length of that body.
        keep_alive: Whether the connection goes on after the answer.
        sends_body: Whether the answer's body is sent: not for HEAD.
    """

    pending: Pending
    body_bytes: int
    keep_alive: bool
    sends_body: bool


class Lane:
    """All connections in the lane.

    Args:
        front: Finds and gives the answers.
        streams: Who may open a stream.
        outlet: Writes to the streams.
        patience: How long clients may take.

    Attributes:
        closing: Set to end each connection with the answer under way.
        answered: Requests answered here.
        handed_over: Connections that went to Hypercorn.
        timed_out: Connections ended because their client took too long.
    """

    def __init__(self, front: Front, streams: Streams, outlet: Outlet, *, patience: Patience) -> None:
        self._front = front
        self._streams = streams
        self._outlet = outlet
        self._patience = patience
        self._plans: dict[tuple[bytes, str], Plan] = {}
        self._connections: set[Connection] = set()
        self.closing = False
        self.answered = self.handed_over = self.timed_out = 0

    async def serve(self, sock: socket.socket, peer: str) -> tuple[Ending, bytes]:
        """Answer what the client asks, until it is done.

        Args:
            sock: Non-blocking. After `STREAM` it belongs to the outlet, else still to the caller.
            peer: The client's address.

        Returns:
            What became of it, and with `HANDED_OVER` the bytes read and not answered.
        """
        connection = Connection(sock, peer)
        self._connections.add(connection)
        try:
            ending = None
            served = 0
            while ending is None:
                ending = await self._serve_one(connection)
                served += 1
                if served % YIELD_EVERY == 0:
                    await trio.lowlevel.checkpoint()
        finally:
            self._connections.discard(connection)
        self.handed_over += ending is Ending.HANDED_OVER
        return ending, connection.data

    async def _serve_one(self, connection: Connection) -> Ending | None:
        """Serve one request; None if there may be another."""
        head = await self._receive_head(connection)
        if isinstance(head, Ending):
            return head
        plan = self._plans.get((head, connection.peer)) or self._plan(head, connection.peer)
        if plan is None:
            return Ending.HANDED_OVER
        end = len(head) + plan.body_bytes
        while len(connection.data) < end:
            if not await connection.receive(self._patience.body_s):
                return Ending.DONE
        body, connection.data = connection.data[len(head) : end], connection.data[end:]
        answer = await self._front.complete(plan.pending, body)
        self.answered += 1
        if not isinstance(answer, Answer):
            opened = self._open_stream(connection, answer)
            if opened is None:
                return Ending.STREAM
            answer = self._front.seal(opened, plan.pending.request.headers)
        keep_alive = plan.keep_alive and not self.closing
        encoded = encode_answer(answer, keep_alive=keep_alive, sends_body=plan.sends_body)
        sent = await connection.send(encoded, self._patience.send_s)
        return None if sent and keep_alive else Ending.DONE

    async def _receive_head(self, connection: Connection) -> bytes | Ending:
        patience_s = self._patience.head_s if connection.data else self._patience.idle_s
        while (end := connection.data.find(END_OF_HEAD)) < 0:
            if len(connection.data) > MAX_HEAD_BYTES:
                return Ending.HANDED_OVER
            if not await connection.receive(patience_s):
                # Half a head: Hypercorn says what is wrong with it, if anybody still listens.
                return Ending.DONE
            patience_s = self._patience.head_s
        return connection.data[: end + len(END_OF_HEAD)]

    def _plan(self, head: bytes, peer: str) -> Plan | None:
        """What to do about a head; None if it is not for this lane."""
        read = read_head(head)
        if read is None:
            return None
        pending = self._front.find(read.method, read.target, read.headers, peer=peer)
        if not isinstance(pending, Pending) or (pending.route.pattern, pending.request.method) not in HOT:
            return None
        plan = Plan(pending, read.content_length, read.keep_alive, read.method != "HEAD")
        if len(head) <= REMEMBERED_HEAD_BYTES:
            if len(self._plans) >= REMEMBERED_HEADS:
                self._plans.clear()
            self._plans[head, peer] = plan
        return plan

    def _open_stream(self, connection: Connection, wanted: OpenStream) -> Answer | None:
        """Make the connection a stream; an answer if it may not become one."""
        stream = RawStream(connection.sock, wanted, self._outlet)
        opening = self._streams.enter(wanted, stream)
        if isinstance(opening, Answer):
            return opening
        self._outlet.add(stream)
        stream.begin(encode_stream_head(wanted.headers), opening)
        return None

    async def run(self, life: Life) -> None:
        """End connections whose clients take too long; for ever."""
        life.started()
        while True:
            await trio.sleep(1)
            now = trio.current_time()
            for connection in tuple(self._connections):
                if connection.deadline < now:
                    self.timed_out += 1
                    connection.hang_up()

    def close_idle(self) -> None:
        """End the connections that have asked for nothing; the others end with their answers."""
        self.closing = True
        for connection in tuple(self._connections):
            if not connection.data:
                connection.hang_up()
