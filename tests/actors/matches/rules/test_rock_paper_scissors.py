"""Rock, paper, scissors: both choose in secret, and it always ends."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.matches.rules import Action, Play, Setup
from actors.matches.rules.rock_paper_scissors import BEATS, RULES, Round
from tests.actors.matches.rules.games import PLAYERS, texts

SHAPES = tuple(BEATS)
GAMES = settings(max_examples=500, deadline=None)


def begin(**options: Any) -> Play[Round]:
    return Play.begin(RULES, Setup(players=PLAYERS, options=options), 1)[0]


def throw(shape: object) -> Action:
    return Action("throw", {"action": "throw", "shape": shape})


def both(play: Play[Round], ann: str, bob: str) -> Play[Round]:
    return play.act("ann", throw(ann))[0].act("bob", throw(bob))[0]


@pytest.mark.parametrize("winning", SHAPES)
def test_each_shape_beats_one_and_loses_to_another(winning: str) -> None:
    assert both(begin(), winning, BEATS[winning]).state.points == (1, 0)
    assert both(begin(), BEATS[winning], winning).state.points == (0, 1)
    assert both(begin(), winning, winning).state.points == (0, 0)


def test_a_throw_stays_secret_until_both_have_thrown() -> None:
    thrown, tells = begin().act("ann", throw("rock"))

    assert "rock" not in set(texts([tell.public for tell in tells]))
    assert "rock" not in set(texts(thrown.public_view()))
    assert "rock" not in set(texts(thrown.private_view("bob")))
    assert thrown.private_view("ann")["your_throw"] == "rock"
    assert thrown.turn_number == 1, "the clock goes on for the other one"

    _, tells = thrown.act("bob", throw("paper"))
    assert tells[-1].event == "game:round_ended"
    assert tells[-1].public == {
        "round": 1,
        "throws": {"ann": "rock", "bob": "paper"},
        "points": {"ann": 0, "bob": 1},
    }


def test_two_rounds_win() -> None:
    outcome = both(both(begin(), "rock", "scissors"), "rock", "scissors").outcome

    assert outcome is not None
    assert (outcome.winner, outcome.reason, outcome.turns_played) == ("ann", "rounds_won", 2)
    assert outcome.final_state()["bob"] == {"points": 0, "result": "loser"}


@pytest.mark.parametrize(("asked", "wanted"), [(1, 1), (5, 5), (0, 2), (6, 2), ("3", 2), ([], 2), (None, 2)])
def test_the_job_may_ask_for_more_rounds(asked: object, wanted: int) -> None:
    assert begin(rounds_to_win=asked).state.rounds_to_win == wanted


def test_who_has_not_thrown_in_time_loses_the_round() -> None:
    thrown, _ = begin().act("bob", throw("rock"))

    assert thrown.time_out()[0].state.points == (0, 1)


def test_nobody_throwing_ends_in_a_draw_after_nine_rounds() -> None:
    play = begin()
    for _ in range(9):
        assert play.outcome is None
        play, _ = play.time_out()

    assert play.outcome is not None
    assert (play.outcome.winner, play.outcome.reason, play.outcome.turns_played) == (None, "rounds_played", 9)


def test_giving_up_loses() -> None:
    outcome = begin().remove("ann")[0].outcome

    assert outcome is not None
    assert (outcome.winner, outcome.reason, outcome.turns_played) == ("bob", "opponent_forfeit", 0)


@pytest.mark.parametrize("shape", ["lizard", None, 3, [], {}])
def test_what_is_no_shape_is_refused(shape: object) -> None:
    assert begin().refusal("ann", throw(shape)) == "invalid_action"


def test_a_second_throw_in_a_round_is_refused() -> None:
    thrown, _ = begin().act("ann", throw("rock"))

    assert thrown.refusal("ann", throw("paper")) == "not_your_turn"


@GAMES
@given(st.lists(st.one_of(st.tuples(st.sampled_from(PLAYERS), st.sampled_from(SHAPES)), st.none())))
def test_every_game_ends(moves: list[tuple[str, str] | None]) -> None:
    play = begin()
    for move in [*moves, *[None] * 9]:
        if play.outcome is not None:
            break
        if move is None:
            play, _ = play.time_out()
        elif play.refusal(move[0], throw(move[1])) is None:
            play, _ = play.act(move[0], throw(move[1]))

    assert play.outcome is not None
    assert play.outcome.turns_played <= 9
