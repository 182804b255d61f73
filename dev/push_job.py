"""`greenroom push-job`: push a match job onto the Redis queue, as a matchmaker does."""

from __future__ import annotations

import os
import sys
import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import orjson
import redis

from actors.links import urls_in
from actors.matches import QUEUE
from dev import addresses

if TYPE_CHECKING:
    from collections.abc import Sequence

OK: Final = 0
FAILED: Final = 1
WRONG_USE: Final = 2
PLAYERS: Final = ("alice", "bob")
TIMEOUT_S: Final = 3.0


def push_job(players: Sequence[str], *, room_id: str | None, redis_url: str | None) -> int:
    """Push one job and return the exit status.

    Args:
        players: User ids; two of our own if there are none.
        room_id: Of the room to make; by default a new UUID.
        redis_url: By default `REDIS_URL`, else what a running `greenroom dev` uses.
    """
    running = addresses.read()
    urls = redis_url or os.environ.get("REDIS_URL") or (running.redis_url if running else None)
    if urls is None:
        return _fail("no Redis: start `greenroom dev`, or set REDIS_URL", WRONG_USE)
    url = urls_in(urls)[0]
    job = job_of(list(players or PLAYERS), room_id=room_id or str(uuid.uuid4()))
    try:
        with redis.Redis.from_url(url, socket_timeout=TIMEOUT_S, socket_connect_timeout=TIMEOUT_S) as client:
            client.lpush(QUEUE, orjson.dumps(job))
    except (redis.RedisError, ValueError) as error:
        return _fail(f"Redis does not take the job: {error}", FAILED)
    print(f"pushed a job for room {job['room_id']} with {', '.join(job['player_ids'])}")
    if running is not None and url == running.redis_url:
        print(f"watch it: curl -N {running.url}/api/rooms/{job['room_id']}/stream")
    return OK


def job_of(players: list[str], *, room_id: str) -> dict[str, Any]:
    """Return the job as the JSON a matchmaker writes."""
    return {
        "room_id": room_id,
        "game_type_id": str(uuid.uuid4()),
        "player_ids": players,
        "config": {
            "player_count": len(players),
            "turn_time_limit": 60,
            "game_rules": "simple_card_battle",
        },
        "enqueued_at": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
    }


def _fail(line: str, status: int) -> int:
    print(f"greenroom: {line}", file=sys.stderr)
    return status
