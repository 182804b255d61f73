"""The dead letters of the queue, for operators: read, put back, thrown away."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import orjson

from actors.matches.room_queue import DEAD, QUEUE

if TYPE_CHECKING:
    from actors.links import RedisLink

ID_LENGTH: Final = 16


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A job that was not done.

    Attributes:
        position: From the newest, which is 0. It moves when others come.
        id: Names the letter wherever it is.
        reason: As in the letter; None if it cannot be read.
        detail: What was wrong, for people.
        room_id: Of the job, if that can be read.
        node_name: Whose it was.
        dead_at: When, ISO 8601.
    """

    position: int
    id: str
    reason: str | None
    detail: str | None
    room_id: str | None
    node_name: str | None
    dead_at: str | None


class DeadLetters:
    """Reads and moves letters. Every method raises `LinkDown` while Redis is away or refuses.

    Args:
        link: Whose Redis.
    """

    def __init__(self, link: RedisLink) -> None:
        self._link = link

    async def page(self, limit: int) -> tuple[int, int, list[DeadLetter]]:
        """Jobs that wait in the queue, dead letters, and the newest of these, at most `limit`."""
        waiting, count, letters = await self._link.pipeline(
            [("LLEN", QUEUE), ("LLEN", DEAD), ("LRANGE", DEAD, 0, limit - 1)]
        )
        return waiting, count, [_read(nth, letter) for nth, letter in enumerate(letters)]

    async def requeue(self, position: int, id: str) -> DeadLetter | None:
        """Put a letter's job back into the queue, as the next to be taken.

        Args:
            position: Where it was seen.
            id: Of the letter that was seen there; empty for whichever is there.

        Returns:
            The letter; None if it is not there any more.
        """
        return await self._take_out(position, id, requeue=True)

    async def discard(self, position: int, id: str) -> DeadLetter | None:
        """Throw a letter away; arguments and result as for `requeue`."""
        return await self._take_out(position, id, requeue=False)

    async def _take_out(self, position: int, id: str, *, requeue: bool) -> DeadLetter | None:
        raw = await self._link.command("LINDEX", DEAD, position)
        if raw is None:
            return None
        letter = _read(position, raw)
        if id not in {"", letter.id}:
            return None
        job = _job(raw)
        if requeue and job is None:
            return None
        remove = ("LREM", DEAD, 1, raw)
        # In the queue first: where Redis stops in between, the job is in both places, and its claim decides.
        commands = [("RPUSH", QUEUE, job), remove] if requeue and job is not None else [remove]
        removed = (await self._link.pipeline(commands, transaction=True))[-1]
        return letter if removed else None


def _read(position: int, raw: bytes) -> DeadLetter:
    said = _object(raw)
    job = _object(_job(raw) or b"")
    return DeadLetter(
        position,
        hashlib.sha256(raw).hexdigest()[:ID_LENGTH],
        _text(said, "reason"),
        _text(said, "detail"),
        _text(job, "room_id"),
        _text(said, "node_name"),
        _text(said, "dead_at"),
    )


def _job(raw: bytes) -> bytes | None:
    said = _object(raw)
    if (job := _text(said, "job")) is not None:
        return job.encode()
    encoded = _text(said, "job_base64")
    try:
        return None if encoded is None else base64.b64decode(encoded, validate=True)
    except ValueError:
        return None


def _object(raw: bytes) -> dict[str, Any]:
    try:
        said = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return {}
    return said if isinstance(said, dict) else {}


def _text(said: dict[str, Any], key: str) -> str | None:
    value = said.get(key)
    return value if isinstance(value, str) else None
