"""simple_card_battle, rule by rule, on tables laid out by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from actors.matches.rules import Play, PlayersNotWanted, Setup, Tell
from actors.matches.rules.battle import Battle, Side
from actors.matches.rules.cards import Card, CardEffect, EffectType
from actors.matches.rules.simple_card_battle import RULES
from tests.actors.matches.rules.games import PLAYERS, begin, card

DAMAGE, HEAL, DRAW = EffectType.DEAL_DAMAGE, EffectType.HEAL, EffectType.DRAW_CARD


def make(card_id: str, *effects: tuple[EffectType, int]) -> Card:
    return Card(card_id, card_id.title(), tuple(CardEffect(*effect) for effect in effects))


def cards(prefix: str, number: int) -> tuple[Card, ...]:
    return tuple(make(f"{prefix}{at}", (DAMAGE, 1)) for at in range(number))


def table(ann: Side, bob: Side, **changes: Any) -> Play[Battle]:
    """Ann's turn."""
    play, _ = begin()
    return replace(play, state=replace(Battle((ann, bob), 0, 60), **changes))


def side(player: str, hand: tuple[Card, ...] = (), deck: tuple[Card, ...] = (), **facts: Any) -> Side:
    return Side(player, deck, hand, **facts)


def events(tells: tuple[Tell, ...]) -> list[str]:
    return [tell.event for tell in tells]


def public(tells: tuple[Tell, ...], event: str) -> dict[str, Any]:
    found = next(tell.public for tell in tells if tell.event == event)
    assert found is not None
    return found


def test_both_begin_with_20_hit_points_three_cards_and_twelve_in_the_deck() -> None:
    play, _ = begin()

    for one in play.state.sides:
        assert (one.hp, len(one.hand), len(one.deck)) == (20, 3, 12)


def test_the_start_tells_everybody_the_same_but_for_their_hand() -> None:
    play, (started,) = begin(turn_time_limit_s=45.0)

    assert started.event == "game:started"
    assert started.public == {
        "game_type": "simple_card_battle",
        "players": ["ann", "bob"],
        "first_turn": play.state.mover.player,
        "turn_time_limit": 45,
    }
    for player in PLAYERS:
        hand = [held.to_json() for held in play.state.side_of(player).hand]
        assert started.private[player] == {"your_hand": hand, "your_hp": 20, "opponent_hp": 20}


def test_either_player_may_be_drawn_to_begin() -> None:
    assert {begin(seed)[0].state.current for seed in range(20)} == {0, 1}


def test_nothing_is_drawn_on_the_very_first_turn_and_one_card_on_every_other() -> None:
    play = table(side("ann", cards("a", 3), cards("x", 2)), side("bob", cards("b", 3), cards("y", 2)))

    after, tells = play.act("ann", card("a0"))

    assert [held.id for held in after.state.side_of("ann").hand] == ["a1", "a2"]
    assert [held.id for held in after.state.side_of("bob").hand] == ["b0", "b1", "b2", "y0"]
    assert events(tells) == [
        "game:action_applied",
        "game:hand_updated",
        "game:turn_changed",
        "game:hand_updated",
    ]
    changed = tells[2]
    assert changed.public == {
        "current_turn": "bob",
        "turn_number": 2,
        "turn_time_limit": 60,
        "drawn_card": None,
    }
    assert changed.private == {"bob": {"drawn_card": cards("y", 1)[0].to_json()}}
    assert tells[3].private["bob"]["deck_count"] == 1


def test_what_a_card_does_is_told_to_everybody_in_its_order() -> None:
    wonder = make("wonder", (DAMAGE, 4), (HEAL, 3), (DRAW, 2))
    play = table(side("ann", (wonder,), cards("x", 3), hp=10), side("bob", cards("b", 1)))

    after, tells = play.act("ann", card("wonder"))

    assert public(tells, "game:action_applied") == {
        "actor": "ann",
        "action": "play_card",
        "card": wonder.to_json(),
        "effects": [
            {"type": "deal_damage", "target": "bob", "amount": 4, "new_hp": 16},
            {"type": "heal", "target": "ann", "amount": 3, "new_hp": 13},
            {"type": "draw_card", "target": "ann", "amount": 2},
        ],
        "turn_number": 1,
    }
    assert [held.id for held in after.state.side_of("ann").hand] == ["x0", "x1"]


def test_hit_points_never_rise_above_20() -> None:
    play = table(side("ann", (make("tea", (HEAL, 5)),), cards("x", 1), hp=18), side("bob", cards("b", 1)))

    after, _ = play.act("ann", card("tea"))

    assert after.state.side_of("ann").hp == 20


def test_zero_hit_points_end_it_at_once_and_the_card_is_still_played_to_its_end() -> None:
    last = make("last", (DAMAGE, 9), (HEAL, 2))
    play = table(side("ann", (last,), cards("x", 1), hp=5), side("bob", cards("b", 1), hp=3))

    after, tells = play.act("ann", card("last"))

    assert [one.hp for one in after.state.sides] == [7, 0]
    assert events(tells) == ["game:action_applied", "game:hand_updated"]
    assert after.outcome is not None
    assert (after.outcome.winner, after.outcome.reason) == ("ann", "hp_depleted")
    assert after.refusal("bob", card("b0")) == "not_your_turn"


def test_a_last_card_that_kills_counts_as_hit_points_not_as_cards() -> None:
    play = table(side("ann", (make("last", (DAMAGE, 9)),)), side("bob", hp=3))

    after, _ = play.act("ann", card("last"))

    assert after.outcome is not None
    assert after.outcome.reason == "hp_depleted"


@pytest.mark.parametrize(("hp", "winner"), [(3, "bob"), (9, "ann"), (6, None)])
def test_when_all_cards_are_gone_more_hit_points_win(hp: int, winner: str | None) -> None:
    play = table(side("ann", cards("a", 1), hp=hp), side("bob", hp=7))

    after, _ = play.act("ann", card("a0"))

    assert after.outcome is not None
    assert (after.outcome.winner, after.outcome.reason) == (winner, "cards_depleted")


def test_a_full_hand_draws_nothing_and_the_card_stays_on_the_deck() -> None:
    play = table(side("ann", cards("a", 1), cards("x", 1)), side("bob", cards("b", 5), cards("y", 2)))

    after, tells = play.act("ann", card("a0"))

    bob = after.state.side_of("bob")
    assert (len(bob.hand), [held.id for held in bob.deck]) == (5, ["y0", "y1"])
    changed = next(tell for tell in tells if tell.event == "game:turn_changed")
    assert not changed.private


def test_a_card_that_draws_fills_the_hand_to_its_limit_only() -> None:
    play = table(
        side("ann", (make("d", (DRAW, 3)), *cards("a", 4)), cards("x", 9)), side("bob", cards("b", 1))
    )

    after, _ = play.act("ann", card("d"))

    assert len(after.state.side_of("ann").hand) == 5
    assert len(after.state.side_of("ann").deck) == 8


def test_who_is_out_of_cards_is_passed_over() -> None:
    play = table(side("ann", cards("a", 2)), side("bob"))

    after, tells = play.act("ann", card("a0"))

    assert after.state.mover.player == "ann"
    assert public(tells, "game:turn_changed")["current_turn"] == "ann"
    assert public(tells, "game:turn_changed")["turn_number"] == 2
    assert after.outcome is None


def test_a_turn_that_takes_too_long_is_skipped_and_costs_no_card() -> None:
    play = table(side("ann", cards("a", 3)), side("bob", cards("b", 3), cards("y", 1)))

    after, tells = play.time_out()

    assert events(tells) == ["game:turn_skipped", "game:turn_changed", "game:hand_updated"]
    assert tells[0].public == {
        "skipped_player": "ann",
        "reason": "timeout",
        "next_turn": "bob",
        "turn_number": 1,
    }
    assert after.state.side_of("ann") == play.state.side_of("ann")
    assert after.state.turns_played == 1


def test_twenty_idle_turns_in_a_row_end_it_and_a_card_in_between_begins_the_count_again() -> None:
    play = table(side("ann", cards("a", 3)), side("bob", cards("b", 3), hp=19))
    for _ in range(19):
        play, _ = play.time_out()
    assert play.state.mover.player == "bob"
    going_on, _ = play.act("bob", card("b0"))
    for _ in range(19):
        going_on, _ = going_on.time_out()
    assert going_on.outcome is None

    over, tells = play.time_out()

    assert over.outcome is not None
    assert (over.outcome.winner, over.outcome.reason) == ("ann", "cards_depleted")
    assert over.outcome.turns_played == 20
    assert events(tells) == ["game:turn_skipped"]


def test_the_private_view_shows_the_table_from_ones_own_chair() -> None:
    play = table(side("ann", cards("a", 2), cards("x", 4), hp=11), side("bob", cards("b", 1), cards("y", 6)))

    assert play.private_view("ann") == {
        "current_turn": "ann",
        "turn_number": 1,
        "turn_time_limit": 60,
        "your_hand": [held.to_json() for held in cards("a", 2)],
        "your_hp": 11,
        "deck_count": 4,
        "opponent_hp": 20,
        "opponent_hand_count": 1,
        "opponent_deck_count": 6,
    }


@pytest.mark.parametrize("players", [(), ("ann",), ("ann", "ann"), ("ann", "bob", "cid")])
def test_two_different_players_are_wanted(players: tuple[str, ...]) -> None:
    with pytest.raises(PlayersNotWanted) as refused:
        Play.begin(RULES, Setup(players=players), 1)
    assert refused.value.players == players
