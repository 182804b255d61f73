"""The room API on FastAPI and sse-starlette, as one would write it by hand.

Each stream has a bounded queue; when it is full, the oldest event makes room, which the
room API allows because every event is a whole state.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Annotated, Any

import orjson
from fastapi import FastAPI, Path, Request, Response
from sse_starlette.event import ServerSentEvent
from sse_starlette.sse import EventSourceResponse

RoomId = Annotated[str, Path(pattern=r"^[A-Za-z0-9_-]{1,64}$")]

QUEUE_SLOTS = 64
app = FastAPI(openapi_url=None)
versions: dict[str, int] = {}
records: dict[str, bytes] = {}
audiences: defaultdict[str, set[asyncio.Queue[ServerSentEvent]]] = defaultdict(set)


def _event(room_id: str) -> ServerSentEvent:
    version = versions.get(room_id, 0)
    record = records.get(room_id) or orjson.dumps(
        {"room_id": room_id, "version": 0, "updated_at": None, "state": None}
    )
    return ServerSentEvent(data=record.decode(), event="state", id=f"e-{version}")


@app.get("/api/rooms/{room_id}")
async def read(room_id: RoomId) -> Response:
    """Answer with the record."""
    record = records.get(room_id)
    if record is None:
        return Response(b'{"error":"room_not_found"}', 404, media_type="application/json")
    return Response(record, media_type="application/json")


@app.put("/api/rooms/{room_id}")
async def write(room_id: RoomId, request: Request) -> Response:
    """Take a new state, and offer it to every stream."""
    try:
        body: Any = orjson.loads(await request.body())
    except ValueError:
        body = None
    state = body.get("state") if isinstance(body, dict) else None
    if not isinstance(state, (dict, list)):
        return Response(b'{"error":"invalid_state"}', 422, media_type="application/json")
    version = versions.get(room_id, 0) + 1
    now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    record = orjson.dumps({"room_id": room_id, "version": version, "updated_at": now, "state": state})
    versions[room_id], records[room_id] = version, record
    event = _event(room_id)
    for queue in audiences.get(room_id, ()):
        if queue.full():
            queue.get_nowait()
        queue.put_nowait(event)
    return Response(record, media_type="application/json")


@app.get("/api/rooms/{room_id}/stream")
async def stream(room_id: RoomId) -> EventSourceResponse:
    """Send the record, then every newer one."""
    return EventSourceResponse(_events(room_id), ping=15)


async def _events(room_id: str) -> AsyncIterator[ServerSentEvent]:
    queue: asyncio.Queue[ServerSentEvent] = asyncio.Queue(QUEUE_SLOTS)
    audiences[room_id].add(queue)
    try:
        yield _event(room_id)
        while True:
            yield await queue.get()
    finally:
        audiences[room_id].discard(queue)
        if not audiences[room_id]:
            del audiences[room_id]
