"""Two players, 20 hit points and 15 cards each.

Who begins is drawn by lot. A turn is: draw one card (not on the very first
turn), play one. It is over when somebody has no hit points left, when both have
neither hand nor deck (more hit points win, as many are a draw), or when
somebody gives up. A turn that takes too long is skipped.

What else had to be decided:

- A full hand draws nothing: the card stays on top of the deck, also when a card
  says to draw.
- Who has neither hand nor deck is passed over: the other one has turn after turn.
- Twenty turns in a row in which nobody plays anything end the battle as if the
  cards had run out (`cards_depleted`).
- All effects of a card happen, in its order, also after the one that decides
  the battle. Damage never hits whoever plays the card, so nobody dies together.
- Hit points before cards: a last card that kills is `hp_depleted`.
- In `game:action_applied`, `amount` is what the card says; `new_hp` and the
  counts of the views say what came of it.
- `game:turn_skipped` carries the number of the skipped turn; the
  `game:turn_changed` behind it the number of the next one.
- A turn that somebody's giving up cuts short does not count as played.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Final

from actors.matches.rules.battle import OPENING_HAND, Battle, Ending, Side, judged, next_turn, suffer
from actors.matches.rules.cards import Card, CardEffect, EffectType, deal, show
from actors.matches.rules.contract import (
    Action,
    GameRules,
    JsonObject,
    Outcome,
    Refused,
    Setup,
    Step,
    Tell,
    standings,
)

PLAY_CARD: Final = "play_card"


@dataclass(frozen=True, slots=True)
class SimpleCardBattle:
    """The game.

    Attributes:
        cards: The pool both decks are drawn from; None for the table that ships.
    """

    cards: tuple[Card, ...] | None = None
    name: str = "simple_card_battle"
    player_counts: frozenset[int] = frozenset({2})

    def init(self, setup: Setup, rng: Random) -> Step[Battle]:
        """Shuffle, deal three cards each, and draw lots for the first turn."""
        decks = deal(2, rng, self.cards)
        first, second = (
            Side(player, deck).draw(OPENING_HAND) for player, deck in zip(setup.players, decks, strict=True)
        )
        battle = Battle((first, second), rng.randrange(2), setup.turn_time_limit)
        return battle, (self._started(battle),)

    def validate(self, state: Battle, player: str, action: Action) -> str | None:
        """Whose turn it is, then what it is, then with which card."""
        if state.ending is not None or player != state.mover.player:
            return Refused.NOT_YOUR_TURN
        if action.name != PLAY_CARD or not isinstance(action.fields.get("card_id"), str):
            return Refused.INVALID_ACTION
        return None if state.mover.card(action.fields["card_id"]) else Refused.CARD_NOT_IN_HAND

    def apply(self, state: Battle, player: str, action: Action, rng: Random) -> Step[Battle]:  # noqa: ARG002
        """Play the card."""
        card = state.side_of(player).card(action.fields["card_id"])
        assert card is not None, "validate comes before apply"  # noqa: S101
        battle = state.seat(state.mover.put_down(card), state.waiter)
        done: list[JsonObject] = []
        for effect in card.effects:
            battle = suffer(battle, effect)
            done.append(_report(battle, effect))
        applied: JsonObject = {
            "actor": player,
            "action": PLAY_CARD,
            "card": card.to_json(),
            "effects": done,
            "turn_number": state.turn_number,
        }
        battle = replace(battle, turns_played=battle.turns_played + 1, idle_turns=0)
        return self._go_on(battle, (Tell("game:action_applied", applied), _hand(battle.mover)))

    def on_timeout(self, state: Battle, rng: Random) -> Step[Battle]:  # noqa: ARG002
        """Skip the turn. The cards stay where they are."""
        battle = replace(state, turns_played=state.turns_played + 1, idle_turns=state.idle_turns + 1)
        after, tells = self._go_on(battle, ())
        skipped: JsonObject = {
            "skipped_player": state.mover.player,
            "reason": "timeout",
            "next_turn": after.mover.player if after.ending is None else None,
            "turn_number": state.turn_number,
        }
        return after, (Tell("game:turn_skipped", skipped), *tells)

    def on_player_removed(self, state: Battle, player: str, rng: Random) -> Step[Battle]:  # noqa: ARG002
        """The other one wins."""
        return replace(state, ending=Ending.OPPONENT_FORFEIT, forfeiter=player), ()

    def outcome(self, state: Battle) -> Outcome | None:
        """How it ended."""
        if state.ending is None:
            return None
        return Outcome(
            winner=state.winner,
            reason=state.ending.value,
            standings=standings(state.winner, {side.player: {"hp": side.hp} for side in state.sides}),
            turns_played=state.turns_played,
        )

    def turn_number(self, state: Battle) -> int:
        """Of the turn under way."""
        return state.turn_number

    def private_view(self, state: Battle, player: str) -> JsonObject:
        """The table from this player's chair."""
        mine, theirs = state.side_of(player), state.opponent_of(player)
        return {
            **_head(state),
            "your_hand": show(mine.hand),
            "your_hp": mine.hp,
            "deck_count": len(mine.deck),
            "opponent_hp": theirs.hp,
            "opponent_hand_count": len(theirs.hand),
            "opponent_deck_count": len(theirs.deck),
        }

    def public_view(self, state: Battle) -> JsonObject:
        """The table as it is seen from outside: counts in place of cards, but for those that were played."""
        return {**_head(state), "players": {side.player: _outside(side) for side in state.sides}}

    def _started(self, battle: Battle) -> Tell:
        started: JsonObject = {
            "game_type": self.name,
            "players": [side.player for side in battle.sides],
            "first_turn": battle.mover.player,
            "turn_time_limit": battle.turn_time_limit,
        }
        private = {
            side.player: {
                "your_hand": show(side.hand),
                "your_hp": side.hp,
                "opponent_hp": battle.opponent_of(side.player).hp,
            }
            for side in battle.sides
        }
        return Tell("game:started", started, private)

    def _go_on(self, battle: Battle, tells: Sequence[Tell]) -> Step[Battle]:
        battle = judged(battle)
        if battle.ending is not None:
            return battle, tuple(tells)
        after = next_turn(battle)
        drawn = after.mover.hand[len(battle.side_of(after.mover.player).hand) :]
        hand_changed = (_hand(after.mover),) if drawn else ()
        return after, (*tells, _turn_changed(after, drawn), *hand_changed)


RULES: Final[GameRules[Battle]] = SimpleCardBattle()


def _report(battle: Battle, effect: CardEffect) -> JsonObject:
    target = battle.waiter if effect.type is EffectType.DEAL_DAMAGE else battle.mover
    report: JsonObject = {"type": effect.type.value, "target": target.player, "amount": effect.amount}
    return report if effect.type is EffectType.DRAW_CARD else {**report, "new_hp": target.hp}


def _hand(side: Side) -> Tell:
    held: JsonObject = {"hand": show(side.hand), "deck_count": len(side.deck)}
    return Tell("game:hand_updated", None, {side.player: held})


def _turn_changed(battle: Battle, drawn: Sequence[Card]) -> Tell:
    changed: JsonObject = {
        "current_turn": battle.mover.player,
        "turn_number": battle.turn_number,
        "turn_time_limit": battle.turn_time_limit,
        "drawn_card": None,
    }
    if not drawn:
        return Tell("game:turn_changed", changed)
    return Tell("game:turn_changed", changed, {battle.mover.player: {"drawn_card": drawn[0].to_json()}})


def _head(battle: Battle) -> JsonObject:
    return {
        "current_turn": battle.mover.player if battle.ending is None else None,
        "turn_number": battle.turn_number,
        "turn_time_limit": battle.turn_time_limit,
    }


def _outside(side: Side) -> JsonObject:
    return {
        "hp": side.hp,
        "hand_count": len(side.hand),
        "deck_count": len(side.deck),
        "played_count": len(side.played),
        "last_played": side.played[-1].to_json() if side.played else None,
    }
