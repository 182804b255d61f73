"""An HTTP/2 client with one connection, over TLS or in clear with prior knowledge."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Final

import h2.config
import h2.connection
import h2.events
import hpack
import trio

from tests.web.serving import PATIENCE_S, Node, Stream, connect, trusting

# Sends what it is told to, right or wrong.
_CONFIG: Final = h2.config.H2Configuration(
    header_encoding="latin-1", validate_outbound_headers=False, normalize_outbound_headers=False
)
# The longest frame every peer takes.
FRAME: Final = 16_384


class Http2:
    """A client; what each stream has received is kept.

    Attributes:
        stream: The connection.
        http: Its state; frames of a test's own go around it.
        headers: Of the answers, by stream.
        data: Of the answers, by stream.
        informed: Streams that were sent an informational answer.
        ended: Streams whose answer is whole.
        reset: Error codes of streams the node has reset.
        goodbye: The error code of GOAWAY.
    """

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.http = h2.connection.H2Connection(_CONFIG)
        self.headers: dict[int, dict[str, str]] = {}
        self.data: dict[int, bytes] = {}
        self.informed: set[int] = set()
        self.ended: set[int] = set()
        self.reset: dict[int, int] = {}
        self.goodbye: int | None = None

    def open(
        self, method: str, path: str, extra: Mapping[str, str] | None = None, *, end: bool = False
    ) -> int:
        """Open a stream with the head of a request; `flush` sends it."""
        number = self.http.get_next_available_stream_id()
        headers = {":method": method, ":path": path, ":scheme": "https", ":authority": "localhost"}
        self.http.send_headers(number, [*headers.items(), *(extra or {}).items()], end_stream=end)
        self.data[number] = b""
        return number

    def pretend(self) -> int:
        """A stream that the client takes for open, while the test itself sends its head."""
        encoder, self.http.encoder = self.http.encoder, hpack.Encoder()
        number = self.open("GET", "/")
        self.http.clear_outbound_data_buffer()
        self.http.encoder = encoder
        return number

    async def ask(
        self, method: str, path: str, body: bytes = b"", extra: Mapping[str, str] | None = None
    ) -> int:
        """Send a whole request; its stream."""
        number = self.open(method, path, extra, end=not body)
        if body:
            self.http.send_data(number, body, end_stream=True)
        await self.flush()
        return number

    async def send_raw(self, fields: Iterable[tuple[bytes, bytes]], pieces: Iterable[bytes]) -> int:
        """Send a request of any fields; its body in these pieces, or smaller ones."""
        number = self.http.get_next_available_stream_id()
        self.data[number] = b""
        body = [piece[at : at + FRAME] for piece in pieces for at in range(0, len(piece), FRAME)]
        self.http.send_headers(number, list(fields), end_stream=not body)
        for place, piece in enumerate(body, 1):
            self.http.send_data(number, piece, end_stream=place == len(body))
        await self.flush()
        return number

    async def flush(self) -> None:
        await self.stream.send_all(self.http.data_to_send())

    async def receive(self, *, credit: bool = True) -> None:
        """Take what comes next.

        Raises:
            EOFError: The node has closed the connection.
        """
        received = await self.stream.receive_some()
        if not received:
            raise EOFError
        for event in self.http.receive_data(bytes(received)):
            self._note(event)
            if credit and isinstance(event, h2.events.DataReceived):
                self.http.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        if self.goodbye is None:
            await self.flush()

    def _note(self, event: h2.events.Event) -> None:
        if isinstance(event, h2.events.InformationalResponseReceived):
            self.informed.add(event.stream_id)
        elif isinstance(event, h2.events.ResponseReceived):
            self.headers[event.stream_id] = dict(event.headers)  # type: ignore[arg-type]
        elif isinstance(event, h2.events.DataReceived):
            self.data[event.stream_id] += event.data
        elif isinstance(event, h2.events.StreamReset):
            self.reset[event.stream_id] = event.error_code
        elif isinstance(event, h2.events.StreamEnded):
            self.ended.add(event.stream_id)
        elif isinstance(event, h2.events.ConnectionTerminated):
            self.goodbye = event.error_code

    async def until(self, number: int, text: bytes) -> None:
        """Wait until stream `number` has received `text`."""
        with trio.fail_after(PATIENCE_S):
            while text not in self.data[number]:
                await self.receive()

    async def until_ended(self, number: int) -> None:
        """Wait until the answer on stream `number` is whole."""
        with trio.fail_after(PATIENCE_S):
            while number not in self.ended:
                await self.receive()

    async def until_reset(self, number: int, *, credit: bool = True) -> int:
        """Wait until the node resets stream `number`; the error code."""
        with trio.fail_after(PATIENCE_S):
            while number not in self.reset:
                await self.receive(credit=credit)
        return self.reset[number]

    async def until_closed(self) -> int | None:
        """Wait until the node has closed the connection; the error code of its GOAWAY."""
        with trio.fail_after(PATIENCE_S):
            try:
                while True:
                    await self.receive(credit=False)
            except (EOFError, trio.BrokenResourceError):
                return self.goodbye


@asynccontextmanager
async def http2(node: Node) -> AsyncIterator[Http2]:
    """A client of `node`, in TLS if the node speaks it."""
    stream = await connect(node.port, trusting("h2") if node.tls else None)
    async with stream:
        client = Http2(stream)
        client.http.initiate_connection()
        await client.flush()
        yield client
