"""In every game of simple_card_battle: it ends, nothing is lost, nothing is shown that should not be."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from actors.matches.rules import Action, Play, Setup
from actors.matches.rules.battle import HAND_LIMIT, IDLE_TURNS_LIMIT, Side
from actors.matches.rules.cards import DECK_SIZE, Card
from tests.actors.matches.rules.games import PLAYERS, Seen, begin, card, choices, play_out, seeds, texts

MOST_CARDS = 2 * DECK_SIZE
GAMES = settings(max_examples=300, deadline=None)
FEWER_GAMES = settings(max_examples=125, deadline=None)


@GAMES
@given(seeds, choices)
def test_every_game_ends_within_its_bound(seed: int, moves: list[int | None]) -> None:
    *_, last = play_out(seed, moves)

    outcome = last.play.outcome
    assert outcome is not None
    assert outcome.turns_played == last.play.step <= (MOST_CARDS + 1) * IDLE_TURNS_LIMIT
    assert outcome.reason in {"hp_depleted", "cards_depleted"}
    assert set(outcome.standings) == set(PLAYERS)


@GAMES
@given(seeds, choices)
def test_hit_points_hands_and_turn_numbers_stay_in_range(seed: int, moves: list[int | None]) -> None:
    number = 0
    for seen in play_out(seed, moves):
        battle = seen.play.state
        assert all(0 <= side.hp <= 20 and len(side.hand) <= HAND_LIMIT for side in battle.sides)
        if battle.ending is None:
            assert battle.mover.hand, "whose turn it is has a card to play"
            assert battle.turn_number == number + 1
            number = battle.turn_number


@GAMES
@given(seeds, choices)
def test_cards_are_conserved(seed: int, moves: list[int | None]) -> None:
    dealt = None
    for seen in play_out(seed, moves):
        owned = [sorted(card.id for card in everything(side)) for side in seen.play.state.sides]
        dealt = dealt or owned
        assert owned == dealt
    assert dealt is not None
    assert len({card_id for cards in dealt for card_id in cards}) == MOST_CARDS


@GAMES
@given(seeds, choices)
def test_the_one_with_more_hit_points_wins_and_as_many_are_a_draw(seed: int, moves: list[int | None]) -> None:
    *_, last = play_out(seed, moves)

    outcome = last.play.outcome
    assert outcome is not None
    hp = {side.player: side.hp for side in last.play.state.sides}
    if outcome.winner is None:
        assert hp["ann"] == hp["bob"]
        assert {standing.result for standing in outcome.standings.values()} == {"draw"}
    else:
        loser = next(player for player in PLAYERS if player != outcome.winner)
        assert hp[outcome.winner] > hp[loser]
        assert outcome.final_state() == {
            outcome.winner: {"hp": hp[outcome.winner], "result": "winner"},
            loser: {"hp": hp[loser], "result": "loser"},
        }
    assert (outcome.reason == "hp_depleted") == (0 in hp.values())


@FEWER_GAMES
@given(seeds, choices)
def test_the_same_seed_and_moves_are_the_same_game(seed: int, moves: list[int | None]) -> None:
    assert list(play_out(seed, moves)) == list(play_out(seed, moves))


@FEWER_GAMES
@given(seeds, choices)
def test_a_step_done_again_after_a_crash_gives_the_same(seed: int, moves: list[int | None]) -> None:
    for seen in play_out(seed, moves):
        if seen.play.outcome is None:
            move = card(seen.play.state.mover.hand[0].id)
            mover = seen.play.state.mover.player
            assert seen.play.act(mover, move) == seen.play.act(mover, move)


@FEWER_GAMES
@given(seeds, choices)
def test_nothing_public_ever_names_a_card_in_a_hand_or_a_deck(seed: int, moves: list[int | None]) -> None:
    for seen in play_out(seed, moves):
        hidden = {card.id for side in seen.play.state.sides for card in side.hand + side.deck}
        assert hidden.isdisjoint(texts(seen.play.public_view()))
        for tell in seen.tells:
            assert hidden.isdisjoint(texts(tell.public))


@FEWER_GAMES
@given(seeds, choices)
def test_a_player_is_only_ever_told_of_their_own_cards(seed: int, moves: list[int | None]) -> None:
    for seen in play_out(seed, moves):
        for side in seen.play.state.sides:
            theirs = {card.id for card in side.hand + side.deck}
            opponent = seen.play.state.opponent_of(side.player).player
            assert theirs.isdisjoint(texts(seen.play.private_view(opponent)))
            assert theirs.isdisjoint(texts(heard(seen, opponent)))
            own_deck = {card.id for card in side.deck}
            assert own_deck.isdisjoint(texts(seen.play.private_view(side.player)))


@FEWER_GAMES
@given(seeds, choices)
def test_who_listens_to_the_hand_updates_always_knows_the_hand(seed: int, moves: list[int | None]) -> None:
    known: dict[str, object] = {}
    for seen in play_out(seed, moves):
        for player in PLAYERS:
            for tell in seen.tells:
                own = tell.private.get(player, {})
                known[player] = own.get("hand", own.get("your_hand", known.get(player)))
            assert known[player] == seen.play.private_view(player)["your_hand"]


nonsense = st.one_of(
    st.none(), st.integers(), st.text(max_size=5), st.lists(st.integers(), max_size=2), st.booleans()
)


@GAMES
@given(seeds, choices, st.sampled_from(("play_card", "PLAY_CARD", "", "draw")), nonsense, st.integers(0, 4))
def test_what_is_refused_is_refused_for_its_reason_and_never_raises(
    seed: int, moves: list[int | None], name: str, card_id: object, place: int
) -> None:
    for seen in play_out(seed, moves):
        battle = seen.play.state
        before = replace(battle)
        waiter = battle.waiter
        theirs = waiter.hand[place % len(waiter.hand)].id if waiter.hand else "c00"

        assert seen.play.refusal(waiter.player, card(theirs)) == "not_your_turn"
        if battle.ending is None:
            mover = battle.mover.player
            assert seen.play.refusal(mover, card(theirs)) == "card_not_in_hand"
            expected = (
                "card_not_in_hand" if name == "play_card" and isinstance(card_id, str) else "invalid_action"
            )
            assert seen.play.refusal(mover, Action(name, {"card_id": card_id})) == expected
            assert seen.play.refusal(mover, card(battle.mover.hand[0].id)) is None
        assert battle == before


@FEWER_GAMES
@given(seeds, choices, st.integers(0, 80), st.sampled_from(PLAYERS))
def test_whoever_gives_up_loses(seed: int, moves: list[int | None], at: int, player: str) -> None:
    going_on = [seen.play for seen in play_out(seed, moves)][:-1]
    play = going_on[at % len(going_on)]

    after, _ = play.remove(player)

    outcome = after.outcome
    assert outcome is not None
    assert outcome.reason == "opponent_forfeit"
    assert outcome.standings[player].result == "loser"
    assert outcome.winner == play.state.opponent_of(player).player
    assert outcome.turns_played == play.step


@FEWER_GAMES
@given(seeds)
def test_the_two_orders_of_players_get_the_same_decks(seed: int) -> None:
    def decks(players: tuple[str, str]) -> list[tuple[Card, ...]]:
        play, _ = Play.begin(begin()[0].rules, Setup(players=players), seed)
        return [everything(side) for side in play.state.sides]

    assert decks(("ann", "bob")) == decks(("bob", "ann"))


def test_different_seeds_are_different_games() -> None:
    assert len({begin(seed)[0].state.sides for seed in range(200)}) == 200


def everything(side: Side) -> tuple[Card, ...]:
    return side.hand + side.deck + side.played


def heard(seen: Seen, player: str) -> list[object]:
    return [tell.private.get(player, {}) for tell in seen.tells]
