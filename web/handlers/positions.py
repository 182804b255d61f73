"""What a stream of several rooms was sent last of each, as one event id: pure text."""

from __future__ import annotations

import hashlib
import re
from base64 import urlsafe_b64encode
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Final

from actors.rooms.record import NO_ROOM_ID

# Of a room's id and of an epoch's name: short enough for a hundred rooms in one id. Names that look the same
# cost a client that has lost its connection one event at the most.
ROOM_CHARACTERS: Final = 6
EPOCH_CHARACTERS: Final = 4
PREFIX: Final = "m"
_DIGITS: Final = "0123456789abcdefghijklmnopqrstuvwxyz"
_IDS: Final = re.compile(r"m(?:\.[A-Za-z0-9_-]{10}[0-9a-z]{1,13}){0,128}\Z")


def position_of(room_id: str, etag: str) -> str:
    """One room's part of an id."""
    epoch, _, version = etag.rpartition("-")
    return f".{_short(room_id, ROOM_CHARACTERS)}{_short(epoch, EPOCH_CHARACTERS)}{_base36(int(version))}"


def id_of(positions: Iterable[str]) -> str:
    """The id of an event, given every room's part."""
    return PREFIX + "".join(positions)


def read_id(text: str, epochs: Mapping[str, str]) -> dict[str, str] | None:
    """What each room's stream of its own would resume from; None if `text` is no such id.

    Args:
        text: The last id that the client has seen.
        epochs: Present epochs by room id; rooms that do not exist are left out.

    Returns:
        Entity tags by room id, without rooms that the id does not speak of. An epoch that is over has its
        short name there, which no epoch has.
    """
    if not _IDS.match(text):
        return None
    seen = {part[:ROOM_CHARACTERS]: part[ROOM_CHARACTERS:] for part in text.split(".")[1:]}
    none = _short(NO_ROOM_ID.rpartition("-")[0], EPOCH_CHARACTERS)
    found = {}
    for room_id, epoch in epochs.items():
        rest = seen.get(_short(room_id, ROOM_CHARACTERS))
        if rest is None:
            continue
        short, version = rest[:EPOCH_CHARACTERS], int(rest[EPOCH_CHARACTERS:], 36)
        if short == none:
            found[room_id] = NO_ROOM_ID
        else:
            found[room_id] = f"{epoch if short == _short(epoch, EPOCH_CHARACTERS) else short}-{version}"
    return found


@lru_cache(maxsize=4096)
def _short(text: str, characters: int) -> str:
    digest = hashlib.blake2b(text.encode(), digest_size=6).digest()
    return urlsafe_b64encode(digest).decode()[:characters]


def _base36(number: int) -> str:
    digits = ""
    while number >= len(_DIGITS):
        number, digit = divmod(number, len(_DIGITS))
        digits = _DIGITS[digit] + digits
    return _DIGITS[number] + digits
