from __future__ import annotations

import pytest

from bench.errors import TargetError
from bench.machine import available_bytes
from bench.scenarios import capacity
from bench.scenarios.capacity import CAPACITY, CapacityOptions, sizes
from bench.session import Session


def test_sizes_grow_in_steps_of_ten() -> None:
    assert sizes(1_000_000) == [10_000, 100_000, 1_000_000]
    assert sizes(250_000) == [10_000, 100_000, 250_000]
    assert sizes(500) == [500]


def test_streams_without_sockets_have_a_size_and_a_cost(session: Session) -> None:
    outcome = CAPACITY.run(session, CapacityOptions(streams=2000, writes=2000))

    assert outcome.warnings == []
    assert 500 < outcome.figures["bytes_per_room_at_2000"] < 30_000
    assert 0 < outcome.figures["bytes_per_stream_at_2000"] < 5_000
    assert outcome.figures["us_per_broadcast_at_2000"] > 0
    assert outcome.figures["us_per_delivery_of_one_room_at_2000"] > 0


def test_what_does_not_fit_into_the_free_memory_is_left_out(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert available_bytes() > 0
    monkeypatch.setattr(capacity, "SMALLEST", 1000)
    monkeypatch.setattr(capacity, "available_bytes", lambda: 12_000_000)

    outcome = CAPACITY.run(session, CapacityOptions(streams=5000, writes=100))
    assert [name for name in outcome.figures if name.startswith("bytes_at")] == ["bytes_at_1000"]
    assert outcome.warnings[0].startswith("5,000 streams would take")

    monkeypatch.setattr(capacity, "available_bytes", lambda: 1_000_000)
    with pytest.raises(TargetError, match="left out"):
        CAPACITY.run(session, CapacityOptions(streams=5000))
