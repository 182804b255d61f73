"""What a stream is sent first: nothing, the record, or a reset and then the record."""

from __future__ import annotations

import random
import re
from typing import TYPE_CHECKING, Final

import orjson

from actors.rooms.record import NO_ROOM_ID
from web.handlers.sse import notice, sse

if TYPE_CHECKING:
    from collections.abc import Callable

    from actors.core import Event
    from actors.rooms import Record

# Spread, so that a restart does not bring everybody back in one instant.
RETRY_MS: Final = 2000
RETRY_JITTER_MS: Final = 500
# A client may send any header; what of it is echoed stays short.
MAX_PREVIOUS: Final = 128
_EVENT_ID: Final = re.compile(r"(?P<epoch>[a-z0-9]{1,16})-(?P<version>0|[1-9][0-9]{0,18})\Z")


def retry(rng: random.Random) -> bytes:
    """When to come back after a lost connection."""
    return b"retry: %d\n\n" % (RETRY_MS + rng.randint(-RETRY_JITTER_MS, RETRY_JITTER_MS))


def opening(
    room_id: str,
    record: Record | None,
    event: Event,
    last_id: str | None,
    frame: Callable[[Event], bytes] = sse,
) -> bytes:
    """The first frames for a client that last saw `last_id`; `event` tells of `record` or its absence."""
    if not last_id:
        return frame(event)
    if last_id == _current(record):
        return b""
    if not needs_reset(record, last_id):
        return frame(event)
    return reset(room_id, last_id) + frame(event)


def needs_reset(record: Record | None, last_id: str) -> bool:
    """Whether a client that last saw `last_id` has lost something: its id does not lead to `record`."""
    return last_id != _current(record) and not _is_older(last_id, record)


def reset(room_id: str, previous: str) -> bytes:
    """Says that what the client has seen does not lead to what comes next."""
    return notice("reset", orjson.dumps(reset_data(room_id, previous)))


def reset_data(room_id: str, previous: str) -> dict[str, str]:
    """The data of a reset."""
    return {"room_id": room_id, "previous": previous[:MAX_PREVIOUS]}


def _current(record: Record | None) -> str:
    return NO_ROOM_ID if record is None else record.etag


def _is_older(last_id: str, record: Record | None) -> bool:
    """Whether the client is merely behind: it saw an older version of this life, or no room yet."""
    if record is None:
        return False
    if last_id == NO_ROOM_ID:
        return True
    seen = _EVENT_ID.match(last_id)
    return seen is not None and seen["epoch"] == record.epoch and int(seen["version"]) < record.version
