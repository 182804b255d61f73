"""Several rooms on one stream: `GET /api/stream?room=a&room=b`, changed by `POST /api/streams/{stream_id}`.

The stream is one member for its lane, and one for each room's audience. What a room says is kept here,
the newest of each room, until the lane writes: so a slow client skips versions of a room, but never a room.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any, Final

import orjson

from actors.core import (
    ActorCrashed,
    CallTimeout,
    ConflatingMember,
    Event,
    MailboxFull,
    NotDelivered,
    TooMany,
    next_seq,
)
from actors.links import NotSent, OutcomeUnknown
from actors.links.node_tokens import node_of, suffix_of
from actors.rooms import Refusal, is_room_id
from web.handlers.access import READ, Grant, expired_notice
from web.handlers.http import Answer, Opening, OpenStream, error, json_answer, retry_later
from web.handlers.paths import query_value, query_values
from web.handlers.positions import id_of, position_of, read_id
from web.handlers.resume import opening
from web.handlers.routes import Endpoint, Route
from web.handlers.sse import LateEvent, frame, notice
from web.handlers.streams import EVENT_STREAM, KEEP_ALIVE, RETRY_AFTER_S
from web.handlers.viewers import asks_for_viewers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from actors.core import Member
    from actors.links import NodeInbox
    from actors.rooms import Record, RoomStore
    from web.handlers.access import Access
    from web.handlers.http import Request
    from web.handlers.viewers import Viewers

MAX_ROOMS: Final = 100
# Kind of the calls between nodes.
CHANGE: Final = "stream_change"
STREAM_ID_AT: Final = 2  # in /api/streams/{stream_id}
INVALID_ROOMS: Final = error(422, "invalid_rooms", f"wanted 1 to {MAX_ROOMS} room ids")
INVALID_ROOM_ID: Final = error(422, "invalid_room_id", "a room id is 1 to 64 of A-Z a-z 0-9 _ -")
INVALID_CHANGE: Final = error(422, "invalid_change", 'wanted {"add": [room id], "remove": [room id]}')
STREAM_NOT_FOUND: Final = error(404, "stream_not_found", "there is no such stream (any more)")


class _Watcher(ConflatingMember):
    """The stream as one room's audience sees it."""

    __slots__ = ("group", "position", "room_id")

    def __init__(self, group: RoomGroup, room_id: str) -> None:
        super().__init__()
        self.group = group
        self.room_id = room_id
        self.position = ""

    def take(self, event: Event, seen: int) -> bool:
        """Hand it to the group, which keeps it until the lane writes."""
        self.group.hear(self, event, seen)
        return True

    def tell(self, frames: bytes) -> None:
        """As `take`, for the number of viewers."""
        self.group.hear_beside(self, frames)

    def close(self, reason: str) -> None:
        """End the whole stream."""
        self.group.close(reason)


class _Bundle(LateEvent):
    """All that the rooms have said since the lane wrote last."""

    group: RoomGroup

    def text(self) -> bytes:
        """Frames, made now."""
        return self.group.drain()


class RoomGroup:
    """One stream's rooms; the source of that stream."""

    def __init__(self, groups: RoomGroups, room_ids: Iterable[str], viewers: Viewers | None) -> None:
        self.stream_id = secrets.token_urlsafe(16) + groups.suffix
        self.viewers = viewers
        self._groups = groups
        self._rooms = groups.rooms
        self._watchers = {room_id: _Watcher(self, room_id) for room_id in room_ids}
        self._pending: dict[_Watcher, tuple[Event, int | None]] = {}
        self._beside: dict[_Watcher, bytes] = {}
        self._member: Member | None = None

    def describe(self) -> dict[str, Any]:
        """The data of `open`, and the answer to a change."""
        return {"stream_id": self.stream_id, "rooms": list(self._watchers)}

    # -- as a source -------------------------------------------------------------------------

    def join(self, wanted: OpenStream, member: Member) -> Opening | Answer:
        """Offer `member` the rooms' events; 503 if there are too many streams."""
        told: dict[str, tuple[Record | None, Event]] = {}
        try:
            for room_id, watcher in self._watchers.items():
                record, event = told[room_id] = self._rooms.join(room_id, watcher)
                watcher.seq = event.seq
        except TooMany as full:
            self._leave_all()
            return retry_later(503, "too_many_streams", RETRY_AFTER_S, str(full))
        self._member = member
        self._groups.by_id[self.stream_id] = self
        frames = [notice("open", orjson.dumps(self.describe()))]
        epochs = {
            room_id: "none" if record is None else record.epoch for room_id, (record, _) in told.items()
        }
        resumes = read_id(wanted.resume, epochs) if wanted.resume else {}
        for room_id, (record, event) in told.items():
            resume = wanted.resume if resumes is None else resumes.get(room_id)
            watcher = self._watchers[room_id]
            watcher.position = position_of(room_id, event.id)
            frames.append(opening(room_id, record, event, resume, self._frame))
        if self.viewers is not None:
            frames += [self.viewers.join(each.room_id, each) for each in self._watchers.values()]
        return Opening((b"".join(frames),), next_seq())

    def leave(self, wanted: OpenStream, member: Member) -> None:  # noqa: ARG002  # there is one stream only
        """Offer nothing more."""
        self._member = None
        self._groups.by_id.pop(self.stream_id, None)
        self._leave_all()

    def _leave_all(self) -> None:
        for watcher in self._watchers.values():
            self._leave(watcher)
        self._pending.clear()
        self._beside.clear()

    def _leave(self, watcher: _Watcher) -> None:
        self._rooms.leave(watcher.room_id, watcher)
        if self.viewers is not None:
            self.viewers.leave(watcher.room_id, watcher)

    # -- changes -----------------------------------------------------------------------------

    @property
    def is_open(self) -> bool:
        """Whether the stream has not ended."""
        return self._member is not None

    def remove(self, room_id: str) -> None:
        """Offer no more events of the room; nothing happens if it is not there."""
        watcher = self._watchers.pop(room_id, None)
        if watcher is not None:
            self._pending.pop(watcher, None)
            self._beside.pop(watcher, None)
            self._leave(watcher)

    def add(self, room_id: str) -> None:
        """Offer the room's record, and its events from now on; nothing happens if it is there.

        Raises:
            TooMany: As for a stream.
        """
        if room_id in self._watchers:
            return
        watcher = _Watcher(self, room_id)
        _, event = self._rooms.join(room_id, watcher)
        self._watchers[room_id] = watcher
        watcher.seq = event.seq
        self.hear(watcher, event, None)
        if self.viewers is not None:
            self.hear_beside(watcher, self.viewers.join(room_id, watcher))

    # -- events --------------------------------------------------------------------------------

    def hear(self, watcher: _Watcher, event: Event, seen: int | None) -> None:
        """Keep an event until the lane writes, which may be now."""
        self._pending[watcher] = (event, None if watcher in self._pending else seen)
        self._offer()

    def hear_beside(self, watcher: _Watcher, frames: bytes) -> None:
        """Keep frames that are no state until the lane writes, in place of older ones of the room."""
        self._beside[watcher] = frames
        self._offer()

    def _offer(self) -> None:
        if self._member is not None:
            bundle = _Bundle(next_seq(), "", "", b"")
            bundle.group = self
            self._member.offer(bundle)

    def drain(self) -> bytes:
        """The frames of what is kept: the newest of each room, all where none had to wait."""
        pending, self._pending = self._pending, {}
        beside, self._beside = self._beside, {}
        frames = []
        for watcher, (event, seen) in pending.items():
            for each in (event,) if seen is None else event.since(seen):
                watcher.position = position_of(watcher.room_id, each.id)
                frames.append(self._frame(each))
        return b"".join((*frames, *beside.values())) or b":\n\n"

    def _frame(self, event: Event) -> bytes:
        return frame(event, id_of(watcher.position for watcher in self._watchers.values()))

    def close(self, reason: str) -> None:
        """End the stream."""
        if self._member is not None:
            self._member.close(reason)


class RoomGroups:
    """The endpoints, and the streams that are open in this process.

    Args:
        rooms: Where rooms are watched.
        viewers: Counts who watches them.
        access: Judges who may read which room; None where everybody may.
        refused: Makes an answer of a refusal.
        inbox: The way to streams of other nodes and workers; None without Redis.

    Attributes:
        by_id: Open streams by their ids.
        suffix: Behind the ids of this process' streams: they name it.
    """

    def __init__(
        self,
        rooms: RoomStore,
        viewers: Viewers,
        access: Access | None,
        refused: Callable[[Refusal], Answer],
        inbox: NodeInbox | None,
    ) -> None:
        self._inbox = inbox
        self.suffix = "" if inbox is None else suffix_of(inbox.owner)
        if inbox is not None:
            inbox.on_call(CHANGE, self._change_for_another)
        self.rooms = rooms
        self._viewers = viewers
        self._access = access
        self._refused = refused
        self.by_id: dict[str, RoomGroup] = {}

    def routes(self) -> tuple[Route, ...]:
        """The paths and what answers them."""
        change = Endpoint(self.change, waits_for_actors_only=True)
        return (
            Route("/api/stream", {"GET": Endpoint(self.stream)}),
            Route("/api/streams/{stream_id}", {"POST": change}),
        )

    async def stream(self, request: Request) -> Answer | OpenStream:
        """Every version of each of the rooms from now on, whether it exists or not."""
        room_ids = tuple(dict.fromkeys(query_values(request.query, "room")))
        if not 1 <= len(room_ids) <= MAX_ROOMS:
            return INVALID_ROOMS
        if not all(map(is_room_id, room_ids)):
            return INVALID_ROOM_ID
        viewers = self._viewers if asks_for_viewers(request) else None
        refusal = self._not_readable(request, room_ids) or await self._open(room_ids, viewers)
        if refusal is not None:
            return refusal
        grant = None if self._access is None else self._access.identify(request.headers, request.query)
        expires_at = grant.expires_at if isinstance(grant, Grant) else None
        group = RoomGroup(self, room_ids, viewers)
        return OpenStream(
            source=group,
            topic=group.stream_id,
            resume=request.headers.get("last-event-id") or query_value(request.query, "last_event_id"),
            client=request.client,
            headers=EVENT_STREAM if request.http2 else EVENT_STREAM + KEEP_ALIVE,
            expires_at=expires_at,
            expired=b"" if expires_at is None else expired_notice({"stream_id": group.stream_id}),
        )

    async def _open(self, room_ids: Iterable[str], viewers: Viewers | None) -> Answer | None:
        """Get ready for listeners. The second round does not wait: by then all are ready at once."""
        if viewers is not None:
            await viewers.open(room_ids)
        for room_id in (*room_ids, *room_ids):
            refusal = await self.rooms.open(room_id)
            if refusal is not None:
                return self._refused(refusal)
        return None

    async def change(self, request: Request) -> Answer:
        """Take rooms from a stream, and add others to it, whichever process has it."""
        stream_id = request.segments[STREAM_ID_AT]
        is_here = stream_id in self.by_id
        node = None if self._inbox is None or is_here else node_of(stream_id, self.suffix)
        change = _read_change(request.body)
        if change is None or (node is None and not is_here):
            return STREAM_NOT_FOUND if node is None and not is_here else INVALID_CHANGE
        if not all(map(is_room_id, change[0])):
            return INVALID_ROOM_ID
        refusal = self._not_readable(request, change[0])
        if refusal is not None:
            return refusal
        if node is not None:
            return await self._change_elsewhere(node, stream_id, change)
        return await self._change_here(stream_id, *change)

    async def _change_here(self, stream_id: str, add: list[str], remove: list[str]) -> Answer:
        """Change a stream of this process by somebody who may read those rooms."""
        group = self.by_id.get(stream_id)
        if group is None:
            return STREAM_NOT_FOUND
        refusal = await self._open(add, group.viewers)
        if refusal is not None:
            return refusal
        if not group.is_open:
            return STREAM_NOT_FOUND
        return self._changed(group, add, remove)

    async def _change_elsewhere(
        self, node: str, stream_id: str, change: tuple[list[str], list[str]]
    ) -> Answer:
        """Have the process change the stream that its id names."""
        if self._inbox is None:
            return STREAM_NOT_FOUND
        try:
            answer = orjson.loads(await self._inbox.call(node, CHANGE, orjson.dumps((stream_id, *change))))
        except (ActorCrashed, CallTimeout, OutcomeUnknown):
            return self._refused(Refusal("outcome_unknown", retry_after_s=1))
        except (MailboxFull, NotSent):
            return self._refused(Refusal("store_unavailable", retry_after_s=1))
        except NotDelivered:  # it has ended, its streams with it
            return STREAM_NOT_FOUND
        status, body, headers = answer
        return Answer(status, body.encode(), tuple((name, value) for name, value in headers))

    async def _change_for_another(self, _node: str, body: bytes) -> bytes:
        """Answer another process, which has judged what its client may read."""
        status, text, headers = await self._change_here(*orjson.loads(body))
        return orjson.dumps((status, text.decode(), headers))

    @staticmethod
    def _changed(group: RoomGroup, add: list[str], remove: list[str]) -> Answer:
        kept = set(group.describe()["rooms"]) - set(remove)
        if len(kept | set(add)) > MAX_ROOMS:
            return INVALID_ROOMS
        try:
            for room_id in remove:
                group.remove(room_id)
            for room_id in add:
                group.add(room_id)
        except TooMany as full:
            return retry_later(503, "too_many_streams", RETRY_AFTER_S, str(full))
        return json_answer(200, group.describe())

    def _not_readable(self, request: Request, room_ids: Iterable[str]) -> Answer | None:
        """Why the request's token does not let it read all of these rooms."""
        if self._access is None:
            return None
        for room_id in room_ids:
            judged = self._access.judge(request.headers, request.query, room_id, READ)
            if isinstance(judged, Answer):
                return judged
        return None


def _read_change(body: bytes) -> tuple[list[str], list[str]] | None:
    """Rooms to add and to remove; None for anything else."""
    try:
        document = orjson.loads(body)
    except ValueError:
        return None
    if not isinstance(document, dict) or not document.keys() <= {"add", "remove"}:
        return None
    add, remove = document.get("add", []), document.get("remove", [])
    for ids in (add, remove):
        if (
            not isinstance(ids, list)
            or len(ids) > MAX_ROOMS
            or not all(isinstance(each, str) for each in ids)
        ):
            return None
    return add, remove
