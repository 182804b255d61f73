"""What comes of changes: the rules, without any database."""

from __future__ import annotations

from actors.players import Account, Entry, Posted, Refused
from actors.players.decision import LARGEST, SMALLEST, decide

NON_NEGATIVE = frozenset(("cash", "pills"))
RICH = {1: Account(4, {"exp": 10, "cash": 100})}


def decided(*entries: Entry, accounts: dict[int, Account] | None = None) -> list[Posted | Refused]:
    return decide(entries, RICH if accounts is None else accounts, {}, NON_NEGATIVE).outcomes


def test_deltas_are_added_and_the_version_grows_by_one() -> None:
    assert decided(Entry(1, {"exp": 5, "cash": -40})) == [
        Posted(Account(5, {"exp": 15, "cash": 60}), applied=True)
    ]


def test_a_player_nobody_has_heard_of_starts_from_nothing() -> None:
    assert decided(Entry(2, {"exp": -5})) == [Posted(Account(1, {"exp": -5}), applied=True)]


def test_entries_of_one_player_see_each_other() -> None:
    first, second = decided(Entry(1, {"cash": -80}), Entry(1, {"cash": -80}))

    assert first == Posted(Account(5, {"exp": 10, "cash": 20}), applied=True)
    assert second == Refused("insufficient", "cash", 20)


def test_a_refused_entry_changes_nothing_of_what_it_asked_for() -> None:
    outcome = decide([Entry(1, {"exp": 5, "cash": -101}, "t")], RICH, {}, NON_NEGATIVE)

    assert outcome.rows == []
    assert outcome.accounts == {}


def test_a_refused_transaction_may_be_tried_again() -> None:
    poor, earned, rich = decided(
        Entry(1, {"cash": -150}, "buy"), Entry(1, {"cash": 50}), Entry(1, {"cash": -150}, "buy")
    )

    assert poor == Refused("insufficient", "cash", 100)
    assert isinstance(earned, Posted)
    assert rich == Posted(Account(6, {"exp": 10, "cash": 0}), applied=True)


def test_a_total_may_end_at_zero_and_others_below() -> None:
    assert decided(Entry(1, {"cash": -100, "exp": -11})) == [
        Posted(Account(5, {"exp": -1, "cash": 0}), applied=True)
    ]


def test_a_total_that_is_below_zero_already_may_recover() -> None:
    assert decided(Entry(1, {"cash": 3}), accounts={1: Account(1, {"cash": -10})}) == [
        Posted(Account(2, {"cash": -7}), applied=True)
    ]


def test_totals_stay_within_64_bits() -> None:
    full = {1: Account(1, {"exp": LARGEST}), 2: Account(1, {"exp": SMALLEST})}

    assert decided(Entry(1, {"exp": 1}), Entry(2, {"exp": -1}), accounts=full) == [
        Refused("overflow", "exp", LARGEST),
        Refused("overflow", "exp", SMALLEST),
    ]


def test_a_repeat_within_one_transaction_counts_once() -> None:
    first, second = decided(Entry(1, {"exp": 5}, "t"), Entry(1, {"exp": 5}, "t"))

    assert isinstance(first, Posted)
    assert second == Posted(first.account, applied=False)


def test_a_transaction_id_belongs_to_one_player() -> None:
    outcomes = decided(Entry(1, {"exp": 5}, "t"), Entry(2, {"exp": 7}, "t"))

    assert [outcome.applied for outcome in outcomes if isinstance(outcome, Posted)] == [True, True]


def test_the_same_id_with_other_deltas_is_refused() -> None:
    counted = {(1, "t"): {"exp": 5}}

    outcomes = decide([Entry(1, {"exp": 6}, "t")], RICH, counted, NON_NEGATIVE).outcomes

    assert outcomes == [Refused("transaction_mismatch")]


def test_a_repeat_is_told_the_totals_as_they_are_now() -> None:
    counted = {(1, "t"): {"exp": 5}}
    entries = [Entry(1, {"exp": 1}), Entry(1, {"exp": 5}, "t")]

    assert decide(entries, RICH, counted, NON_NEGATIVE).outcomes[1] == Posted(
        Account(5, {"exp": 11, "cash": 100}), applied=False
    )
