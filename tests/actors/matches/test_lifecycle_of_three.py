"""With more than two players the game goes on when one gives up."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

import pytest

from actors.matches.callback import Call
from actors.matches.lifecycle import Left, PlayerReply, Status, begin
from actors.matches.rules import Action, JsonObject, Outcome, PlayersNotWanted, Setup, Step, standings
from tests.actors.matches.lifecycle_story import GAMES, T0, Story, job

TRIO = ("ann", "bob", "cid")


@dataclass(frozen=True, slots=True)
class LastOneStanding:
    """Nothing can be done but to give up; the state is who has not."""

    name: str = "last_one_standing"
    player_counts: tuple[int, ...] = (3,)

    def init(self, setup: Setup, rng: Random) -> Step[tuple[str, ...]]:
        return setup.players, ()

    def validate(self, state: tuple[str, ...], player: str, action: Action) -> str | None:
        return "invalid_action"

    def apply(
        self, state: tuple[str, ...], player: str, action: Action, rng: Random
    ) -> Step[tuple[str, ...]]:
        raise AssertionError

    def on_timeout(self, state: tuple[str, ...], rng: Random) -> Step[tuple[str, ...]]:
        return state[1:], ()

    def on_player_removed(self, state: tuple[str, ...], player: str, rng: Random) -> Step[tuple[str, ...]]:
        return tuple(left for left in state if left != player), ()

    def outcome(self, state: tuple[str, ...]) -> Outcome | None:
        if len(state) > 1:
            return None
        winner = state[0] if state else None
        return Outcome(
            winner=winner,
            reason="stood",
            standings=standings(winner, {player: {} for player in TRIO}),
            turns_played=0,
        )

    def turn_number(self, state: tuple[str, ...]) -> int:
        return 1

    def private_view(self, state: tuple[str, ...], player: str) -> JsonObject:
        return {}

    def public_view(self, state: tuple[str, ...]) -> JsonObject:
        return {"standing": list(state)}


@pytest.fixture
def story() -> Story:
    story = Story()
    story.match = begin(job(TRIO), LastOneStanding(), seed=1, now=T0, node_name="node-a").match
    story.is_confirmed()
    for player in TRIO:
        story.joins(player)
    return story


def test_one_who_gives_up_is_out_for_good(story: Story) -> None:
    story.happens(Left("ann"))

    assert story.is_in(Status.PLAYING)
    assert story.joins("ann", "ann-2") == PlayerReply(ok=False, response={"reason": "not_expected"})
    assert story.acts("ann", action="any", nonce="n").response["reason"] == "invalid_action"
    assert story.shown["game"] == {"standing": ["bob", "cid"]}


def test_giving_up_twice_is_giving_up_once(story: Story) -> None:
    story.happens(Left("ann"))

    assert story.happens(Left("ann")) == PlayerReply(ok=True, response={})

    assert len(story.pushes("player:left")) == 1


def test_the_line_of_one_who_gave_up_is_nobodys_news(story: Story) -> None:
    story.happens(Left("ann"))
    story.loses("ann")

    assert not story.pushes("player:disconnected")


def test_who_gave_up_does_not_keep_an_empty_match_alive(story: Story) -> None:
    story.happens(Left("ann"))
    story.loses("bob")
    assert story.match.alone_due is None

    story.loses("cid")

    assert story.match.alone_due == T0 + 60


def test_the_last_one_wins(story: Story) -> None:
    story.happens(Left("ann"))
    story.happens(Left("cid"))

    assert story.body(Call.FINISHED)["winner_id"] == "bob"


def test_rules_whose_turn_number_stands_still_get_a_new_deadline_at_a_timeout(story: Story) -> None:
    story.ticks_until(T0 + 60)

    assert story.match.turn_due == T0 + 120


def test_too_many_players_for_the_rules_are_an_error_at_once() -> None:
    with pytest.raises(PlayersNotWanted):
        begin(job(TRIO), GAMES.get(None), seed=1, now=T0, node_name="node-a")
