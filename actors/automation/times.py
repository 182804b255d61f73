"""UTC, as text and back. Every time in this package is an aware datetime in UTC."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

from actors.core import iso_utc

EARLIEST: Final = datetime(1970, 1, 1, tzinfo=UTC)
# Room to add any sensible number of days without leaving what a datetime can say.
LATEST: Final = datetime(9000, 1, 1, tzinfo=UTC)


def utc(moment: datetime) -> datetime:
    """The same moment in UTC; a time without a zone is taken to be UTC.

    Raises:
        ValueError: The moment lies before 1970 or after the year 8999.
    """
    try:
        aware = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except OverflowError:
        aware = EARLIEST.replace(year=1)
    if not EARLIEST <= aware <= LATEST:
        msg = "time must lie between the years 1970 and 8999"
        raise ValueError(msg)
    return aware


@lru_cache(maxsize=4096)
def text(moment: datetime) -> str:
    """ISO 8601 with milliseconds and a Z: `2026-02-10T01:00:00.000Z`. Most are shown again and again."""
    return iso_utc(moment.timestamp())


def text_or_none(moment: datetime | None) -> str | None:
    """`text`, for a time that may be unknown."""
    return None if moment is None else text(moment)
