"""The case list of Phoenix's own socket and channel tests, held against our session."""

from __future__ import annotations

import json

import pytest

from tests.web.channels.support import Client, LobbyChannel, reply
from web.channels.broadcast import broadcast
from web.channels.channel import LeaveReason
from web.channels.identity import User
from web.channels.router import ChannelRouter
from web.channels.serializer import V1
from web.channels.session import MAX_TOPICS

OK: tuple[str, dict[str, object]] = ("ok", {})
JOINED = ["1", None, "room:lobby", "joined", {"user_id": "u1"}]


# -- heartbeat ---------------------------------------------------------------------


def test_a_heartbeat_is_answered_at_once() -> None:
    client = Client()

    assert client.say(None, "5", "phoenix", "heartbeat", {}) == [reply(None, "5", "phoenix", *OK)]


def test_a_heartbeat_is_answered_while_a_join_is_under_way() -> None:
    client = Client()
    client.lobby.slow = True
    client.join()

    assert client.say(None, "5", "phoenix", "heartbeat", {}) == [reply(None, "5", "phoenix", *OK)]


def test_only_the_heartbeat_is_known_on_the_topic_phoenix() -> None:
    client = Client()

    [answer] = client.say("1", "1", "phoenix", "phx_join", {})

    assert answer == reply(None, "1", "phoenix", "error", {"reason": "unmatched topic"})


# -- joining -----------------------------------------------------------------------


def test_a_join_is_answered_before_anything_the_channel_pushes() -> None:
    assert Client().join() == [reply("1", "1", "room:lobby", *OK), JOINED]


def test_a_refused_join_has_its_reason_and_leaves_no_seat() -> None:
    client = Client()

    assert client.join(payload={"do": "refuse"}) == [
        reply("1", "1", "room:lobby", "error", {"reason": "unauthorized"})
    ]
    assert client.session.topics == ()


def test_a_join_refused_for_good_is_closed_as_well() -> None:
    assert Client().join(payload={"do": "refuse for good"}) == [
        reply("1", "1", "room:lobby", "error", {"reason": "unauthorized"}),
        ["1", "1", "room:lobby", "phx_close", {}],
    ]


def test_a_topic_of_nobody_is_unmatched() -> None:
    assert Client().join("nobody:1") == [reply(None, "1", "nobody:1", "error", {"reason": "unmatched topic"})]


def test_a_join_that_crashes_says_so_and_leaves_no_seat(caplog: pytest.LogCaptureFixture) -> None:
    client = Client()

    assert client.join(payload={"do": "raise"}) == [
        reply("1", "1", "room:lobby", "error", {"reason": "join crashed"})
    ]
    assert client.session.topics == ()
    assert "channel_crashed" in caplog.text


def test_the_101st_join_is_refused() -> None:
    client = Client()
    for number in range(1, MAX_TOPICS + 1):
        assert client.join(f"room:{number}", str(number))[0][4]["status"] == "ok"

    assert client.join("room:101", "101") == [
        reply("101", "101", "room:101", "error", {"reason": "too many channels joined"})
    ]


def test_at_the_limit_a_joined_topic_can_be_joined_again() -> None:
    client = Client()
    for number in range(1, MAX_TOPICS + 1):
        client.join(f"room:{number}", str(number))

    frames = client.join("room:7", "200")

    assert frames[1] == reply("200", "200", "room:7", *OK)


def test_a_join_on_a_joined_topic_closes_the_old_one_first() -> None:
    client = Client()
    client.join()

    assert client.join(ref="4") == [
        ["1", "1", "room:lobby", "phx_close", {}],
        reply("4", "4", "room:lobby", *OK),
        ["4", None, "room:lobby", "joined", {"user_id": "u1"}],
    ]
    assert client.lobby.lobbies[0].lefts == [LeaveReason.REJOINED]
    assert client.lobby.lobbies[1].lefts == []


def test_a_join_during_a_join_ends_the_first() -> None:
    client = Client()
    client.lobby.slow = True
    client.join()
    client.join(ref="2")
    first, second = client.lobby.waiting
    client.transport.take()

    client.lobby.let_in(first)
    client.lobby.let_in(second)

    assert client.transport.take()[0] == reply("2", "2", "room:lobby", *OK)
    assert client.session.topics == ("room:lobby",)


def test_an_answer_to_a_join_may_come_later() -> None:
    client = Client()
    client.lobby.slow = True

    assert client.join() == []

    client.lobby.let_in(client.lobby.waiting[0])
    assert client.transport.take() == [reply("1", "1", "room:lobby", *OK), JOINED]


def test_an_answer_to_a_join_after_the_client_has_gone_does_nothing() -> None:
    client = Client()
    client.lobby.slow = True
    client.join()
    client.session.closed()

    lobby = client.lobby.let_in(client.lobby.waiting[0])

    assert (lobby.lefts, client.transport.take()) == ([], [])


def test_what_is_said_during_a_join_is_handled_after_it() -> None:
    client = Client()
    client.lobby.slow = True
    client.join()

    assert client.say("1", "2", "room:lobby", "echo", {"a": 1}) == []

    client.lobby.let_in(client.lobby.waiting[0])
    assert client.transport.take()[-1] == reply("1", "2", "room:lobby", "ok", {"said": {"a": 1}})


def test_what_is_said_during_a_join_is_not_kept_without_limit() -> None:
    client = Client()
    client.lobby.slow = True
    client.join()
    for _ in range(32):
        client.say("1", "2", "room:lobby", "echo", {})

    assert client.say("1", "3", "room:lobby", "echo", {}) == [
        reply("1", "3", "room:lobby", "error", {"reason": "join pending"})
    ]


def test_a_join_nobody_answers_is_refused_after_ten_seconds() -> None:
    client = Client()
    client.lobby.slow = True
    client.join()

    client.session.tick(9.9)
    assert client.transport.take() == []
    client.session.tick(10.0)
    assert client.transport.take() == [reply("1", "1", "room:lobby", "error", {"reason": "join timeout"})]


def test_only_the_first_answer_to_a_join_counts() -> None:
    client = Client()
    client.join()
    socket = client.lobby.lobbies[0].socket

    socket.refuse({"reason": "changed my mind"})
    assert not socket.accept(client.lobby.lobbies[0], {})

    assert client.transport.take() == []


# -- talking -----------------------------------------------------------------------


def test_a_push_is_answered_with_its_refs() -> None:
    client = Client()
    client.join()

    assert client.say("1", "7", "room:lobby", "echo", {"a": 1}) == [
        reply("1", "7", "room:lobby", "ok", {"said": {"a": 1}})
    ]


def test_a_push_need_not_be_answered() -> None:
    client = Client()
    client.join()

    assert client.say("1", "7", "room:lobby", "hush", {}) == []


def test_only_the_first_answer_to_a_push_counts() -> None:
    client = Client()
    client.join()
    client.say("1", "7", "room:lobby", "echo", {})
    [push] = client.lobby.lobbies[0].received

    push.reply("error", {"reason": "again"})

    assert client.transport.take() == []


def test_an_answer_after_the_client_has_left_goes_nowhere() -> None:
    client = Client()
    client.join()
    client.say("1", "7", "room:lobby", "hush", {})
    client.say("1", "8", "room:lobby", "phx_leave", {})

    client.lobby.lobbies[0].received[0].reply("ok", {})

    assert client.transport.take() == []


def test_a_push_to_a_topic_not_joined_is_unmatched() -> None:
    assert Client().say("1", "12", "room:other", "echo", {}) == [
        reply(None, "12", "room:other", "error", {"reason": "unmatched topic"})
    ]


def test_a_message_of_an_earlier_join_is_ignored() -> None:
    client = Client()
    client.join()
    client.join(ref="4")

    assert client.say("1", "9", "room:lobby", "echo", {}) == []
    assert client.say("stale", "9", "room:lobby", "phx_leave", {}) == []
    assert client.session.topics == ("room:lobby",)


def test_a_message_needs_no_join_ref() -> None:
    client = Client()
    client.join()

    assert client.say(None, "9", "room:lobby", "echo", {}) == [
        reply("1", "9", "room:lobby", "ok", {"said": {}})
    ]


def test_a_leave_needs_no_join_ref() -> None:
    client = Client()
    client.join()

    assert client.say(None, "9", "room:lobby", "phx_leave", {})[1] == [
        "1",
        "1",
        "room:lobby",
        "phx_close",
        {},
    ]


def test_binary_is_answered_in_binary() -> None:
    client = Client()
    client.join("room:1", "1")

    [answer] = client.send(b"\x00\x01\x01\x06\x04" + b"1" + b"2" + b"room:1" + b"echo" + b"\x01\x02\x03")

    assert answer == b"\x01\x01\x01\x06\x02" + b"1" + b"2" + b"room:1" + b"ok" + b"\x01\x02\x03"


def test_a_broadcast_reaches_all_and_is_encoded_once() -> None:
    clients = [Client(user=User(f"u{n}", "")) for n in range(3)]
    members = []
    for client in clients:
        client.join()
        members.append(client.lobby.lobbies[0].socket)

    broadcast(members, "room:lobby", "news", {"n": 1})

    frames = [client.transport.frames[-1] for client in clients]
    assert frames[0].data == b'[null,null,"room:lobby","news",{"n":1}]'
    assert frames[0] is frames[1] is frames[2]


# -- leaving -----------------------------------------------------------------------


def test_a_leave_is_answered_and_then_closed() -> None:
    client = Client()
    client.join()

    assert client.say("1", "9", "room:lobby", "phx_leave", {}) == [
        reply("1", "9", "room:lobby", *OK),
        ["1", "1", "room:lobby", "phx_close", {}],
    ]
    assert client.lobby.lobbies[0].lefts == [LeaveReason.LEFT]
    assert client.say("1", "10", "room:lobby", "echo", {})[0][4]["status"] == "error"


def test_a_leave_of_an_unknown_topic_is_fine() -> None:
    assert Client().say("1", "9", "room:x", "phx_leave", {}) == [reply("1", "9", "room:x", *OK)]


def test_a_leave_during_a_join_ends_it() -> None:
    client = Client()
    client.lobby.slow = True
    client.join()

    client.say("1", "2", "room:lobby", "phx_leave", {})

    assert client.session.topics == ()
    lobby = client.lobby.let_in(client.lobby.waiting[0])
    assert lobby.lefts == []


# -- endings by the server ----------------------------------------------------------


def test_a_channel_that_ends_is_closed() -> None:
    client = Client()
    client.join()

    assert client.say("1", "2", "room:lobby", "close", {}) == [["1", "1", "room:lobby", "phx_close", {}]]
    assert client.lobby.lobbies[0].lefts == [LeaveReason.CLOSED]


@pytest.mark.parametrize("how", ["crash", "raise"])
def test_a_channel_that_crashes_is_an_error_and_takes_nothing_else_along(how: str) -> None:
    client = Client()
    client.join()
    client.join("room:other", "2")

    assert client.say("1", "3", "room:lobby", how, {}) == [
        ["1", "1", "room:lobby", "phx_error", {"reason": "channel_crash"}]
    ]
    assert client.lobby.lobbies[0].lefts == [LeaveReason.CRASHED]
    assert client.session.topics == ("room:other",)
    assert client.join(ref="5")[0] == reply("5", "5", "room:lobby", *OK)


def test_what_is_said_to_an_ended_seat_does_nothing() -> None:
    client = Client()
    client.join()
    socket = client.lobby.lobbies[0].socket
    client.say("1", "2", "room:lobby", "close", {})

    assert not socket.push("news", {})
    socket.close()
    socket.crash()

    assert client.transport.take() == []


def test_channels_hear_of_the_end_of_the_socket_once() -> None:
    client = Client()
    client.join()

    client.session.closed()
    client.session.closed()

    assert client.lobby.lobbies[0].lefts == [LeaveReason.GONE]
    assert client.ended == 1


# -- the socket --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "code"), [("nonsense", 1007), ("{}", 1007), (b"", 1003), (b"\x00\x01", 1007), ("[1,2,3]", 1007)]
)
def test_a_frame_that_means_nothing_closes_the_socket(data: str | bytes, code: int) -> None:
    client = Client()
    client.join()

    client.send(data)

    assert client.transport.closed is not None
    assert client.transport.closed[0] == code
    assert client.lobby.lobbies[0].lefts == [LeaveReason.GONE]
    assert client.say(None, "5", "phoenix", "heartbeat", {}) == []


def test_a_socket_that_goes_quiet_is_closed_after_a_minute() -> None:
    client = Client()
    client.now = 10.0
    client.say(None, "5", "phoenix", "heartbeat", {})

    client.session.tick(69.9)
    assert client.transport.closed is None
    client.session.tick(70.0)
    assert client.transport.closed == (1001, "idle")


def test_a_client_that_has_been_logged_out_is_closed_with_1001() -> None:
    client = Client()
    client.join()

    client.session.logout()

    assert client.transport.closed == (1001, "logged out")
    assert client.lobby.lobbies[0].lefts == [LeaveReason.GONE]


def test_a_drained_client_is_closed_with_1012() -> None:
    client = Client()

    client.session.drain()

    assert client.transport.closed == (1012, "restarting")


def test_a_closed_socket_counts_until_its_transport_is_gone() -> None:
    client = Client()

    client.session.drain()
    assert client.ended == 0
    client.session.closed()
    assert client.ended == 1


def test_the_transport_learns_the_time_even_while_it_closes() -> None:
    client = Client()
    client.session.drain()

    client.session.tick(3.0)

    assert client.transport.ticks == [3.0]


def test_a_state_that_waits_goes_when_the_client_can_be_written_to() -> None:
    client = Client()
    client.join()
    done = []
    client.lobby.lobbies[0].socket.when_writable(lambda: done.append(1))

    client.session.writable()
    client.session.writable()

    assert done == [1]


def test_a_state_that_waits_goes_nowhere_after_the_seat_has_ended() -> None:
    client = Client()
    client.join()
    done = []
    client.lobby.lobbies[0].socket.when_writable(lambda: done.append(1))
    client.say("1", "2", "room:lobby", "phx_leave", {})

    client.session.writable()

    assert done == []


# -- version 1 ---------------------------------------------------------------------


def test_version_1_joins_talks_and_leaves() -> None:
    client = Client(serializer=V1)

    def say(event: str, ref: str) -> list[tuple[str, object, object]]:
        frames = client.send(f'{{"topic":"room:lobby","event":"{event}","payload":{{}},"ref":"{ref}"}}')
        return [(frame["event"], frame["ref"], frame["payload"]) for frame in frames]

    ok = {"status": "ok", "response": {}}
    assert say("phx_join", "1") == [("phx_reply", "1", ok), ("joined", None, {"user_id": "u1"})]
    assert say("echo", "2") == [("phx_reply", "2", {"status": "ok", "response": {"said": {}}})]
    assert say("phx_leave", "3") == [("phx_reply", "3", ok), ("phx_close", "1", {})]


# -- patterns ----------------------------------------------------------------------


def test_topics_are_found_by_name_before_prefix_and_prefixes_in_order() -> None:
    lobby, long, short = (LobbyChannel().join for _ in range(3))
    router = ChannelRouter({"room:a*": long, "room:*": short, "room:lobby": lobby})

    assert router.find("room:lobby") == lobby
    assert router.find("room:abc") == long
    assert router.find("room:b") == short
    assert router.find("rooms") is None


def test_a_splat_stands_at_the_end_of_a_pattern() -> None:
    with pytest.raises(ValueError, match="may end with"):
        ChannelRouter({"room:*:x": LobbyChannel().join})


# -- text that is not Unicode --------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        r"\ud83d",
        r"\ude00",
        r"x\uD83Dx",
        r"\ud83d\ud83d\ude00",
        r"\ude00\ud83d",
        r"\\\ud83d",
        r"\ud83d\u0041",
        r"\ud83d\n",
    ],
)
def test_half_a_surrogate_pair_refuses_the_push_and_keeps_the_socket(text: str) -> None:
    client = Client()
    client.join()
    client.transport.take()
    old = Client(serializer=V1)
    parts = {"topic": "room:lobby", "event": "echo", "ref": "2"}

    [answer] = client.send(f'["1","2","room:lobby","echo",{{"x":"{text}"}}]')
    [older] = old.send(json.dumps(parts)[:-1] + f', "payload": {{"x": "{text}"}}}}')

    assert answer == reply("1", "2", "room:lobby", "error", {"reason": "invalid_text"})
    assert (older["ref"], older["payload"]["response"]) == ("2", {"reason": "invalid_text"})
    assert not client.session.ended
    assert client.lobby.lobbies[0].received == []
    assert client.say("1", "3", "room:lobby", "echo", {})[0][4]["status"] == "ok"


@pytest.mark.parametrize("text", [r"\ud83d\ude00", r"\\ud83d", r"\uD83D\uDE00x"])
def test_whole_pairs_and_written_backslashes_are_text(text: str) -> None:
    client = Client()
    client.join()
    client.transport.take()

    [answer] = client.send(f'["1","2","room:lobby","echo",{{"x":"{text}"}}]')

    assert answer[4]["response"]["said"] == {"x": json.loads(f'"{text}"')}


def test_a_name_in_a_binary_push_that_is_not_utf_8_refuses_the_push() -> None:
    client = Client()
    client.join()
    client.transport.take()

    [answer] = client.send(b"\x00\x01\x01\x0a\x03" + b"1" + b"2" + b"room:lobby" + b"\xed\xa0\x80" + b"data")

    assert answer == reply("1", "2", "room:lobby", "error", {"reason": "invalid_text"})
    assert not client.session.ended


def test_what_is_not_json_beside_half_a_pair_still_closes_the_socket() -> None:
    client = Client()

    client.send(r'["1","2","room:lobby","echo",{"x":"\ud83d"}')

    assert client.transport.closed == (1007, "not JSON")
