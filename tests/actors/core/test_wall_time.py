"""Unix seconds as text: to the millisecond, whatever a float makes of it."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.core import iso_utc


@pytest.mark.parametrize(
    ("unix_s", "text"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (1_770_000_000.123, "2026-02-02T02:40:00.123Z"),
        (1_770_000_000.1239, "2026-02-02T02:40:00.123Z"),
        (1_770_000_059.999_999, "2026-02-02T02:40:59.999Z"),
        (4_102_444_800, "2100-01-01T00:00:00.000Z"),
    ],
)
def test_a_time_is_written_to_the_millisecond(unix_s: float, text: str) -> None:
    assert iso_utc(unix_s) == text


@given(st.integers(0, 4_102_444_800_000))
def test_every_millisecond_comes_back_as_it_was(millis: int) -> None:
    assert datetime.fromisoformat(iso_utc(millis / 1000)) == datetime.fromtimestamp(
        millis // 1000, UTC
    ).replace(microsecond=millis % 1000 * 1000)
