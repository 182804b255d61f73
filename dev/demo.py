"""`greenroom demo match`: create a match and let two bots play it over channels.

The job is pushed onto the Redis queue; the bots join with tokens over WebSockets; the API
server gets its callbacks as for any match.
"""

from __future__ import annotations

import sys
import time
import uuid
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import httpx
import jwt
import orjson
import redis
import trio
from websockets.exceptions import WebSocketException

from actors.matches import QUEUE
from dev.bot import Bot
from dev.narrator import lines
from dev.phoenix import ChannelEvent, Disconnected, JoinRefused, phoenix
from dev.push_job import PLAYERS, job_of
from dev.running_dev import DevNotRunning, dev

if TYPE_CHECKING:
    from dev.addresses import DevAddresses

OK: Final = 0
FAILED: Final = 1
READY_S: Final = 15.0
LAST_WORDS_S: Final = 5.0
TOKEN_S: Final = 3600
LOOK_EVERY_S: Final = 0.1


class DemoFailed(Exception):
    """A step of the demo failed; the message is one line for people."""


def demo_match(*, pace_s: float) -> int:
    """Play one match, print its events, and return the exit status.

    Args:
        pace_s: How long a bot thinks.
    """
    trouble = (
        DevNotRunning,
        DemoFailed,
        Disconnected,
        JoinRefused,
        WebSocketException,
        redis.RedisError,
        OSError,
    )
    status = FAILED
    try:
        trio.run(_demo, pace_s)
        status = OK
    except* trouble as group:
        print(f"greenroom: {_first(group)}", file=sys.stderr)
    except* KeyboardInterrupt:
        pass
    return status


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    first = group.exceptions[0]
    return _first(first) if isinstance(first, BaseExceptionGroup) else first


async def _demo(pace_s: float) -> None:
    async with dev(_say) as around:
        if not around.jwt_secret:
            raise DemoFailed("this greenroom dev leaves tokens to others (AUTH_VERIFY), so bots have none")
        room_id = f"demo-{uuid.uuid4().hex[:8]}"
        _say(f"matchmaker   LPUSH {QUEUE}: room {room_id} for {' and '.join(PLAYERS)}")
        await trio.to_thread.run_sync(_push, around, room_id)
        await _until(around, room_id, "ready", within_s=READY_S)
        _say(f"room         {around.url}/api/rooms/{room_id} is ready")
        async with trio.open_nursery() as nursery:
            for player, on_event in zip(PLAYERS, (_narrate, _nothing), strict=True):
                nursery.start_soon(partial(_play, around, room_id, player, on_event, pace_s=pace_s))
        shown = await _until(around, room_id, "finished", within_s=LAST_WORDS_S)
        _say(f"room         shows the result: {orjson.dumps(shown['result']).decode()}")
        await trio.sleep(LOOK_EVERY_S)


def _push(around: DevAddresses, room_id: str) -> None:
    with redis.Redis.from_url(around.redis_url, socket_timeout=3, socket_connect_timeout=3) as client:
        client.lpush(QUEUE, orjson.dumps(job_of(list(PLAYERS), room_id=room_id)))


async def _until(around: DevAddresses, room_id: str, status: str, *, within_s: float) -> dict[str, Any]:
    """Wait until the match has `status`; return its public state."""
    async with httpx.AsyncClient(trust_env=False) as client:
        with trio.move_on_after(within_s):
            while True:
                answer = await client.get(f"{around.url}/api/rooms/{room_id}")
                if answer.is_success and (state := answer.json()["state"])["status"] == status:
                    return dict(state)
                await trio.sleep(LOOK_EVERY_S)
    raise DemoFailed(f"the match is not {status} within {within_s:.0f} s")


async def _play(
    around: DevAddresses,
    room_id: str,
    player: str,
    on_event: Callable[[ChannelEvent], None],
    *,
    pace_s: float,
) -> None:
    async with phoenix(around.url, token=_token(around.jwt_secret, player)) as socket:
        _say(f"{player:12} connects to /socket/websocket and joins room:{room_id}")
        channel = await socket.join(f"room:{room_id}")
        await Bot(player, channel, on_event, pace_s=pace_s).play()


def _token(secret: str, player: str) -> str:
    now = int(time.time())
    claims = {"user_id": player, "display_name": player.title(), "iat": now, "exp": now + TOKEN_S}
    return jwt.encode(claims, secret, algorithm="HS256")


def _narrate(heard: ChannelEvent) -> None:
    for line in lines(heard):
        _say(f"match        {line}")


def _nothing(_heard: ChannelEvent) -> None:
    """Ignore the second player's events; the first player's are printed."""


def _say(line: str) -> None:
    print(line, flush=True)
