"""The ledger's statements, in both dialects.

A set of rows crosses to the database as one JSON value and comes back as one:
a driver lets go of the interpreter for every row, and on a busy node each of
these may cost the wait for it to come back (5 ms). One statement for a
thousand rows is also the cheapest way there is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import orjson
from sqlalchemy import TextClause, text

if TYPE_CHECKING:
    from sqlalchemy import Connection


@dataclass(frozen=True, slots=True, kw_only=True)
class Statements:
    """One dialect's.

    Attributes:
        add_players: Make rows for players who have none, before any row is taken: two who take rows at the
            same time, and then make some, may wait for each other. `:ids` [steam_id], `:now`. None where
            there is never more than one, and `put_players` makes what is missing.
        take_players: Make the players' rows this transaction's own, in order:
            [[steam_id, version, totals, last_id]].
        counted: Which of `:keys` [[steam_id, transaction_id]] are in the ledger: [[steam_id, id, deltas]].
        new_ids: Ids for `:count` rows of the ledger, above all others: [id].
        add_rows: Into the ledger. `:now`, and `:rows`
            [[id, steam_id, transaction_id, deltas, reason, server_id, version, previous_id]].
        put_players: Write totals back. `:rows` [[steam_id, version, totals, last_id]], `:now`.
        read_players: As `take_players`, without taking them.
        history: The newest rows of `:steam_id`, at most `:limit`.
        oldest: At most `:limit` rows of the ledger above the id `:after`, in order: [[id, at_ms]].
        forget: Delete those of `:ids` [id] from the ledger.
        notify: Say `:payloads` [text] on `:channel` once committed; None where nobody else could hear.
    """

    add_players: TextClause | None
    take_players: TextClause
    counted: TextClause
    new_ids: TextClause
    add_rows: TextClause
    put_players: TextClause
    read_players: TextClause
    history: TextClause
    oldest: TextClause
    forget: TextClause
    notify: TextClause | None


# An id may be used again once everything above it has been forgotten, so a chain ends where it no longer
# leads downwards, or to somebody else.
_HISTORY: Final = text("""
    WITH RECURSIVE chain AS (
        SELECT ledger.*, 1 AS place FROM player_stats JOIN ledger ON ledger.id = player_stats.last_id
        WHERE player_stats.steam_id = :steam_id AND ledger.steam_id = :steam_id
        UNION ALL
        SELECT ledger.*, chain.place + 1 FROM chain JOIN ledger ON ledger.id = chain.previous_id
        WHERE ledger.steam_id = :steam_id AND ledger.id < chain.id AND chain.place < :limit
    )
    SELECT id, transaction_id, deltas, reason, server_id, version, at_ms FROM chain ORDER BY place
""")

_SQLITE_PLAYERS: Final = text("""
    SELECT json_group_array(json_array(steam_id, version, json(totals), last_id))
    FROM player_stats WHERE steam_id IN (SELECT value FROM json_each(:ids))
""")

SQLITE: Final = Statements(
    add_players=None,
    take_players=_SQLITE_PLAYERS,
    # CROSS JOIN: the keys outside, the index inside, whatever the planner thinks.
    counted=text("""
        SELECT json_group_array(json_array(ledger.steam_id, ledger.transaction_id, json(ledger.deltas)))
        FROM json_each(:keys) AS key CROSS JOIN ledger
        WHERE ledger.steam_id = json_extract(key.value, '$[0]')
          AND ledger.transaction_id = json_extract(key.value, '$[1]')
    """),
    new_ids=text("""
        WITH RECURSIVE new (id, place) AS (
            SELECT coalesce(max(id), 0) + 1, 1 FROM ledger
            UNION ALL SELECT id + 1, place + 1 FROM new WHERE place < :count
        )
        SELECT json_group_array(id) FROM new
    """),
    add_rows=text("""
        INSERT OR ROLLBACK INTO ledger
            (id, steam_id, transaction_id, deltas, reason, server_id, version, previous_id, at_ms)
        SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]'), json_extract(value, '$[2]'),
               json_extract(value, '$[3]'), json_extract(value, '$[4]'), json_extract(value, '$[5]'),
               json_extract(value, '$[6]'), json_extract(value, '$[7]'), :now
        FROM json_each(:rows)
    """),
    # WHERE true: or the parser takes ON for that of a join. OR ROLLBACK, here and above: a statement that
    # could be undone alone would keep a copy of every page, and it is all or nothing anyway.
    put_players=text("""
        INSERT OR ROLLBACK INTO player_stats (steam_id, version, totals, last_id, updated_ms)
        SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]'), json_extract(value, '$[2]'),
               json_extract(value, '$[3]'), :now
        FROM json_each(:rows) WHERE true
        ON CONFLICT (steam_id) DO UPDATE SET version = excluded.version, totals = excluded.totals,
            last_id = excluded.last_id, updated_ms = excluded.updated_ms
    """),
    read_players=_SQLITE_PLAYERS,
    history=_HISTORY,
    oldest=text("""
        SELECT json_group_array(json_array(id, at_ms))
        FROM (SELECT id, at_ms FROM ledger WHERE id > :after ORDER BY id LIMIT :limit)
    """),
    forget=text("DELETE FROM ledger WHERE id IN (SELECT value FROM json_each(:ids))"),
    notify=None,
)

POSTGRESQL: Final = Statements(
    add_players=text("""
        INSERT INTO player_stats (steam_id, version, totals, updated_ms)
        SELECT CAST(value AS bigint), 0, '{}', :now
        FROM json_array_elements_text(CAST(:ids AS json)) AS value ORDER BY 1
        ON CONFLICT DO NOTHING
    """),
    take_players=text("""
        WITH taken AS (
            SELECT steam_id, version, totals, last_id FROM player_stats
            WHERE steam_id IN (
                SELECT CAST(value AS bigint) FROM json_array_elements_text(CAST(:ids AS json)) AS value
            )
            ORDER BY steam_id FOR UPDATE
        )
        SELECT CAST(coalesce(
            json_agg(json_build_array(steam_id, version, totals, last_id)), '[]') AS text)
        FROM taken
    """),
    # LATERAL and OFFSET 0: the keys outside, the index inside, whatever the planner thinks of a table that
    # has grown since it last heard.
    counted=text("""
        SELECT CAST(coalesce(
            json_agg(json_build_array(old.steam_id, old.transaction_id, old.deltas)), '[]') AS text)
        FROM json_array_elements(CAST(:keys AS json)) AS key CROSS JOIN LATERAL (
            SELECT steam_id, transaction_id, deltas FROM ledger
            WHERE steam_id = CAST(key ->> 0 AS bigint) AND transaction_id = key ->> 1 OFFSET 0
        ) AS old
    """),
    new_ids=text("""
        SELECT CAST(json_agg(nextval(name)) AS text)
        FROM (SELECT CAST(pg_get_serial_sequence('ledger', 'id') AS regclass) AS name) AS sequence
        CROSS JOIN generate_series(1, :count)
    """),
    add_rows=text("""
        INSERT INTO ledger
            (id, steam_id, transaction_id, deltas, reason, server_id, version, previous_id, at_ms)
        SELECT CAST(new ->> 0 AS bigint), CAST(new ->> 1 AS bigint),
               new ->> 2, new -> 3, new ->> 4, new ->> 5,
               CAST(new ->> 6 AS bigint), CAST(new ->> 7 AS bigint), :now
        FROM json_array_elements(CAST(:rows AS json)) AS new
    """),
    put_players=text("""
        UPDATE player_stats SET
            version = CAST(new ->> 1 AS bigint),
            totals = new -> 2,
            last_id = CAST(new ->> 3 AS bigint),
            updated_ms = :now
        FROM json_array_elements(CAST(:rows AS json)) AS new
        WHERE steam_id = CAST(new ->> 0 AS bigint)
    """),
    read_players=text("""
        SELECT CAST(coalesce(
            json_agg(json_build_array(steam_id, version, totals, last_id)), '[]') AS text)
        FROM player_stats
        WHERE steam_id IN (
            SELECT CAST(value AS bigint) FROM json_array_elements_text(CAST(:ids AS json)) AS value
        )
    """),
    history=_HISTORY,
    oldest=text("""
        WITH oldest AS (
            SELECT id, at_ms FROM ledger WHERE id > :after ORDER BY id LIMIT :limit FOR UPDATE SKIP LOCKED
        )
        SELECT CAST(coalesce(json_agg(json_build_array(id, at_ms) ORDER BY id), '[]') AS text) FROM oldest
    """),
    forget=text("""
        DELETE FROM ledger WHERE id IN (
            SELECT CAST(value AS bigint) FROM json_array_elements_text(CAST(:ids AS json)) AS value
        )
    """),
    notify=text("""
        SELECT count(pg_notify(:channel, payload))
        FROM json_array_elements_text(CAST(:payloads AS json)) AS payload
    """),
)


def statements_of(connection: Connection) -> Statements:
    """Those the connection's database understands."""
    return SQLITE if connection.dialect.name == "sqlite" else POSTGRESQL


def encoded(value: object) -> str:
    """A parameter."""
    return orjson.dumps(value).decode()


def decoded(connection: Connection, statement: TextClause, **parameters: object) -> Any:
    """What a statement that answers with one JSON value says."""
    return orjson.loads(connection.execute(statement, parameters).scalar_one())
