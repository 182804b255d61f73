"""The card table that ships makes decks, and a broken one says so."""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import Any

import pytest

from actors.matches.rules.cards import DECK_SIZE, EffectType, deal, pool, read_table


def test_the_pool_has_cards_of_every_kind() -> None:
    assert {effect.type for card in pool() for effect in card.effects} == set(EffectType)


def test_a_deck_never_has_more_copies_of_a_card_than_the_pool() -> None:
    copies = Counter(card.name for card in pool())
    for seed in range(100):
        for deck in deal(2, Random(seed)):
            assert len(deck) == DECK_SIZE
            assert Counter(card.name for card in deck) <= copies


def test_ids_say_nothing_of_the_place_in_the_deck() -> None:
    firsts = {deal(2, Random(seed))[0][0].id for seed in range(500)}

    assert firsts == {f"c{number:02d}" for number in range(1, 31)}


def row(**changes: Any) -> dict[str, Any]:
    return {"name": "Pie", "copies": 15, "effects": [{"type": "heal", "amount": 1}], **changes}


@pytest.mark.parametrize(
    "bad",
    [
        {"copies": 14},
        {"effects": []},
        {"effects": [{"type": "heal", "amount": 0}]},
        {"effects": [{"type": "explode", "amount": 1}]},
    ],
)
def test_a_table_that_makes_no_deck_is_refused(bad: dict[str, Any]) -> None:
    assert len(read_table({"cards": [row()]})) == DECK_SIZE
    with pytest.raises(ValueError, match=r"Pie|deck|explode"):
        read_table({"cards": [row(**bad)]})
