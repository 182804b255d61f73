"""Channels whose room is on another node: two nodes, a network that a test may cut, no clock of its own."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

import orjson
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from actors.links import NotSent, OutcomeUnknown, TooLong
from tests.fakes.life import LoneLife
from tests.web.channels.support import Client, reply
from tests.web.channels.test_room_channel import ANN, BOB, EVE, NOON, Match
from web.channels import forward_messages as words
from web.channels.channel_forwarder import ANSWER_S, BEAT_S, LEASE_S, MAX_WAITING, ChannelForwarder
from web.channels.channel_host import ChannelHost
from web.channels.identity import ANONYMOUS, User
from web.channels.room_channel import RoomChannel
from web.channels.router import ChannelRouter

TOPIC = "room:m1"


class Network:
    """Redis, as far as nodes can tell: claims, and messages in the order sent, which a test may lose."""

    def __init__(self) -> None:
        self.claims = {b"greenroom:match:m1": b"host:1"}
        self.inboxes: dict[str, Inbox] = {}
        self.under_way: deque[tuple[str, str, str, bytes]] = deque()
        self.is_up = True

    def lose(self) -> int:
        """Lose all that is under way."""
        lost = len(self.under_way)
        self.under_way.clear()
        return lost

    def deliver_one(self) -> None:
        """Let the oldest message arrive."""
        to, sender, kind, body = self.under_way.popleft()
        self.inboxes[to].take(sender, kind, body)

    def deliver(self) -> None:
        """Let everything arrive, and what comes of it."""
        while self.under_way:
            to, sender, kind, body = self.under_way.popleft()
            if to in self.inboxes:
                self.inboxes[to].take(sender, kind, body)


class Inbox:
    """A node's inbox, and its `wire` at the same time."""

    def __init__(self, network: Network, owner: str) -> None:
        self.owner = owner
        self.network = network
        self.dropped: list[str] = []
        self.fails: Exception | None = None
        self.too_long = False
        self._handlers: dict[str, Callable[[str, bytes], None]] = {}
        self._answers: list[tuple[Any, Any]] = []
        network.inboxes[owner] = self

    @property
    def wire(self) -> Inbox:
        return self

    @property
    def is_up(self) -> bool:
        return self.network.is_up

    def drop(self, reason: str, **_facts: str) -> None:
        self.dropped.append(reason)

    def on_cast(self, kind: str, take: Callable[[str, bytes], None]) -> None:
        self._handlers[kind] = take

    def take(self, sender: str, kind: str, body: bytes) -> None:
        self._handlers[kind](sender, body)

    def cast(self, node: str, kind: str, body: bytes = b"", answered: Any = None) -> None:
        if not self.is_up:
            raise NotSent("redis_nodes")
        if self.too_long:
            raise TooLong
        if self.fails is not None:
            answered.fail(self.fails)
            return
        heard = node in self.network.inboxes
        if heard:
            self.network.under_way.append((node, self.owner, kind, body))
        if answered is not None:
            answered.send(int(heard))

    def send(self, command: tuple[str, str], answered: Any) -> None:
        if not self.is_up:
            raise NotSent("redis_nodes")
        answered.send(self.network.claims.get(command[1].encode()))


class World:
    """A node with a match, another with clients, and the time."""

    def __init__(self) -> None:
        self.now = 100.0
        self.network = Network()
        self.match = Match()
        self.match_is_here = True
        self.host_inbox = Inbox(self.network, "host:1")
        self.players = RoomChannel(self, clock=lambda: self.now, wall_clock=lambda: NOON)
        self.host = ChannelHost(self.host_inbox, self.players.join_here, clock=lambda: self.now)  # type: ignore[arg-type]
        self.inbox = Inbox(self.network, "door:1")
        self.forwarder = ChannelForwarder(self.inbox, clock=lambda: self.now)  # type: ignore[arg-type]
        self.doors = RoomChannel(Nowhere(), elsewhere=self.forwarder.join)
        self.router = ChannelRouter({"room:*": self.doors.join})

    def find(self, room_id: str) -> Match | None:
        return self.match if room_id == "m1" and self.match_is_here else None

    def client(self, user: User) -> Client:
        return Client(self.router, user=user)

    def join(self, client: Client, topic: str = TOPIC, payload: object = None) -> list[Any]:
        frames = client.join(topic, payload=payload)
        self.network.deliver()
        return frames + client.transport.take()

    def joined(self, user: User) -> Client:
        client = self.client(user)
        self.join(client)
        return client

    def say(self, client: Client, event: str, payload: object, ref: str = "9") -> list[Any]:
        frames = client.say("1", ref, TOPIC, event, payload)
        self.network.deliver()
        return frames + client.transport.take()

    def beat(self) -> None:
        """Both nodes tell one another that they are there."""
        self.now += BEAT_S
        self.host.beat(self.now)
        self.forwarder.beat(self.now)
        self.network.deliver()

    def push(self, user_id: str, event: str) -> None:
        """The match has something for a player."""
        for connection in self.match.connections:
            if connection.user_id == user_id:
                connection.push(event, {"for": user_id})


class Nowhere:
    """A node without matches."""

    def find(self, _room_id: str) -> None:
        return None


def events(frames: list[Any]) -> list[str]:
    return [frame[3] for frame in frames]


# -- as if the match were here -----------------------------------------------------------------------


def test_a_join_is_answered_by_the_node_that_has_the_match() -> None:
    first, second = (world := World()).join(world.client(ANN))

    assert first == reply("1", "1", TOPIC, "ok", {"room_id": "m1", "status": "ready"})
    assert second[:4] == ["1", None, TOPIC, "presence_state"]
    assert world.host.statistics().channels == world.forwarder.statistics().channels == 1


def test_a_final_refusal_is_final_here_too() -> None:
    world = World()

    assert world.join(world.client(EVE)) == [
        reply("1", "1", TOPIC, "error", {"reason": "not_expected"}),
        ["1", "1", TOPIC, "phx_close", {}],
    ]
    assert world.host.statistics().channels == world.forwarder.statistics().channels == 0


def test_a_message_is_answered_under_its_own_reference() -> None:
    world = World()
    ann = world.joined(ANN)
    assert world.say(ann, "game:action", {"action": "play_card", "nonce": "n"}, ref="7") == []
    [(user_id, event, payload, question)] = world.match.pushes
    assert (user_id, event, payload) == ("u1", "game:action", {"action": "play_card", "nonce": "n"})
    question.reply("ok", {"accepted": True})
    world.network.deliver()

    assert ann.transport.take() == [reply("1", "7", TOPIC, "ok", {"accepted": True})]


def test_players_of_two_nodes_see_one_another_and_talk() -> None:
    world = World()
    ann, bob = world.joined(ANN), world.joined(BOB)
    assert events(ann.transport.take()) == ["presence_diff"]
    answers = world.say(bob, "chat:send", {"content": "hello"})

    assert events(answers) == ["phx_reply", "chat:new_message"]
    [said] = ann.transport.take()
    assert (said[3], said[4]["content"], said[4]["sender_name"]) == ("chat:new_message", "hello", "Bob")


def test_what_is_for_one_player_goes_to_that_player_only() -> None:
    world = World()
    ann, bob = world.joined(ANN), world.joined(BOB)
    ann.transport.take()
    world.push("u1", "game:hand_updated")
    world.network.deliver()

    assert events(ann.transport.take()) == ["game:hand_updated"]
    assert bob.transport.take() == []


def test_leaving_ends_the_channel_on_both_nodes() -> None:
    world = World()
    ann, bob = world.joined(ANN), world.joined(BOB)
    frames = world.say(bob, "phx_leave", {})

    assert events(frames) == ["phx_reply", "phx_close"]
    assert world.match.gone == ["u2"]
    assert events(ann.transport.take())[-1] == "presence_diff"
    assert world.host.statistics().channels == 1


def test_a_socket_that_ends_takes_its_channel_with_it() -> None:
    world = World()
    ann = world.joined(ANN)
    ann.session.closed()
    world.network.deliver()

    assert world.match.gone == ["u1"]
    assert world.host.statistics() == type(world.host.statistics())(0, 0)


def test_a_second_connection_of_a_player_closes_the_first_wherever_it_is() -> None:
    world = World()
    first = world.joined(ANN)
    first.transport.take()
    world.joined(ANN)

    assert events(first.transport.take())[-1] == "phx_close"
    assert world.forwarder.statistics().channels == 1


def test_a_match_that_crashes_has_its_players_join_again() -> None:
    world = World()
    ann = world.joined(ANN)
    ann.transport.take()
    world.match.connections[0].crash()
    world.network.deliver()

    assert events(ann.transport.take()) == ["phx_error"]
    assert world.host.statistics().channels == 0


def test_without_a_token_nobody_is_asked() -> None:
    world = World()

    assert world.join(world.client(ANONYMOUS))[0][4]["response"] == {"reason": "unauthorized"}
    assert not world.network.under_way


def test_a_binary_message_is_no_action_and_breaks_nothing() -> None:
    world = World()
    ann = world.joined(ANN)
    head = bytes((0, 1, 1, len(TOPIC), len("game:action")))
    ann.send(head + b"1" + b"8" + TOPIC.encode() + b"game:action" + b"\x00\xff")
    world.network.deliver()

    assert world.match.pushes[0][:3] == ("u1", "game:action", None)


# -- refusals ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("topic", ["room:m2", "room:", "room:" + "x" * 65, "room:a b", "room:host:1"])
def test_a_room_that_nobody_has_is_not_found(topic: str) -> None:
    world = World()

    assert world.join(world.client(ANN), topic)[0][4]["response"] == {"reason": "room_not_found"}


def test_a_claim_of_this_node_without_a_match_is_not_forwarded_to_itself() -> None:
    world = World()
    world.network.claims[b"greenroom:match:m1"] = b"door:1"

    assert world.join(world.client(ANN))[0][4]["response"] == {"reason": "room_not_found"}


def test_a_node_that_has_no_such_match_does_not_forward_any_further() -> None:
    world = World()
    world.match_is_here = False

    assert world.join(world.client(ANN))[0][4]["response"] == {"reason": "room_not_found"}


def test_a_match_that_has_ended_is_asked_for_on_the_node_that_had_it() -> None:
    world = World()
    world.network.claims[b"greenroom:match:m1"] = b"over host:1"

    assert world.join(world.client(ANN))[0][4]["status"] == "ok"


def test_a_node_that_nobody_hears_is_unavailable() -> None:
    world = World()
    del world.network.inboxes["host:1"]

    assert world.join(world.client(ANN))[0][4]["response"] == {"reason": "unavailable"}
    assert world.forwarder.statistics().channels == 0


def test_without_redis_joins_and_messages_are_unavailable_and_the_channel_stays() -> None:
    world = World()
    ann = world.joined(ANN)
    ann.transport.take()
    world.network.is_up = False

    assert world.join(world.client(BOB))[0][4]["response"] == {"reason": "unavailable"}
    assert world.say(ann, "game:action", {})[0][4]["response"] == {"accepted": False, "reason": "unavailable"}
    assert world.say(ann, "chat:send", {})[0][4]["response"] == {"sent": False, "reason": "unavailable"}
    world.network.is_up = True
    assert events(world.say(ann, "chat:send", {"content": "back"})) == ["phx_reply", "chat:new_message"]
    assert world.forwarder.statistics().failed == {"unavailable": 3}


def test_a_message_without_an_answer_times_out_and_a_late_answer_is_dropped() -> None:
    world = World()
    ann = world.joined(ANN)
    ann.transport.take()
    world.say(ann, "game:action", {})
    world.forwarder.expire(world.now + ANSWER_S - 0.1)
    assert ann.transport.take() == []
    world.forwarder.expire(world.now + ANSWER_S)
    assert ann.transport.take()[0][4]["response"] == {"accepted": False, "reason": "timeout"}
    world.match.pushes[0][3].reply("ok", {"accepted": True})
    world.network.deliver()
    world.beat()

    assert ann.transport.take() == []


def test_more_messages_than_may_wait_are_refused_at_once() -> None:
    world = World()
    ann = world.joined(ANN)
    ann.transport.take()
    for number in range(MAX_WAITING):
        assert world.say(ann, "game:action", {}, ref=str(number)) == []

    assert world.say(ann, "game:action", {})[0][4]["response"] == {"accepted": False, "reason": "busy"}
    assert len(world.match.pushes) == MAX_WAITING


def test_a_client_that_sends_without_end_costs_redis_no_more_than_its_rate() -> None:
    world = World()
    ann = world.joined(ANN)
    ann.transport.take()
    reasons = [world.say(ann, "chat:send", {"content": ""})[0][4]["response"]["reason"] for _ in range(60)]

    assert reasons == ["content_empty"] * 50 + ["rate_limited"] * 10
    world.now += 1
    assert world.say(ann, "chat:send", {"content": ""})[0][4]["response"]["reason"] == "content_empty"


def test_a_push_that_is_too_long_for_the_way_has_the_client_join_again() -> None:
    world = World()
    ann = world.joined(ANN)
    ann.transport.take()
    world.host_inbox.too_long = True
    world.push("u1", "game:huge")
    world.host_inbox.too_long = False
    world.beat()

    assert events(ann.transport.take()) == ["phx_error"]


def test_an_outcome_that_nobody_knows_is_left_to_the_deadline() -> None:
    world = World()
    ann = world.joined(ANN)
    ann.transport.take()

    world.inbox.fails = OutcomeUnknown("redis_nodes")
    assert world.say(ann, "game:action", {}) == []
    world.forwarder.expire(world.now + ANSWER_S)
    assert ann.transport.take()[0][4]["response"]["reason"] == "timeout"


# -- what is lost --------------------------------------------------------------------------------------


def test_a_lost_push_is_noticed_with_the_next_one() -> None:
    world = World()
    ann = world.joined(ANN)
    ann.transport.take()
    world.push("u1", "game:turn_changed")
    assert world.network.lose() == 1
    world.push("u1", "game:hand_updated")
    world.network.deliver()

    assert events(ann.transport.take()) == ["phx_error"]
    assert world.match.gone == ["u1"]
    assert world.forwarder.statistics().broken == {"lost": 1}


def test_a_lost_push_that_was_the_last_is_noticed_by_the_next_list() -> None:
    world = World()
    ann, bob = world.joined(ANN), world.joined(BOB)
    world.push("u2", "game:turn_changed")
    world.network.lose()
    ann.transport.take()
    bob.transport.take()
    world.beat()

    assert events(bob.transport.take()) == ["phx_error"]
    assert events(ann.transport.take()) == ["presence_diff"]
    assert world.host.statistics().channels == 1


def test_lists_of_both_nodes_change_nothing_while_all_is_well() -> None:
    world = World()
    ann = world.joined(ANN)
    ann.transport.take()
    for _ in range(10):
        world.push("u1", "game:turn_changed")
        world.beat()

    assert set(events(ann.transport.take())) == {"game:turn_changed"}
    assert (world.match.gone, world.forwarder.statistics().broken) == ([], {})


def test_a_lost_join_is_asked_again() -> None:
    world = World()
    ann = world.client(ANN)
    ann.join(TOPIC)
    world.network.lose()
    world.beat()

    assert ann.transport.take()[0][4]["response"] == {"reason": "join crashed"}
    assert world.forwarder.statistics().channels == 0


def test_a_lost_answer_to_a_join_is_noticed_by_the_next_list() -> None:
    world = World()
    ann = world.client(ANN)
    ann.join(TOPIC)
    world.network.deliver_one()
    world.network.lose()
    world.beat()

    assert ann.transport.take()[0][4]["response"] == {"reason": "join crashed"}
    assert world.match.gone == ["u1"]
    assert world.host.statistics().channels == world.forwarder.statistics().channels == 0


def test_a_join_that_takes_its_time_is_left_alone() -> None:
    world = World()
    world.match.is_slow = True
    ann = world.client(ANN)
    ann.join(TOPIC)
    for _ in range(4):
        world.beat()
    world.match.connections[0].accept({"status": "ready"})
    world.network.deliver()

    assert ann.transport.take()[0][4] == {"status": "ok", "response": {"status": "ready"}}


def test_a_lost_farewell_is_made_up_for_by_the_next_list() -> None:
    world = World()
    ann, bob = world.joined(ANN), world.joined(BOB)
    ann.session.closed()
    world.network.lose()
    bob.transport.take()
    world.beat()

    assert world.match.gone == ["u1"]
    assert events(bob.transport.take()) == ["presence_diff"]


def test_a_lost_farewell_of_the_last_client_ends_with_the_lease() -> None:
    world = World()
    world.joined(ANN).session.closed()
    world.network.lose()
    for _ in range(int(LEASE_S / BEAT_S) + 1):
        world.beat()

    assert world.match.gone == ["u1"]


def test_players_of_a_node_that_dies_are_gone_within_its_lease() -> None:
    world = World()
    world.joined(ANN)
    del world.network.inboxes["door:1"]
    for _ in range(int(LEASE_S / BEAT_S) + 1):
        assert world.match.gone == []
        world.now += BEAT_S
        world.host.beat(world.now)

    assert world.match.gone == ["u1"]
    assert world.host.statistics().nodes == 0


def test_players_of_a_match_whose_node_dies_hear_an_error_within_its_lease() -> None:
    world = World()
    ann = world.joined(ANN)
    ann.transport.take()
    del world.network.inboxes["host:1"]
    for _ in range(int(LEASE_S / BEAT_S) + 1):
        world.now += BEAT_S
        world.forwarder.beat(world.now)

    assert events(ann.transport.take()) == ["phx_error"]
    assert world.forwarder.statistics() == type(world.forwarder.statistics())(0, 0, {}, {"silent": 1})


def test_a_node_that_slept_over_its_lease_has_its_clients_join_again() -> None:
    world = World()
    ann = world.joined(ANN)
    ann.transport.take()
    world.now += LEASE_S + 1
    world.host.beat(world.now)  # the door had been silent for too long
    assert world.match.gone == ["u1"]
    world.forwarder.beat(world.now)
    world.network.deliver()

    assert events(ann.transport.take()) == ["phx_error"]


async def test_a_node_that_stops_has_the_clients_of_its_rooms_join_again() -> None:
    world = World()
    ann = world.joined(ANN)
    ann.transport.take()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(world.host.run, LoneLife())
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    world.network.deliver()

    assert events(ann.transport.take()) == ["phx_error"]


async def test_messages_time_out_and_nodes_are_told_by_the_clock(autojump_clock: MockClock) -> None:
    world = World()
    ann = world.joined(ANN)
    ann.transport.take()
    world.say(ann, "game:action", {})
    world.now += ANSWER_S
    async with trio.open_nursery() as nursery:
        nursery.start_soon(world.forwarder.run, LoneLife())
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()

    assert ann.transport.take()[0][4]["response"]["reason"] == "timeout"
    assert [kind for _, _, kind, _ in world.network.under_way] == [words.FROM_CLIENTS]


def test_a_client_that_went_while_it_joined_is_not_a_player() -> None:
    world = World()
    ann = world.client(ANN)
    ann.join(TOPIC)
    ann.session.closed()
    world.network.deliver()
    world.beat()

    assert world.match.gone == ["u1"]
    assert world.host.statistics().channels == world.forwarder.statistics().channels == 0


# -- messages that are none ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"[]",
        b"[1]",
        b'["join"]',
        b'["future", 1]',
        b'["ask", "1", 1, "x", {}]',
        b'["here", [[]]]',
        b'["hosted", [1]]',
        b'["push", 1, 1, "x", 7]',
        b'["answer", 1, 1, 1, "maybe", {}]',
    ],
)
def test_what_is_no_message_is_dropped(body: bytes) -> None:
    world = World()
    for inbox, kind in ((world.inbox, words.FROM_ROOMS), (world.host_inbox, words.FROM_CLIENTS)):
        inbox.take("x:1", kind, body)
        assert inbox.dropped == ["malformed"]


@given(st.binary(max_size=50) | st.recursive(st.none() | st.integers(-9, 9) | st.text(max_size=5), st.lists))
def test_nothing_that_a_node_sends_raises_here(data: Any) -> None:
    world = World()
    try:
        body = data if isinstance(data, bytes) else orjson.dumps(data)
    except TypeError:
        return
    world.inbox.take("x:1", words.FROM_ROOMS, body)
    world.host_inbox.take("x:1", words.FROM_CLIENTS, body)


@pytest.mark.parametrize(
    "message",
    [
        words.JoinAsked(1, "room:m1", "u1", "Ann", {"a": [1]}),
        words.PushAsked(1, 2, "game:action", None),
        words.ChannelLeft(1, "gone"),
        words.ChannelsHere([1, 2]),
        words.JoinAccepted(1, 1, {"status": "ready"}),
        words.JoinRefused(1, 1, {"reason": "no"}, True),
        words.EventPushed(1, 2, "x", {"y": 1}),
        words.PushAnswered(1, 2, 3, "ok", {}),
        words.ChannelEnded(1, 3, False),
    ],
)
def test_what_is_packed_is_unpacked(message: Any) -> None:
    assert words.unpack(words.pack(message)) == message


def test_messages_of_a_third_node_touch_no_channel_of_another() -> None:
    world = World()
    ann = world.joined(ANN)
    ann.transport.take()
    world.inbox.take("x:1", words.FROM_ROOMS, words.pack(words.EventPushed(1, 3, "x", {})))
    world.inbox.take("x:1", words.FROM_ROOMS, words.pack(words.ChannelsHosted([])))
    world.host_inbox.take("x:1", words.FROM_CLIENTS, words.pack(words.ChannelLeft(1, "gone")))
    world.host_inbox.take("x:1", words.FROM_CLIENTS, words.pack(words.ChannelsHere([])))

    assert ann.transport.take() == []
    assert world.match.gone == []
