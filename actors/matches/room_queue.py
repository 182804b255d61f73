"""The matchmaker's queue as it stands in Redis: names, commands, and the two ways of taking a job.

Producers `LPUSH` to the left end, everybody takes from the right. Taking
with `BLMOVE` leaves a copy of the job in a list of this node until it is
settled; taking with `BRPOP` does not. Nobody else can tell the two apart.
"""

from __future__ import annotations

import base64
from abc import ABC, abstractmethod
from collections import Counter
from enum import StrEnum
from typing import Any, Final

import orjson
import redis
import trio
from redis.client import Pipeline

from actors.core import iso_utc
from actors.links import Command, RedisLink
from actors.matches.creation_job import Reason
from actors.matches.in_flight import orphans
from actors.matches.lease import MATCHES

QUEUE: Final = "room_creation_queue"
DEAD: Final = "room_creation_queue:dead"
PROCESSING: Final = "room_creation_queue:processing:"
ALIVE: Final = "greenroom:node:"
# Owners of processing lists, so that nobody has to scan the key space for those of dead nodes.
NODES: Final = "greenroom:nodes"

# The newest ones; whoever reads them has time. Each has also been logged when it came.
DEAD_LETTERS_KEPT: Final = 100_000


class QueueDelivery(StrEnum):
    """What a crash of this node may do to a job: have it done again, or not at all."""

    AT_LEAST_ONCE = "at_least_once"
    AT_MOST_ONCE = "at_most_once"


def alive_key(owner: str) -> str:
    """The key that lives as long as the node does; `owner` is `{node_name}:{boot_id}`."""
    return ALIVE + owner


def processing_list(owner: str) -> str:
    """Where jobs stand that this life of a node is working on."""
    return PROCESSING + owner


def make_dead_letter(payload: bytes, reason: Reason, detail: str, *, node_name: str, now_s: float) -> bytes:
    """A job that will not be done, as JSON: `{reason,detail,job,node_name,dead_at}`.

    `job` is the payload as text; `job_base64` takes its place if it is not UTF-8.
    """
    letter = {"reason": reason.value, "detail": detail, "node_name": node_name, "dead_at": iso_utc(now_s)}
    try:
        return orjson.dumps({**letter, "job": payload.decode()})
    except UnicodeDecodeError:
        return orjson.dumps({**letter, "job_base64": base64.b64encode(payload).decode()})


class ProcessingList(ABC):
    """The jobs of this node while they are worked on.

    Every method that talks to Redis raises `LinkDown` if that fails, and can be called again then.

    Attributes:
        wait_command: Takes the oldest job of the queue, waiting for one.
    """

    wait_command: Command

    @abstractmethod
    def first(self, answer: Any) -> bytes:
        """The job in an answer to `wait_command`. Call it before the next checkpoint."""

    @abstractmethod
    async def more(self, count: int) -> list[bytes]:
        """Take up to `count` jobs that are there, oldest first. Not cancelled half-way."""

    @abstractmethod
    async def held(self) -> list[bytes]:
        """Jobs in the processing list, oldest first."""

    @abstractmethod
    async def remove(self, payload: bytes) -> None:
        """Remove a settled job."""

    @abstractmethod
    async def dead_letter(self, payload: bytes, letter: bytes) -> None:
        """Move a job to the dead letters: it is in one of the two places at any time."""

    @abstractmethod
    async def give_back(self, begun: list[bytes]) -> int:
        """Return every job to the queue; the number moved.

        Args:
            begun: Jobs that may have had an effect already.
        """


class AtLeastOnce(ProcessingList):
    """A list in Redis: any other node reclaims what stands there when this one dies."""

    def __init__(self, link: RedisLink, *, owner: str, wait_s: float) -> None:
        self._link = link
        self._owner = owner
        self._list = processing_list(owner)
        self.wait_command = ("BLMOVE", QUEUE, self._list, "RIGHT", "LEFT", wait_s)

    def first(self, answer: Any) -> bytes:
        """The job is the answer."""
        return bytes(answer)

    async def more(self, count: int) -> list[bytes]:
        """LMOVE in one pipeline."""
        take: Command = ("LMOVE", QUEUE, self._list, "RIGHT", "LEFT")
        with trio.CancelScope(shield=True):
            answers = await self._link.pipeline([take] * count)
        return [answer for answer in answers if answer is not None]

    async def held(self) -> list[bytes]:
        """The list in Redis."""
        jobs: list[bytes] = await self._link.command("LRANGE", self._list, 0, -1)
        return jobs[::-1]

    async def remove(self, payload: bytes) -> None:
        """LREM, which may be repeated."""
        await self._link.command("LREM", self._list, 1, payload)

    async def dead_letter(self, payload: bytes, letter: bytes) -> None:
        """One transaction, see `move_to_dead`."""
        await self._link.work(
            lambda client: move_to_dead(client, self._list, payload, letter), operation="dead letter"
        )

    async def give_back(self, begun: list[bytes]) -> int:  # noqa: ARG002 - see there
        """All of them: doing one again is the promise."""
        return await self._link.work(self._move_all_back, operation="give back")

    def _move_all_back(self, client: redis.Redis) -> int:
        count = client.llen(self._list)
        has_matches = bool(client.exists(MATCHES + self._owner))
        with client.pipeline() as pipe:
            add_moves(pipe, self._list, count)
            pipe.delete(alive_key(self._owner))
            if not has_matches:
                # Else a survivor looks after those whose end is not told by then.
                pipe.srem(NODES, self._owner)
            return sum(job is not None for job in pipe.execute()[:count])


class AtMostOnce(ProcessingList):
    """A list in memory: what stands there when the node dies is gone."""

    def __init__(self, link: RedisLink, *, wait_s: float) -> None:
        self._link = link
        self._held: list[bytes] = []
        self.wait_command = ("BRPOP", QUEUE, wait_s)

    def first(self, answer: Any) -> bytes:
        """The job is the second part of the answer."""
        payload = bytes(answer[1])
        self._held.append(payload)
        return payload

    async def more(self, count: int) -> list[bytes]:
        """RPOP with a count."""
        with trio.CancelScope(shield=True):
            jobs = await self._link.command("RPOP", QUEUE, count) or []
        self._held += jobs
        return list(jobs)

    async def held(self) -> list[bytes]:
        """The list in memory."""
        await trio.lowlevel.checkpoint()
        return list(self._held)

    async def remove(self, payload: bytes) -> None:
        """Forget it."""
        await trio.lowlevel.checkpoint()
        self._held.remove(payload)

    async def dead_letter(self, payload: bytes, letter: bytes) -> None:
        """The letter first, then forget the job."""
        await self._link.pipeline(
            [("LPUSH", DEAD, letter), ("LTRIM", DEAD, 0, DEAD_LETTERS_KEPT - 1)], transaction=True
        )
        self._held.remove(payload)

    async def give_back(self, begun: list[bytes]) -> int:
        """Those that have not begun: doing one again would break the promise."""
        self._held = orphans(self._held, Counter(begun))
        if not self._held:
            return 0
        # The newest first, so that the oldest is at the right end again.
        await self._link.command("RPUSH", QUEUE, *reversed(self._held))
        count = len(self._held)
        self._held.clear()
        return count


def add_moves(pipe: Pipeline, source: str, count: int) -> None:
    """Move `count` jobs to the right end of the queue: the newest first, so that the oldest is the next."""
    for _ in range(count):
        pipe.lmove(source, QUEUE, "LEFT", "RIGHT")


def move_to_dead(client: redis.Redis, source: str, payload: bytes, letter: bytes) -> None:
    """Move a job from a processing list to the dead letters, unless an earlier try has done so.

    Without a script, which a user may not be allowed to run. Commands of a transaction are carried
    out although one of them fails, so what makes LPUSH fail alone is looked for before.
    """
    with client.pipeline() as pipe:
        while True:
            try:
                pipe.watch(DEAD)  # type: ignore[no-untyped-call]
                if pipe.lpos(source, payload) is None:  # type: ignore[arg-type]
                    return
                # Raises WRONGTYPE.
                pipe.llen(DEAD)
                pipe.multi()
                pipe.lpush(DEAD, letter)
                pipe.ltrim(DEAD, 0, DEAD_LETTERS_KEPT - 1)
                pipe.lrem(source, 1, payload)  # type: ignore[arg-type]
                pipe.execute()
            except redis.WatchError:
                continue
            return
