"""The ledger's transactions: each function is one, or part of one, on the connection it is given."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import orjson

from actors.links import Forgotten, Query, run_pipeline
from actors.players.decision import Decided, decide
from actors.players.entry import Account
from actors.players.statements import Statements, decoded, encoded, statements_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from sqlalchemy import Connection, Row

    from actors.links import Slice
    from actors.players.entry import Entry

CHANNEL: Final = "greenroom_stats"
# PostgreSQL takes payloads below 8,000 bytes.
MAX_PAYLOAD_BYTES: Final = 7_500

# steam_id, version, totals, last_id
PlayerRow = tuple[int, int, dict[str, int], int | None]


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
    """Decide about entries on the rows as they are now, and write the outcome.

    Rows are made and taken in the order of their ids, so that two nodes that
    post for the same players take turns and never wait in a circle.
    """
    says = statements_of(connection)
    players, counted, new_ids = _take(connection, says, entries, now_ms)
    decided = decide(entries, _accounts(players), counted, rules.non_negative)
    if decided.rows:
        last_ids = {row[0]: row[3] for row in players}
        values = {
            "rows": encoded(_rows(decided, new_ids, last_ids)),
            "players": encoded(_players(decided, last_ids)),
            "now": now_ms,
            "channel": CHANNEL,
            "payloads": encoded(list(payloads_of(rules.origin, decided.accounts))),
        }
        run_pipeline(connection, *(Query(statement, values) for statement in says.write))
    return decided


class _Taken(NamedTuple):
    """What a decision needs to know.

    Attributes:
        players: Rows that are this transaction's own.
        counted: Deltas of the entries' transactions that are in the ledger.
        new_ids: One for each entry that may go there.
    """

    players: Sequence[PlayerRow]
    counted: dict[tuple[int, str], dict[str, int]]
    new_ids: Sequence[int]


def _take(connection: Connection, says: Statements, entries: Sequence[Entry], now_ms: int) -> _Taken:
    steam_ids = sorted({entry.steam_id for entry in entries})
    keys = [
        {"steam_id": entry.steam_id, "transaction_id": entry.transaction_id}
        for entry in entries
        if entry.transaction_id is not None
    ]
    ids = encoded(steam_ids)
    # In this order: what another node has counted until the players are ours is there to be looked at.
    steps = (
        Query(says.take_players, {"ids": ids, "count": len(steam_ids)}),
        Query(says.look, {"keys": encoded(keys), "count": len(entries)}),
    )
    players, found = map(orjson.loads, run_pipeline(connection, *steps))
    if says.add_players is not None and len(players) < len(steam_ids):
        add = Query(says.add_players, {"ids": ids, "now": now_ms})
        _, *answers = run_pipeline(connection, add, *steps)
        players, found = map(orjson.loads, answers)
    counted, new_ids = found
    known = {(steam_id, transaction_id): deltas for steam_id, transaction_id, deltas in counted}
    return _Taken(players, known, new_ids)


def _rows(decided: Decided, new_ids: Sequence[int], last_ids: dict[int, int | None]) -> list[dict[str, Any]]:
    """What goes into the ledger, each the last of its player's so far."""
    rows = []
    for new_id, (entry, version) in zip(new_ids, decided.rows, strict=False):
        steam_id, deltas, transaction_id, reason, server_id = entry
        rows.append(
            {
                "id": new_id,
                "steam_id": steam_id,
                "transaction_id": transaction_id,
                "deltas": deltas,
                "reason": reason,
                "server_id": server_id,
                "version": version,
                "previous_id": last_ids.get(steam_id),
            }
        )
        last_ids[steam_id] = new_id
    return rows


def _players(decided: Decided, last_ids: Mapping[int, int | None]) -> list[dict[str, Any]]:
    return [
        {
            "steam_id": steam_id,
            "version": account.version,
            "totals": account.totals,
            "last_id": last_ids[steam_id],
        }
        for steam_id, account in decided.accounts.items()
    ]


def _accounts(rows: Sequence[PlayerRow]) -> dict[int, Account]:
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


def forget_old(connection: Connection, which: Slice) -> Forgotten:
    """Delete the oldest changes. Totals stay."""
    says = statements_of(connection)
    rows = decoded(connection, says.oldest, after=which.after_id, limit=which.limit)
    old = [row_id for row_id, at_ms in rows if at_ms < which.before_ms]
    if old:
        connection.execute(says.forget, {"ids": encoded(old)})
    # Rows a clock that was ahead has dated tomorrow say nothing about the age of those after them.
    goes_on = len(rows) == which.limit and (old or all(at_ms > which.now_ms for _, at_ms in rows))
    return Forgotten(len(old), rows[-1][0] if goes_on else None)


# -- notifications between nodes ------------------------------------------------------------


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
