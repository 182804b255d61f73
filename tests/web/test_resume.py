"""What a stream is sent first, given what its client has seen."""

from __future__ import annotations

import json
import random

import pytest

from actors.core import Event
from actors.rooms import Kind, Record
from actors.rooms.record import RoomEpoch
from web.handlers.resume import opening, reset, retry

RECORD = Record("r", RoomEpoch("abcd", 0, Kind.PLAIN), 5, b'{"version":5}')
STATE = b"event: state\nid: abcd-5\ndata: {}\n\n"
STATE_EVENT = Event(7, "state", "abcd-5", b"{}")
NOTHING = b"event: state\nid: none-0\ndata: {}\n\n"
NOTHING_EVENT = Event(7, "state", "none-0", b"{}")


@pytest.mark.parametrize(
    ("last_id", "first"),
    [
        (None, "state"),
        ("", "state"),
        ("abcd-5", "nothing"),
        ("abcd-4", "state"),
        ("abcd-0", "state"),
        ("abcd-6", "reset"),
        ("abcd-99999999999999999999", "reset"),
        ("abce-5", "reset"),
        ("abce-1", "reset"),
        ("none-0", "state"),
        ("none-1", "reset"),
        ("abcd", "reset"),
        ("abcd-", "reset"),
        ("-5", "reset"),
        ("abcd-05", "reset"),
        ("abcd-5 ", "reset"),
        ("ABCD-5", "reset"),
        ("abcd-\uff14", "reset"),
        ("x" * 10_000, "reset"),
    ],
)
def test_to_a_room_at_version_5(last_id: str | None, first: str) -> None:
    frames = opening("r", RECORD, STATE_EVENT, last_id)

    if first == "nothing":
        assert frames == b""
    elif first == "state":
        assert frames == STATE
    else:
        assert frames.startswith(b"event: reset\ndata: ")
        assert frames.endswith(STATE)


@pytest.mark.parametrize(
    ("last_id", "first"),
    [(None, "state"), ("none-0", "nothing"), ("abcd-5", "reset"), ("abcd-0", "reset"), ("?", "reset")],
)
def test_to_a_room_that_does_not_exist(last_id: str | None, first: str) -> None:
    frames = opening("r", None, NOTHING_EVENT, last_id)

    expected = {"nothing": b"", "state": NOTHING, "reset": reset("r", last_id or "") + NOTHING}
    assert frames == expected[first]


def test_a_reset_is_one_line_of_json_whatever_the_id() -> None:
    frame = reset("r", 'a"\\\n\r\u2028' + "x" * 1000)
    data = frame.removeprefix(b"event: reset\ndata: ").removesuffix(b"\n\n")

    assert b"\n" not in data
    assert b"\r" not in data
    assert len(json.loads(data)["previous"]) == 128


def test_everybody_is_told_another_time_to_come_back() -> None:
    rng = random.Random(1)
    times = {retry(rng) for _ in range(200)}

    assert len(times) > 100
    assert all(1500 <= int(line.removeprefix(b"retry: ")) <= 2500 for line in times)
