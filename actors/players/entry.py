"""The values of the ledger: an entry, an account, an outcome."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple


class Entry(NamedTuple):
    """One change of one player's stats, checked.

    Attributes:
        steam_id: The player's SteamID64.
        deltas: What to add, by stat; signed 32 bits each, at least one.
        transaction_id: Counts once per player; None: as often as it comes.
        reason: For the audit.
        server_id: Which game server says so.
    """

    steam_id: int
    deltas: Mapping[str, int]
    transaction_id: str | None = None
    reason: str | None = None
    server_id: str | None = None


class Account(NamedTuple):
    """A player's totals.

    Attributes:
        version: How many changes there have been; 0 for none.
        totals: By stat, signed 64 bits each; a stat never changed is absent.
    """

    version: int
    totals: Mapping[str, int]


class Posted(NamedTuple):
    """The change is in the ledger, now or already before; that survives anything.

    Attributes:
        account: The totals with it, and whatever came after it.
        applied: False for a repeat of a transaction that had been counted.
    """

    account: Account
    applied: bool


@dataclass(frozen=True, slots=True)
class Refused:
    """Nothing was changed; or, with the last three codes, nobody can say.

    Attributes:
        code: `transaction_mismatch`, `insufficient`, `overflow`; `unstorable`: the database has no way to
            write it down, today or tomorrow; `busy`: there is too much to do;
            `database_unavailable`, `ledger_failed`, `timeout`: ask again, with the transaction id.
        stat: Which one, with `insufficient` and `overflow`.
        balance: Its total.
    """

    code: str
    stat: str | None = None
    balance: int | None = None


Outcome = Posted | Refused
