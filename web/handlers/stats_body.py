"""The bodies game servers send: checked once, here."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import orjson

from actors.players import Entry
from web.handlers.steam_id import read_steam_id

if TYPE_CHECKING:
    from collections.abc import Collection

SMALLEST_DELTA: Final = -(2**31)
LARGEST_DELTA: Final = 2**31 - 1
MAX_UPDATES: Final = 1000
# Field → most characters.
TEXTS: Final = {"transaction_id": 128, "reason": 256, "server_id": 64}
# PostgreSQL stores no NUL, and no log or table is the better for the others.
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")


class BadDeltas(ValueError):
    """A body, or one update of a batch, that cannot be taken.

    Attributes:
        code: `invalid_deltas`, `invalid_updates` or `invalid_steamid`.
    """

    def __init__(self, message: str, code: str = "invalid_deltas") -> None:
        super().__init__(message)
        self.code = code


def read_entry(body: bytes, steam_id: int, server_id: str | None, stats: Collection[str]) -> Entry:
    """The change a body asks for.

    Either `{"deltas": {…}, "transaction_id"?, "reason"?, "server_id"?}`, where keys are ignored that are no
    stats, or flat, where every other key is a stat.

    Args:
        body: JSON.
        steam_id: Whose stats.
        server_id: The caller's name, which wins over what the body says; None if it has none.
        stats: Names that are known.

    Raises:
        BadDeltas: It cannot be taken; its text says why.
    """
    return _entry(_parsed(body), steam_id, server_id, stats)


def read_updates(body: bytes, server_id: str | None, stats: Collection[str]) -> list[Entry | BadDeltas]:
    """The changes of a batch, each by itself good or bad.

    Raises:
        BadDeltas: It is no batch, or longer than `MAX_UPDATES`.
    """
    document = _parsed(body)
    updates = document.get("updates") if isinstance(document, dict) else None
    if not isinstance(updates, list):
        raise BadDeltas('wanted {"updates": [{"steamid", "deltas", …}, …]}', "invalid_updates")
    if len(updates) > MAX_UPDATES:
        raise BadDeltas(f"at most {MAX_UPDATES} updates at once", "invalid_updates")
    return [_update(update, server_id, stats) for update in updates]


def _update(update: Any, server_id: str | None, stats: Collection[str]) -> Entry | BadDeltas:
    try:
        if not isinstance(update, dict):
            return BadDeltas("wanted an object")
        steam_id = update.pop("steamid", None)
        found = read_steam_id(steam_id) if isinstance(steam_id, str) else None
        if found is None:
            return BadDeltas("wanted a SteamID64 as text, STEAM_0:1:123 or [U:1:123]", "invalid_steamid")
        return _entry(update, found, server_id, stats)
    except BadDeltas as bad:
        return bad


def _parsed(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        raise BadDeltas("the body is not JSON") from None


def _entry(document: Any, steam_id: int, server_id: str | None, stats: Collection[str]) -> Entry:
    if not isinstance(document, dict):
        raise BadDeltas("wanted an object")
    transaction_id, reason, said_server_id = [_text(document, field) for field in TEXTS]
    if transaction_id == "":
        raise BadDeltas("transaction_id is empty")
    deltas = document.get("deltas", document)
    # Usually nothing else is left by now.
    if deltas is not document and len(document) > 1 and (beside := document.keys() & stats):
        raise BadDeltas(f"{min(beside)} stands beside deltas, where it would not count: put it inside")
    if not isinstance(deltas, dict):
        raise BadDeltas("deltas: wanted an object")
    _check(deltas, stats)
    return Entry(steam_id, deltas, transaction_id, reason, server_id or said_server_id)


def _text(document: dict[str, Any], field: str) -> str | None:
    # Taken out, so that of a flat body only deltas are left.
    value = document.pop(field, None)
    if value is None:
        return None
    if not isinstance(value, str) or len(value) > TEXTS[field] or _CONTROL.search(value):
        raise BadDeltas(f"{field}: wanted at most {TEXTS[field]} characters, none of them control")
    return value


def _check(deltas: dict[str, Any], stats: Collection[str]) -> None:
    if not deltas:
        raise BadDeltas("there is nothing to add")
    for stat, delta in deltas.items():
        if stat not in stats:
            raise BadDeltas(f"{stat[:32]!r} is no stat here: known are {', '.join(stats)}")
        # Not isinstance: true is no number.
        if type(delta) is not int or not SMALLEST_DELTA <= delta <= LARGEST_DELTA:
            raise BadDeltas(f"{stat}: wanted a whole number of 32 bits, signed")
