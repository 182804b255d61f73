"""Delivers results that wait in Redis to the API server, every few minutes.

Whoever does this (one node, all nodes, a job beside the API server) may do it
at the same time: a result told twice carries the same `Idempotency-Key`.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, cast

import trio

from actors.links import LinkDown, RedisLink
from actors.matches.callbacks import Callbacks
from actors.matches.delivery import DECIDED, RESULT_TAKEN
from actors.matches.persist_failed import PREFIX, age_s, callback_of
from supervision import Life

logger: Final = logging.getLogger("actors.matches.recovery")

INTERVAL_S: Final = 300.0
STALLED_S: Final = 1800.0
PAGE: Final = 500


@dataclass(frozen=True, slots=True)
class RecoveryStatistics:
    """Counts since the start.

    Attributes:
        rounds: Looks at Redis.
        recovered: Results told.
        stalled: Results that were older than half an hour at the last look.
    """

    rounds: int
    recovered: int
    stalled: int


class Recovery:
    """The recovery. As a child of the tree it is `run`.

    Args:
        link: The way to Redis.
        callbacks: The way to the API server.
        interval_s: Seconds between two looks.
    """

    def __init__(self, *, link: RedisLink, callbacks: Callbacks, interval_s: float = INTERVAL_S) -> None:
        self._link = link
        self._callbacks = callbacks
        self._interval_s = interval_s
        self._rounds = self._recovered = self._stalled = 0

    def statistics(self) -> RecoveryStatistics:
        """Current counts."""
        return RecoveryStatistics(self._rounds, self._recovered, self._stalled)

    async def run(self, life: Life) -> None:
        """Look every `interval_s` seconds until cancelled."""
        life.started()
        while True:
            try:
                await self.look()
            except LinkDown as trouble:
                await self._link.wait_out(trouble)
            else:
                await trio.sleep(self._interval_s)

    async def look(self) -> None:
        """Go through all keys once.

        Raises:
            LinkDown: Redis is away.
        """
        self._rounds += 1
        stalled, is_away, cursor = 0, False, b"0"
        while True:
            # Strangers' keys of another type would make GET fail.
            command = ("SCAN", cursor, "MATCH", PREFIX + "*", "COUNT", PAGE, "TYPE", "string")
            cursor, keys = await self._link.command(*command)
            for room_id, body, ttl_s in await self._read(keys):
                stalled += self._note_if_stalled(room_id, ttl_s)
                # One that does not answer is asked again in the next round, not for every key.
                if not is_away:
                    is_away = not await self._tell(room_id, body)
            if int(cursor) == 0:
                break
        self._stalled = stalled

    async def _read(self, keys: Sequence[bytes]) -> list[tuple[str, bytes, int]]:
        """Room, body and seconds left of each key that is still there."""
        if not keys:
            return []
        answers = await self._link.pipeline([part for key in keys for part in (("GET", key), ("TTL", key))])
        found = zip(keys, answers[::2], answers[1::2], strict=True)
        return [
            (key.decode(errors="replace").removeprefix(PREFIX), cast("bytes", body), int(ttl_s))
            for key, body, ttl_s in found
            if body is not None
        ]

    def _note_if_stalled(self, room_id: str, ttl_s: int) -> bool:
        age = age_s(ttl_s)
        if age <= STALLED_S:
            return False
        logger.error("persist_recovery_stalled", extra={"room_id": room_id, "age_s": int(age)})
        return True

    async def _tell(self, room_id: str, body: bytes) -> bool:
        """Deliver one result; False if the API server cannot be reached."""
        finished = callback_of(room_id, body)
        if finished is None:
            logger.warning("persist_recovery_unreadable", extra={"room_id": room_id})
            return True
        outcome = await self._callbacks.submit(finished).wait()
        if outcome.verdict in RESULT_TAKEN:
            await self._link.command("DEL", PREFIX + room_id)
            self._recovered += 1
            logger.info("persist_recovered", extra={"room_id": room_id, "verdict": outcome.verdict})
        return outcome.verdict in DECIDED
