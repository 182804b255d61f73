"""The scenario of channels, its frames, and the peer it is compared with."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode

from bench.errors import UsageError
from bench.load.websocket import message, split
from bench.peers.catalogue import by_name
from bench.scenarios.channels import CHANNELS, PARTS, ChannelsOptions
from bench.session import Session

BRIEF: dict[str, Any] = {
    "duration_s": 0.3,
    "warmup_s": 0.1,
    "sockets": 20,
    "rate": 50.0,
    "echoes": 5,
    "idle": 60,
    "settle_s": 0.05,
}


@pytest.fixture(scope="module", params=["greenroom", pytest.param("node-ws", marks=pytest.mark.e2e)])
def session(request: pytest.FixtureRequest) -> Iterator[Session]:
    peer = by_name(request.param)
    assert peer.absent() is None, peer.absent()
    with peer.started(None) as running:
        yield Session(address=running.address, pid=running.pid)


def test_everything_that_channels_do_is_measured_on_whoever_has_them(session: Session) -> None:
    outcome = CHANNELS.run(session, ChannelsOptions(**BRIEF))

    figures = dict(outcome.figures)
    figures.pop("bytes_per_socket")  # sixty sockets may fit into what is there already
    assert all(value > 0 for value in figures.values()), figures
    assert set(figures) == {
        "joins_per_s",
        "deliveries_per_s",
        "broadcast_p50_us",
        "broadcast_p99_us",
        "answers_per_s",
    }
    assert list(outcome.warnings) == []
    assert (outcome.rate, len(outcome.timeline) > 0) == ("deliveries_per_s", True)


@pytest.mark.parametrize("part", PARTS)
def test_one_part_can_be_measured_alone(session: Session, part: str) -> None:
    outcome = CHANNELS.run(session, ChannelsOptions(only=part, **BRIEF))

    assert outcome.figures
    assert outcome.counted == {"broadcast": "deliveries_per_s", "echo": "answers_per_s"}.get(part, "")


def test_a_part_that_does_not_exist_is_refused(session: Session) -> None:
    with pytest.raises(UsageError, match="there is no part nonsense"):
        CHANNELS.run(session, ChannelsOptions(only="nonsense", **BRIEF))


@given(st.lists(st.integers(0, 70_000), max_size=5), st.integers(0, 70_100))
def test_frames_are_found_however_they_are_cut(sizes: list[int], cut: int) -> None:
    frames = [Frame(Opcode.TEXT, b"x" * size).serialize(mask=False) for size in sizes]
    data = b"".join(frames)[:cut]

    count, at = split(data)
    assert at == sum(map(len, frames[:count]))
    assert count == len(frames) or at + len(frames[count]) > len(data)


def test_a_message_is_a_frame_that_a_server_can_read() -> None:
    assert message("1", "2", "t", "e", {}) == b'\x81\x94\0\0\0\0["1","2","t","e",{}]'
    assert message("x" * 200)[:4] == b"\x81\xfe\x00\xcc"
