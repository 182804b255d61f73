from __future__ import annotations

import itertools
import socket
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.errors import TargetError
from bench.load.engine import Engine
from bench.load.stream import Stream

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
EVENT = b'event: state\nid: e-%d\ndata: {"state":{"mark":"~seq%010d"}}\n\n'


class Listening:
    """A stream, and the server's end of its connection in the test's hand."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.server, client = socket.socketpair()
        client.settimeout(0)
        self.stream = Stream(engine, client, 0)
        self.heard: list[tuple[int, int]] = []
        self.opened = self.ended = False
        self.stream.open(self._open)

    def _open(self, stream: Stream) -> None:
        self.opened = True
        stream.listen(lambda _, newest, count: self.heard.append((newest, count)), self._end)

    def _end(self, _stream: Stream) -> None:
        self.ended = True

    def send(self, data: bytes) -> None:
        """Send, and let the stream take it."""
        self.server.sendall(data)
        self.engine.run(0.005)

    def close(self) -> None:
        self.server.close()
        self.stream.close()


@pytest.fixture
def listening() -> Iterator[Listening]:
    with Engine() as engine:
        listening = Listening(engine)
        yield listening
        listening.close()


def test_a_stream_is_open_when_its_head_is_whole(listening: Listening) -> None:
    listening.send(HEAD[:20])
    assert not listening.opened

    listening.send(HEAD[20:])
    assert listening.opened


def test_every_event_is_heard_once(listening: Listening) -> None:
    listening.send(HEAD)
    listening.send(EVENT % (1, 1))
    listening.send(EVENT % (2, 2) + EVENT % (3, 3))
    listening.send(b": heartbeat\n\n")
    listening.send(EVENT % (4, 4))

    assert listening.heard == [(1, 1), (3, 2), (4, 1)]


def test_chunks_and_other_line_ends_make_no_difference(listening: Listening) -> None:
    event = (EVENT % (7, 7)).replace(b"\n", b"\r\n")

    listening.send(HEAD)
    listening.send(b"%x\r\n%b\r\n" % (len(event), event))

    assert listening.heard == [(7, 1)]


def test_a_refused_stream_says_with_what() -> None:
    with Engine() as engine:
        listening = Listening(engine)
        with pytest.raises(TargetError, match="refused with 503"):
            listening.send(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n")
        listening.close()


def test_a_stream_that_the_server_ends_is_noticed(listening: Listening) -> None:
    listening.send(HEAD)
    listening.server.close()
    listening.engine.run(0.005)

    assert listening.ended


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(min_value=0, max_value=400), max_size=6))
def test_no_event_is_lost_or_doubled_however_the_bytes_are_split(cuts: list[int]) -> None:
    data = b"".join(EVENT % (nth, nth) for nth in range(1, 6))
    edges = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})

    with Engine() as engine:
        listening = Listening(engine)
        listening.send(HEAD)
        for start, end in itertools.pairwise(edges):
            listening.send(data[start:end])
        heard = list(listening.heard)
        listening.close()

    assert sum(count for _, count in heard) == 5
    assert heard[-1][0] == 5
