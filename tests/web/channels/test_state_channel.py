from __future__ import annotations

import json

from actors.core import Audiences, Event, Member, PendingCall
from actors.rooms import Record, Refusal, RoomTable
from tests.web.channels.support import Client, reply
from web.channels.router import ChannelRouter
from web.channels.serializer import V1
from web.channels.state_channel import StateChannel


class Records:
    """Rooms without tasks: a write is offered to the audience at once."""

    def __init__(self, max_members: int = 100) -> None:
        self.audiences = Audiences(max_members=max_members)
        self.table = RoomTable(max_rooms=100, max_bytes=100_000)

    async def open(self, room_id: str) -> Refusal | None:
        return None

    def join(self, room_id: str, member: Member) -> tuple[Record | None, Event]:
        self.audiences.join(room_id, member)
        return self.table.get(room_id), self.table.event(room_id)

    def leave(self, room_id: str, member: Member) -> None:
        self.audiences.leave(room_id, member)

    def write(self, room_id: str, state: bytes) -> Event:
        event = self.table.write(room_id, state, now_s=0.0).event
        self.tell(room_id, event)
        return event

    def tell(self, room_id: str, event: Event) -> None:
        for member in self.audiences.members(room_id):
            member.offer(event)


class WatchedRooms:
    """Rooms and clients that watch them."""

    def __init__(self, max_members: int = 100) -> None:
        self.records = Records(max_members)
        self.router = ChannelRouter({"state:*": StateChannel(self.records).join})

    def client(self) -> Client:
        return Client(self.router)


def versions(frames: list[list[object]]) -> list[object]:
    return [frame[4]["version"] for frame in frames if isinstance(frame[4], dict)]


def test_the_join_answers_with_the_record() -> None:
    node = WatchedRooms()
    node.records.write("a", b'{"n":1}')

    [answer] = node.client().join("state:a")

    record = {"room_id": "a", "version": 1, "updated_at": "1970-01-01T00:00:00.000Z", "state": {"n": 1}}
    record["id"] = node.records.table.event("a").id
    assert answer == reply("1", "1", "state:a", "ok", record)


def test_a_room_that_does_not_exist_is_version_0() -> None:
    [answer] = WatchedRooms().client().join("state:a")

    assert answer[4]["response"] == {
        "room_id": "a",
        "version": 0,
        "updated_at": None,
        "state": None,
        "id": "none-0",
    }


class LateRecords(Records):
    """Rooms that can be listened to only when the store has answered."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[PendingCall] = []

    async def open(self, room_id: str) -> Refusal | None:
        self.asked.append(PendingCall("store", room_id))
        answer: Refusal | None = await self.asked[-1].wait(10)
        return answer


class LateRooms(WatchedRooms):
    def __init__(self) -> None:
        super().__init__()
        self.records = self.late = LateRecords()
        self.router = ChannelRouter({"state:*": StateChannel(self.records).join})


async def test_a_join_is_answered_once_the_store_is_ready() -> None:
    node = LateRooms()
    client = node.client()
    before = client.join("state:a")
    node.late.asked[0].send(None)
    [answer] = client.transport.take()

    assert before == []
    assert answer[4]["response"]["id"] == "none-0"


async def test_a_join_that_the_store_cannot_serve_is_refused() -> None:
    node = LateRooms()
    client = node.client()
    client.join("state:a")
    node.late.asked[0].send(Refusal("store_unavailable", retry_after_s=1))

    assert client.transport.take() == [reply("1", "1", "state:a", "error", {"reason": "store_unavailable"})]
    assert len(node.records.audiences) == 0


async def test_a_client_that_left_before_the_store_was_ready_joins_nothing() -> None:
    node = LateRooms()
    client = node.client()
    client.join("state:a")
    client.say("1", "2", "state:a", "phx_leave", {})
    client.transport.take()
    node.late.asked[0].send(None)

    assert client.transport.take() == []
    assert len(node.records.audiences) == 0


def test_every_write_is_a_push_and_all_get_the_same_bytes() -> None:
    node = WatchedRooms()
    clients = [node.client(), node.client()]
    for client in clients:
        client.join("state:a")

    node.records.write("a", b'{"n":123456789012345678901234567890}')

    first, second = (client.transport.frames for client in clients)
    assert first[0] is second[0]
    assert b'"state":{"n":123456789012345678901234567890}' in first[0].data
    assert json.loads(first[0].data)[:4] == [None, None, "state:a", "state"]


def test_writes_that_are_told_together_are_a_push_each_and_the_same_for_all() -> None:
    node = WatchedRooms()
    early, late = node.client(), node.client()
    early.join("state:a")
    earlier = tuple(node.records.write("a", b"[%d]" % n) for n in (1, 2, 3))
    early.transport.take()
    late.join("state:a")
    late.transport.take()
    more, last = (node.records.table.write("a", b"[%d]" % n, now_s=0.0).event for n in (4, 5))

    node.records.tell("a", last._replace(earlier=(*earlier, more)))

    assert early.transport.frames[-1] is late.transport.frames[-1]
    assert versions(early.transport.take()) == versions(late.transport.take()) == [4, 5]


def test_clients_of_both_versions_watch_the_same_room() -> None:
    node = WatchedRooms()
    old = Client(node.router, serializer=V1)
    old.send('{"topic":"state:a","event":"phx_join","payload":{},"ref":"1"}')
    new = node.client()
    new.join("state:a")

    node.records.write("a", b"{}")

    [frame] = old.transport.take()
    assert (frame["event"], frame["payload"]["version"]) == ("state", 1)
    assert versions(new.transport.take()) == [1]


def test_a_client_whose_frames_wait_gets_the_newest_record_afterwards() -> None:
    node = WatchedRooms()
    client = node.client()
    client.join("state:a")
    client.transport.is_backpressured = True

    for n in range(5):
        node.records.write("a", b"[%d]" % n)
    assert client.transport.take() == []
    client.transport.is_backpressured = False
    client.session.writable()

    assert versions(client.transport.take()) == [5]
    node.records.write("a", b"[]")
    assert versions(client.transport.take()) == [6]


def test_nothing_comes_twice_and_nothing_goes_backwards() -> None:
    node = WatchedRooms()
    node.records.write("a", b"[1]")
    older = node.records.table.event("a")
    newer = node.records.write("a", b"[2]")
    client = node.client()
    client.join("state:a")

    node.records.tell("a", older)
    node.records.tell("a", newer)

    assert client.transport.take() == []


def test_a_room_that_goes_is_version_0_and_may_come_back() -> None:
    node = WatchedRooms()
    node.records.write("a", b"[1]")
    client = node.client()
    client.join("state:a")

    node.records.table.remove("a")
    node.records.tell("a", node.records.table.event("a"))
    node.records.write("a", b"[2]")

    assert versions(client.transport.take()) == [0, 1]


def test_who_leaves_or_goes_is_no_longer_in_the_audience() -> None:
    node = WatchedRooms()
    left, gone = node.client(), node.client()
    left.join("state:a")
    gone.join("state:a")

    left.say("1", "2", "state:a", "phx_leave", {})
    gone.session.closed()

    assert node.records.audiences.count("a") == 0


def test_bad_ids_and_full_audiences_are_refused() -> None:
    node = WatchedRooms(max_members=1)

    assert node.client().join("state:a/b")[0][4]["response"] == {"reason": "invalid_room_id"}
    assert node.client().join("state:")[0][4]["response"] == {"reason": "invalid_room_id"}
    node.client().join("state:a")
    assert node.client().join("state:a")[0][4]["response"] == {"reason": "too_many_streams"}


def test_watchers_only_watch() -> None:
    client = WatchedRooms().client()
    client.join("state:a")

    assert client.say("1", "2", "state:a", "write", {}) == [
        reply("1", "2", "state:a", "error", {"reason": "read_only"})
    ]


def test_an_audience_that_ends_its_member_closes_the_channel() -> None:
    node = WatchedRooms()
    client = node.client()
    client.join("state:a")

    for member in node.records.audiences.members("a"):
        member.close("drain")

    assert client.transport.take() == [["1", "1", "state:a", "phx_close", {}]]
    assert node.records.audiences.count("a") == 0


def test_a_push_is_the_record_whatever_it_says() -> None:
    node = WatchedRooms()
    client = node.client()
    client.join("state:a")

    node.records.write("a", b'"\\n\\ndata: x\\n\\n"')

    [push] = client.transport.take()
    assert push[4]["state"] == "\n\ndata: x\n\n"


def test_every_push_carries_the_id_that_streams_carry() -> None:
    node = WatchedRooms()
    client = node.client()
    client.join("state:a")

    event = node.records.write("a", b"{}")

    [push] = client.transport.take()
    assert push[4]["id"] == event.id
    assert push[4]["id"].endswith("-1")


def test_coming_back_with_an_id_of_this_life_is_no_loss() -> None:
    node = WatchedRooms()
    first = node.records.write("a", b"{}").id
    second = node.records.write("a", b"{}").id

    for seen in (first, second, "none-0", "", None, 5):
        [answer] = node.client().join("state:a", payload={"last_event_id": seen})
        assert answer[4]["response"]["id"] == second


def test_coming_back_with_an_id_of_another_life_is_told_as_a_reset_before_the_record() -> None:
    node = WatchedRooms()
    current = node.records.write("a", b"{}").id

    for seen in ("other-1", current.replace("-1", "-9"), "nonsense", "x" * 1000):
        answer, reset, state = node.client().join("state:a", payload={"last_event_id": seen})

        assert answer[4]["status"] == "ok"
        assert reset[3:] == ["reset", {"room_id": "a", "previous": seen[:128]}]
        assert (state[3], state[4]["id"]) == ("state", current)
