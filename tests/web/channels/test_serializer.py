from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from web.channels.broadcast import Broadcast
from web.channels.messages import BadFrame, Message, Reply
from web.channels.serializer import V1, V2, Serializer

CLIENT_PUSH = b"\x00\x02\x03\x05\x05" + b"12" + b"123" + b"topic" + b"event" + b"efg"
SERVER_PUSH = b"\x00\x02\x05\x05" + b"12" + b"topic" + b"event" + b"efg"
REPLY = b"\x01\x02\x03\x05\x02" + b"12" + b"123" + b"topic" + b"ok" + b"efg"
BROADCAST = b"\x02\x05\x05" + b"topic" + b"event" + b"efg"


# -- version 2, text ---------------------------------------------------------------


def test_a_push_is_an_array_of_five() -> None:
    frame = V2.push(None, None, "t", "e", {"m": 1})

    assert (frame.data, frame.is_text) == (b'[null,null,"t","e",{"m":1}]', True)


def test_an_array_of_five_is_a_message() -> None:
    assert V2.decode('["0","1","t","e",{"foo":1}]') == Message("0", "1", "t", "e", {"foo": 1})


def test_a_reply_carries_status_and_response() -> None:
    frame = V2.reply(Reply("1", "7", "room:42", "ok", {"a": 1}))

    assert json.loads(frame.data) == [
        "1",
        "7",
        "room:42",
        "phx_reply",
        {"status": "ok", "response": {"a": 1}},
    ]


def test_a_broadcast_has_no_refs() -> None:
    assert V2.broadcast("t", "e", {"m": 1}).data == b'[null,null,"t","e",{"m":1}]'


def test_more_members_than_five_are_ignored() -> None:
    assert V2.decode('["0","1","t","e",{},"later","still"]') == Message("0", "1", "t", "e", {})


def test_refs_that_are_numbers_come_back_as_numbers() -> None:
    assert V2.decode('[1,2,"t","e",{}]') == Message(1, 2, "t", "e", {})


@pytest.mark.parametrize("serializer", [V1, V2])
@pytest.mark.parametrize("payload", [None, "text", 1, [1], ["a"]])
def test_a_payload_that_is_no_object_cannot_be_sent(serializer: Serializer, payload: Any) -> None:
    with pytest.raises(TypeError, match="a payload is an object"):
        serializer.push(None, None, "t", "e", payload)
    with pytest.raises(TypeError, match="a payload is an object"):
        serializer.broadcast("t", "e", payload)
    with pytest.raises(TypeError, match="a payload is an object"):
        serializer.reply(Reply(None, None, "t", "ok", payload))


def test_what_is_encoded_already_is_put_in_as_it_is() -> None:
    record = orjson.Fragment(b'{"n":123456789012345678901234567890}')

    assert V2.broadcast("t", "e", record).data == b'[null,null,"t","e",{"n":123456789012345678901234567890}]'
    assert (
        b'"response":{"n":123456789012345678901234567890}'
        in V1.reply(Reply(None, None, "t", "ok", record)).data
    )


# -- version 1 ---------------------------------------------------------------------


def test_version_1_is_an_object() -> None:
    message = V1.decode('{"topic":"t","event":"e","payload":{"m":1},"ref":"1"}')

    assert message == Message(None, "1", "t", "e", {"m": 1})
    assert json.loads(V1.push(None, "1", "t", "e", {"m": 1}).data) == {
        "topic": "t",
        "event": "e",
        "payload": {"m": 1},
        "ref": "1",
        "join_ref": None,
    }


def test_version_1_replies_with_an_object() -> None:
    answer = json.loads(V1.reply(Reply(None, "7", "t", "error", {"reason": "no"})).data)

    assert (answer["event"], answer["ref"]) == ("phx_reply", "7")
    assert answer["payload"] == {"status": "error", "response": {"reason": "no"}}


@pytest.mark.parametrize(
    "text",
    ["[]", "1", "null", '"x"', "{}", '{"topic":"t","event":"e"}', '{"topic":1,"event":"e","payload":{}}'],
)
def test_version_1_takes_nothing_but_objects_with_its_members(text: str) -> None:
    with pytest.raises(BadFrame) as caught:
        V1.decode(text)

    assert caught.value.code == 1007


def test_version_1_has_no_binary_frames() -> None:
    with pytest.raises(BadFrame) as caught:
        V1.decode(CLIENT_PUSH)

    assert caught.value.code == 1003
    with pytest.raises(TypeError):
        V1.broadcast("t", "e", b"data")


# -- version 2, binary -------------------------------------------------------------


def test_a_binary_push_of_a_client_is_read() -> None:
    assert V2.decode(CLIENT_PUSH) == Message("12", "123", "topic", "event", b"efg")


def test_the_frames_of_the_client_s_own_tests_are_read() -> None:
    assert V2.decode(b"\0\x01\x01\x01\x0101te\x01") == Message("0", "1", "t", "e", b"\x01")
    assert V2.decode(b"\0\x02\x01\x03\x02101topev\x01") == Message("10", "1", "top", "ev", b"\x01")


def test_names_that_are_not_ascii_are_utf_8() -> None:
    names = ["🚀", "1", "room:café", "π"]
    encoded = [name.encode() for name in names]
    data = bytes([0, *map(len, encoded)]) + b"".join(encoded) + b"\x01"

    assert V2.decode(data) == Message("🚀", "1", "room:café", "π", b"\x01")


def test_binary_pushes_replies_and_broadcasts_are_written() -> None:
    assert V2.push("12", None, "topic", "event", b"efg").data == SERVER_PUSH
    assert V2.reply(Reply("12", "123", "topic", "ok", b"efg")).data == REPLY
    assert V2.broadcast("topic", "event", b"efg").data == BROADCAST


def test_the_client_reads_what_its_own_tests_read() -> None:
    assert (
        V2.push("123", None, "top", "some-event", b"\x01\x01").data == b"\0\x03\x03\n123topsome-event\x01\x01"
    )
    assert (
        V2.reply(Reply("100", "12", "top", "ok", b"\x01\x01")).data
        == b"\x01\x03\x02\x03\x0210012topok\x01\x01"
    )
    assert V2.broadcast("top", "some-event", b"\x01\x01").data == b"\x02\x03\ntopsome-event\x01\x01"


@pytest.mark.parametrize("what", ["join_ref", "topic", "event"])
def test_a_name_of_more_than_255_bytes_cannot_be_pushed(what: str) -> None:
    names = {"join_ref": "1", "topic": "t", "event": "e"} | {what: "é" * 128}

    with pytest.raises(ValueError, match=f"{what} of a binary frame"):
        V2.push(names["join_ref"], None, names["topic"], names["event"], b"")


def test_a_ref_of_more_than_255_bytes_cannot_be_answered_in_binary() -> None:
    with pytest.raises(ValueError, match="ref of a binary frame"):
        V2.reply(Reply("1", "r" * 256, "t", "ok", b""))


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", 1003),
        (b"\x01\x00\x00\x00\x00", 1003),
        (b"\x02", 1003),
        (b"\xff" * 20, 1003),
        (b"\x00", 1007),
        (b"\x00\x00\x00\x00", 1007),
        (b"\x00\x01\x01\x01\x01abc", 1007),
        (b"\x00\xff\xff\xff\xff" + b"a" * 1019, 1007),
        (b"\x00\x00\x00\x02\x00\xff\xfe", 1007),
    ],
)
def test_a_binary_frame_that_does_not_hold_is_refused(data: bytes, code: int) -> None:
    with pytest.raises(BadFrame) as caught:
        V2.decode(data)

    assert caught.value.code == code


# -- strangers ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nonsense",
        "{}",
        "null",
        "[]",
        '["1","1","t","e"]',
        '["1","1",2,"e",{}]',
        '["1","1","t",null,{}]',
        '[[],"1","t","e",{}]',
        '[true,"1","t","e",{}]',
        '["1",1.5,"t","e",{}]',
        '["1","1","t","e",NaN]',
        '["1","1","t","\\ud800",{}]',
        "[" * 100_000,
    ],
)
def test_text_that_is_no_message_is_refused(text: str) -> None:
    with pytest.raises(BadFrame) as caught:
        V2.decode(text)

    assert caught.value.code == 1007


@given(st.one_of(st.text(), st.binary()), st.sampled_from([V1, V2]))
def test_whatever_comes_is_a_message_or_a_bad_frame(data: str | bytes, serializer: Serializer) -> None:
    code, topic = _read(serializer, data)

    assert code in {1003, 1007} or isinstance(topic, str)


def _read(serializer: Serializer, data: str | bytes) -> tuple[int | None, str | None]:
    try:
        return None, serializer.decode(data).topic
    except BadFrame as bad:
        return bad.code, None


names = st.text(max_size=60)
refs = st.none() | st.text(min_size=1, max_size=60)


@given(refs, refs, names, names, st.binary())
def test_a_binary_push_is_read_as_it_was_written(
    join_ref: str | None, ref: str | None, topic: str, event: str, data: bytes
) -> None:
    encoded = [(name or "").encode() for name in (join_ref, ref, topic, event)]
    frame = bytes([0, *map(len, encoded)]) + b"".join(encoded) + data

    assert V2.decode(frame) == Message(join_ref, ref, topic, event, data)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(
    refs, refs, names, names, st.dictionaries(st.text(), json_values, max_size=3), st.sampled_from([V1, V2])
)
def test_a_push_reads_back_as_it_was_written(
    join_ref: str | None,
    ref: str | None,
    topic: str,
    event: str,
    payload: dict[str, Any],
    serializer: Serializer,
) -> None:
    frame = serializer.push(join_ref, ref, topic, event, payload)

    assert serializer.decode(frame.text) == Message(join_ref, ref, topic, event, payload)


# -- broadcasts --------------------------------------------------------------------


def test_a_broadcast_is_encoded_once_for_each_version() -> None:
    message = Broadcast("t", "e", {"m": 1})

    assert message.frame(V2) is message.frame(V2)
    assert message.frame(V1) is message.frame(V1)
    assert message.frame(V1).data != message.frame(V2).data


@pytest.mark.parametrize(("size", "head"), [(5, 2), (125, 2), (126, 4), (65535, 4), (65536, 10)])
def test_a_frame_is_framed_once_for_the_wire(size: int, head: int) -> None:
    frame = V2.broadcast("t", "e", b"x" * (size - 5))

    assert len(frame.websocket) == size + head
    assert frame.websocket is frame.websocket
    assert frame.websocket[0] == 0x82
    assert frame.websocket.endswith(frame.data)
