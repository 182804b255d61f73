"""The families of the Autobahn test suite, held against the class that speaks for a raw socket."""

from __future__ import annotations

import struct
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Close, Frame, Opcode

from actors.core import write_batch
from tests.web.channels.support import ANN, LobbyChannel
from web.channels.frames import Frame as OurFrame
from web.channels.router import ChannelRouter
from web.channels.serializer import V2
from web.channels.session import Session
from web.channels.transport import CLOSE_S, MAX_MESSAGE_BYTES, MAX_WAITING_BYTES, STALL_S, EndReason
from web.channels.websocket import AbortReason, WebSocket

TEXT, BINARY, CONT = Opcode.TEXT, Opcode.BINARY, Opcode.CONT
PING, PONG, CLOSE = Opcode.PING, Opcode.PONG, Opcode.CLOSE


class Recorder(Session):
    """A session that keeps what it is told, and answers with the next of `replies`."""

    __slots__ = ("closeds", "messages", "replies", "websocket", "writables")

    def __init__(self, websocket: WebSocket) -> None:
        super().__init__(
            ANN, serializer=V2, transport=websocket, router=ChannelRouter({"*": LobbyChannel().join}), now=0.0
        )
        self.messages: list[str | bytes] = []
        self.replies: list[OurFrame] = []
        self.websocket = websocket
        self.closeds = 0
        self.writables = 0

    def receive(self, data: str | bytes, now: float) -> None:
        self.heard_at = now
        self.messages.append(data)
        if self.replies:
            self.websocket.send(self.replies.pop())

    def writable(self) -> None:
        self.writables += 1

    def closed(self) -> None:
        self.closeds += 1
        super().closed()


class Wire:
    """A socket that takes as much as a test lets it."""

    def __init__(self) -> None:
        self.room = 1 << 30
        self.written = b""
        self.writes = 0
        self.flushes_wanted = 0
        self.finished: list[AbortReason | None] = []
        self.now = 0.0
        self.websocket = WebSocket(self, now=0.0)
        self.session = Recorder(self.websocket)
        self.websocket.attach(self.session)

    def write(self, data: bytes) -> int:
        self.writes += 1
        taken = min(self.room, len(data))
        self.room -= taken
        self.written += data[:taken]
        return taken

    def want_flush(self) -> None:
        self.flushes_wanted += 1

    def finish(self, cut: AbortReason | None) -> None:
        self.finished.append(cut)

    # -- the client's side ---

    def client(self, *frames: bytes) -> None:
        """Let the client send these bytes at once."""
        self.websocket.feed(b"".join(frames), self.now)

    def heard(self) -> list[tuple[Opcode, bytes]]:
        """Frames the server has written since the last time."""
        data, self.written = self.written, b""
        frames = []
        while data:
            size, head = data[1], 2
            if size == 126:
                size, head = struct.unpack("!H", data[2:4])[0], 4
            elif size == 127:
                size, head = struct.unpack("!Q", data[2:10])[0], 10
            frames.append((Opcode(data[0] & 15), data[head : head + size]))
            data = data[head + size :]
        return frames

    def close_code(self) -> int:
        """The code of the close frame the server has just written."""
        [*_, (opcode, data)] = self.heard()
        assert opcode is CLOSE
        return int(struct.unpack("!H", data[:2])[0])


def frame(opcode: Opcode, data: bytes = b"", *, fin: bool = True) -> bytes:
    return Frame(opcode, data, fin).serialize(mask=True)


def raw(first: int, data: bytes = b"", *, masked: bool = True) -> bytes:
    """A frame with any first byte; its mask is zero."""
    assert len(data) < 126
    return bytes([first, (0x80 if masked else 0) | len(data)]) + (b"\0\0\0\0" if masked else b"") + data


def close(code: int, reason: str = "") -> bytes:
    return frame(CLOSE, struct.pack("!H", code) + reason.encode())


# -- 1: framing ----------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 125, 126, 127, 128, 65535, 65536])
@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_messages_of_all_sizes_arrive(opcode: Opcode, size: int) -> None:
    wire = Wire()

    wire.client(frame(opcode, b"x" * size))

    assert wire.session.messages == [b"x" * size if opcode is BINARY else "x" * size]


def test_a_message_may_come_byte_by_byte() -> None:
    wire = Wire()

    for byte in frame(TEXT, "äöü€𝄞".encode()):
        wire.client(bytes([byte]))

    assert wire.session.messages == ["äöü€𝄞"]


def test_messages_may_come_all_at_once() -> None:
    wire = Wire()

    wire.client(*[frame(TEXT, str(n).encode()) for n in range(500)])

    assert wire.session.messages == [str(n) for n in range(500)]


@pytest.mark.parametrize("size", [0, 5, 125, 126, 65535, 65536])
def test_what_the_server_says_is_framed_by_its_size(size: int) -> None:
    wire = Wire()

    wire.websocket.send(OurFrame(b"x" * size, is_text=True))

    assert wire.heard() == [(TEXT, b"x" * size)]


# -- 2: pings and pongs --------------------------------------------------------------


@pytest.mark.parametrize("data", [b"", b"hello", b"\x00\xff\xfe", b"x" * 125])
def test_a_ping_is_answered_with_its_data(data: bytes) -> None:
    wire = Wire()

    wire.client(frame(PING, data))

    assert wire.heard() == [(PONG, data)]


def test_a_ping_of_more_than_125_bytes_is_an_error() -> None:
    wire = Wire()

    wire.client(bytes([0x89, 0x80 | 126]) + struct.pack("!H", 126) + bytes(4) + b"x" * 126)

    assert wire.close_code() == 1002
    assert wire.finished == [None]


def test_a_pong_nobody_asked_for_is_ignored() -> None:
    wire = Wire()

    wire.client(frame(PONG, b"unasked"))

    assert (wire.heard(), wire.session.messages, wire.finished) == ([], [], [])


def test_ten_pings_in_one_go_are_ten_pongs() -> None:
    wire = Wire()

    wire.client(*[frame(PING, bytes([n])) for n in range(10)])

    assert wire.heard() == [(PONG, bytes([n])) for n in range(10)]


def test_a_ping_of_the_client_counts_as_a_sign_of_life_and_a_pong_does_not() -> None:
    wire = Wire()

    wire.now = 20.0
    wire.client(frame(PING))
    assert wire.session.heard_at == 20.0
    wire.now = 40.0
    wire.client(frame(PONG))
    assert wire.session.heard_at == 20.0


# -- 3 and 4: reserved bits and opcodes ----------------------------------------------


@pytest.mark.parametrize("bits", [0x40, 0x20, 0x10, 0x70])
@pytest.mark.parametrize("opcode", [TEXT, BINARY, PING, CLOSE])
def test_a_reserved_bit_is_an_error(bits: int, opcode: Opcode) -> None:
    wire = Wire()

    wire.client(raw(0x80 | bits | opcode, b"hi" if opcode is not CLOSE else struct.pack("!H", 1000)))

    assert wire.close_code() == 1002
    assert wire.session.messages == []


@pytest.mark.parametrize("opcode", [3, 4, 5, 6, 7, 11, 12, 13, 14, 15])
def test_a_reserved_opcode_is_an_error(opcode: int) -> None:
    wire = Wire()

    wire.client(frame(TEXT, b"fine"), raw(0x80 | opcode, b"x"))

    assert wire.session.messages == ["fine"]
    assert wire.close_code() == 1002


def test_a_frame_of_the_client_without_a_mask_is_an_error() -> None:
    wire = Wire()

    wire.client(raw(0x81, b"hello", masked=False))

    assert wire.close_code() == 1002


# -- 5: fragments --------------------------------------------------------------------


def test_fragments_are_put_together() -> None:
    wire = Wire()

    wire.client(frame(TEXT, b"one ", fin=False), frame(CONT, b"two ", fin=False), frame(CONT, b"three"))
    wire.client(frame(BINARY, b"\xff", fin=False), frame(CONT, b"", fin=False), frame(CONT, b"\xfe"))

    assert wire.session.messages == ["one two three", b"\xff\xfe"]


def test_control_frames_may_stand_between_fragments() -> None:
    wire = Wire()

    wire.client(frame(TEXT, b"one ", fin=False), frame(PING, b"p"), frame(PONG), frame(CONT, b"two"))

    assert wire.session.messages == ["one two"]
    assert wire.heard() == [(PONG, b"p")]


@pytest.mark.parametrize("opcode", [PING, PONG, CLOSE])
def test_a_control_frame_in_fragments_is_an_error(opcode: Opcode) -> None:
    wire = Wire()

    wire.client(raw(int(opcode), b""))

    assert wire.close_code() == 1002


@pytest.mark.parametrize("fin", [True, False])
def test_a_continuation_of_nothing_is_an_error(*, fin: bool) -> None:
    wire = Wire()

    wire.client(frame(CONT, b"what", fin=fin))

    assert wire.close_code() == 1002


def test_a_new_message_before_the_old_one_has_ended_is_an_error() -> None:
    wire = Wire()

    wire.client(frame(TEXT, b"one", fin=False), frame(TEXT, b"two"))

    assert wire.close_code() == 1002
    assert wire.session.messages == []


def test_any_number_of_empty_fragments_costs_nothing() -> None:
    wire = Wire()

    wire.client(frame(TEXT, b"a", fin=False))
    for _ in range(200):
        wire.client(frame(CONT, b"", fin=False) * 50)
    wire.client(frame(CONT, b"b"))

    assert wire.session.messages == ["ab"]


# -- 6: UTF-8 ------------------------------------------------------------------------

GOOD = ["κόσμε", "\U0010ffff", "\ufffd", "\0", "߿ࠀ\uffff𐀀", "Hello-µ@ßöäüàá-UTF-8!!"]
BAD = [
    b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80edited",
    b"\xf4\x90\x80\x80",
    b"\xc0\x80",
    b"\xe0\x80\x80",
    b"\xed\xa0\x80",
    b"\xf8\x88\x80\x80\x80",
    b"\x80",
    b"\xff",
    b"\xfe",
    b"\xe2\x82",
]


@pytest.mark.parametrize("text", GOOD)
def test_text_may_be_split_anywhere_even_inside_a_character(text: str) -> None:
    wire = Wire()

    *most, last = [bytes([byte]) for byte in text.encode()]
    pieces = [frame(TEXT if n == 0 else CONT, piece, fin=False) for n, piece in enumerate(most)]
    wire.client(*pieces, frame(CONT if pieces else TEXT, last))

    assert wire.session.messages == [text]


@pytest.mark.parametrize("data", BAD)
def test_text_that_is_not_utf_8_is_closed_with_1007(data: bytes) -> None:
    wire = Wire()

    wire.client(frame(TEXT, data))

    assert wire.close_code() == 1007
    assert (wire.session.messages, wire.finished) == ([], [None])


@pytest.mark.parametrize("data", BAD)
def test_text_that_is_not_utf_8_in_fragments_is_closed_with_1007(data: bytes) -> None:
    wire = Wire()

    wire.client(frame(TEXT, data[:1], fin=False), frame(CONT, data[1:]))

    assert wire.close_code() == 1007
    assert wire.session.messages == []


def test_text_that_cannot_become_utf_8_is_closed_before_its_end() -> None:
    wire = Wire()

    wire.client(frame(TEXT, b"\xce\xba\xe1", fin=False), frame(CONT, b"\xff", fin=False))

    assert wire.close_code() == 1007


def test_what_follows_text_that_was_not_utf_8_is_not_listened_to() -> None:
    wire = Wire()

    wire.client(frame(TEXT, b"\xff"), frame(TEXT, b"hello"), frame(TEXT, b"\xff"))

    assert wire.session.messages == []
    assert wire.close_code() == 1007


def test_binary_may_be_anything() -> None:
    wire = Wire()

    wire.client(*[frame(BINARY, data) for data in BAD])

    assert wire.session.messages == BAD


# -- 7: closing ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "code", [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999]
)
def test_a_close_is_answered_with_its_code_and_the_socket_ends(code: int) -> None:
    wire = Wire()

    wire.client(close(code, "bye"))

    assert wire.heard() == [(CLOSE, struct.pack("!H", code) + b"bye")]
    assert wire.finished == [None]
    assert wire.session.ended


def test_a_close_without_a_code_is_answered_without_one() -> None:
    wire = Wire()

    wire.client(frame(CLOSE))

    assert wire.heard() == [(CLOSE, b"")]
    assert wire.finished == [None]


@pytest.mark.parametrize("code", [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535])
def test_a_code_nobody_may_send_is_an_error(code: int) -> None:
    wire = Wire()

    wire.client(close(code))

    assert wire.close_code() == 1002


@pytest.mark.parametrize(("data", "code"), [(b"\x03", 1002), (struct.pack("!H", 1000) + b"\xff\xfe", 1007)])
def test_a_close_that_does_not_hold_is_an_error(data: bytes, code: int) -> None:
    wire = Wire()

    wire.client(frame(CLOSE, data))

    assert wire.close_code() == code


def test_a_close_in_the_middle_of_a_message_is_an_error() -> None:
    wire = Wire()

    wire.client(frame(TEXT, b"half", fin=False), close(1000))

    assert wire.close_code() == 1002
    assert wire.session.messages == []


def test_nothing_after_a_close_is_listened_to() -> None:
    wire = Wire()

    wire.client(close(1000), frame(TEXT, b"one more thing"), frame(PING))

    assert [opcode for opcode, _ in wire.heard()] == [CLOSE]
    assert wire.session.messages == []
    assert wire.session.ended_for is EndReason.CLIENT_GONE


def test_the_server_closes_with_its_code_and_waits_for_the_answer() -> None:
    wire = Wire()

    wire.websocket.close(1012, "restarting")
    assert wire.heard() == [(CLOSE, struct.pack("!H", 1012) + b"restarting")]
    assert wire.finished == []

    wire.client(frame(TEXT, b"too late"), close(1012))
    assert wire.finished == [None]
    assert (wire.heard(), wire.session.messages) == ([], [])


def test_the_server_closes_once_and_sends_nothing_after_it() -> None:
    wire = Wire()

    wire.websocket.close(1012, "restarting")
    wire.websocket.close(1001, "again")
    wire.websocket.send(OurFrame(b"late", is_text=True))

    assert [opcode for opcode, _ in wire.heard()] == [CLOSE]


def test_a_long_reason_is_cut_at_a_character() -> None:
    wire = Wire()

    wire.websocket.close(1011, "ä" * 100)

    [(_, data)] = wire.heard()
    assert Close.parse(data).reason == "ä" * 61


def test_a_client_that_does_not_answer_a_close_is_cut() -> None:
    wire = Wire()
    wire.websocket.close(1012, "restarting")

    wire.websocket.tick(CLOSE_S - 0.1)
    assert wire.finished == []
    wire.websocket.tick(CLOSE_S)
    assert wire.finished == [AbortReason.NO_CLOSE]


def test_a_client_that_does_not_hang_up_after_the_close_is_cut() -> None:
    wire = Wire()
    wire.client(close(1000))

    wire.websocket.tick(CLOSE_S)

    assert wire.finished == [None, AbortReason.NO_CLOSE]


def test_the_end_of_the_connection_is_told_once() -> None:
    wire = Wire()

    wire.websocket.eof()
    wire.websocket.eof()
    wire.websocket.tick(1000.0)
    wire.websocket.send(OurFrame(b"late", is_text=True))

    assert wire.session.closeds == 1
    assert (wire.heard(), wire.finished) == ([], [])


# -- 9: limits -----------------------------------------------------------------------


def test_a_message_of_the_largest_size_arrives_and_one_byte_more_does_not() -> None:
    wire = Wire()

    wire.client(frame(BINARY, bytes(MAX_MESSAGE_BYTES)))
    assert len(wire.session.messages[0]) == MAX_MESSAGE_BYTES
    wire.client(frame(BINARY, bytes(MAX_MESSAGE_BYTES + 1)))

    assert wire.close_code() == 1009
    assert wire.finished == [None]
    assert wire.session.ended_for is EndReason.PROTOCOL


def test_a_length_that_is_only_announced_is_refused_before_it_comes() -> None:
    wire = Wire()

    wire.client(bytes([0x82, 0xFF]) + struct.pack("!Q", 1 << 40))

    assert wire.close_code() == 1009


def test_fragments_count_together_against_the_limit() -> None:
    wire = Wire()
    half = bytes(MAX_MESSAGE_BYTES // 2)

    wire.client(frame(BINARY, half, fin=False), frame(CONT, half, fin=False), frame(CONT, b"x"))

    assert wire.close_code() == 1009
    assert wire.session.messages == []


def test_a_client_that_does_not_read_is_cut_when_too_much_waits() -> None:
    wire = Wire()
    wire.room = 10
    message = OurFrame(bytes(10_000), is_text=False)

    for _ in range(MAX_WAITING_BYTES // 10_000):
        wire.websocket.send(message)
        assert wire.websocket.is_backpressured
    assert wire.finished == []
    for _ in range(3):
        wire.websocket.send(message)

    assert wire.finished == [AbortReason.OVERFLOW]
    assert wire.session.ended_for is EndReason.OVERFLOW
    assert (wire.websocket.waiting_bytes, wire.websocket.is_backpressured) == (0, False)


def test_replies_to_one_read_are_bounded_as_all_else_is() -> None:
    wire = Wire()
    wire.room = 0
    frame_bytes = 32_000
    wire.session.replies = 400 * [OurFrame(bytes(frame_bytes), is_text=False)]

    wire.client(*400 * [frame(BINARY, b"x")])

    assert wire.finished == [AbortReason.OVERFLOW]
    assert wire.session.messages == [b"x"] * len(wire.session.messages)
    assert len(wire.session.messages) <= 2 * (MAX_WAITING_BYTES // frame_bytes + 1)


def test_one_frame_may_be_larger_than_what_may_wait() -> None:
    wire = Wire()
    wire.room = 10

    wire.websocket.send(OurFrame(bytes(2 * MAX_WAITING_BYTES), is_text=False))

    assert wire.finished == []


def test_a_client_that_has_taken_nothing_for_half_a_minute_is_cut() -> None:
    wire = Wire()
    wire.room = 10
    wire.websocket.send(OurFrame(bytes(100), is_text=False))

    wire.websocket.tick(STALL_S - 1)
    wire.room = 1
    wire.websocket.flush()
    wire.websocket.tick(STALL_S)
    assert wire.finished == []
    wire.websocket.tick(2 * STALL_S)

    assert wire.finished == [AbortReason.STALLED]
    assert wire.session.ended_for is EndReason.STALLED


def test_what_waits_goes_in_order_when_there_is_room() -> None:
    wire = Wire()
    wire.room = 3
    for n in range(20):
        wire.websocket.send(OurFrame(str(n).encode(), is_text=True))
    assert wire.flushes_wanted == 1

    while wire.websocket.is_backpressured:
        wire.room = 5
        wire.websocket.flush()

    assert wire.heard() == [(TEXT, str(n).encode()) for n in range(20)]
    assert wire.session.writables == 1


def test_a_goodbye_waits_for_what_was_said_before() -> None:
    wire = Wire()
    wire.room = 0
    wire.websocket.send(OurFrame(b"first", is_text=True))
    wire.client(close(1000))
    assert wire.finished == []

    wire.room = 1000
    wire.websocket.flush()

    assert [opcode for opcode, _ in wire.heard()] == [TEXT, CLOSE]
    assert wire.finished == [None]


def test_a_quiet_client_is_pinged_once() -> None:
    wire = Wire()

    for now in (29.0, 30.0, 35.0, 59.0):
        wire.websocket.tick(now)

    assert wire.heard() == [(PING, b"")]


# -- all together --------------------------------------------------------------------


@given(st.lists(st.binary(max_size=20), max_size=20), st.data())
def test_whatever_comes_never_breaks_the_class(chunks: list[bytes], data: st.DataObject) -> None:
    wire = Wire()
    good = [frame(TEXT, b"x"), frame(PING), frame(TEXT, b"y", fin=False), frame(CONT, b"z"), close(1000)]
    mixed = [*chunks, *data.draw(st.lists(st.sampled_from(good), max_size=10))]

    for chunk in data.draw(st.permutations(mixed)):
        wire.client(chunk)

    assert wire.finished in ([], [None])


@given(st.lists(st.text(max_size=50), min_size=1, max_size=10), st.integers(1, 40))
def test_messages_arrive_however_the_bytes_are_cut(texts: list[str], step: int) -> None:
    wire = Wire()
    data = b"".join(frame(TEXT, text.encode()) for text in texts)

    for piece in pieces(data, step):
        wire.client(piece)

    assert wire.session.messages == texts


def pieces(data: bytes, step: int) -> Iterable[bytes]:
    return (data[at : at + step] for at in range(0, len(data), step))


# -- frames of one turn ----------------------------------------------------------------


def test_frames_of_one_turn_are_one_write() -> None:
    wire = Wire()
    with write_batch():
        for said in (b"1", b"2", b"3"):
            wire.websocket.send(OurFrame(said, is_text=True))
        assert wire.writes == 0
    assert wire.writes == 1
    assert wire.heard() == [(TEXT, b"1"), (TEXT, b"2"), (TEXT, b"3")]


def test_what_a_client_says_in_between_is_answered_in_order() -> None:
    wire = Wire()
    with write_batch():
        wire.websocket.send(OurFrame(b"1", is_text=True))
        wire.client(frame(PING, b"?"))
        wire.websocket.send(OurFrame(b"2", is_text=True))
    assert wire.heard() == [(TEXT, b"1"), (PONG, b"?"), (TEXT, b"2")]


def test_a_close_in_the_same_turn_comes_last() -> None:
    wire = Wire()
    with write_batch():
        wire.websocket.send(OurFrame(b"1", is_text=True))
        wire.websocket.close(1012, "restart")
        wire.websocket.send(OurFrame(b"too late", is_text=True))
    assert [opcode for opcode, _ in wire.heard()] == [TEXT, CLOSE]


def test_a_client_that_goes_in_the_same_turn_is_written_nothing() -> None:
    wire = Wire()
    with write_batch():
        wire.websocket.send(OurFrame(b"1", is_text=True))
        wire.websocket.eof()
    assert wire.written == b""
