"""Wall-clock time as clients see it."""

from __future__ import annotations

import re
import time
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Final

# A float of Unix seconds holds a millisecond to within a fraction of a microsecond, in either direction.
ROUNDING_MS: Final = 0.0005
# Reads of rooms that were written at many times would format each of these again, 3 µs each.
SECONDS_KEPT: Final = 1024
_LEAP_SECOND: Final = re.compile(r"(.*\d\d:?\d\d:?)60(\D.*|)").fullmatch

_last: tuple[int, str] = (-1, "")


def iso_utc(unix_s: float) -> str:
    """Unix seconds as ISO 8601 in UTC with milliseconds and a Z: `2026-02-10T01:00:00.000Z`.

    Milliseconds under way are cut off, so a time never lies after the moment it was read.
    """
    global _last  # noqa: PLW0603  # dozens of writes share a millisecond, and formatting it is half of a write
    millis = int(unix_s * 1000 + ROUNDING_MS)
    if _last[0] != millis:
        _last = (millis, f"{_second(millis // 1000)}.{millis % 1000:03d}Z")
    return _last[1]


@lru_cache(maxsize=SECONDS_KEPT)
def _second(unix_s: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(unix_s))


def parse_iso_8601(text: str) -> datetime | None:
    """A time in ISO 8601 or RFC 3339, without an offset where it has none; None if it is neither.

    Letters may be small. A leap second is the second after the one before it, since Python knows no
    second 60.
    """
    text = text.upper()
    leap = _LEAP_SECOND(text)
    try:
        if leap is None:
            return datetime.fromisoformat(text)
        return datetime.fromisoformat(f"{leap[1]}59{leap[2]}") + timedelta(seconds=1)
    except (ValueError, OverflowError):
        return None
