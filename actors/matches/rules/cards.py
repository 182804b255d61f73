"""Cards and decks of simple_card_battle, from the table in cards.json.

The table is a pool: each card with its number of copies. A deck is drawn from
a whole pool of its own without putting back, so luck evens out.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cache
from importlib.resources import files
from random import Random
from typing import Any, Final

from actors.matches.rules.contract import JsonObject

DECK_SIZE: Final = 15
TABLE: Final = "cards.json"


class EffectType(StrEnum):
    """What a card can do. Damage is for the opponent; the other two are for whoever plays the card."""

    DEAL_DAMAGE = "deal_damage"
    HEAL = "heal"
    DRAW_CARD = "draw_card"


@dataclass(frozen=True, slots=True)
class CardEffect:
    """One thing a card does.

    Attributes:
        type: What.
        amount: Hit points or cards; at least 1.
    """

    type: EffectType
    amount: int


@dataclass(frozen=True, slots=True)
class Card:
    """A card.

    Attributes:
        id: Unique within a game; empty in the pool.
        name: For people.
        effects: What happens when it is played, in this order.
    """

    id: str
    name: str
    effects: tuple[CardEffect, ...]

    def to_json(self) -> JsonObject:
        """`{id, name, effects: [{type, amount}]}`."""
        effects = [{"type": effect.type.value, "amount": effect.amount} for effect in self.effects]
        return {"id": self.id, "name": self.name, "effects": effects}


def show(cards: Sequence[Card]) -> list[JsonObject]:
    """Cards, as their owner may see them."""
    return [card.to_json() for card in cards]


@cache
def pool() -> tuple[Card, ...]:
    """Every copy of every card in the table that ships."""
    return read_table(json.loads(files(__package__).joinpath(TABLE).read_text(encoding="utf-8")))


def read_table(table: Any) -> tuple[Card, ...]:
    """A pool of cards without ids from `{"cards": [{"name", "copies", "effects": [{"type", "amount"}]}]}`.

    Raises:
        ValueError: There are not enough cards for a deck, or one does nothing.
        KeyError: Something is missing.
    """
    cards = tuple(_card(row) for row in table["cards"] for _ in range(row["copies"]))
    if len(cards) < DECK_SIZE:
        raise ValueError(f"{len(cards)} cards do not make a deck of {DECK_SIZE}")
    return cards


def _card(row: Any) -> Card:
    effects = tuple(CardEffect(EffectType(effect["type"]), effect["amount"]) for effect in row["effects"])
    if not effects or any(effect.amount < 1 for effect in effects):
        raise ValueError(f"{row['name']} does nothing, or less")
    return Card("", row["name"], effects)


def deal(decks: int, rng: Random, cards: Sequence[Card] | None = None) -> list[tuple[Card, ...]]:
    """So many shuffled decks of 15.

    Ids are given out in random order over all decks: neither an id nor the
    lack of one tells the opponent where in a deck a card was.
    """
    cards = pool() if cards is None else cards
    numbers = rng.sample(range(1, decks * DECK_SIZE + 1), decks * DECK_SIZE)
    return [
        tuple(replace(card, id=f"c{numbers.pop():02d}") for card in rng.sample(cards, DECK_SIZE))
        for _ in range(decks)
    ]
