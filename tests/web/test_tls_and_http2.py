"""TLS, and HTTP/2 on it: many streams on one connection."""

from __future__ import annotations

import gzip
import os
import re
import ssl
import subprocess
import sys
import zlib
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Final

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from actors.rooms import Put
from tests.web.http2 import Http2, http2
from tests.web.serving import PATIENCE_S, Node, eventually, serving
from web.server.tls import BadCertificate, server_context

ROOT: Final = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate of our own making, and its key."""
    directory = tmp_path_factory.mktemp("tls")
    cert, key = directory / "cert.pem", directory / "key.pem"
    make_certificate(cert, key)
    return cert, key


def make_certificate(cert: Path, key: Path) -> None:
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
    ]
    command += ["-days", "2", "-subj", "/CN=localhost", "-keyout", str(key), "-out", str(cert)]
    command += ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    subprocess.run(command, check=True, capture_output=True)


@asynccontextmanager
async def serving_tls(certificate: tuple[Path, Path], **overrides: object) -> AsyncIterator[Node]:
    cert, key = certificate
    async with serving("fast", TLS_CERT_FILE=cert, TLS_KEY_FILE=key, **overrides) as node:
        yield node


async def connect(node: Node, *protocols: str) -> trio.SSLStream[trio.SocketStream]:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(list(protocols))
    stream = await trio.open_ssl_over_tcp_stream(
        "127.0.0.1", node.port, ssl_context=context, https_compatible=True
    )
    await stream.do_handshake()
    return stream


async def test_http_1_1_over_tls_is_the_same(certificate: tuple[Path, Path]) -> None:
    async with serving_tls(certificate) as node, await connect(node, "http/1.1") as stream:
        assert stream.selected_alpn_protocol() == "http/1.1"
        await stream.send_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        answer = b"".join([chunk async for chunk in stream])

    assert answer.startswith(b"HTTP/1.1 200 ")
    assert answer.endswith(b'{"ok":true}')


async def test_http_2_carries_requests_and_several_streams(certificate: tuple[Path, Path]) -> None:
    async with serving_tls(certificate) as node, http2(node) as client:
        streams = [await client.ask("GET", "/api/rooms/r/stream") for _ in range(5)]
        for number in streams:
            await client.until(number, b'"version":0')
        put = await client.ask("PUT", "/api/rooms/r", b'{"state":{}}')
        await client.until_ended(put)
        for number in streams:
            await client.until(number, b'"version":1')

        assert client.headers[put][":status"] == "200"
        assert client.headers[streams[0]]["content-type"] == "text/event-stream"
        assert "connection" not in client.headers[streams[0]]


async def test_streams_over_http_2_are_told_of_viewers(certificate: tuple[Path, Path]) -> None:
    async with serving_tls(certificate) as node, http2(node) as client:
        one = await client.ask("GET", "/api/rooms/r/stream?viewers=1")
        await client.until(one, b'event: viewers\ndata: {"room_id":"r","viewers":1}\n\n')
        several = await client.ask("GET", "/api/stream?room=r&room=s&viewers=1")
        await client.until(several, b'data: {"room_id":"s","viewers":1}\n\n')
        await client.until(one, b'data: {"room_id":"r","viewers":2}\n\n')


async def test_streams_and_records_over_http_2_are_compressed(certificate: tuple[Path, Path]) -> None:
    takes = {"accept-encoding": "gzip"}
    settings = {"STREAM_COMPRESSION": "on", "HEARTBEAT_SECONDS": 0.3, "DRAIN_SECONDS": "0.2"}
    async with serving_tls(certificate, **settings) as node, http2(node) as client:
        paths = ("/api/rooms/r/stream?viewers=1", "/api/rooms/r/stream", "/api/stream?room=r")
        streams = [await client.ask("GET", path, extra=takes) for path in paths]
        plain = await client.ask("GET", "/api/rooms/r/stream")
        await until_inflated(client, streams, b'"version":0')
        state = b'{"state":{"text":"%b"}}' % (b"to and fro " * 200)
        await client.until_ended(await client.ask("PUT", "/api/rooms/r", state))
        await until_inflated(client, streams, b'"version":1')
        await until_inflated(client, streams, b": heartbeat")
        await client.until(plain, b": heartbeat")
        read = await client.ask("GET", "/api/rooms/r", extra=takes)
        await client.until_ended(read)
        node.program.stop()
        await until_inflated(client, streams, b"event: drain")
        for number in streams:
            await client.until_ended(number)

        assert inflated(client, streams[0]).count(b"event: viewers") >= 1
        assert {client.headers[number]["content-encoding"] for number in (*streams, read)} == {"gzip"}
        assert {client.headers[number]["vary"] for number in (*streams, plain)} == {"Accept-Encoding"}
        assert "content-encoding" not in client.headers[plain]
        assert b"to and fro" in gzip.decompress(client.data[read])


def inflated(client: Http2, number: int) -> bytes:
    """What a compressed stream has received."""
    return zlib.decompressobj(16 + zlib.MAX_WBITS).decompress(client.data[number])


async def until_inflated(client: Http2, numbers: Iterable[int], text: bytes) -> None:
    """Wait until each of them has received `text`."""
    with trio.fail_after(PATIENCE_S):
        for number in numbers:
            while text not in inflated(client, number):
                await client.receive()


async def test_http_2_refuses_a_body_that_is_too_long(certificate: tuple[Path, Path]) -> None:
    async with serving_tls(certificate, MAX_STATE_BYTES=100) as node, http2(node) as client:
        put = await client.ask("PUT", "/api/rooms/r", b" " * 101, {"content-length": "101"})
        await client.until_ended(put)
        after = await client.ask("GET", "/healthz")
        await client.until_ended(after)

        assert client.headers[put][":status"] == "413"
        assert client.headers[after][":status"] == "200"


async def test_a_body_that_comes_after_its_refusal_ends_nothing_else(certificate: tuple[Path, Path]) -> None:
    async with serving_tls(certificate, MAX_STATE_BYTES=100) as node, http2(node) as client:
        stream = await client.ask("GET", "/api/rooms/r/stream")
        await client.until(stream, b'"version":0')
        put = client.open("PUT", "/api/rooms/r", {"content-length": "5000"})
        await client.flush()
        await client.until_ended(put)
        client.http.send_data(put, b"x" * 1000)
        await client.flush()
        after = await client.ask("GET", "/healthz")
        await client.until_ended(after)

        assert client.headers[put][":status"] == "413"
        assert client.headers[after][":status"] == "200"
        assert node.program.edge.connections.statistics().failed == 0


async def test_a_client_that_leaves_at_once_leaves_no_stream_behind(certificate: tuple[Path, Path]) -> None:
    async with serving_tls(certificate) as node:
        async with http2(node) as client:
            for _ in range(5):
                await client.ask("GET", "/api/rooms/r/stream")
        with trio.fail_after(PATIENCE_S):
            await node.program.edge.connections.wait_none()

        assert len(node.program.edge.streams) == 0


async def test_a_client_that_gives_up_one_stream_keeps_the_others(certificate: tuple[Path, Path]) -> None:
    async with serving_tls(certificate) as node, http2(node) as client:
        first = await client.ask("GET", "/api/rooms/r/stream")
        second = await client.ask("GET", "/api/rooms/r/stream")
        await client.until(second, b'"version":0')
        client.http.reset_stream(first)
        await client.flush()
        await eventually(lambda: node.program.core.rooms.streams("r") == 1)
        put = await client.ask("PUT", "/api/rooms/r", b'{"state":{}}')
        await client.until_ended(put)
        await client.until(second, b'"version":1')


async def test_a_stream_that_flow_control_has_shut_is_cut_off(certificate: tuple[Path, Path]) -> None:
    """The connection moves, one stream of it does not: no send of a socket would ever notice."""
    async with serving_tls(certificate, STREAM_STALL_SECONDS=0.5) as node, http2(node) as client:
        shut = await client.ask("GET", "/api/rooms/r/stream")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(client.until_reset, shut, credit=False))
            for _ in range(8):
                await node.program.core.rooms.put("r", Put(b'["' + b"x" * 30_000 + b'"]'))
                await wait_all_tasks_blocked(0.02)
        await node.program.edge.streams.wait_none()
        assert node.program.edge.streams.statistics().ended == {"stalled": 1}

        client.http.increment_flow_control_window(1 << 20)  # the neighbours go on
        after = await client.ask("GET", "/healthz")
        await client.until_ended(after)
        assert client.headers[after][":status"] == "200"


async def test_a_drain_ends_streams_over_http_2(certificate: tuple[Path, Path]) -> None:
    async with serving_tls(certificate) as node, http2(node) as client:
        number = await client.ask("GET", "/api/rooms/r/stream")
        await client.until(number, b'"version":0')
        node.program.stop()
        await client.until(number, b"event: drain")
        await client.until_ended(number)


async def test_plain_http_on_the_tls_port_is_no_trouble(certificate: tuple[Path, Path]) -> None:
    async with serving_tls(certificate) as node:
        await node.raw(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        await node.program.edge.connections.wait_none()

    assert node.program.edge.connections.statistics().failed == 0


async def test_certificates_are_read_again_and_broken_ones_change_nothing(
    certificate: tuple[Path, Path], tmp_path: Path
) -> None:
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    cert.write_bytes(certificate[0].read_bytes())
    key.write_bytes(certificate[1].read_bytes())
    async with serving_tls((cert, key)) as node:
        first = await shown(node)
        make_certificate(cert, key)
        node.program.reload()
        second = await shown(node)
        key.write_text("no key")
        node.program.reload()
        third = await shown(node)

    assert first != second
    assert second == third


async def shown(node: Node) -> bytes:
    """The certificate that a client is shown."""
    async with await connect(node, "http/1.1") as stream:
        der: bytes = stream.getpeercert(binary_form=True)
        return der


@pytest.mark.parametrize("tls", [False, True])
async def test_the_health_check_of_the_image_knows_tls(tls: bool, certificate: tuple[Path, Path]) -> None:
    found = re.search(r'CMD \["python", "-c", "(.+)"\]', (ROOT / "Dockerfile").read_text(encoding="utf-8"))
    assert found is not None
    async with serving_tls(certificate) if tls else serving("fast") as node:
        env = {"PORT": str(node.port), "PATH": os.environ["PATH"]} | (
            {"TLS_CERT_FILE": str(certificate[0])} if tls else {}
        )

        checked = await trio.run_process([sys.executable, "-c", found[1]], env=env, check=False)

        assert checked.returncode == 0


def test_a_certificate_that_cannot_be_used_is_said_in_one_line(
    tmp_path: Path, certificate: tuple[Path, Path]
) -> None:
    cert, _ = certificate
    with pytest.raises(BadCertificate, match="No such file"):
        server_context(tmp_path / "none.pem", tmp_path / "none.pem")
    with pytest.raises(BadCertificate) as caught:
        server_context(cert, cert)

    assert "\n" not in str(caught.value)
