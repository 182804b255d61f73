"""The table of simple_card_battle: two sides, whose turn it is, and how it changes.

What the players are told of it is not in here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from actors.matches.rules.cards import Card, CardEffect, EffectType

FULL_HP: Final = 20
OPENING_HAND: Final = 3
HAND_LIMIT: Final = 5
# Two players who keep their pages open and do nothing would play for ever. At the
# default of 60 s a turn this is twenty minutes, well past the grace for lost lines.
IDLE_TURNS_LIMIT: Final = 20


class Ending(StrEnum):
    """Why a battle is over."""

    HP_DEPLETED = "hp_depleted"
    CARDS_DEPLETED = "cards_depleted"
    OPPONENT_FORFEIT = "opponent_forfeit"


@dataclass(frozen=True, slots=True)
class Side:
    """One player's half of the table; every card of the deck is in exactly one of the three places.

    Attributes:
        player: User id.
        deck: Cards to draw, the top one first. Nobody sees them.
        hand: Oldest first. Only the player sees them.
        played: Oldest first. Everybody has seen them.
        hp: 0 to 20.
    """

    player: str
    deck: tuple[Card, ...]
    hand: tuple[Card, ...] = ()
    played: tuple[Card, ...] = ()
    hp: int = FULL_HP

    @property
    def is_out_of_cards(self) -> bool:
        """Neither hand nor deck."""
        return not self.hand and not self.deck

    def card(self, card_id: object) -> Card | None:
        """The card of that id in the hand."""
        return next((card for card in self.hand if card.id == card_id), None)

    def draw(self, cards: int) -> Side:
        """Take cards from the deck, as many as there are and the hand can hold."""
        taken = max(0, min(cards, HAND_LIMIT - len(self.hand)))
        return replace(self, hand=self.hand + self.deck[:taken], deck=self.deck[taken:])

    def put_down(self, card: Card) -> Side:
        """Play a card of the hand."""
        hand = tuple(held for held in self.hand if held is not card)
        return replace(self, hand=hand, played=(*self.played, card))

    def hurt(self, amount: int) -> Side:
        """Lose hit points, but none below 0."""
        return replace(self, hp=max(0, self.hp - amount))

    def heal(self, amount: int) -> Side:
        """Gain hit points, but none above 20."""
        return replace(self, hp=min(FULL_HP, self.hp + amount))


@dataclass(frozen=True, slots=True)
class Battle:
    """A battle, between two moves.

    Attributes:
        sides: The two players, in the order of the setup.
        current: Whose turn it is: 0 or 1.
        turn_time_limit: Seconds; only passed on.
        turn_number: Of the turn under way, from 1.
        turns_played: Turns that ended with a card or by the clock.
        idle_turns: Those at the end of them in which nothing was played.
        ending: Why it is over; None while it goes on.
        forfeiter: Who gave up.
    """

    sides: tuple[Side, Side]
    current: int
    turn_time_limit: float
    turn_number: int = 1
    turns_played: int = 0
    idle_turns: int = 0
    ending: Ending | None = None
    forfeiter: str | None = None

    @property
    def mover(self) -> Side:
        """Whose turn it is."""
        return self.sides[self.current]

    @property
    def waiter(self) -> Side:
        """Whose turn it is not."""
        return self.sides[1 - self.current]

    @property
    def winner(self) -> str | None:
        """Who has not given up, else who has more hit points; None if nobody has."""
        first, second = self.sides
        if self.forfeiter is not None:
            return second.player if self.forfeiter == first.player else first.player
        if first.hp == second.hp:
            return None
        return max(self.sides, key=lambda side: side.hp).player

    def side_of(self, player: str) -> Side:
        """This player's half."""
        return next(side for side in self.sides if side.player == player)

    def opponent_of(self, player: str) -> Side:
        """The other half."""
        return next(side for side in self.sides if side.player != player)

    def seat(self, mover: Side, waiter: Side) -> Battle:
        """The same battle with changed sides."""
        sides = (mover, waiter) if self.current == 0 else (waiter, mover)
        return replace(self, sides=sides)


def _damage(mover: Side, waiter: Side, amount: int) -> tuple[Side, Side]:
    return mover, waiter.hurt(amount)


def _heal(mover: Side, waiter: Side, amount: int) -> tuple[Side, Side]:
    return mover.heal(amount), waiter


def _draw(mover: Side, waiter: Side, amount: int) -> tuple[Side, Side]:
    return mover.draw(amount), waiter


EFFECTS: Final[Mapping[EffectType, Callable[[Side, Side, int], tuple[Side, Side]]]] = MappingProxyType(
    {EffectType.DEAL_DAMAGE: _damage, EffectType.HEAL: _heal, EffectType.DRAW_CARD: _draw}
)


def suffer(battle: Battle, effect: CardEffect) -> Battle:
    """One effect of the mover's card."""
    return battle.seat(*EFFECTS[effect.type](battle.mover, battle.waiter, effect.amount))


def judged(battle: Battle) -> Battle:
    """The battle after a turn: over, if it is."""
    if not all(side.hp for side in battle.sides):
        return replace(battle, ending=Ending.HP_DEPLETED)
    if all(side.is_out_of_cards for side in battle.sides) or battle.idle_turns >= IDLE_TURNS_LIMIT:
        return replace(battle, ending=Ending.CARDS_DEPLETED)
    return battle


def next_turn(battle: Battle) -> Battle:
    """The next turn of a battle that goes on: the other one draws.

    Who is out of cards is passed over. There is always one who is not, or the
    battle would be over.
    """
    current = battle.current if battle.waiter.is_out_of_cards else 1 - battle.current
    turned = replace(battle, current=current, turn_number=battle.turn_number + 1)
    return turned.seat(turned.mover.draw(1), turned.waiter)
