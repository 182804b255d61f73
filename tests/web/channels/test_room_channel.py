from __future__ import annotations

import json
from typing import Any

import pytest

from actors.core import ActorGone, MailboxFull
from actors.matches.player_connection import PlayerConnection, Question
from tests.web.channels.support import Client, reply
from web.channels.identity import ANONYMOUS, User
from web.channels.room_channel import RoomChannel
from web.channels.router import ChannelRouter

ANN, BOB, EVE = User("u1", "Ann"), User("u2", "Bob"), User("u3", "Eve")
NOON = 1_900_000_000.0


class Match:
    """A match that lets its two players in, and remembers what it hears."""

    def __init__(self) -> None:
        self.players = {"u1", "u2"}
        self.connections: list[PlayerConnection] = []
        self.pushes: list[tuple[str, str, object, Question]] = []
        self.gone: list[str] = []
        self.fails: Exception | None = None
        self.is_slow = False

    def join(self, connection: PlayerConnection) -> None:
        self._fail()
        if connection.user_id not in self.players:
            connection.refuse("not_expected", final=True)
            return
        self.connections.append(connection)
        if not self.is_slow:
            connection.accept({"room_id": "m1", "status": "ready"})

    def push(self, connection: PlayerConnection, event: str, payload: object, question: Question) -> None:
        self._fail()
        self.pushes.append((connection.user_id, event, payload, question))

    def disconnect(self, connection: PlayerConnection) -> None:
        self.gone.append(connection.user_id)

    def _fail(self) -> None:
        if self.fails is not None:
            raise self.fails


class RoomChannelSetup:
    """One node with one match, a clock and any number of clients."""

    def __init__(self) -> None:
        self.now = 100.0
        self.rooms = {"m1"}
        self.match = Match()
        self.channel = RoomChannel(self, clock=lambda: self.now, wall_clock=lambda: NOON)
        self.router = ChannelRouter({"room:*": self.channel.join})

    def find(self, room_id: str) -> Match | None:
        return self.match if room_id in self.rooms else None

    def client(self, user: User) -> Client:
        return Client(self.router, user=user)

    def joined(self, user: User) -> Client:
        client = self.client(user)
        client.join("room:m1")
        return client


def events(frames: list[Any]) -> list[str]:
    return [frame[3] for frame in frames]


# -- joining -------------------------------------------------------------------------


def test_a_player_gets_the_match_s_answer_and_then_the_presences() -> None:
    setup = RoomChannelSetup()

    first, second = setup.client(ANN).join("room:m1")

    assert first == reply("1", "1", "room:m1", "ok", {"room_id": "m1", "status": "ready"})
    assert second[:4] == ["1", None, "room:m1", "presence_state"]
    [meta] = second[4]["u1"]["metas"]
    assert (meta["display_name"], meta["online_at"]) == ("Ann", "2030-03-17T17:46:40.000Z")


def test_a_stranger_is_not_expected_and_does_not_ask_again() -> None:
    assert RoomChannelSetup().client(EVE).join("room:m1") == [
        reply("1", "1", "room:m1", "error", {"reason": "not_expected"}),
        ["1", "1", "room:m1", "phx_close", {}],
    ]


def test_a_room_without_a_match_is_not_found() -> None:
    assert RoomChannelSetup().client(ANN).join("room:m2") == [
        reply("1", "1", "room:m2", "error", {"reason": "room_not_found"})
    ]


def test_without_a_token_nobody_plays() -> None:
    assert RoomChannelSetup().client(ANONYMOUS).join("room:m1")[0][4]["response"] == {
        "reason": "unauthorized"
    }


@pytest.mark.parametrize(
    ("fails", "reason"), [(ActorGone("m1", None), "room_not_found"), (MailboxFull("m1", None), "busy")]
)
def test_a_match_that_cannot_be_asked_is_a_reason(fails: Exception, reason: str) -> None:
    setup = RoomChannelSetup()
    setup.match.fails = fails

    assert setup.client(ANN).join("room:m1")[0] == reply("1", "1", "room:m1", "error", {"reason": reason})


# -- presence ------------------------------------------------------------------------


def test_the_others_hear_who_comes_and_goes() -> None:
    setup = RoomChannelSetup()
    ann = setup.joined(ANN)
    ann.transport.take()

    bob = setup.joined(BOB)
    bob.session.closed()

    came, went = ann.transport.take()
    assert came[:4] == [None, None, "room:m1", "presence_diff"]
    assert came[4]["joins"].keys() == {"u2"}
    assert went[4]["leaves"] == came[4]["joins"]
    assert "presence_diff" not in events(bob.transport.take())


def test_a_second_connection_replaces_the_first_and_nobody_sees_the_player_leave() -> None:
    setup = RoomChannelSetup()
    bob = setup.joined(BOB)
    first = setup.joined(ANN)
    bob.transport.take()
    first.transport.take()

    second = setup.joined(ANN)

    assert events(first.transport.take()) == ["phx_close"]
    assert "phx_close" not in events(second.transport.take())
    came, went = bob.transport.take()
    assert (came[4]["joins"].keys(), came[4]["leaves"]) == ({"u1"}, {})
    assert (went[4]["joins"], went[4]["leaves"].keys()) == ({}, {"u1"})
    assert setup.match.gone == []
    assert not setup.match.connections[1].alive
    assert setup.match.connections[2].alive


def test_a_player_whose_id_would_break_clients_plays_without_being_listed() -> None:
    setup = RoomChannelSetup()
    setup.match.players.add("__proto__")

    answer, state = setup.client(User("__proto__", "x")).join("room:m1")

    assert answer[4]["status"] == "ok"
    assert state[4] == {}


def test_players_are_counted_once_however_often_they_are_connected() -> None:
    setup = RoomChannelSetup()
    assert (setup.channel.connected_players, setup.channel.rooms) == (0, 0)
    ann, again, bob = setup.joined(ANN), setup.joined(ANN), setup.joined(BOB)
    assert (setup.channel.connected_players, setup.channel.rooms) == (2, 1)

    for client in (ann, again, bob):
        client.session.closed()
    assert (setup.channel.connected_players, setup.channel.rooms) == (0, 0)


# -- what the match hears ------------------------------------------------------------


def test_moves_go_to_the_match_which_answers_when_it_likes() -> None:
    setup = RoomChannelSetup()
    ann = setup.joined(ANN)
    ann.transport.take()

    assert ann.say("1", "7", "room:m1", "game:action", {"action": "play_card"}) == []
    [(user_id, event, payload, question)] = setup.match.pushes
    assert (user_id, event, payload) == ("u1", "game:action", {"action": "play_card"})
    question.reply("ok", {"accepted": True, "action_id": "a1"})

    assert ann.transport.take() == [reply("1", "7", "room:m1", "ok", {"accepted": True, "action_id": "a1"})]


@pytest.mark.parametrize(
    ("fails", "reason"), [(ActorGone("m1", None), "room_not_found"), (MailboxFull("m1", None), "busy")]
)
def test_a_move_the_match_cannot_take_is_answered(fails: Exception, reason: str) -> None:
    setup = RoomChannelSetup()
    ann = setup.joined(ANN)
    ann.transport.take()
    setup.match.fails = fails

    assert ann.say("1", "7", "room:m1", "game:action", {}) == [
        reply("1", "7", "room:m1", "error", {"accepted": False, "reason": reason})
    ]


def test_the_match_hears_of_a_connection_that_ends_in_whatever_way() -> None:
    setup = RoomChannelSetup()
    ann, bob = setup.joined(ANN), setup.joined(BOB)

    ann.say("1", "9", "room:m1", "phx_leave", {})
    bob.session.closed()
    setup.joined(ANN).join("room:m1", "2")

    assert setup.match.gone == ["u1", "u2", "u1"]


def test_the_match_is_not_told_of_a_line_it_has_closed() -> None:
    setup = RoomChannelSetup()
    ann = setup.joined(ANN)
    ann.transport.take()

    setup.match.connections[0].close()

    assert events(ann.transport.take()) == ["phx_close"]
    assert setup.match.gone == []


def test_a_line_that_the_match_ends_as_broken_is_disconnected() -> None:
    setup = RoomChannelSetup()
    bob = setup.joined(BOB)

    setup.match.connections[0].crash()

    assert events(bob.transport.take())[-1] == "phx_error"
    assert setup.match.gone == ["u2"]


def test_the_match_hears_that_a_player_is_gone_whose_channel_crashed(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("a bug in a channel")

    setup = RoomChannelSetup()
    ann = setup.joined(ANN)
    ann.transport.take()
    monkeypatch.setattr(setup.channel, "broadcast", broken)
    monkeypatch.setattr(setup.channel, "untrack", broken)

    ann.say("1", "7", "room:m1", "chat:send", {"content": "hi"})

    assert setup.match.gone == ["u1"]


def test_the_match_speaks_to_one_player() -> None:
    setup = RoomChannelSetup()
    ann, bob = setup.joined(ANN), setup.joined(BOB)
    ann.transport.take()
    bob.transport.take()

    assert setup.match.connections[0].push("game:hand_updated", {"hand": []})

    assert ann.transport.take() == [["1", None, "room:m1", "game:hand_updated", {"hand": []}]]
    assert bob.transport.take() == []


def test_an_unknown_event_is_an_error_and_does_not_reach_the_match() -> None:
    setup = RoomChannelSetup()
    ann = setup.joined(ANN)
    ann.transport.take()

    assert ann.say("1", "7", "room:m1", "dance", {}) == [
        reply("1", "7", "room:m1", "error", {"reason": "unknown_event"})
    ]
    assert setup.match.pushes == []


# -- chat ----------------------------------------------------------------------------


def test_chat_reaches_all_and_is_encoded_once() -> None:
    setup = RoomChannelSetup()
    ann, bob = setup.joined(ANN), setup.joined(BOB)
    ann.transport.take()
    bob.transport.take()

    ann.session.receive(json.dumps(["1", "7", "room:m1", "chat:send", {"content": "hello"}]), 0.0)

    assert ann.transport.frames[1] is bob.transport.frames[0]
    answer, said = ann.transport.take()
    assert answer[4] == {"status": "ok", "response": {"sent": True, "message_id": said[4]["message_id"]}}
    assert said == [
        None,
        None,
        "room:m1",
        "chat:new_message",
        {
            "message_id": said[4]["message_id"],
            "sender_id": "u1",
            "sender_name": "Ann",
            "content": "hello",
            "sent_at": "2030-03-17T17:46:40.000Z",
        },
    ]


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        ({}, "content_empty"),
        ({"content": ""}, "content_empty"),
        ({"content": " \n"}, "content_empty"),
        ({"content": 5}, "content_empty"),
        ([], "content_empty"),
        (None, "content_empty"),
        ({"content": "ä" * 501}, "content_too_long"),
    ],
)
def test_chat_that_may_not_be_said_is_refused(payload: object, reason: str) -> None:
    setup = RoomChannelSetup()
    ann = setup.joined(ANN)
    ann.transport.take()

    [answer] = ann.say("1", "7", "room:m1", "chat:send", payload)

    assert answer[4]["status"] == "error"
    assert answer[4]["response"]["reason"] == reason


def test_leaving_and_coming_back_buys_no_more_to_say_even_alone() -> None:
    setup = RoomChannelSetup()

    def say_after_coming_back() -> str:
        ann = setup.joined(ANN)
        ann.transport.take()
        [answer, *_] = ann.say("1", "7", "room:m1", "chat:send", {"content": "hi"})
        ann.say("1", "8", "room:m1", "phx_leave", {})
        return str(answer[4]["response"].get("reason", "sent"))

    assert [say_after_coming_back() for _ in range(6)] == ["sent"] * 5 + ["rate_limited"]
    assert setup.channel.rooms == 0
    setup.now += 10.0
    assert say_after_coming_back() == "sent"


def test_rates_of_rooms_everybody_has_left_are_kept_for_no_longer_than_they_count() -> None:
    setup = RoomChannelSetup()
    for number in range(100):
        setup.rooms.add(f"x{number}")
        client = setup.client(ANN)
        client.join(f"room:x{number}")
        client.session.closed()
        setup.now += 1.0

    assert len(setup.channel._chat._empty_since) == 10  # noqa: SLF001


def test_five_hundred_characters_may_be_said() -> None:
    setup = RoomChannelSetup()
    ann = setup.joined(ANN)

    assert ann.say("1", "7", "room:m1", "chat:send", {"content": "ä" * 500})[-1][3] == "chat:new_message"


def test_five_things_may_be_said_in_ten_seconds() -> None:
    setup = RoomChannelSetup()
    ann = setup.joined(ANN)
    ann.transport.take()

    def say() -> str:
        [answer, *_] = ann.say("1", "7", "room:m1", "chat:send", {"content": "hi"})
        return str(answer[4]["response"].get("reason", "sent"))

    assert [say() for _ in range(6)] == ["sent"] * 5 + ["rate_limited"]
    setup.now += 9.9
    assert say() == "rate_limited"
    setup.now += 0.1
    assert say() == "sent"
