"""Decides which entries count, from the rows as they are: no clock, no database."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from actors.players.entry import Account, Entry, Outcome, Posted, Refused

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

LARGEST: Final = 2**63 - 1
SMALLEST: Final = -(2**63)
NOBODY: Final = Account(0, {})

Key = tuple[int, str]


class Decided(NamedTuple):
    """The decision about some entries.

    Attributes:
        outcomes: One for each entry, in order.
        rows: Entries that count, each with the version it made.
        accounts: Players who changed, as they are afterwards.
    """

    outcomes: list[Outcome]
    rows: list[tuple[Entry, int]]
    accounts: dict[int, Account]


def decide(
    entries: Sequence[Entry],
    accounts: Mapping[int, Account],
    counted: Mapping[Key, Mapping[str, int]],
    non_negative: Collection[str],
) -> Decided:
    """Decide about entries in order, each seeing the ones before.

    Args:
        entries: Of any players.
        accounts: Every player's totals; a missing one has none.
        counted: The deltas of those transactions among the entries that had been counted before.
        non_negative: Stats whose totals may not be taken below zero.
    """
    seen = dict(counted)
    changed: dict[int, Account] = {}
    outcomes: list[Outcome] = []
    rows: list[tuple[Entry, int]] = []
    for entry in entries:
        steam_id, deltas, transaction_id, _, _ = entry
        account = changed.get(steam_id) or accounts.get(steam_id, NOBODY)
        if transaction_id is not None:
            before = seen.get((steam_id, transaction_id))
            if before is not None:
                outcomes.append(_repeated(account, before, deltas))
                continue
        result = _added(account, deltas, non_negative)
        if isinstance(result, Refused):
            outcomes.append(result)
            continue
        changed[steam_id] = result
        rows.append((entry, result.version))
        outcomes.append(Posted(result, applied=True))
        if transaction_id is not None:
            seen[steam_id, transaction_id] = deltas
    return Decided(outcomes, rows, changed)


def _repeated(account: Account, before: Mapping[str, int], deltas: Mapping[str, int]) -> Outcome:
    if before != deltas:
        return Refused("transaction_mismatch")
    return Posted(account, applied=False)


def _added(account: Account, deltas: Mapping[str, int], non_negative: Collection[str]) -> Account | Refused:
    totals = dict(account.totals)
    for stat, delta in deltas.items():
        balance = totals.get(stat, 0)
        total = balance + delta
        # A total that is below zero already, from before the rule, may recover.
        if total < 0 and delta < 0 and stat in non_negative:
            return Refused("insufficient", stat, balance)
        if not SMALLEST <= total <= LARGEST:
            return Refused("overflow", stat, balance)
        totals[stat] = total
    return Account(account.version + 1, totals)
