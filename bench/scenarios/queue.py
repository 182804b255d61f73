"""`queue`: jobs per second from `LPUSH room_creation_queue` to the `ready` callback.

The bench plays the matchmaker and the API server: it pushes jobs onto the Redis list and
receives the callbacks. A server started here is told where both are; one given with
`--url` must have been started with the same `REDIS_URL` and with
`API_BASE_URL=http://127.0.0.1:<callback port>/internal`.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from dataclasses import dataclass
from typing import Final

import redis

from bench.errors import TargetError
from bench.histogram import Latencies
from bench.load.engine import Engine
from bench.load.interrupt import interruptible
from bench.load.receiver import Receiver
from bench.load.window import BOTTLENECK_SHARE, CpuShare
from bench.options import option
from bench.results import Outcome
from bench.scenarios.scenario import Scenario
from bench.session import Session

# The API server's own patience with a job.
SILENCE_S: Final = 15.0
CLEAN_UP_S: Final = 5.0
BATCH: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueOptions:
    """Options of `queue`."""

    jobs: int = option(1000, "jobs to push", least=1)
    rate: float = option(0.0, "jobs per second; 0 pushes all at once", least=0)
    redis_url: str = option("redis://127.0.0.1:6379/0", "the Redis both sides use")
    callback_port: int = option(4099, "where the callbacks are received, on 127.0.0.1", least=1)
    queue: str = option("room_creation_queue", "the list")


class Matchmaker:
    """Pushes jobs, and times each until its callback.

    Attributes:
        confirmed: Jobs reported ready.
        other: Other callbacks: status or path → how many.
        ended: Rooms reported as ended.
        latencies: From when a job should have been pushed to its callback.
    """

    def __init__(self, session: Session, engine: Engine, options: QueueOptions) -> None:
        self.confirmed = self.ended = 0
        self.other: Counter[str] = Counter()
        self.latencies = Latencies()
        self.receiver = Receiver(engine, options.callback_port, self._on_call)
        self._engine = engine
        self._options = options
        self._ids = [room.decode() for room in session.rooms(options.jobs)]
        self._pushed: dict[str, int] = {}
        self._next = 0
        self._redis = _connect(options.redis_url)

    def start(self) -> None:
        """Push all jobs at once, or begin to push them at their rate."""
        if self._options.rate:
            self._tick(self._engine.now_ns)
        else:
            self._push(self._options.jobs, time.perf_counter_ns())

    def _tick(self, due_ns: int) -> None:
        self._push(1, due_ns)
        if self._next < len(self._ids):
            next_ns = due_ns + int(1e9 / self._options.rate)
            self._engine.at(next_ns, lambda: self._tick(next_ns))

    def _push(self, count: int, due_ns: int) -> None:
        wanted = self._ids[self._next : self._next + count]
        self._next += count
        for start in range(0, len(wanted), BATCH):
            batch = wanted[start : start + BATCH]
            self._pushed.update(dict.fromkeys(batch, due_ns))
            try:
                self._redis.lpush(self._options.queue, *map(_job, batch))
            except redis.RedisError as wrong:
                raise TargetError(f"cannot push to {self._options.queue}: {wrong}") from wrong

    def _on_call(self, method: str, path: str, body: bytes) -> None:
        if method == "POST" and path.endswith("/rooms"):
            self._on_room(json.loads(body))
        elif path.endswith(("/aborted", "/finished")):
            self.ended += 1
        else:
            self.other[path.rsplit("/", 1)[-1]] += 1

    def _on_room(self, body: dict[str, str]) -> None:
        pushed_ns = self._pushed.pop(body["room_id"], None)
        if pushed_ns is None:
            self.other["unknown or repeated"] += 1
        elif body["status"] == "ready":
            self.confirmed += 1
            self.latencies.add(self._engine.now_ns - pushed_ns)
        else:
            self.other[body["status"]] += 1

    def finished(self) -> bool:
        """Whether every job has its answer."""
        return self._next >= len(self._ids) and not self._pushed

    def goes_on(self) -> bool:
        """Run until the next `BATCH` of answers; false after the last, or when none came."""
        before = self.confirmed
        self._engine.run(SILENCE_S, lambda: self.finished() or self.confirmed > before + BATCH)
        return self.confirmed > before and not self.finished()

    def clean_up(self) -> None:
        """Ask for the end of every room, and wait for it a little."""
        for room in self._ids:
            command = {"command": "terminate", "room_id": room, "reason": "admin_terminated"}
            self._redis.publish("room_commands", json.dumps(command))
        self._engine.run(CLEAN_UP_S, lambda: self.ended >= self.confirmed)
        self.receiver.close()
        self._redis.close()


def _connect(url: str) -> redis.Redis:
    try:
        client: redis.Redis = redis.Redis.from_url(url, socket_timeout=5)
        client.ping()
    except (redis.RedisError, ValueError) as wrong:
        raise TargetError(f"no Redis at {url}: {wrong}") from wrong
    return client


def _job(room: str) -> str:
    return json.dumps(
        {
            "room_id": room,
            "game_type_id": "bench",
            "player_ids": ["bench-1", "bench-2"],
            "config": {"player_count": 2, "turn_time_limit": 60, "game_rules": "simple_card_battle"},
            "enqueued_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        }
    )


def _run(session: Session, options: QueueOptions) -> Outcome:
    with Engine() as engine:
        matchmaker = Matchmaker(session, engine, options)
        effort = CpuShare()
        matchmaker.start()
        with interruptible(engine) as interrupt:
            while matchmaker.goes_on():
                session.live.share(
                    matchmaker.confirmed / options.jobs, matchmaker.confirmed / max(effort.elapsed_s(), 0.001)
                )
        elapsed_s, share = effort.elapsed_s(), effort.share()
        matchmaker.clean_up()
    if not matchmaker.confirmed:
        raise TargetError(
            f"no job was confirmed within {SILENCE_S:g} s: does the server use this Redis and port?"
        )
    lost = options.jobs - matchmaker.confirmed
    return Outcome(
        figures={
            "jobs_per_s": round(matchmaker.confirmed / elapsed_s, 1),
            "confirmed": matchmaker.confirmed,
            "not_confirmed": lost,
        },
        latencies={"ready": matchmaker.latencies.summary()},
        curves={"ready": matchmaker.latencies.curve()},
        cpu_share=round(share, 3),
        bottleneck=share >= BOTTLENECK_SHARE,
        partial=interrupt.asked,
        warnings=[f"{count} callbacks: {what}" for what, count in sorted(matchmaker.other.items())],
    )


def _environment(options: QueueOptions) -> dict[str, str]:
    return {
        "REDIS_URL": options.redis_url,
        "API_BASE_URL": f"http://127.0.0.1:{options.callback_port}/internal",
        "INTERNAL_API_KEY": "bench",
    }


QUEUE: Final = Scenario(
    name="queue",
    summary="jobs per second from the Redis list to the ready callback",
    options=QueueOptions,
    run=_run,
    environment=_environment,
)
