"""The wire protocol of RFC 6455, case by case, over real connections.

The cases are those of the Autobahn test suite, which itself runs on Python 2 only:
framing, pings, reserved bits, opcodes, fragmentation, UTF-8, closing, limits.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import trio
from websockets.frames import Opcode

from tests.web.conftest import Serve
from tests.web.fastlane.wire import Wire, close, cont, frame, ping, push, text, wire
from tests.web.serving import Node, serving

MIB = 1 << 20
WORD = "κόσμε 🎭"
PROTOCOL_ERROR, INVALID_DATA, TOO_BIG = 1002, 1007, 1009

Wrong = Callable[[int], set[int | None]]


@pytest.fixture
def wrong() -> Wrong:
    """How a connection may end over a fault: with this code."""
    return lambda code: {code}


# -- 1: framing -------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 50, 80, 125, 126, 127, 128, 65_400, 65_535, 65_536, 500_000])
async def test_a_message_of_any_length_arrives(node: Node, size: int) -> None:
    async with wire(node) as w:
        await w.send(text(push("2", "x" * size)))
        await w.answered("2")


@pytest.mark.parametrize("at_once", [1, 7, 997])
async def test_bytes_may_come_in_any_pieces(node: Node, at_once: int) -> None:
    async with wire(node) as w:
        await w.send(text(push("2", "x" * 700)), text(push("3")), at_once=at_once)
        await w.answered("2")
        await w.answered("3")


async def test_many_messages_may_come_at_once(node: Node) -> None:
    async with wire(node) as w:
        await w.send(*(text(push(str(ref))) for ref in range(2, 200)))
        for ref in range(2, 200):
            await w.answered(str(ref))


# -- 2: pings ---------------------------------------------------------------------------


@pytest.mark.parametrize("data", [b"", b"hello", b"\x00\xff\xfe\xfd", b"x" * 125])
async def test_a_ping_is_answered_with_what_it_held(node: Node, data: bytes) -> None:
    async with wire(node) as w:
        await w.send(ping(data))
        pong = await w.frame()
        assert pong is not None
        assert (pong.opcode, pong.data) == (Opcode.PONG, data)


async def test_a_ping_that_is_too_long_is_an_error(node: Node, wrong: Wrong) -> None:
    async with wire(node) as w:
        await w.send(b"\x89\xfe\x00\x7e\0\0\0\0" + b"x" * 126)
        assert await w.closed() in wrong(PROTOCOL_ERROR)


async def test_pongs_nobody_asked_for_are_ignored(node: Node) -> None:
    async with wire(node) as w:
        await w.send(frame(Opcode.PONG, b"unasked"), frame(Opcode.PONG), text(push("2")))
        await w.answered("2")


async def test_ten_pings_have_ten_pongs_in_order(node: Node) -> None:
    async with wire(node) as w:
        await w.send(*(ping(b"%d" % number) for number in range(10)))
        pongs = [await w.frame() for _ in range(10)]
        assert [pong.data for pong in pongs if pong is not None] == [b"%d" % number for number in range(10)]


# -- 3 and 4: reserved bits and opcodes ---------------------------------------------------


@pytest.mark.parametrize("bit", [0x40, 0x20, 0x10])
@pytest.mark.parametrize("opcode", [Opcode.TEXT, Opcode.BINARY, Opcode.PING, Opcode.CLOSE])
async def test_a_reserved_bit_is_an_error(node: Node, bit: int, opcode: Opcode, wrong: Wrong) -> None:
    async with wire(node) as w:
        await w.send(empty(0x80 | bit | opcode))
        assert await w.closed() in wrong(PROTOCOL_ERROR)


@pytest.mark.parametrize("opcode", [3, 4, 5, 6, 7, 11, 12, 13, 14, 15])
async def test_an_unknown_opcode_is_an_error(node: Node, opcode: int, wrong: Wrong) -> None:
    async with wire(node) as w:
        await w.send(empty(0x80 | opcode))
        assert await w.closed() in wrong(PROTOCOL_ERROR)


async def test_a_frame_without_a_mask_is_an_error(node: Node, wrong: Wrong) -> None:
    async with wire(node) as w:
        await w.send(text(push("2"), mask=False))
        assert await w.closed() in wrong(PROTOCOL_ERROR)


async def test_what_comes_before_an_error_is_answered() -> None:
    async with serving("fast") as node, wire(node) as w:
        await w.send(text(push("2")), empty(0xC0 | Opcode.TEXT), text(push("3")))
        await w.answered("2")
        assert await w.closed() == PROTOCOL_ERROR


async def test_what_comes_before_a_close_is_answered() -> None:
    async with serving("fast") as node, wire(node) as w:
        await w.send(text(push("2")), close(1000))
        await w.answered("2")
        assert await w.closed() == 1000


# -- 5: fragmentation -----------------------------------------------------------------------


@pytest.mark.parametrize("pieces", [1, 2, 3, 60])
async def test_a_message_may_come_in_fragments(node: Node, pieces: int) -> None:
    async with wire(node) as w:
        await w.send(*fragments(push("2", WORD * 5), pieces))
        await w.answered("2")


async def test_pings_between_fragments_are_answered_at_once(node: Node) -> None:
    async with wire(node) as w:
        first, *others = fragments(push("2"), 3)
        await w.send(first, ping(b"now"))
        pong = await w.frame()
        assert pong is not None
        assert (pong.opcode, pong.data) == (Opcode.PONG, b"now")
        await w.send(*others)
        await w.answered("2")


async def test_empty_fragments_are_fragments(node: Node) -> None:
    async with wire(node) as w:
        await w.send(text(b"", fin=False), cont(b"", fin=False), cont(push("2"), fin=False), cont(b""))
        await w.answered("2")


@pytest.mark.parametrize("fin", [True, False])
async def test_a_continuation_of_nothing_is_an_error(node: Node, fin: bool, wrong: Wrong) -> None:
    async with wire(node) as w:
        await w.send(cont(b"what", fin=fin))
        assert await w.closed() in wrong(PROTOCOL_ERROR)


async def test_a_new_message_in_the_middle_of_another_is_an_error(node: Node, wrong: Wrong) -> None:
    async with wire(node) as w:
        await w.send(text(b"one", fin=False), text(b"two"))
        assert await w.closed() in wrong(PROTOCOL_ERROR)


@pytest.mark.parametrize("opcode", [Opcode.PING, Opcode.PONG, Opcode.CLOSE])
async def test_a_control_frame_in_fragments_is_an_error(node: Node, opcode: Opcode, wrong: Wrong) -> None:
    async with wire(node) as w:
        await w.send(empty(opcode))
        assert await w.closed() in wrong(PROTOCOL_ERROR)


# -- 6: UTF-8 -------------------------------------------------------------------------------


async def test_a_character_may_be_cut_by_fragments(node: Node) -> None:
    data = push("2", WORD)
    async with wire(node) as w:
        await w.send(*fragments(data, len(data)))
        await w.answered("2")


@pytest.mark.parametrize(
    "bad",
    [
        b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80edited",  # a surrogate
        b"\xf4\x90\x80\x80",  # beyond the last character
        b"\xc0\xaf",  # longer than needed
        b"\x80",  # a continuation of nothing
        b"\xe2\x82",  # cut off
        b"\xfe",
        b"\xff",
    ],
)
async def test_text_that_is_not_utf_8_is_an_error(node: Node, bad: bytes, wrong: Wrong) -> None:
    async with wire(node) as w:
        await w.send(text(bad))
        assert await w.closed() in wrong(INVALID_DATA)


async def test_text_that_goes_wrong_in_a_fragment_is_an_error(node: Node, wrong: Wrong) -> None:
    async with wire(node) as w:
        await w.send(text("κόσμε".encode(), fin=False), cont(b"\xed\xa0\x80", fin=True))
        assert await w.closed() in wrong(INVALID_DATA)


# -- 7: closing -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "code", [None, 1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999]
)
async def test_a_close_is_answered_with_a_close(node: Node, code: int | None) -> None:
    async with wire(node) as w:
        await w.send(close(code, "" if code is None else "bye"), text(push("2")))
        assert await w.closed() == code


@pytest.mark.parametrize("code", [0, 999, 1004, 1005, 1006, 1016, 1100, 2000, 2999, 5000, 65_535])
async def test_a_close_with_a_code_nobody_may_use_is_an_error(node: Node, code: int, wrong: Wrong) -> None:
    async with wire(node) as w:
        await w.send(close(code))
        assert await w.closed() in wrong(PROTOCOL_ERROR)


@pytest.mark.parametrize("data", [b"\x03", b"\x03\xe8\xce\xba\xed\xa0\x80"])
async def test_a_close_that_cannot_be_read_is_an_error(node: Node, data: bytes, wrong: Wrong) -> None:
    async with wire(node) as w:
        await w.send(frame(Opcode.CLOSE, data))
        assert await w.closed() in {*wrong(PROTOCOL_ERROR), *wrong(INVALID_DATA)}


async def test_after_a_close_the_connection_ends(node: Node) -> None:
    async with wire(node) as w:
        await w.send(close(1000), close(1000), ping())
        assert await w.closed() == 1000
        assert await w.frame() is None


# -- 9: limits --------------------------------------------------------------------------------


async def test_a_message_of_a_mebibyte_is_the_longest(node: Node) -> None:
    async with wire(node) as w:
        whole = push("2", "x" * (MIB - len(push("2"))))
        assert len(whole) == MIB
        await w.send(text(whole))
        await w.answered("2")


async def test_a_message_longer_than_that_is_refused(node: Node, wrong: Wrong) -> None:
    async with wire(node) as w:
        await _send_what_is_taken(w, text(push("2", "x" * MIB)))
        assert await w.closed() in wrong(TOO_BIG)


async def test_so_is_one_in_fragments(node: Node, wrong: Wrong) -> None:
    async with wire(node) as w:
        pieces = [text(b"x" * (MIB // 4), fin=False), *[cont(b"x" * (MIB // 4), fin=False)] * 4]
        await _send_what_is_taken(w, b"".join(pieces))
        assert await w.closed() in wrong(TOO_BIG)


async def test_others_do_not_notice(serve: Serve) -> None:
    async with serve() as node, wire(node) as good:
        for wrong in (text(b"\xff"), cont(b""), b"\x8b\x80\0\0\0\0", text(b"not json"), b"\xff" * 300):
            async with wire(node) as bad:
                await bad.send(wrong)
                await bad.closed()
        await good.send(text(push("2")))
        await good.answered("2")


def empty(first: int) -> bytes:
    """A masked frame of nothing, whatever its first byte says."""
    return bytes((first, 0x80, 0, 0, 0, 0))


def fragments(data: bytes, pieces: int) -> list[bytes]:
    size = -(-len(data) // pieces)
    cut = [data[at : at + size] for at in range(0, len(data), size)]
    kinds = [text, *[cont] * (len(cut) - 1)]
    return [
        kind(part, fin=number == len(cut))
        for number, (kind, part) in enumerate(zip(kinds, cut, strict=True), 1)
    ]


async def _send_what_is_taken(w: Wire, data: bytes) -> None:
    """Send; the server may have hung up before it has read everything."""
    try:
        await w.send(data)
    except trio.BrokenResourceError:
        pass
