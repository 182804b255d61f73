"""The ledger's tables: what counts, and what it adds up to.

Their own, so that no other program's writing can disturb them. They are made
and changed by migrations; a test holds those to what is said here.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import JSON, BigInteger, Column, Index, Integer, MetaData, String, Table

TRANSACTION_ID_CHARACTERS: Final = 128
REASON_CHARACTERS: Final = 256
SERVER_ID_CHARACTERS: Final = 64

metadata: Final = MetaData()

# SQLite: an INTEGER primary key is the table's own tree, not a second one.
_KEY: Final = BigInteger().with_variant(Integer(), "sqlite")

player_stats: Final = Table(
    "player_stats",
    metadata,
    Column("steam_id", _KEY, primary_key=True, autoincrement=False),
    # Grows by one with every change that counts.
    Column("version", BigInteger, nullable=False),
    # {"exp": 250, …}, signed 64 bits each; a stat never changed is absent.
    Column("totals", JSON, nullable=False),
    # The player's newest row in the ledger; null before the first.
    Column("last_id", BigInteger),
    # Unix milliseconds.
    Column("updated_ms", BigInteger, nullable=False),
)

# In the order of `id` this is also the order of time, but for what a wrong clock has dated: the sweep relies
# on that, and needs no index.
ledger: Final = Table(
    "ledger",
    metadata,
    Column("id", _KEY, primary_key=True, autoincrement=True),
    Column("steam_id", BigInteger, nullable=False),
    Column("transaction_id", String(TRANSACTION_ID_CHARACTERS)),
    Column("deltas", JSON, nullable=False),
    Column("reason", String(REASON_CHARACTERS)),
    Column("server_id", String(SERVER_ID_CHARACTERS)),
    # What the player's version became.
    Column("version", BigInteger, nullable=False),
    # The player's row before this one, so that a history is a chain and needs no index.
    Column("previous_id", BigInteger),
    Column("at_ms", BigInteger, nullable=False),
    # In this order, because ids of one game server follow each other: their entries lie side by side
    # where those of its players would be scattered over the whole index, each costing a page.
    # Both engines let any number of NULLs stand beside each other.
    Index("ix_ledger_transaction_id_steam_id", "transaction_id", "steam_id", unique=True),
)
