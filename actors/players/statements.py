"""The ledger's SQL statements, for SQLite and PostgreSQL.

Rows are sent to the database, and come back, as one JSON value: a driver releases
the GIL for every row, and on a busy node taking it back may cost 5 ms each time. One
statement for a thousand rows is also the cheapest way to write them.
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
        add_players: Make rows for those of `:ids` [steam_id] who have none; `:now`. None where there is never
            more than one writer, and `write` makes what is missing.
        take_players: Make the players' rows this transaction's own, in order:
            [[steam_id, version, totals, last_id]]. With `add_players`, none of them unless there are
            `:count`: two who take rows at the same time, and then make some, may wait for each other.
        look: Which of `:keys` [{steam_id, transaction_id}] are in the ledger, and ids for `:count` rows of it
            above all others: [[[steam_id, transaction_id, deltas]], [id]].
        write: To be run one after the other: adds `:rows` to the ledger
            [{id, steam_id, transaction_id, deltas, reason, server_id, version, previous_id}], writes
            `:players` back [{steam_id, version, totals, last_id}], both at `:now`, and says `:payloads`
            [text] on `:channel` once committed, where anybody else could hear.
        read_players: The rows of `:ids`, as `take_players`, without taking them.
        history: The newest rows of `:steam_id`, at most `:limit`.
        oldest: At most `:limit` rows of the ledger above the id `:after`, in order: [[id, at_ms]].
        forget: Delete those of `:ids` [id] from the ledger.
    """

    add_players: TextClause | None
    take_players: TextClause
    look: TextClause
    write: tuple[TextClause, ...]
    read_players: TextClause
    history: TextClause
    oldest: TextClause
    forget: TextClause


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
    look=text("""
        WITH RECURSIVE new (id, place) AS (
            SELECT coalesce(max(id), 0) + 1, 1 FROM ledger
            UNION ALL SELECT id + 1, place + 1 FROM new WHERE place < :count
        )
        SELECT json_array(
            (
                SELECT json_group_array(json_array(steam_id, transaction_id, json(deltas)))
                FROM json_each(:keys) AS key CROSS JOIN ledger
                WHERE ledger.steam_id = json_extract(key.value, '$.steam_id')
                  AND ledger.transaction_id = json_extract(key.value, '$.transaction_id')
            ),
            (SELECT json_group_array(id) FROM new)
        )
    """),
    # OR ROLLBACK: a statement that could be undone alone would keep a copy of every page, and it is all or
    # nothing anyway.
    write=(
        text("""
            INSERT OR ROLLBACK INTO ledger
                (id, steam_id, transaction_id, deltas, reason, server_id, version, previous_id, at_ms)
            SELECT json_extract(value, '$.id'), json_extract(value, '$.steam_id'),
                   json_extract(value, '$.transaction_id'), json_extract(value, '$.deltas'),
                   json_extract(value, '$.reason'), json_extract(value, '$.server_id'),
                   json_extract(value, '$.version'), json_extract(value, '$.previous_id'), :now
            FROM json_each(:rows)
        """),
        # WHERE true: or the parser takes ON for that of a join.
        text("""
            INSERT OR ROLLBACK INTO player_stats (steam_id, version, totals, last_id, updated_ms)
            SELECT json_extract(value, '$.steam_id'), json_extract(value, '$.version'),
                   json_extract(value, '$.totals'), json_extract(value, '$.last_id'), :now
            FROM json_each(:players) WHERE true
            ON CONFLICT (steam_id) DO UPDATE SET version = excluded.version, totals = excluded.totals,
                last_id = excluded.last_id, updated_ms = excluded.updated_ms
        """),
    ),
    read_players=_SQLITE_PLAYERS,
    history=_HISTORY,
    oldest=text("""
        SELECT json_group_array(json_array(id, at_ms))
        FROM (SELECT id, at_ms FROM ledger WHERE id > :after ORDER BY id LIMIT :limit)
    """),
    forget=text("DELETE FROM ledger WHERE id IN (SELECT value FROM json_each(:ids))"),
)

POSTGRESQL: Final = Statements(
    add_players=text("""
        INSERT INTO player_stats (steam_id, version, totals, updated_ms)
        SELECT CAST(value AS bigint), 0, '{}', :now
        FROM json_array_elements_text(CAST(:ids AS json)) AS value ORDER BY 1
        ON CONFLICT DO NOTHING
    """),
    # The count is made before any row is taken.
    take_players=text("""
        WITH wanted AS (
            SELECT CAST(value AS bigint) AS steam_id
            FROM json_array_elements_text(CAST(:ids AS json)) AS value
        ), taken AS (
            SELECT steam_id, version, totals, last_id FROM player_stats
            WHERE steam_id = ANY (ARRAY(SELECT steam_id FROM wanted)) AND :count = (
                SELECT count(*) FROM player_stats WHERE steam_id = ANY (ARRAY(SELECT steam_id FROM wanted))
            )
            ORDER BY steam_id FOR UPDATE
        )
        SELECT CAST(coalesce(
            json_agg(json_build_array(steam_id, version, totals, last_id)), '[]') AS text)
        FROM taken
    """),
    # LATERAL and OFFSET 0: the keys outside, the index inside, whatever the planner thinks of a table that
    # has grown since it last heard.
    look=text("""
        SELECT CAST(json_build_array(
            (
                SELECT coalesce(json_agg(json_build_array(steam_id, transaction_id, deltas)), '[]')
                FROM json_to_recordset(CAST(:keys AS json)) AS key (steam_id bigint, transaction_id text)
                CROSS JOIN LATERAL (
                    SELECT deltas FROM ledger
                    WHERE steam_id = key.steam_id AND transaction_id = key.transaction_id OFFSET 0
                ) AS old
            ),
            (
                SELECT json_agg(nextval(name))
                FROM (SELECT CAST(pg_get_serial_sequence('ledger', 'id') AS regclass) AS name) AS sequence
                CROSS JOIN generate_series(1, :count)
            )
        ) AS text)
    """),
    # One statement, since each is a way there and back.
    write=(
        text("""
            WITH added AS (
                INSERT INTO ledger
                    (id, steam_id, transaction_id, deltas, reason, server_id, version, previous_id, at_ms)
                SELECT id, steam_id, transaction_id, deltas, reason, server_id, version, previous_id, :now
                FROM json_to_recordset(CAST(:rows AS json)) AS new (
                    id bigint, steam_id bigint, transaction_id text, deltas json, reason text,
                    server_id text, version bigint, previous_id bigint
                )
            ), put AS (
                UPDATE player_stats SET
                    version = new.version, totals = new.totals, last_id = new.last_id, updated_ms = :now
                FROM json_to_recordset(CAST(:players AS json)) AS new (
                    steam_id bigint, version bigint, totals json, last_id bigint
                )
                WHERE player_stats.steam_id = new.steam_id
            )
            SELECT count(pg_notify(:channel, payload))
            FROM json_array_elements_text(CAST(:payloads AS json)) AS payload
        """),
    ),
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
