"""`STREAM_COMPRESSION=on`: streams and records as gzip, on both lanes and both stores."""

from __future__ import annotations

import gzip
import random
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import h11
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from tests.web.conftest import BOTH_STORES, Serve
from tests.web.serving import PATIENCE_S, Node, Watcher
from web.handlers.compression import GZIP_HEADER, Deflater, Wish, deflater, wish_of

STORES = BOTH_STORES
LARGE = {"text": "to and fro " * 200}


@pytest.fixture
async def node(serve: Serve) -> AsyncIterator[Node]:
    async with serve(STREAM_COMPRESSION="on", HEARTBEAT_SECONDS=0.5) as running:
        yield running


class GzipWatcher(Watcher):
    """Reads a stream that comes as gzip."""

    def __init__(self, stream: object) -> None:
        super().__init__(stream)  # type: ignore[arg-type]
        self._inflate = zlib.decompressobj(16 + zlib.MAX_WBITS)

    async def _next(self) -> h11.Event:
        event = await super()._next()
        return h11.Data(self._inflate.decompress(event.data)) if isinstance(event, h11.Data) else event


@asynccontextmanager
async def watching(node: Node, target: str, accept: str = "gzip", **headers: str) -> AsyncIterator[Watcher]:
    async with await node.connect() as stream:
        watcher = GzipWatcher(stream)
        await watcher.ask(target, {"Accept-Encoding": accept} | headers)
        assert watcher.headers["content-encoding"] == "gzip"
        assert "Accept-Encoding" in watcher.headers["vary"]
        yield watcher


async def test_a_stream_says_all_it_says_otherwise(node: Node) -> None:
    async with (
        watching(node, "/api/rooms/r/stream?viewers=1", "br, gzip, deflate") as zipped,
        node.watch("r") as plain,
    ):
        assert "content-encoding" not in plain.headers
        first = await zipped.frame()
        assert first is not None
        assert first.retry is not None
        assert await zipped.version() == await plain.version() == 0
        assert (await zipped.event()).event == "viewers"
        for number in range(1, 6):
            await node.put("r", LARGE | {"n": number})
            told = await plain.event()
            heard = await zipped.event()
            while heard.event == "viewers":
                heard = await zipped.event()
            assert heard == told
        while (frame := await zipped.frame()) is not None and frame.comment is None:
            pass
        assert frame is not None
        assert frame.comment == "heartbeat"


@pytest.mark.memory_store
async def test_one_block_serves_all_streams(node: Node) -> None:
    async with (
        watching(node, "/api/rooms/r/stream") as one,
        watching(node, "/api/rooms/r/stream") as two,
        watching(node, "/api/rooms/r/stream") as three,
    ):
        for watcher in (one, two, three):
            assert await watcher.version() == 0
        before = deflater.bytes_in
        state = {"noise": random.Random(1).randbytes(5000).hex()}
        await node.put("r", state)
        for watcher in (one, two, three):
            assert await watcher.version() == 1
        assert 10_000 < deflater.bytes_in - before < 20_000


async def test_it_resumes_and_resets(node: Node) -> None:
    etag = (await node.put("r", LARGE)).headers["etag"].strip('"')
    headers = {"Last-Event-ID": etag}
    async with watching(node, "/api/rooms/r/stream", **headers) as watcher:
        await node.put("r", LARGE)
        assert await watcher.version() == 2
    async with watching(node, "/api/rooms/r/stream", **{"Last-Event-ID": "gone-3"}) as watcher:
        assert (await watcher.event()).event == "reset"
        assert await watcher.version() == 2


async def test_streams_of_several_rooms_and_of_players_are_compressed_too(node: Node) -> None:
    async with watching(node, "/api/stream?room=a&room=b") as watcher:
        assert (await watcher.event()).event == "open"
        assert {(await watcher.event()).data["room_id"] for _ in range(2)} == {"a", "b"}
        await node.put("a", LARGE)
        assert (await watcher.event()).data["state"] == LARGE


@pytest.mark.memory_store
async def test_a_slow_reader_ends_on_the_newest_state(node: Node) -> None:
    noise = random.Random(2)
    async with watching(node, "/api/rooms/r/stream") as slow:
        for _ in range(400):
            text = noise.randbytes(15_000).hex()
            assert (await node.put("r", {"noise": text})).status_code == 200
        seen = await slow.until_version(400)
    assert seen == sorted(set(seen))


@pytest.mark.memory_store
async def test_a_drain_is_told_before_the_end(serve: Serve) -> None:
    async with serve(STREAM_COMPRESSION="on") as node, watching(node, "/api/rooms/r/stream") as watcher:
        await watcher.version()
        node.program.stop()
        assert (await watcher.event()).event == "drain"
        while await watcher.frame() is not None:
            pass


@pytest.mark.memory_store
async def test_http_1_0_gets_gzip_without_chunks(node: Node) -> None:
    async with await node.connect() as stream:
        await stream.send_all(
            b"GET /api/rooms/r/stream HTTP/1.0\r\nHost: node\r\nAccept-Encoding: gzip\r\n\r\n"
        )
        received, text = b"", b""
        with trio.fail_after(PATIENCE_S):
            while b"event: state" not in text:
                received += await stream.receive_some()
                head, _, body = received.partition(b"\r\n\r\n")
                text = zlib.decompressobj(16 + zlib.MAX_WBITS).decompress(body)
    assert b"transfer-encoding" not in head.lower()


@pytest.mark.memory_store
@pytest.mark.parametrize("accept", ["", "identity", "gzip;q=0", "br", "*;q=0", "gzip;q=0.5, identity"])
async def test_who_does_not_take_gzip_gets_text(node: Node, accept: str) -> None:
    await node.put("r", LARGE)
    read = await node.get("r", Accept_Encoding=accept)
    assert "content-encoding" not in read.headers
    assert read.json()["state"] == LARGE
    assert read.headers["vary"] == "Accept-Encoding"
    async with node.watch("r", Accept_Encoding=accept) as watcher:
        assert "content-encoding" not in watcher.headers
        assert await watcher.version() == 1


async def test_a_record_above_a_kibibyte_comes_as_gzip_with_the_same_tag(node: Node) -> None:
    etag = (await node.put("r", LARGE)).headers["etag"]
    plain = await node.get("r", Accept_Encoding="identity")
    async with node.http.stream("GET", "/api/rooms/r", headers={"Accept-Encoding": "gzip"}) as answer:
        raw = b"".join([part async for part in answer.aiter_raw()])
    assert answer.headers["content-encoding"] == "gzip"
    assert int(answer.headers["content-length"]) == len(raw) < len(plain.content)
    assert gzip.decompress(raw) == plain.content
    assert answer.headers["etag"] == plain.headers["etag"] == etag
    assert "Accept-Encoding" in answer.headers["vary"]

    unchanged = await node.get("r", Accept_Encoding="gzip", If_None_Match=etag)
    assert unchanged.status_code == 304
    assert unchanged.headers["vary"] == "Accept-Encoding"
    assert "content-encoding" not in unchanged.headers
    assert (await node.put("r", LARGE, If_Match=answer.headers["etag"])).status_code == 200
    head = await node.http.head("/api/rooms/r", headers={"Accept-Encoding": "gzip"})
    assert head.headers["content-encoding"] == "gzip"
    assert not head.content


async def test_a_small_record_is_left_alone_unless_only_gzip_will_do(node: Node) -> None:
    await node.put("r", {"n": 1})
    assert "content-encoding" not in (await node.get("r", Accept_Encoding="gzip")).headers
    only = await node.get("r", Accept_Encoding="gzip, identity;q=0")
    assert only.headers["content-encoding"] == "gzip"
    assert only.json()["state"] == {"n": 1}


@pytest.mark.memory_store
async def test_off_is_the_default(serve: Serve) -> None:
    async with serve() as node:
        await node.put("r", LARGE)
        read = await node.get("r", Accept_Encoding="gzip")
        assert "content-encoding" not in read.headers
        assert "vary" not in read.headers
        async with node.watch("r", Accept_Encoding="gzip") as watcher:
            assert "content-encoding" not in watcher.headers
            assert "vary" not in watcher.headers


@pytest.mark.memory_store
async def test_metrics_say_what_it_saves(node: Node) -> None:
    async with watching(node, "/api/rooms/r/stream") as watcher:
        await watcher.version()

    async def is_counted() -> bool:
        text = (await node.http.get("/metrics")).text
        return "greenroom_stream_blocks_total " in text and "greenroom_stream_blocks_bytes_total " in text

    assert await is_counted()


@pytest.mark.parametrize(
    ("field", "wish"),
    [
        ("gzip", Wish.YES),
        ("GZIP", Wish.YES),
        ("x-gzip", Wish.YES),
        ("*", Wish.YES),
        ("br;q=1.0, gzip;q=0.8, *;q=0.1", Wish.YES),
        ("gzip;q=0", Wish.NO),
        ("gzip; q=0.000", Wish.NO),
        ("*;q=0", Wish.NO),
        ("gzip;q=0, *", Wish.NO),
        ("identity", Wish.NO),
        ("identity;q=0.5, gzip;q=0.9", Wish.YES),
        ("identity;q=0.9, gzip;q=0.5", Wish.NO),
        ("identity;q=0, gzip", Wish.ONLY),
        ("gzip, *;q=0", Wish.ONLY),
        ("gzip;q=much", Wish.NO),
        ("gzip;q=-1", Wish.NO),
        ("gzip;q=nan", Wish.NO),
        ("", Wish.NO),
        (",;,=;q=", Wish.NO),
    ],
)
def test_weights_are_honoured(field: str, wish: Wish) -> None:
    assert wish_of({"accept-encoding": field}) is wish


@given(st.lists(st.binary(max_size=300), min_size=1), st.data())
def test_blocks_can_be_read_from_any_of_them_on(texts: list[bytes], data: st.DataObject) -> None:
    """Whichever others a stream has been sent before, and in whatever order they were made."""
    maker = Deflater()
    blocks = [maker.block(text) for text in texts]
    chosen = data.draw(st.lists(st.integers(0, len(texts) - 1)))
    inflate = zlib.decompressobj(16 + zlib.MAX_WBITS)
    read = [inflate.decompress(GZIP_HEADER)] + [inflate.decompress(blocks[number]) for number in chosen]
    assert read == [b"", *(texts[number] for number in chosen)]
