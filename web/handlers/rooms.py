"""Rooms over HTTP: read, write, remove, list and watch."""

from __future__ import annotations

import logging
import re
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from actors.core import TooMany
from actors.rooms import Change, Put, Refusal, is_room_id
from web.handlers.access import READ, WRITE, expired_notice
from web.handlers.compression import ENCODED, LEAST_BYTES, VARY, Wish, gzipped, wish_of
from web.handlers.conditions import is_unchanged, write_condition
from web.handlers.http import (
    FRESH_JSON,
    NO_CACHE,
    Answer,
    Opening,
    OpenStream,
    error,
    json_answer,
    retry_later,
)
from web.handlers.paths import query_value
from web.handlers.resume import opening
from web.handlers.room_groups import INVALID_ROOM_ID, RoomGroups
from web.handlers.routes import Endpoint, Route
from web.handlers.state_body import BadState, read_state
from web.handlers.state_change import MERGE_PATCH, read_increment, read_merge_patch
from web.handlers.streams import EVENT_STREAM, KEEP_ALIVE, RETRY_AFTER_S
from web.handlers.tokens import admin_refusal, is_admin
from web.handlers.tracing import facts_of
from web.handlers.viewers import Viewers, asks_for_viewers

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pydantic import SecretStr

    from actors.links import NodeInbox
    from actors.rooms import Record, RoomStore
    from actors.rooms.store import ByCallback, RoomRow
    from web.handlers.access import Access, Grant
    from web.handlers.http import Reply, Request, StreamMember
    from web.handlers.limits import PerMinute
    from web.handlers.state_change import Apply

logger = logging.getLogger(__name__)

ROOM_ID_AT: Final = 2  # in /api/rooms/{id}
IS_PAGE_LIMIT: Final = re.compile(r"[0-9]{1,4}\Z").match
MAX_SECRET: Final = 256
IS_IDEMPOTENCY_KEY: Final = re.compile(r"[!-~]{1,64}\Z").match
PAGE: Final = 100
MAX_PAGE: Final = 1000

# A record is kept by nobody without asking whether it is still the newest.
INVALID_SECRET: Final = error(422, "invalid_room_secret", f"a secret has at most {MAX_SECRET} characters")
NOT_A_MERGE_PATCH: Final = error(
    415, "unsupported_media_type", f"wanted {MERGE_PATCH}", headers=(("Accept-Patch", MERGE_PATCH),)
)
ROOM_NOT_FOUND: Final = error(404, "room_not_found", "there is no such room")
# Status and message of each code that the rooms refuse with.
REFUSALS: Final = {
    "room_not_found": (404, "there is no such room"),
    "forbidden": (403, "this room has a secret, to be sent as X-Room-Secret"),
    "room_exists": (409, "this room exists and has no secret; nothing was written"),
    "version_mismatch": (412, "the stored version does not meet the condition; nothing was written"),
    "room_is_authoritative": (409, "this room belongs to a match, which alone writes it"),
    "idempotency_mismatch": (422, "this Idempotency-Key came with another state before; nothing was written"),
    "superseded": (409, "this write was done before, and another one came after it; nothing was written"),
    "invalid_cursor": (422, "wanted the next_cursor of the page before"),
    "invalid_state": (422, "what comes of it is not an object or an array, or nests too deeply"),
    "invalid_path": (422, "path: wanted a JSON Pointer to a number that is there"),
    "invalid_increment": (422, 'wanted {"path": JSON Pointer, "by": number}, and a finite sum'),
    "payload_too_large": (413, "the state that comes of it is larger than a PUT may be"),
    "rate_limited": (429, "too many rooms were created from this address"),
    "too_many_rooms": (503, "this server has as many rooms as it may have"),
    "too_much_state": (503, "the rooms of this server take as many bytes as they may"),
    "room_down": (503, "this room fails; it is tried again after a while"),
    "busy": (503, "this room has too much to do"),
    "store_unavailable": (503, "the store of rooms cannot be reached; nothing was written"),
    "outcome_unknown": (503, "the store of rooms did not answer; the write may have been done"),
    "foreign_value": (503, "the store of rooms has something else under this room's key"),
}
BAD_BODIES: Final = {
    "invalid_state": "wanted a JSON object with `state`, an object or an array",
    "invalid_client_id": "client_id must be a string",
    "invalid_client_ts": "client_ts must be a time in ISO 8601",
}


class RoomHandlers:
    """The endpoints of `/api/rooms`.

    Args:
        rooms: Where rooms are read and written.
        admin_token: Opens DELETE and the list; without one they do not exist.
        creations: How often one client may create a room.
        on_put: Called for every accepted PUT with the room id, the bytes of its body, the
            version, and what the request says of itself (`facts_of`).
        access: Judges who may read and write which room; None where everybody may.
        is_compressed: Whether records are sent as gzip to clients that take it.
        inbox: The way to streams of other processes; None without Redis.

    Attributes:
        viewers: Tells streams that ask how many watch.
    """

    def __init__(
        self,
        rooms: RoomStore,
        *,
        admin_token: SecretStr | None,
        creations: PerMinute,
        on_put: Callable[[str, int, int, Mapping[str, str]], None],
        access: Access | None = None,
        is_compressed: bool = False,
        inbox: NodeInbox | None = None,
    ) -> None:
        self._rooms = rooms
        self._inline = rooms.inline_writes
        self._record_answer = _compressed_answer if is_compressed else _record_answer
        self._streams = RoomStreams(rooms)
        self.viewers = Viewers(rooms)
        self._counted_streams = CountedRoomStreams(rooms, self.viewers)
        self._admin_token = admin_token
        self._creations = creations
        self._on_put = on_put
        self._access = access
        self._groups = RoomGroups(rooms, self.viewers, access, refused, inbox)

    def routes(self, max_state_bytes: int) -> tuple[Route, ...]:
        """The paths and what answers them."""
        get_at_once = self.get_at_once if self._rooms.reads_at_once else None
        put_at_once = None if self._inline is None else self.put_at_once
        by_callback = self._rooms.by_callback
        get_by_callback = None if by_callback is None else partial(self.get_by_callback, by_callback)
        put_by_callback = None if by_callback is None else partial(self.put_by_callback, by_callback)
        check_write = None if self._access is None else self.check_write
        room = {
            "GET": Endpoint(
                self.get, waits_for_actors_only=True, at_once=get_at_once, by_callback=get_by_callback
            ),
            "PUT": Endpoint(
                self.put,
                max_state_bytes,
                waits_for_actors_only=True,
                at_once=put_at_once,
                by_callback=put_by_callback,
                check=check_write,
            ),
            "PATCH": Endpoint(
                self.patch, max_state_bytes, waits_for_actors_only=True, check=self.check_patch
            ),
            "DELETE": Endpoint(self.delete, listed=self._admin_token is not None),
        }
        increment = Endpoint(self.increment, max_state_bytes, waits_for_actors_only=True, check=check_write)
        self._max_state_bytes = max_state_bytes
        public = (
            Route("/api/rooms/{id}", room, ends_in_any_id=True),
            Route("/api/rooms/{id}/increment", {"POST": increment}),
            Route("/api/rooms/{id}/stream", {"GET": Endpoint(self.stream)}),
            *self._groups.routes(),
        )
        if self._admin_token is None:
            return public
        return (*public, Route("/api/rooms", {"GET": Endpoint(self.list)}))

    async def get(self, request: Request) -> Answer:
        """The record; 304 if `If-None-Match` names it."""
        room_id = request.segments[ROOM_ID_AT]
        answer = self.get_at_once(room_id, request.headers, b"")
        if answer is not None:
            return answer
        if not is_room_id(room_id):
            return INVALID_ROOM_ID
        if self._access is not None and (no := self._refusal(request, READ)) is not None:
            return no
        return self._read_answer(request.headers, await self._rooms.read(room_id))

    def get_at_once(self, room_id: str, headers: Mapping[str, str], _body: bytes) -> Answer | None:
        """As `get`, for a room whose record is here."""
        record = self._rooms.get(room_id)
        if record is None:
            return None
        if self._access is not None and not self._access.allows(headers, room_id, READ):
            return None
        return self._record_answer(headers, record)

    def _read_answer(self, headers: Mapping[str, str], record: Record | Refusal | None) -> Answer:
        """What a read has found."""
        if isinstance(record, Refusal):
            return refused(record)
        return ROOM_NOT_FOUND if record is None else self._record_answer(headers, record)

    def get_by_callback(
        self, rooms: ByCallback, room_id: str, headers: Mapping[str, str], _body: bytes, reply: Reply
    ) -> bool:
        """As `get`, for a room that everybody or the bearer of the token may read."""
        if not is_room_id(room_id):
            return False
        if self._access is not None and not self._access.allows(headers, room_id, READ):
            return False
        rooms.read_then(room_id, partial(reply, self._read_answer, headers))
        return True

    def check_write(self, request: Request) -> Answer | None:
        """Refuse whoever may not write before the body is read."""
        return self._refusal(request, WRITE) if is_room_id(request.segments[ROOM_ID_AT]) else None

    def check_patch(self, request: Request) -> Answer | None:
        """Also refuse what is not announced as a merge patch."""
        refusal = None if self._access is None else self.check_write(request)
        return refusal or check_is_merge_patch(request)

    def _refusal(self, request: Request, right: str) -> Answer | None:
        """Why the request's token does not give it `right`; None if it does."""
        if self._access is None:
            return None
        room_id = request.segments[ROOM_ID_AT]
        judged = self._access.judge(request.headers, request.query, room_id, right)
        return judged if isinstance(judged, Answer) else None

    async def put(self, request: Request) -> Answer:
        """Write the next version.

        Raises:
            ActorCrashed: The room's task crashed on it.
        """
        room_id = request.segments[ROOM_ID_AT]
        is_known = self._rooms.get(room_id) is not None
        if not is_known and not is_room_id(room_id):
            return INVALID_ROOM_ID
        if self._access is not None and (no := self._refusal(request, WRITE)) is not None:
            return no
        put = self._read_put(request.headers, request.body)
        if isinstance(put, Answer):
            return put
        key = request.headers.get("idempotency-key")
        if key is not None:
            if not IS_IDEMPOTENCY_KEY(key):
                message = "an Idempotency-Key is 1 to 64 visible ASCII characters"
                return error(422, "invalid_idempotency_key", message)
            put = put._replace(idempotency_key=key)
        refusal = None if is_known or not self._creations.limit else await self._may_create(request)
        if refusal is not None:
            return refused(refusal)
        return self._put_answer(room_id, request.headers, request.body, await self._rooms.put(room_id, put))

    async def _may_create(self, request: Request) -> Refusal | None:
        """Why the client may not write the room, if it does not exist yet."""
        record = await self._rooms.read(request.segments[ROOM_ID_AT])
        if record is None and (wait_s := self._creations.take(request.client)):
            return Refusal("rate_limited", retry_after_s=wait_s)
        return record if isinstance(record, Refusal) else None

    def put_at_once(self, room_id: str, headers: Mapping[str, str], body: bytes) -> Answer | None:
        """As `put`, for a room that can be written at once."""
        rooms = self._inline
        if rooms is None or not rooms.can_put_inline(room_id) or "idempotency-key" in headers:
            return None
        if self._access is not None and not self._access.allows(headers, room_id, WRITE):
            return None
        put = self._read_put(headers, body)
        if isinstance(put, Answer):
            return put
        return self._put_answer(room_id, headers, body, rooms.put_inline(room_id, put))

    def put_by_callback(
        self, rooms: ByCallback, room_id: str, headers: Mapping[str, str], body: bytes, reply: Reply
    ) -> bool:
        """As `put`, where the room need not be asked for first, and the write has no key."""
        if not is_room_id(room_id) or self._creations.limit or "idempotency-key" in headers:
            return False
        if self._access is not None and not self._access.allows(headers, room_id, WRITE):
            return False
        put = self._read_put(headers, body)
        if isinstance(put, Answer):
            return False
        rooms.put_then(room_id, put, partial(reply, self._put_answer, room_id, headers, body))
        return True

    async def patch(self, request: Request) -> Answer:
        """Apply a merge patch to the state.

        Raises:
            ActorCrashed: The room's task crashed on it.
        """
        return await self._change(request, read_merge_patch)

    async def increment(self, request: Request) -> Answer:
        """Add to a number of the state.

        Raises:
            ActorCrashed: The room's task crashed on it.
        """
        return await self._change(request, read_increment)

    async def _change(self, request: Request, read: Callable[[bytes, int], Apply | Refusal]) -> Answer:
        room_id = request.segments[ROOM_ID_AT]
        if not is_room_id(room_id):
            return INVALID_ROOM_ID
        if self._access is not None and (no := self._refusal(request, WRITE)) is not None:
            return no
        apply = read(request.body, self._max_state_bytes)
        if isinstance(apply, Refusal):
            return refused(apply)
        headers = request.headers
        secret = headers.get("x-room-secret")
        if secret is not None and len(secret) > MAX_SECRET:
            return INVALID_SECRET
        change = Change(apply, write_condition(headers), secret, is_admin(headers, self._admin_token))
        return self._put_answer(room_id, headers, request.body, await self._rooms.change(room_id, change))

    def _read_put(self, headers: Mapping[str, str], body: bytes) -> Put | Answer:
        """What a PUT asks a room to do."""
        secret = headers.get("x-room-secret")
        if secret is not None and len(secret) > MAX_SECRET:
            return INVALID_SECRET
        try:
            put = Put(read_state(body), write_condition(headers), secret)
        except BadState as bad:
            code = str(bad)
            return error(422, code, BAD_BODIES[code])
        if "authorization" in headers and is_admin(headers, self._admin_token):
            return put._replace(is_admin=True)
        return put

    def _put_answer(
        self, room_id: str, headers: Mapping[str, str], body: bytes, answer: Record | Refusal
    ) -> Answer:
        if isinstance(answer, Refusal):
            return refused(answer)
        self._on_put(room_id, len(body), answer.version, facts_of(headers))
        return Answer(200, answer.body, (*FRESH_JSON, ("ETag", f'"{answer.etag}"')))

    async def delete(self, request: Request) -> Answer:
        """Remove a plain room, whatever its secret is.

        Raises:
            ActorCrashed: The room's task crashed on it.
        """
        refusal = admin_refusal(request.headers, self._admin_token)
        if refusal is not None:
            return refusal
        room_id = request.segments[ROOM_ID_AT]
        if not is_room_id(room_id):
            return INVALID_ROOM_ID
        answer = await self._rooms.delete(room_id, is_admin=True)
        return Answer(204, headers=NO_CACHE) if answer is None else refused(answer)

    async def list(self, request: Request) -> Answer:
        """A page of all rooms, in the order of their ids."""
        refusal = admin_refusal(request.headers, self._admin_token)
        if refusal is not None:
            return refusal
        limit = query_value(request.query, "limit") or str(PAGE)
        if not IS_PAGE_LIMIT(limit) or not 1 <= int(limit) <= MAX_PAGE:
            return error(422, "invalid_limit", f"wanted 1 to {MAX_PAGE}")
        cursor = query_value(request.query, "cursor") or ""
        page = await self._rooms.page(int(limit), cursor)
        if isinstance(page, Refusal):
            return refused(page)
        return json_answer(200, {"rooms": list(map(_row, page.rows)), "next_cursor": page.next_cursor})

    async def stream(self, request: Request) -> Answer | OpenStream:
        """Every version of the room from now on, whether it exists or not."""
        room_id = request.segments[ROOM_ID_AT]
        if not is_room_id(room_id):
            return INVALID_ROOM_ID
        grant: Grant | None = None
        if self._access is not None:
            judged = self._access.judge(request.headers, request.query, room_id, READ)
            if isinstance(judged, Answer):
                return judged
            grant = judged
        is_counted = asks_for_viewers(request)
        if is_counted:
            await self.viewers.open((room_id,))
        refusal = await self._rooms.open(room_id)
        if refusal is not None:
            return refused(refusal)
        return OpenStream(
            source=self._counted_streams if is_counted else self._streams,
            topic=room_id,
            resume=request.headers.get("last-event-id") or query_value(request.query, "last_event_id"),
            client=request.client,
            headers=EVENT_STREAM if request.http2 else EVENT_STREAM + KEEP_ALIVE,
            expires_at=None if grant is None else grant.expires_at,
            expired=b"" if grant is None else expired_notice({"room_id": room_id}),
        )


class RoomStreams:
    """The source of rooms' streams. Topics are room ids."""

    def __init__(self, rooms: RoomStore) -> None:
        self._rooms = rooms

    def join(self, wanted: OpenStream, member: StreamMember) -> Opening | Answer:
        """Offer `member` the room's events; 503 if there are too many streams."""
        try:
            record, event = self._rooms.join(wanted.topic, member)
        except TooMany as full:
            return retry_later(503, "too_many_streams", RETRY_AFTER_S, str(full))
        self._log("stream_opened", wanted)
        return Opening((opening(wanted.topic, record, event, wanted.resume),), event.seq)

    def leave(self, wanted: OpenStream, member: StreamMember) -> None:
        """Offer `member` no more events."""
        self._rooms.leave(wanted.topic, member)
        self._log("stream_closed", wanted)

    def _log(self, event: str, wanted: OpenStream) -> None:
        if logger.isEnabledFor(logging.DEBUG):
            logger.debug(event, extra={"room_id": wanted.topic, "streams": self._rooms.streams(wanted.topic)})


class CountedRoomStreams(RoomStreams):
    """The source of those streams that are told the number of viewers, too."""

    def __init__(self, rooms: RoomStore, viewers: Viewers) -> None:
        super().__init__(rooms)
        self._viewers = viewers

    def join(self, wanted: OpenStream, member: StreamMember) -> Opening | Answer:
        """Also tell `member` how many it is one of."""
        begun = super().join(wanted, member)
        if isinstance(begun, Answer):
            return begun
        return begun._replace(parts=(*begun.parts, self._viewers.join(wanted.topic, member)))

    def leave(self, wanted: OpenStream, member: StreamMember) -> None:
        """Tell it no more."""
        self._viewers.leave(wanted.topic, member)
        super().leave(wanted, member)


def check_is_merge_patch(request: Request) -> Answer | None:
    """Refuse what is not announced as a merge patch."""
    given = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    return None if given == MERGE_PATCH else NOT_A_MERGE_PATCH


def refused(refusal: Refusal) -> Answer:
    """A refusal of the rooms as an answer."""
    status, message = REFUSALS[refusal.code]
    if refusal.retry_after_s is not None:
        return retry_later(status, refusal.code, refusal.retry_after_s, message)
    facts: dict[str, Any] = {} if refusal.version is None else {"version": refusal.version}
    return error(status, refusal.code, message, **facts)


def _record_answer(headers: Mapping[str, str], record: Record) -> Answer:
    """The record, or 304 if `If-None-Match` names it."""
    etag = record.etag
    if "if-none-match" in headers and is_unchanged(headers, etag):
        return Answer(304, headers=(*NO_CACHE, ("ETag", f'"{etag}"')))
    return Answer(200, record.body, (*FRESH_JSON, ("ETag", f'"{etag}"')))


def _compressed_answer(headers: Mapping[str, str], record: Record) -> Answer:
    """As `_record_answer`, as gzip where that is worth it. The tag names the state, however it is sent."""
    status, body, fields = _record_answer(headers, record)
    fields += VARY
    if body and "accept-encoding" in headers:
        wish = wish_of(headers)
        if wish is Wish.ONLY or (wish is Wish.YES and len(body) > LEAST_BYTES):
            return Answer(status, gzipped(body), fields + ENCODED)
    return Answer(status, body, fields)


def _row(row: RoomRow) -> dict[str, Any]:
    return row._asdict() | {"kind": row.kind.value}
