"""Presences on `state:{id}`."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import pytest
from redis import Redis

from tests.engines import RedisServer
from tests.web.channels.support import ANN, Client
from tests.web.channels.test_state_channel import Records
from tests.web.serving import Node as Running
from tests.web.serving import eventually, serving
from web.channels import state_presence
from web.channels.broadcast import Broadcast
from web.channels.identity import ANONYMOUS, User
from web.channels.presence import State
from web.channels.router import ChannelRouter
from web.channels.state_channel import StateChannel
from web.channels.state_presence import StatePresences, read_told
from web.wiring.rooms import RoomsFeature

BOB = User("u2", "Bob")
Named = dict[str, list[dict[str, Any]]]


class Others:
    """The other processes: what this one tells them, and what they tell."""

    def __init__(self) -> None:
        self.changed: list[str] = []

    def tell_present(self, describe: Any, rooms: Any) -> None:
        self.describe, self.rooms = describe, rooms

    def note_present(self, room_id: str) -> None:
        self.changed.append(room_id)

    async def present_elsewhere(self, room_ids: list[str]) -> dict[str, list[bytes]] | None:
        return None


class Node:
    """One process with its clients."""

    def __init__(self) -> None:
        self.others = Others()
        self.presences = StatePresences(self.others)
        channel = StateChannel(Records(), None, self.presences)
        self.router = ChannelRouter({"state:*": channel.join})

    def client(self, user: User = ANN) -> Client:
        return Client(self.router, user=user)

    def hear(self, *nodes: Node) -> None:
        told = [text for node in nodes if (text := node.others.describe("r")) is not None]
        self.presences.hear("r", told)
        self.presences.send_diff("r")


def joined(client: Client, presence: object) -> list[list[Any]]:
    return client.join("state:r", payload={"presence": presence})


def named(state: Any) -> dict[str, list[object]]:
    return {key: [meta.get("at") for meta in each["metas"]] for key, each in state.items()}


def diff_of(frames: Iterable[list[Any]]) -> tuple[dict[str, list[object]], dict[str, list[object]]]:
    [diff] = [frame[4] for frame in frames if frame[3] == "presence_diff"]
    return named(diff["joins"]), named(diff["leaves"])


def test_who_joins_with_a_meta_appears_and_gets_the_state_after_the_reply() -> None:
    node = Node()
    ann, bob = node.client(), node.client(BOB)
    [answer, state] = joined(ann, {"at": "home"})
    assert (answer[3], answer[4]["status"]) == ("phx_reply", "ok")
    assert (state[3], named(state[4])) == ("presence_state", {"u1": ["home"]})
    assert state[4]["u1"]["metas"][0]["phx_ref"]

    [_, state] = joined(bob, {})
    assert named(state[4]) == {"u1": ["home"], "u2": [None]}
    node.presences.send_diff("r")
    assert diff_of(ann.transport.take()) == ({"u1": ["home"], "u2": [None]}, {})


def test_devices_of_one_user_are_metas_under_one_key() -> None:
    node = Node()
    phone, desk = node.client(), node.client()
    joined(phone, {"at": "phone"})
    joined(desk, {"at": "desk"})
    node.presences.send_diff("r")
    desk.transport.take()
    phone.say("1", "2", "state:r", "phx_leave", {})
    node.presences.send_diff("r")
    assert diff_of(desk.transport.take()) == ({}, {"u1": ["phone"]})
    assert named(node.presences.state("r")) == {"u1": ["desk"]}


def test_who_watches_hears_and_does_not_appear_and_others_hear_nothing() -> None:
    node = Node()
    watcher, plain = node.client(), node.client()
    assert [frame[3] for frame in joined(watcher, "watch")] == ["phx_reply", "presence_state"]
    assert [frame[3] for frame in plain.join("state:r")] == ["phx_reply"]
    joined(node.client(BOB), {"at": "sea"})
    node.presences.send_diff("r")
    assert diff_of(watcher.transport.take()) == ({"u2": ["sea"]}, {})
    assert plain.transport.take() == []


def test_an_anonymous_user_appears_under_a_key_of_its_own() -> None:
    node = Node()
    for number in (1, 2):
        joined(node.client(ANONYMOUS), {"at": number})
    keys = list(node.presences.state("r"))
    assert len(set(keys)) == 2
    assert all(key.startswith("guest:") for key in keys)


@pytest.mark.parametrize(
    ("presence", "reason"),
    [
        ([], "invalid_presence"),
        ("here", "invalid_presence"),
        (7, "invalid_presence"),
        (True, "invalid_presence"),
        ({"text": "x" * 1024}, "presence_too_large"),
        ({"text": "\u00e9" * 512}, "presence_too_large"),
    ],
)
def test_a_bad_presence_is_refused_for_good(presence: object, reason: str) -> None:
    answer, close = joined(Node().client(), presence)
    assert answer[4] == {"status": "error", "response": {"reason": reason}}
    assert close[3] == "phx_close"


def test_a_meta_of_a_kibibyte_is_taken() -> None:
    presence = {"text": "x" * (1024 - len('{"text":""}'))}
    assert len(json.dumps(presence, separators=(",", ":"))) == 1024
    assert joined(Node().client(), presence)[0][4]["status"] == "ok"


def test_a_name_that_breaks_clients_hears_and_does_not_appear() -> None:
    node = Node()
    [_, state] = joined(node.client(User("__proto__", "x")), {})
    assert state[4] == {}


def test_a_room_has_so_many_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state_presence, "MAX_PRESENT", 2)
    node = Node()
    first = node.client()
    joined(first, {})
    joined(node.client(), {})
    [answer] = joined(node.client(BOB), {})
    assert answer[4] == {"status": "error", "response": {"reason": "too_many_present"}}
    assert joined(node.client(BOB), "watch")[0][4]["status"] == "ok"
    first.say("1", "2", "state:r", "phx_leave", {})
    assert joined(node.client(BOB), {})[0][4]["status"] == "ok"


def test_who_comes_and_goes_between_two_diffs_is_said_to_have_left() -> None:
    """For those who were sent a state in between."""
    node = Node()
    ann, brief, late = node.client(), node.client(BOB), node.client()
    joined(ann, "watch")
    joined(brief, {"at": "door"})
    joined(late, "watch")
    brief.say("1", "2", "state:r", "phx_leave", {})
    node.presences.send_diff("r")
    assert diff_of(late.transport.take()) == ({}, {"u2": ["door"]})


def test_a_client_whose_frames_wait_gets_the_state_instead_of_diffs() -> None:
    node = Node()
    slow = node.client()
    joined(slow, "watch")
    slow.transport.is_backpressured = True
    for number in range(3):
        joined(node.client(BOB), {"at": number})
        node.presences.send_diff("r")
    assert slow.transport.take() == []
    slow.transport.is_backpressured = False
    slow.session.writable()
    [state] = slow.transport.take()
    assert (state[3], named(state[4])) == ("presence_state", {"u2": [0, 1, 2]})


def test_those_on_another_node_come_and_go_too() -> None:
    here, there = Node(), Node()
    ann, bob = here.client(), there.client(BOB)
    joined(ann, {"at": "here"})
    joined(bob, {"at": "there"})
    here.presences.send_diff("r")
    ann.transport.take()

    here.hear(there)
    assert diff_of(ann.transport.take()) == ({"u2": ["there"]}, {})
    here.hear(there)
    assert ann.transport.take() == []
    [_, state] = joined(here.client(BOB), "watch")
    assert named(state[4]) == {"u1": ["here"], "u2": ["there"]}

    here.hear()  # that node has died, and what it told has lapsed
    assert diff_of(ann.transport.take()) == ({}, {"u2": ["there"]})


def test_others_are_told_of_those_here_only() -> None:
    here, there = Node(), Node()
    joined(there.client(BOB), {"at": "there"})
    ann = here.client()
    joined(ann, {"at": "here"})
    here.hear(there)
    assert here.others.changed == ["r"]
    assert [key for _, key, _ in read_told(here.others.describe("r"))] == ["u1"]
    assert list(here.others.rooms()) == ["r"]
    ann.say("1", "2", "state:r", "phx_leave", {})
    assert here.others.describe("r") is None
    assert list(here.others.rooms()) == []


@pytest.mark.parametrize(
    "text", [b"", b"{}", b"[1]", b'[["a","b"]]', b'[["a",1,{}]]', b'[["a","b",[]]]', b"\xff"]
)
def test_what_another_version_tells_is_left_out(text: bytes) -> None:
    assert read_told(text) == []


class Screen:
    """Remembers the names it was told."""

    user_id = "u1"

    def __init__(self) -> None:
        self.names: set[str] = set()

    def hear_state(self, state: State) -> None:
        self.names = set(state)

    def hear_diff(self, diff: Broadcast) -> None:
        payload: Any = diff.payload
        self.names = (self.names | set(payload["joins"])) - set(payload["leaves"])


async def test_processes_tell_one_another_through_redis(redis_server: RedisServer) -> None:
    """Also who was there before, and anew after Redis has forgotten everything."""
    settings = {"ROOM_STORE": "redis", "REDIS_URL": redis_server.url}
    async with serving("fast", **settings) as one, serving("fast", **settings) as two:
        here, there = (presences_of(node) for node in (one, two))
        guest, screen = Screen(), Screen()
        guest.user_id = "u2"
        there.enter("r", guest, {"at": "there"})
        here.enter("r", screen, {"at": "here"})
        await eventually(lambda: screen.names == guest.names == {"u1", "u2"})
        with Redis.from_url(redis_server.url) as redis:
            redis.flushall()
        third = Screen()
        third.user_id = "u3"
        there.enter("r", third, {})
        await eventually(lambda: screen.names == {"u1", "u2", "u3"} == guest.names)
        there.leave("r", guest)
        there.leave("r", third)
        await eventually(lambda: screen.names == {"u1"})


def presences_of(node: Running) -> StatePresences:
    [feature] = [each for each in node.program.core.features if isinstance(each, RoomsFeature)]
    return feature.presences
