"""The bodies game servers send: checked once, here."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final

import orjson

from actors.players import Entry
from web.handlers.steam_id import MAX_STEAM_64, read_steam_id

if TYPE_CHECKING:
    from collections.abc import Collection

SMALLEST_DELTA: Final = -(2**31)
LARGEST_DELTA: Final = 2**31 - 1
MAX_UPDATES: Final = 1000
# Most characters of each text; they are the columns' widths.
MAX_TRANSACTION_ID: Final = 128
MAX_REASON: Final = 256
MAX_SERVER_ID: Final = 64
# PostgreSQL stores no NUL, and the other control characters have no place in logs and tables. Half a
# surrogate pair cannot be stored at all.
_CONTROL: Final = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")
# From here on, a number that is no integer in JSON may have been rounded.
EXACT_FLOATS: Final = 2.0**53


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

    Either `{"deltas": {…}, "transaction_id"?, "reason"?, "server_id"?}`, or flat, where every other key is a
    stat. In both an unknown key is refused: it may be a misspelt `transaction_id`, without which a repeat
    would count twice. A `reason` that cannot be kept is cut or dropped, since it is only for people.

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
        steam_id = _exact(update.pop("steamid", None))
        # SteamID64s of persons have 17 digits: a longer number need not be turned into text.
        if type(steam_id) is int and 0 < steam_id <= MAX_STEAM_64:
            steam_id = str(steam_id)
        found = read_steam_id(steam_id) if isinstance(steam_id, str) else None
        if found is None:
            return BadDeltas("wanted a SteamID64, STEAM_0:1:123 or [U:1:123]", "invalid_steamid")
        return _entry(update, found, server_id, stats)
    except BadDeltas as bad:
        return bad


def _parsed(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return _parsed_leniently(body)


def _parsed_leniently(body: bytes) -> Any:
    """A body that would be JSON but for what its texts hold, so that a bad `reason` costs no delta.

    Clients cut texts in the middle of a character, or forget to escape a line end. What the other
    values hold is checked with them.
    """
    try:
        return json.loads(body.decode("utf-8", "surrogateescape"), strict=False)
    except (ValueError, RecursionError):
        raise BadDeltas("the body is not JSON") from None


def _entry(document: Any, steam_id: int, server_id: str | None, stats: Collection[str]) -> Entry:
    if not isinstance(document, dict):
        raise BadDeltas("wanted an object")
    # Taken out, so that of a flat body only deltas are left.
    transaction_id = _identifier(document, "transaction_id", MAX_TRANSACTION_ID)
    reason = _reason(document.pop("reason", None))
    said_server_id = _identifier(document, "server_id", MAX_SERVER_ID)
    if transaction_id == "":
        raise BadDeltas("transaction_id is empty")
    deltas = document.get("deltas", document)
    # Usually nothing else is left by now.
    if deltas is not document and len(document) > 1:
        raise BadDeltas(_beside(document.keys() - {"deltas"}, stats))
    if not isinstance(deltas, dict):
        raise BadDeltas("deltas: wanted an object")
    _check(deltas, stats)
    return Entry(steam_id, deltas, transaction_id, reason, server_id or said_server_id)


def _beside(unknown: Collection[str], stats: Collection[str]) -> str:
    """The message about keys beside `deltas` that have no meaning there."""
    if misplaced := sorted(set(unknown) & set(stats)):
        return f"{misplaced[0]} stands beside deltas, where it would not count: put it inside"
    return f"{min(unknown)[:32]!r} is unknown beside deltas: known are transaction_id, reason, server_id"


def _identifier(document: dict[str, Any], field: str, longest: int) -> str | None:
    """A text, or a whole number as its digits; taken out of the document."""
    value = document.pop(field, None)
    if value is None:
        return None
    if type(value) is not str:
        number = _exact(value)
        value = str(number) if type(number) is int else ""
        if not value:
            raise BadDeltas(f"{field}: wanted text, or a whole number of at most 64 bits")
    if len(value) > longest or _CONTROL.search(value):
        raise BadDeltas(f"{field}: wanted at most {longest} characters, none of them control")
    return str(value)


def _reason(value: Any) -> str | None:
    """As much of a reason as can be kept; None for what is no text."""
    if not isinstance(value, str):
        return None
    return _CONTROL.sub(" ", value)[:MAX_REASON]


def _exact(value: Any) -> Any:
    """`250.0` as 250, as long as that is what was written; anything else as it is."""
    if type(value) is float and value.is_integer() and abs(value) < EXACT_FLOATS:
        return int(value)
    return value


def _check(deltas: dict[str, Any], stats: Collection[str]) -> None:
    if not deltas:
        raise BadDeltas("there is nothing to add")
    for stat, delta in deltas.items():
        if stat not in stats:
            raise BadDeltas(f"{stat[:32]!r} is no stat here: known are {', '.join(stats)}")
        # Not isinstance: true is no number.
        exact = delta if type(delta) is int else _exact(delta)
        if type(exact) is not int or not SMALLEST_DELTA <= exact <= LARGEST_DELTA:
            raise BadDeltas(f"{stat}: wanted a whole number of 32 bits, signed")
        if exact is not delta:
            deltas[stat] = exact
