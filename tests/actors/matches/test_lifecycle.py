"""The life of a match, story by story."""

from __future__ import annotations

import pytest

from actors.matches.callback import Call
from actors.matches.delivery import Verdict
from actors.matches.lifecycle import (
    OVER,
    TRANSITIONS,
    Acted,
    CallbackSettled,
    Event,
    Gone,
    Joined,
    Left,
    PlayerReply,
    ProcessFailed,
    Recovered,
    Rejected,
    Status,
    Terminated,
    Tick,
    Trigger,
    WakeAt,
    step,
)
from tests.actors.matches.lifecycle_story import CONFIRMED, T0, Story

# -- the table ------------------------------------------------------------------------


def test_nothing_leads_out_of_a_status_that_is_over() -> None:
    assert not {before for before, _ in TRANSITIONS} & OVER


def test_every_status_that_is_not_over_can_be_terminated() -> None:
    assert {before for before, trigger in TRANSITIONS if trigger is Trigger.TERMINATED} == set(Status) - OVER


# -- preparing and ready --------------------------------------------------------------


def test_a_new_match_shows_itself_and_waits_for_the_api_server() -> None:
    story = Story()

    assert story.is_in(Status.PREPARING)
    assert story.shown["status"] == "preparing"
    assert story.shown["players"][0] == {"user_id": "ann", "display_name": "ann", "connected": False}
    assert story.shown["game"] is None
    assert story.of_kind(WakeAt) == [WakeAt(None)]


def test_the_join_timeout_runs_from_the_acknowledgement() -> None:
    story = Story()
    story.happens(CONFIRMED, after_s=10)

    assert story.match.next_deadline == T0 + 10 + 120
    story.happens(Tick(), after_s=119)
    assert story.is_in(Status.READY)

    story.happens(Tick(), after_s=1)

    assert story.is_in(Status.ABORTED)
    assert story.body(Call.ABORTED) == {
        "room_id": "r1",
        "reason": "join_timeout",
        "aborted_at": "2026-02-02T02:42:10.000Z",
    }


def test_a_room_the_api_server_does_not_acknowledge_vanishes_without_a_word() -> None:
    story = Story()

    story.happens(Rejected())

    assert story.is_in(Status.FAILED)
    assert story.calls == [Call.READY]
    assert story.is_gone


def test_a_crash_past_the_limit_before_the_acknowledgement_is_a_failure_not_an_abort() -> None:
    story = Story()

    story.happens(ProcessFailed())

    assert (story.match.status, story.calls) == (Status.FAILED, [Call.READY])


def test_a_match_can_be_terminated_before_it_is_acknowledged() -> None:
    story = Story()

    story.happens(Terminated())
    story.happens(CONFIRMED)

    assert story.is_in(Status.ABORTED)
    assert story.body(Call.ABORTED)["reason"] == "admin_terminated"


def test_players_who_are_early_wait_for_the_acknowledgement() -> None:
    story = Story()
    story.joins("ann")
    story.joins("bob")
    assert story.is_in(Status.PREPARING)

    story.happens(CONFIRMED)

    assert story.is_in(Status.PLAYING)


def test_a_stranger_may_not_join() -> None:
    story = Story().is_confirmed()

    assert story.joins("eve") == PlayerReply(ok=False, response={"reason": "not_expected"})
    assert not story.pushes("player:joined")


def test_the_first_to_come_hears_who_is_expected() -> None:
    story = Story().is_confirmed()

    answer = story.joins("ann")

    assert answer.ok
    assert answer.response["room_id"] == "r1"
    assert answer.response["status"] == "ready"
    assert answer.response["players"] == [
        {"user_id": "ann", "display_name": "Ann", "connected": True},
        {"user_id": "bob", "display_name": "bob", "connected": False},
    ]
    assert "game" not in answer.response
    (joined,) = story.pushes("player:joined")
    assert joined.to == ("ann", "bob")
    assert joined.payload == {
        "user_id": "ann",
        "display_name": "Ann",
        "players_joined": 1,
        "players_required": 2,
    }


def test_the_game_begins_when_everybody_is_there_at_once() -> None:
    story = Story().is_confirmed()
    story.joins("ann")
    story.loses("ann")
    story.joins("bob")
    assert story.is_in(Status.READY)

    story.joins("ann", "ann-2")

    assert story.is_in(Status.PLAYING)
    assert [push.payload["players_joined"] for push in story.pushes("player:joined")] == [1, 1]
    assert len(story.pushes("player:reconnected")) == 1


def test_leaving_before_the_start_is_no_forfeit_and_can_be_taken_back() -> None:
    story = Story().is_confirmed()
    story.joins("ann")

    assert story.happens(Left("ann")) == PlayerReply(ok=True, response={})

    story.joins("bob")
    assert story.is_in(Status.READY)
    assert story.pushes("player:left")[0].payload == {
        "user_id": "ann",
        "display_name": "Ann",
        "reason": "left",
    }
    story.joins("ann", "ann-2")
    assert story.is_in(Status.PLAYING)


# -- playing --------------------------------------------------------------------------


def test_the_start_is_told_to_the_api_server_the_players_and_the_onlookers() -> None:
    story = Story().is_playing()

    assert story.body(Call.STARTED) == {
        "room_id": "r1",
        "started_at": "2026-02-02T02:40:00.000Z",
        "player_ids": ["ann", "bob"],
    }
    assert story.shown["status"] == "playing"
    assert story.shown["turn_ends_at"] == "2026-02-02T02:41:00.000Z"
    assert story.shown["game"]["players"]["ann"]["hand_count"] == 3
    for push in story.pushes("game:started"):
        (player,) = push.to
        assert push.payload["your_hand"] == [card.to_json() for card in story.battle.side_of(player).hand]


def test_whoever_joins_last_has_the_game_in_the_answer() -> None:
    story = Story().is_playing()

    assert story.answers[-1].response["status"] == "playing"
    assert len(story.answers[-1].response["game"]["your_hand"]) == 3


def test_an_accepted_action_has_an_id_and_is_told_to_all() -> None:
    story = Story().is_playing()

    first, second = story.plays_a_card(), story.plays_a_card()

    assert first == PlayerReply(ok=True, response={"accepted": True, "action_id": "r1-a1"})
    assert second.response["action_id"] == "r1-a2"
    assert [push.to for push in story.pushes("game:action_applied")] == [("ann", "bob")] * 2
    assert all(len(push.to) == 1 for push in story.pushes("game:hand_updated"))


def test_only_who_draws_a_card_is_told_which() -> None:
    story = Story().is_playing()
    story.plays_a_card()

    drawn = {push.to: push.payload["drawn_card"] for push in story.pushes("game:turn_changed")}

    assert drawn == {(story.waiter,): None, (story.mover,): story.battle.mover.hand[-1].to_json()}


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"action": "play_card", "card_id": "c99"}, "missing_nonce"),
        ({"action": "play_card", "card_id": "c99", "nonce": ""}, "missing_nonce"),
        ({"action": "play_card", "card_id": "c99", "nonce": None}, "missing_nonce"),
        ({"action": "play_card", "card_id": "c99", "nonce": {}}, "missing_nonce"),
        ({"action": "play_card", "card_id": "c99", "nonce": "x" * 129}, "missing_nonce"),
        ({"action": "play_card", "card_id": "c99", "nonce": 17}, "card_not_in_hand"),
        ({"action": "dance", "nonce": "n"}, "invalid_action"),
        ({"action": 3, "nonce": "n"}, "invalid_action"),
        ({"nonce": "n"}, "invalid_action"),
    ],
)
def test_a_refused_action_says_why_and_changes_nothing(fields: dict[str, object], reason: str) -> None:
    story = Story().is_playing()
    before, effects = story.match, len(story.effects)

    answer = story.acts(story.mover, **fields)

    assert answer == PlayerReply(ok=False, response={"accepted": False, "reason": reason})
    assert story.match.play is before.play
    assert [seat.nonces for seat in story.match.seats] == [(), ()]
    assert len(story.effects) == effects


def test_a_move_out_of_turn_is_refused() -> None:
    story = Story().is_playing()

    answer = story.acts(story.waiter, action="play_card", card_id=story.battle.waiter.hand[0].id, nonce="n")

    assert answer.response["reason"] == "not_your_turn"


@pytest.mark.parametrize("payload", [None, 3, "text", [], b"bytes"])
def test_a_payload_that_is_no_object_is_refused(payload: object) -> None:
    story = Story().is_playing()

    answer = story.happens(Acted(story.mover, payload))

    assert answer == PlayerReply(ok=False, response={"accepted": False, "reason": "missing_nonce"})


def test_nothing_can_be_played_before_the_start_or_after_the_end() -> None:
    story = Story().is_confirmed()
    story.joins("ann")
    assert (
        story.acts("ann", action="play_card", card_id="c01", nonce="n").response["reason"]
        == "game_not_started"
    )

    story = Story().is_playing()
    story.happens(Left("ann"))

    assert (
        story.acts("bob", action="play_card", card_id="c01", nonce="n").response["reason"]
        == "game_not_started"
    )


def test_an_action_sent_twice_counts_once() -> None:
    story = Story().is_playing()
    mover, card_id = story.mover, story.battle.mover.hand[0].id
    assert story.acts(mover, action="play_card", card_id=card_id, nonce="once").ok
    story.plays_a_card()
    before = story.match.play

    again = story.acts(mover, action="play_card", card_id=card_id, nonce="once")

    assert again.response["reason"] == "duplicate_nonce"
    assert story.match.play is before


def test_a_nonce_of_a_refused_action_may_be_used_again() -> None:
    story = Story().is_playing()
    first = story.mover
    assert not story.acts(first, action="play_card", card_id="c99", nonce="again").ok

    assert story.acts(first, action="play_card", card_id=story.battle.mover.hand[0].id, nonce="again").ok


def test_the_two_players_nonces_are_their_own() -> None:
    story = Story().is_playing()
    for _ in range(2):
        assert story.acts(
            story.mover, action="play_card", card_id=story.battle.mover.hand[0].id, nonce="same"
        ).ok


def test_a_sixth_action_within_a_second_is_one_too_many() -> None:
    story = Story().is_playing()
    player = story.waiter
    reasons = [
        story.acts(player, action="play_card", card_id="c", nonce="n").response["reason"] for _ in range(6)
    ]

    assert reasons == ["not_your_turn"] * 5 + ["rate_limited"]
    story.joins(player, "another connection")
    again = story.acts(player, action="play_card", card_id="c", nonce="n")
    assert again.response["reason"] == "rate_limited"
    story.now += 1
    assert (
        story.acts(player, action="play_card", card_id="c", nonce="n").response["reason"] == "not_your_turn"
    )


def test_a_turn_that_takes_too_long_is_skipped_also_when_its_player_is_away() -> None:
    story = Story(reconnect_grace_s=1000).is_playing()
    slow, other = story.mover, story.waiter
    story.loses(slow)

    story.happens(Tick(), after_s=59.9)
    assert not story.pushes("game:turn_skipped")
    story.happens(Tick(), after_s=0.2)

    (skipped,) = story.pushes("game:turn_skipped")
    assert skipped.payload == {
        "skipped_player": slow,
        "reason": "timeout",
        "next_turn": other,
        "turn_number": 1,
    }
    assert story.mover == other
    assert story.match.next_deadline == story.now + 60


def test_a_move_starts_the_clock_again() -> None:
    story = Story().is_playing()

    story.plays_a_card(after_s=50)
    story.happens(Tick(), after_s=50)

    assert not story.pushes("game:turn_skipped")
    assert story.of_kind(WakeAt)[-1] == WakeAt(T0 + 50 + 60)


def test_a_throw_does_not_give_the_other_one_more_time() -> None:
    story = Story(rules="rock_paper_scissors").is_playing()

    story.now += 40
    assert story.acts("ann", action="throw", shape="rock", nonce="n").ok

    assert story.match.next_deadline == T0 + 60


# -- lost connections -----------------------------------------------------------------------


def test_the_others_hear_who_lost_the_connection_and_who_is_back() -> None:
    story = Story().is_playing()

    story.loses("ann")
    assert story.shown["players"][0]["connected"] is False
    answer = story.joins("ann", "ann-2")

    assert story.pushes("player:disconnected")[0].to == ("bob",)
    assert story.pushes("player:reconnected")[0].to == ("bob",)
    assert story.shown["players"][0]["connected"] is True
    assert answer.response["game"]["your_hp"] == 20


def test_a_second_connection_takes_the_place_of_the_first_and_nobody_notices() -> None:
    story = Story().is_playing()
    effects = len(story.effects)

    assert story.joins("ann", "ann-2").ok
    story.loses("ann", "ann-1")

    assert story.match.seats[0].is_there
    assert len(story.effects) == effects


def test_a_player_may_come_back_within_the_grace() -> None:
    story = Story().is_playing()
    story.loses("ann")
    story.loses("bob")
    story.happens(Tick(), after_s=59)
    story.joins("bob", "bob-2")

    story.happens(Tick(), after_s=30)

    assert story.is_in(Status.PLAYING)


def test_nobody_coming_back_within_the_grace_aborts_the_match() -> None:
    story = Story().is_playing()
    story.loses("ann")
    story.now += 30
    story.loses("bob")

    story.ticks_until(T0 + 89)
    assert story.is_in(Status.PLAYING)
    story.ticks_until(T0 + 90)

    assert story.body(Call.ABORTED)["reason"] == "all_disconnected"
    assert story.pushes("game:aborted")[0].payload["reason"] == "all_disconnected"
    assert story.shown["reason"] == "all_disconnected"


def test_one_player_who_stays_plays_on_alone_to_the_end() -> None:
    story = Story().is_playing()
    story.loses("bob")

    while story.is_in(Status.PLAYING):
        if story.mover == "ann":
            story.plays_a_card()
        else:
            story.ticks_until(story.now + 60)

    assert story.is_in(Status.FINISHED)


# -- the end --------------------------------------------------------------------------


def test_a_game_played_out_is_told_in_full() -> None:
    story = Story().is_playing()
    while story.is_in(Status.PLAYING):
        story.plays_a_card()

    outcome = story.match.outcome
    assert outcome is not None
    hp = {side.player: side.hp for side in story.battle.sides}
    body = story.body(Call.FINISHED)
    assert body["winner_id"] == outcome.winner
    assert body["result_data"]["turns_played"] == outcome.turns_played
    assert body["result_data"]["duration_seconds"] == outcome.turns_played
    assert {player: facts["hp"] for player, facts in body["result_data"]["players"].items()} == hp
    (ended,) = story.pushes("game:ended")
    assert set(ended.payload) == {
        "winner",
        "reason",
        "final_state",
        "turns_played",
        "duration_seconds",
    }
    assert ended.to == ("ann", "bob")
    assert story.shown["result"] == ended.payload
    assert story.calls == [Call.READY, Call.STARTED, Call.FINISHED]


def test_leaving_while_playing_is_giving_up() -> None:
    story = Story().is_playing()

    assert story.happens(Left("ann")) == PlayerReply(ok=True, response={})

    assert story.body(Call.FINISHED)["winner_id"] == "bob"
    assert story.pushes("player:left")[0].payload["reason"] == "forfeit"
    assert story.pushes("game:ended")[0].payload["reason"] == "opponent_forfeit"


def test_a_finished_match_lingers_for_late_readers_and_then_goes() -> None:
    story = Story().is_playing()
    story.happens(Left("ann"))

    late = story.joins("ann", "ann-2")
    assert (late.response["status"], late.response["result"]["winner"]) == ("finished", "bob")
    story.happens(Tick(), after_s=29.9)
    assert not story.is_gone
    story.happens(Tick(), after_s=0.2)

    assert story.is_gone
    assert isinstance(story.effects[-1], Gone)


@pytest.mark.parametrize(
    ("event", "reason"), [(Terminated(), "admin_terminated"), (ProcessFailed(), "process_error")]
)
def test_a_match_broken_off_says_so_once(event: Event, reason: str) -> None:
    story = Story().is_playing()

    story.happens(event)
    story.happens(event)

    assert story.body(Call.ABORTED)["reason"] == reason
    (aborted,) = story.pushes("game:aborted")
    assert aborted.payload["reason"] == reason
    assert aborted.payload["message"]


def test_a_room_the_api_server_knows_no_more_ends_without_a_callback() -> None:
    story = Story().is_playing()

    story.happens(Rejected())

    assert story.is_in(Status.ABORTED)
    assert story.calls == [Call.READY, Call.STARTED]
    assert story.pushes("game:aborted")[0].payload["reason"] == "room_unknown"


def test_the_record_is_written_before_anybody_is_told() -> None:
    story = Story().is_playing()
    done = step(story.match, Left("ann"), story.now)

    kinds = [type(effect).__name__ for effect in done.effects]

    assert kinds == ["Callback", "Publish", "Push", "Push", "WakeAt"]


def test_what_changes_nothing_anybody_sees_writes_no_record() -> None:
    story = Story().is_playing()

    assert step(story.match, Tick(), story.now).effects == ()
    assert step(story.match, Joined("eve", "Eve", 1), story.now).effects == ()


# -- crashes --------------------------------------------------------------------------


def test_a_new_life_says_again_what_the_api_server_may_not_have_heard() -> None:
    story = Story().is_playing()
    story.happens(CallbackSettled(Call.STARTED, Verdict.ACKNOWLEDGED))
    story.happens(Left("ann"))
    first = story.of_kind(type(story.match.unacked[0]))[-1]

    again = step(story.match, Recovered({"ann-1", "bob-1"}), story.now).effects

    assert again[0] == first
    assert again[0].idempotency_key == first.idempotency_key
    assert WakeAt(story.match.gone_due) in again

    story.happens(CallbackSettled(Call.FINISHED, Verdict.ACKNOWLEDGED))
    assert story.match.unacked == ()


def test_a_new_life_goes_on_with_the_game_and_the_deadline() -> None:
    story = Story().is_playing()
    story.plays_a_card()
    before = story.match

    story.happens(Recovered({"ann-1", "bob-1"}), after_s=5)

    assert story.match == before
    assert story.of_kind(WakeAt)[-1] == WakeAt(before.turn_due)


def test_lines_lost_in_a_crash_count_as_lost() -> None:
    story = Story().is_playing()

    story.happens(Recovered(), after_s=5)

    assert not any(seat.is_there for seat in story.match.seats)
    assert story.match.alone_due == T0 + 5 + 60
