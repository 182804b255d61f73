"""Players' stats: changes that count once, and survive anything.

Reading order, each file leaning only on the ones above it:

    entry        an entry (one change), an account, an outcome
    decision     decides which entries count; pure
    tables       the database's tables
    statements   SQL for both dialects
    posting      the ledger's transactions
    ledger       the actor that commits the entries of all players together
    accounts     cache of active players' accounts
    player       the actor of one active player
    submit_all   submits many entries with one waiting task
    players      the API for handlers
    news         changes made by other nodes on the same PostgreSQL
    game_config  console variables for game servers

What is promised
    * `Posted` is durable: it comes after a commit that has reached the disk.
    * A transaction id counts once per player, on whichever node, for as long as it is kept. A repeat is
      told the totals as they are now.
    * An entry counts whole or not at all. Totals never leave signed 64 bits, and those of certain stats
      are never taken below zero: that is decided on the rows in the database, held until the commit.
    * An entry that cannot be written is refused by itself: those it shared a transaction with count.
    * Totals are added where all nodes see them, so any number of nodes may post for one player.
    * A stream hears versions that grow, and in the end the newest.

What is not promised
    * `database_unavailable`, `ledger_failed` and `timeout` do not say whether the entry counted. With a
      transaction id it can be sent again; without one, it cannot be known.
    * Order between two changes of one player that are under way at the same time.
    * Streams on other nodes, where the database is SQLite: a file has no way of telling.
"""

from actors.players.entry import Account, Entry, Outcome, Posted, Refused
from actors.players.game_config import GameConfig, Served
from actors.players.ledger import MAX_WAIT_S, Ledger, LedgerStatistics
from actors.players.news import News
from actors.players.players import Players, PlayerStatistics
from actors.players.posting import CHANNEL, HistoryRow, Rules, forget_old

__all__ = [
    "CHANNEL",
    "MAX_WAIT_S",
    "Account",
    "Entry",
    "GameConfig",
    "HistoryRow",
    "Ledger",
    "LedgerStatistics",
    "News",
    "Outcome",
    "PlayerStatistics",
    "Players",
    "Posted",
    "Refused",
    "Rules",
    "Served",
    "forget_old",
]
