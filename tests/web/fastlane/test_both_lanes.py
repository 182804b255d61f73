"""One corpus over every protocol: the same status, the same headers that matter, the same body.

Each request is sent on a connection of its own to four nodes in the same order, as HTTP/1.1 and as
HTTP/2, in clear and in TLS; so their rooms go through the same states. What may differ is blanked:
dates and epochs.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final, NamedTuple

import h11
import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.web.http2 import Http2, http2
from tests.web.serving import PATIENCE_S, Node, Stream, serving

# Of the connection or of the moment, not of the answer.
IRRELEVANT: Final = {"date", "connection", "transfer-encoding", "keep-alive"}
# Quart says 0 where saying nothing is meant.
WITHOUT_BODY: Final = {204: {"content-length"}, 304: {"content-length"}}
VARYING: Final = re.compile(rb'"updated_at":"[^"]+"|[a-z0-9]{8}-(?=[0-9]+)|"id":"[0-9a-f]{16}"')
RECORD: Final = b'{"state":{"a":[1,2.5,"\xc3\xa4"]},"client_id":"c"}'


class Nodes(NamedTuple):
    """A node in clear and one in TLS, to be asked over HTTP/1.1, and two to be asked over HTTP/2."""

    clear: Node
    tls: Node
    clear_http2: Node
    tls_http2: Node


class Heard(NamedTuple):
    """An answer, as far as it matters."""

    status: int
    headers: dict[bytes, bytes]
    body: bytes


@asynccontextmanager
async def serving_all() -> AsyncIterator[Nodes]:
    async with AsyncExitStack() as stack:
        yield Nodes(
            *[
                await stack.enter_async_context(serving(lane, CORS_ORIGINS="https://a.example"))
                for lane in ("fast", "tls", "fast", "tls")
            ]
        )


@pytest.fixture
async def nodes() -> AsyncIterator[Nodes]:
    async with serving_all() as running:
        yield running


def request(line: str, *fields: str, body: bytes = b"", length: bool = True) -> bytes:
    lines = [f"{line} HTTP/1.1", "Host: node", *fields]
    if length and (body or line.startswith(("PUT", "POST", "PATCH"))):
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


async def send(node: Node, data: bytes, cuts: tuple[int, ...] = ()) -> list[Heard]:
    """What a node answers to `data`, sent in the pieces that `cuts` make of it."""
    async with await node.connect() as stream:
        try:
            for start, end in zip((0, *cuts), (*cuts, len(data)), strict=True):
                await stream.send_all(data[start:end])
                await trio.lowlevel.checkpoint()
        except trio.BrokenResourceError:
            pass  # answered and closed before it had it all
        return await hear(stream)


async def hear(stream: Stream) -> list[Heard]:
    """Every answer until the node closes, or has nothing more to say for a while."""
    heard: list[Heard] = []
    data = b""
    with trio.move_on_after(PATIENCE_S) as patience:
        try:
            while chunk := await stream.receive_some():
                data += chunk
                patience.deadline = trio.current_time() + QUIET_S
        except trio.BrokenResourceError:
            pass
    while data:
        answer, data = parse(data)
        heard.append(answer)
    return heard


# After something was heard, on a busy machine.
QUIET_S: Final = 0.25


def parse(data: bytes) -> tuple[Heard, bytes]:
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method="GET", target="/", headers=[("Host", "node")]))
    client.send(h11.EndOfMessage())
    client.receive_data(data)
    head = client.next_event()
    assert isinstance(head, h11.Response), head
    body = b""
    while isinstance(event := client.next_event(), h11.Data):
        body += bytes(event.data)
    rest = client.trailing_data[0] if isinstance(event, h11.EndOfMessage) else b""
    if event is h11.NEED_DATA:  # a stream that stays open
        body = re.sub(rb"retry: [0-9]+", b"retry: N", body)
    headers = {name.lower(): VARYING.sub(b"~", value) for name, value in head.headers}
    ignored = IRRELEVANT | WITHOUT_BODY.get(head.status_code, set())
    relevant = {name: value for name, value in headers.items() if name.decode() not in ignored}
    return Heard(head.status_code, relevant, VARYING.sub(b"~", body)), rest


class Asked(NamedTuple):
    """A request of HTTP/1.1, as HTTP/2 says it."""

    fields: list[tuple[bytes, bytes]]
    pieces: list[bytes]


# Of a connection of HTTP/1.1, which HTTP/2 has no words for (RFC 9113, section 8.2.2).
CONNECTION_FIELDS: Final = {b"connection", b"host", b"transfer-encoding"}


def as_http2(data: bytes) -> list[Asked]:
    """The requests in `data`, which must be well-formed."""
    asked = []
    while data:
        server = h11.Connection(h11.SERVER)
        server.receive_data(data)
        head = server.next_event()
        assert isinstance(head, h11.Request), head
        pieces = []
        while isinstance(event := server.next_event(), h11.Data):
            pieces.append(bytes(event.data))
        assert isinstance(event, h11.EndOfMessage), event
        path = head.target.removeprefix(b"http://node")
        host = dict(head.headers).get(b"host", b"node")
        pseudo = {b":method": head.method, b":scheme": b"http", b":path": path, b":authority": host}
        rest = [each for each in head.headers if each[0] not in CONNECTION_FIELDS]
        asked.append(Asked([*pseudo.items(), *rest], pieces))
        data = server.trailing_data[0]
    return asked


async def send_as_http2(node: Node, data: bytes) -> list[Heard]:
    """What a node answers to the requests in `data`, each asked when the one before is answered."""
    heard = []
    async with http2(node) as client:
        for fields, pieces in as_http2(data):
            number = await client.send_raw(fields, pieces)
            with trio.move_on_after(PATIENCE_S) as patience:
                while number not in client.ended:
                    await client.receive()
                    if client.data[number]:
                        patience.deadline = trio.current_time() + QUIET_S
            heard.append(heard_of(client, number))
    return heard


def heard_of(client: Http2, number: int) -> Heard:
    fields = dict(client.headers[number])
    status, body = int(fields.pop(":status")), client.data[number]
    if number not in client.ended:
        body = re.sub(rb"retry: [0-9]+", b"retry: N", body)
    ignored = {name.decode() for name in CONNECTION_FIELDS} | IRRELEVANT | WITHOUT_BODY.get(status, set())
    headers = {
        name.encode(): VARYING.sub(b"~", value.encode("latin-1"))
        for name, value in fields.items()
        if name not in ignored
    }
    return Heard(status, headers, VARYING.sub(b"~", body))


async def same(
    nodes: Nodes, data: bytes, cuts: tuple[int, ...] = (), *, http2_too: bool = True
) -> list[Heard]:
    """What all answer; fails if they differ. `http2_too` if HTTP/2 can say it."""
    answers: dict[str, list[Heard]] = {}

    async def ask(name: str, node: Node) -> None:
        if name.endswith("http2"):
            answers[name] = await send_as_http2(node, data)
        else:
            answers[name] = await send(node, data, cuts)

    asked = {name: node for name, node in nodes._asdict().items() if http2_too or "http2" not in name}
    async with trio.open_nursery() as nursery:
        for name, node in asked.items():
            nursery.start_soon(ask, name, node)
    for name in asked:
        assert answers[name] == answers["clear"], (name, data)
    return answers["clear"]


ROOM: Final = "/api/rooms/a"
PLAIN = {
    "read nothing": request(f"GET {ROOM}"),
    "write": request(f"PUT {ROOM}", body=RECORD),
    "write with a type": request(f"PUT {ROOM}", "Content-Type: application/json", body=RECORD),
    "write as the wrong type": request(f"PUT {ROOM}", "Content-Type: text/plain", body=RECORD),
    "read": request(f"GET {ROOM}"),
    "read a slash more": request(f"GET /{ROOM}/"),
    "read with an escape": request("GET /api/rooms/%61"),
    "read with a slash in the id": request("GET /api/rooms/a%2Fb"),
    "read with a broken escape": request("GET /api/rooms/%zz"),
    "read with an escape that is no UTF-8": request("GET /api/rooms/%ff"),
    "read with a query": request(f"GET {ROOM}?x=1"),
    "read a bad id": request("GET /api/rooms/a.b"),
    "read an id that is too long": request(f"GET /api/rooms/{'a' * 65}"),
    "read what is not there": request("GET /api/nothing"),
    "read with an old tag": request(f"GET {ROOM}", 'If-None-Match: "x-1"'),
    "read any": request(f"GET {ROOM}", "If-None-Match: *"),
    "read with a body": request(f"GET {ROOM}", "Content-Length: 3", body=b"abc", length=False),
    "head": request(f"HEAD {ROOM}"),
    "options": request(f"OPTIONS {ROOM}"),
    "preflight": request(
        f"OPTIONS {ROOM}", "Origin: https://a.example", "Access-Control-Request-Method: PUT"
    ),
    "foreign preflight": request(
        f"OPTIONS {ROOM}", "Origin: https://b.example", "Access-Control-Request-Method: PUT"
    ),
    "read from a page": request(f"GET {ROOM}", "Origin: https://a.example"),
    "read from a foreign page": request(f"GET {ROOM}", "Origin: https://b.example"),
    "wrong method": request(f"POST {ROOM}", body=b"{}"),
    "a method in small letters": request(f"put {ROOM}", body=RECORD),
    "a read in small letters": request(f"get {ROOM}"),
    "trace": request(f"TRACE {ROOM}"),
    "an unknown method": request(f"PROPFIND {ROOM}"),
    "doubled and trailing slashes": request("GET //api//rooms//a/"),
    "an escaped slash": request("GET /api/rooms/a%2Fb"),
    "an escaped NUL": request("GET /api/rooms/a%00"),
    "a broken escape": request("GET /api/rooms/a%zz"),
    "dots": request("GET /api/rooms/../rooms/a"),
    "a path parameter": request("GET /api/rooms/a;b=c"),
    "a query of nothing": request(f"GET {ROOM}?"),
    "everything": request("OPTIONS *"),
    "an empty encoding": request(f"PUT {ROOM}", "Content-Encoding:", body=RECORD),
    "no body": request(f"PUT {ROOM}", length=False),
    "empty body": request(f"PUT {ROOM}"),
    "not JSON": request(f"PUT {ROOM}", body=b"{"),
    "not an object": request(f"PUT {ROOM}", body=b"[]"),
    "no state": request(f"PUT {ROOM}", body=b"{}"),
    "state is text": request(f"PUT {ROOM}", body=b'{"state":"x"}'),
    "not finite": request(f"PUT {ROOM}", body=b'{"state":[NaN]}'),
    "huge integer": request(f"PUT {ROOM}", body=b'{"state":[%s]}' % (b"9" * 50)),
    "lone surrogate": request(f"PUT {ROOM}", body=rb'{"state":["\ud800"]}'),
    "bad UTF-8": request(f"PUT {ROOM}", body=b'{"state":["\xff"]}'),
    "too deep": request(f"PUT {ROOM}", body=b'{"state":' + b"[" * 300 + b"]" * 300 + b"}"),
    "too large": request(f"PUT {ROOM}", body=b'{"state":["%s"]}' % (b"x" * 40_000)),
    "as large as may be": request(f"PUT {ROOM}", body=b'{"state":["%s"]}' % (b"x" * (32_768 - 14))),
    "matching": request(f"PUT {ROOM}", "If-Match: *", body=RECORD),
    "matching nothing": request("PUT /api/rooms/new", "If-Match: *", body=RECORD),
    "not matching": request(f"PUT {ROOM}", 'If-Match: "77"', body=RECORD),
    "only new": request(f"PUT {ROOM}", "If-None-Match: *", body=RECORD),
    "with a secret": request("PUT /api/rooms/s", "X-Room-Secret: k", body=RECORD),
    "without the secret": request("PUT /api/rooms/s", body=RECORD),
    "with an encoding": request(f"PUT {ROOM}", "Content-Encoding: gzip", body=RECORD),
    "with another expectation": request(f"PUT {ROOM}", "Expect: the-unexpected", body=RECORD),
    "with tags in two fields": request(f"PUT {ROOM}", 'If-Match: "77"', "If-Match: *", body=RECORD),
    "with two cookies": request(f"GET {ROOM}", "Cookie: a=b", "Cookie: c=d"),
    "with two empty cookies": request(f"GET {ROOM}", "Cookie: ", "Cookie: "),
    "with an empty field": request(f"GET {ROOM}", "If-None-Match:"),
    "from a host that is none": request(f"GET {ROOM}").replace(b"Host: node", b"Host: a/b"),
    "from a host with a port": request(f"GET {ROOM}").replace(b"Host: node", b"Host: [::1]:80"),
    "health": request("GET /healthz"),
    "stream": request(f"GET {ROOM}/stream"),
    "stream of nothing": request("GET /api/rooms/none/stream"),
    "stream with an accept": request(f"GET {ROOM}/stream", "Accept: text/event-stream"),
    "stream resumed from nonsense": request(f"GET {ROOM}/stream", "Last-Event-ID: nonsense"),
    "stream resumed from UTF-8": request(f"GET {ROOM}/stream", "Last-Event-ID: \u00c3\u00a4"),
    "stream resumed from ISO 8859-1": request(f"GET {ROOM}/stream", "Last-Event-ID: \u00e4"),
    "stream resumed by query": request(f"GET {ROOM}/stream?last_event_id=none-0"),
    "stream of a bad id": request("GET /api/rooms/a.b/stream"),
    "head of a stream": request(f"HEAD {ROOM}/stream"),
    "chunked write": request(f"PUT {ROOM}", "Transfer-Encoding: chunked", length=False)
    + b"%x\r\n%b\r\n0\r\n\r\n" % (len(RECORD), RECORD),
    "chunked write with a trailer": request(f"PUT {ROOM}", "Transfer-Encoding: chunked", length=False)
    + b"%x\r\n%b\r\n0\r\nX: y\r\n\r\n" % (len(RECORD), RECORD),
    "the last write": request(f"PUT {ROOM}", "Connection: close", body=RECORD),
    "HTTP/1.0": f"GET {ROOM} HTTP/1.0\r\n\r\n".encode(),
    "absolute form": request(f"GET http://node{ROOM}"),
    "two at once": request(f"PUT {ROOM}", body=RECORD) + request(f"GET {ROOM}", "Connection: close"),
    "plain, then rich": request(f"GET {ROOM}") + request(f"HEAD {ROOM}", "Connection: close"),
    "plain, then unknown": request(f"GET {ROOM}") + request("GET /nothing", "Connection: close"),
}

SMUGGLED = {
    "length and chunked": (f"PUT {ROOM}", "Content-Length: 5", "Transfer-Encoding: chunked"),
    "two lengths": (f"PUT {ROOM}", "Content-Length: 5", "Content-Length: 6"),
    "the same length twice": (f"PUT {ROOM}", "Content-Length: 5", "Content-Length: 5"),
    "signed length": (f"PUT {ROOM}", "Content-Length: +5"),
    "hexadecimal length": (f"PUT {ROOM}", "Content-Length: 0x5"),
    "negative length": (f"PUT {ROOM}", "Content-Length: -5"),
    "folded length": (f"PUT {ROOM}", "Content-Length:\r\n 5"),
    "blank before the colon": (f"PUT {ROOM}", "Content-Length : 5"),
    "xchunked": (f"PUT {ROOM}", "Transfer-Encoding: xchunked"),
    "chunked twice": (f"PUT {ROOM}", "Transfer-Encoding: chunked, chunked"),
    "chunked last but one": (f"PUT {ROOM}", "Transfer-Encoding: chunked, identity"),
    "NUL": (f"GET {ROOM}", "X: a\0b"),
    "bare CR": (f"GET {ROOM}", "X: a\rb"),
    "bare LF": (f"GET {ROOM}", "X: a\nContent-Length: 5"),
    "no host": (),
}


async def test_hand_picked_requests_get_the_same_answers_over_every_protocol(nodes: Nodes) -> None:
    for data in PLAIN.values():
        assert await same(nodes, data), data


async def test_the_head_of_a_stream_says_no_length_as_the_stream_has_none(nodes: Nodes) -> None:
    """RFC 9110, section 8.6."""
    (answer,) = await same(nodes, PLAIN["head of a stream"])

    assert answer.status == 200
    assert b"content-length" not in answer.headers


async def test_whatever_could_be_read_two_ways_is_read_once_and_alike(nodes: Nodes) -> None:
    hidden = request("DELETE /api/rooms/hidden", "Connection: close")
    for name, lines in SMUGGLED.items():
        head = request(*lines, length=False) if lines else b"GET /api/rooms/a HTTP/1.1\r\n\r\n"
        answers = await same(nodes, head + b"0\r\n\r\n" + hidden, http2_too=False)
        assert answers[0].status in {400, 501}, (name, answers)


async def test_nothing_is_answered_after_the_request_that_was_to_be_the_last(nodes: Nodes) -> None:
    answers = await send(nodes.clear, request("GET /healthz", "Connection: close") + request("GET /healthz"))
    assert [answer.status for answer in answers] == [200]


@pytest.mark.parametrize("name", ["the last write", "two at once", "plain, then rich", "stream"])
async def test_requests_may_come_in_any_pieces(nodes: Nodes, name: str) -> None:
    data = PLAIN[name]
    for cut in range(1, len(data), 7):
        await same(nodes, data, (cut,), http2_too=False)


targets = st.sampled_from([ROOM, "/api/rooms/b", "/api/rooms/b/stream", "/healthz", "/api//rooms/%20", "/x"])
methods = st.sampled_from(["GET", "PUT", "HEAD", "OPTIONS", "DELETE", "PATCH", "POST"])
names = st.sampled_from(
    [
        "Accept",
        "Origin",
        "If-Match",
        "If-None-Match",
        "Last-Event-ID",
        "X-Room-Secret",
        "Content-Type",
        "Cookie",
    ]
)
printable = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=12)
fields = st.lists(st.tuples(names, printable), max_size=3)
bodies = st.one_of(
    st.just(b""),
    st.binary(max_size=20),
    st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), st.lists).map(
        lambda value: b'{"state":[%b]}' % repr(value).encode("utf-8", "surrogatepass")
    ),
)


requests = st.builds(
    lambda method, target, lines, body: request(
        f"{method} {target}", *(f"{name}: {value}" for name, value in lines), body=body
    ),
    methods,
    targets,
    fields,
    bodies,
)


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(requests, min_size=4, max_size=8))
def test_made_up_requests_get_the_same_answers_over_every_protocol(corpus: list[bytes]) -> None:
    async def ask_all() -> None:
        async with serving_all() as nodes:
            for data in corpus:
                await same(nodes, data)

    trio.run(ask_all)
