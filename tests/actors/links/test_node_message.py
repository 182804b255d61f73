"""Messages between nodes: what is written is read again, and what is not ours is refused in order."""

from __future__ import annotations

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.links.node_message import (
    FORMAT,
    MAX_BODY_BYTES,
    NodeMessage,
    Unreadable,
    Verb,
    decode,
    encode,
)

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=200)


@given(st.sampled_from(Verb), texts, texts, texts, st.binary(max_size=100))
def test_what_is_written_is_read_again(verb: Verb, sender: str, ref: str, kind: str, body: bytes) -> None:
    message = NodeMessage(verb, sender, ref, kind, body)

    assert decode(encode(message)) == message


@given(st.binary(max_size=200))
def test_any_bytes_are_a_message_or_are_refused(data: bytes) -> None:
    try:
        assert decode(data)
    except Unreadable:
        return


@pytest.mark.parametrize(
    ("head", "reason"),
    [
        ([FORMAT + 1, "call", "a:1", "1", "poll"], "format"),
        ([FORMAT + 1, {"all": "new"}], "format"),
        ([0, "call", "a:1", "1", "poll"], "format"),
        ([True, "call", "a:1", "1", "poll"], "malformed"),
        ([FORMAT, "shout", "a:1", "1", "poll"], "malformed"),
        ([FORMAT, "call", "a:1", 1, "poll"], "malformed"),
        ([FORMAT, "call", "a:1", "1"], "malformed"),
        ([FORMAT, "call", "a:1", "1", "poll", "more"], "malformed"),
        ([], "malformed"),
        ({"format": FORMAT}, "malformed"),
        (None, "malformed"),
    ],
)
def test_what_is_no_message_of_this_format_says_why(head: object, reason: str) -> None:
    with pytest.raises(Unreadable) as refused:
        decode(orjson.dumps(head) + b"\nbody")

    assert refused.value.reason == reason


@pytest.mark.parametrize(
    "data", [b"", b"\n", b"{", b"[1]", b'[1,"call","a:1","1","poll"]', b"[" * 3000 + b"\n"]
)
def test_half_a_message_is_malformed(data: bytes) -> None:
    with pytest.raises(Unreadable, match="malformed"):
        decode(data)


def test_a_body_has_a_limit_on_both_ends() -> None:
    body = bytes(MAX_BODY_BYTES + 1)
    with pytest.raises(ValueError, match="too many"):
        encode(NodeMessage(Verb.CAST, "a:1", "", "x", body))
    with pytest.raises(Unreadable, match="malformed"):
        decode(encode(NodeMessage(Verb.CAST, "a:1", "", "x")) + body)
