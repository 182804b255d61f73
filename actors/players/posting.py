"""The ledger's transactions. Each function is one, or part of one, on the connection it is given."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import orjson

from actors.players.decision import Decided, decide
from actors.players.entry import Account
from actors.players.statements import Statements, decoded, encoded, statements_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from sqlalchemy import Connection, Row

    from actors.players.entry import Entry

CHANNEL: Final = "greenroom_stats"
# PostgreSQL takes payloads below 8,000 bytes.
MAX_PAYLOAD_BYTES: Final = 7_500


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What holds for all entries of this node.

    Attributes:
        non_negative: Stats whose totals may not be taken below zero.
        origin: Names this node to others, and to itself, in what it says about changes.
    """

    non_negative: Collection[str] = ()
    origin: str = ""


class HistoryRow(NamedTuple):
    """One change that counted.

    Attributes:
        version: What the player's version became.
        at_ms: When, in Unix milliseconds.
    """

    id: int
    transaction_id: str | None
    deltas: Mapping[str, int]
    reason: str | None
    server_id: str | None
    version: int
    at_ms: int


def post(connection: Connection, entries: Sequence[Entry], rules: Rules, *, now_ms: int) -> Decided:
    """Decide about entries on the rows as they are now, and write what came of it.

    Rows are made and taken in the order of their ids, so that two nodes that
    post for the same players take turns and never wait in a circle.
    """
    says = statements_of(connection)
    taken = _take(connection, says, sorted({entry.steam_id for entry in entries}), now_ms)
    decided = decide(entries, taken.accounts, _counted(connection, says, entries), rules.non_negative)
    if decided.rows:
        _write(connection, says, decided, taken.last_ids, now_ms)
        if says.notify is not None:
            payloads = encoded(list(payloads_of(rules.origin, decided.accounts)))
            connection.execute(says.notify, {"channel": CHANNEL, "payloads": payloads})
    return decided


class _Taken(NamedTuple):
    """Players' rows that are this transaction's own."""

    accounts: dict[int, Account]
    last_ids: dict[int, int | None]


def _take(connection: Connection, says: Statements, steam_ids: Sequence[int], now_ms: int) -> _Taken:
    ids = encoded(steam_ids)
    if says.add_players is not None:
        connection.execute(says.add_players, {"ids": ids, "now": now_ms})
    rows = decoded(connection, says.take_players, ids=ids)
    return _Taken(_accounts(rows), {row[0]: row[3] for row in rows})


def _counted(
    connection: Connection, says: Statements, entries: Sequence[Entry]
) -> dict[tuple[int, str], dict[str, int]]:
    keys = [(entry.steam_id, entry.transaction_id) for entry in entries if entry.transaction_id is not None]
    if not keys:
        return {}
    found = decoded(connection, says.counted, keys=encoded(keys))
    return {(steam_id, transaction_id): deltas for steam_id, transaction_id, deltas in found}


def _write(
    connection: Connection, says: Statements, decided: Decided, last_ids: dict[int, int | None], now_ms: int
) -> None:
    new_ids = decoded(connection, says.new_ids, count=len(decided.rows))
    rows = []
    for new_id, (entry, version) in zip(new_ids, decided.rows, strict=True):
        steam_id, deltas, transaction_id, reason, server_id = entry
        previous_id = last_ids.get(steam_id)
        rows.append((new_id, steam_id, transaction_id, deltas, reason, server_id, version, previous_id))
        last_ids[steam_id] = new_id
    connection.execute(says.add_rows, {"rows": encoded(rows), "now": now_ms})
    totals = [
        (steam_id, account.version, account.totals, last_ids[steam_id])
        for steam_id, account in decided.accounts.items()
    ]
    connection.execute(says.put_players, {"rows": encoded(totals), "now": now_ms})


def _accounts(rows: Sequence[tuple[int, int, dict[str, int], int | None]]) -> dict[int, Account]:
    return {steam_id: Account(version, totals) for steam_id, version, totals, _ in rows}


def read_accounts(connection: Connection, steam_ids: Sequence[int]) -> dict[int, Account]:
    """The accounts among these that have ever changed."""
    says = statements_of(connection)
    found = _accounts(decoded(connection, says.read_players, ids=encoded(steam_ids)))
    return {steam_id: account for steam_id, account in found.items() if account.version}


def read_history(connection: Connection, steam_id: int, *, limit: int) -> list[HistoryRow]:
    """The newest changes of a player that are still kept, newest first."""
    statement = statements_of(connection).history
    return [
        _history_row(row) for row in connection.execute(statement, {"steam_id": steam_id, "limit": limit})
    ]


def _history_row(row: Row[Any]) -> HistoryRow:
    values = row._asdict()
    # SQLite hands JSON out as text, psycopg reads it.
    if isinstance(values["deltas"], str):
        values["deltas"] = orjson.loads(values["deltas"])
    return HistoryRow(**values)


class Forgotten(NamedTuple):
    """What came of a look at some of the oldest changes.

    Attributes:
        gone: How many were deleted.
        last_id: After which to look next; None where all that follow are too young.
    """

    gone: int
    last_id: int | None


def forget_old(
    connection: Connection, *, after_id: int, before_ms: int, now_ms: int, limit: int
) -> Forgotten:
    """Delete changes from before a time among the `limit` oldest above an id. Totals stay."""
    says = statements_of(connection)
    rows = decoded(connection, says.oldest, after=after_id, limit=limit)
    old = [row_id for row_id, at_ms in rows if at_ms < before_ms]
    if old:
        connection.execute(says.forget, {"ids": encoded(old)})
    # Rows a clock that was ahead has dated tomorrow say nothing about the age of those after them.
    goes_on = len(rows) == limit and (old or all(at_ms > now_ms for _, at_ms in rows))
    return Forgotten(len(old), rows[-1][0] if goes_on else None)


# -- what nodes tell each other ------------------------------------------------------------


def payloads_of(origin: str, accounts: Mapping[int, Account]) -> Iterator[str]:
    """The news as texts of at most `MAX_PAYLOAD_BYTES`: `[origin, [steam_id, version, totals], …]`."""
    head = encoded([origin])[:-1]
    payload = head
    for steam_id, (version, totals) in accounts.items():
        news = "," + encoded([steam_id, version, totals])
        if len(payload) + len(news) >= MAX_PAYLOAD_BYTES:
            yield payload + "]"
            payload = head
        payload += news
    yield payload + "]"


def read_payload(payload: str) -> tuple[str, dict[int, Account]]:
    """Who says it, and what.

    Raises:
        ValueError: It is not what `payloads_of` makes.
    """
    try:
        origin, *news = orjson.loads(payload)
        return str(origin), {
            int(steam_id): Account(int(version), dict(totals)) for steam_id, version, totals in news
        }
    except TypeError as error:
        raise ValueError(payload) from error
