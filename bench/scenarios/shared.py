"""`shared`: what it costs to keep rooms in Redis (`ROOM_STORE=redis`) in place of memory.

Two servers on the same core take turns in interleaved rounds; what counts is processor time a request,
which other programs on the machine change little. Then both are written at a fixed rate; then rooms with
a stream each are opened at both; and last the connections to Redis are cut, and all rooms looked at again.
"""

from __future__ import annotations

import statistics
import time
import urllib.request
from collections import defaultdict
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Final

import redis

from bench.errors import TargetError, UsageError
from bench.load.engine import Engine
from bench.options import Timing, option
from bench.process import tree_cpu_s
from bench.results import Outcome
from bench.scenarios.calls import GET, PUT, CallOptions, fill
from bench.scenarios.scenario import Scenario
from bench.servers import redis_server
from bench.session import Session

MEMORY: Final = "memory"
REDIS: Final = "redis"
LOOK_EVERY_S: Final = 0.02
RECHECK_TIMEOUT_S: Final = 120.0
SETTLE_S: Final = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedOptions(Timing):
    """Options of `shared`."""

    duration_s: float = option(2.0, "seconds of each window", least=0.05)
    warmup_s: float = option(0.5, "seconds before each", least=0)
    rounds: int = option(3, "rounds of memory and Redis", least=1)
    connections: int = option(32, "keep-alive connections", least=1)
    rate: float = option(1000.0, "writes per second where latency is compared, over 100 rooms", least=1)
    rooms: int = option(5000, "rooms with a stream each, for memory and for looking again", least=1)
    size: int = option(256, "bytes of a state", least=34)
    redis_url: str = option("", "a Redis that runs already; else one is started")


def _run(session: Session, options: SharedOptions) -> Outcome:
    if session.start is None:
        raise UsageError("shared compares servers that it starts: without --url")
    with ExitStack() as stack:
        url, redis_pid = stack.enter_context(redis_server(options.redis_url))
        shared = stack.enter_context(session.start({"ROOM_STORE": "redis", "REDIS_URL": url}))
        servers = {MEMORY: session, REDIS: replace(shared, live=session.live, seed=session.seed)}
        figures, warnings = _costs(servers, options, redis_pid)
        figures |= _added_latency(servers, options)
        figures |= _memory(servers, options, url)
    return Outcome(figures=figures, warnings=warnings)


def _costs(
    servers: dict[str, Session], options: SharedOptions, redis_pid: int | None
) -> tuple[dict[str, float], list[str]]:
    """Processor time a `PUT` and a `GET`, as medians of the rounds, and its ratios."""
    calls = CallOptions(
        duration_s=options.duration_s,
        warmup_s=options.warmup_s,
        connections=options.connections,
        size=options.size,
    )
    seen: defaultdict[str, list[float]] = defaultdict(list)
    warnings: list[str] = []
    for nth in range(options.rounds):
        for scenario in (PUT, GET):
            for name, server in servers.items():
                server.live.say(f"round {nth + 1} of {options.rounds}: {scenario.name}, {name}")
                before_s = tree_cpu_s(redis_pid) if redis_pid else 0.0
                outcome = scenario.run(server, calls)
                per_s = outcome.headline[1]
                seen[f"us_per_{scenario.name}_{name}"].append((outcome.server_share or 0.0) / per_s * 1e6)
                seen[f"{scenario.name}_per_s_{name}"].append(per_s)
                if redis_pid and name == REDIS:
                    # The warm-up is part of it: about as many requests a second.
                    requests = per_s * (options.duration_s + options.warmup_s)
                    used_s = tree_cpu_s(redis_pid) - before_s
                    seen[f"us_of_redis_per_{scenario.name}"].append(used_s / requests * 1e6)
                warnings.extend(outcome.warnings)
    medians = {name: round(statistics.median(values), 2) for name, values in seen.items()}
    ratios = {
        f"{scenario.name}_ratio": round(
            medians[f"us_per_{scenario.name}_{REDIS}"] / medians[f"us_per_{scenario.name}_{MEMORY}"], 3
        )
        for scenario in (PUT, GET)
    }
    return {**ratios, **medians}, list(dict.fromkeys(warnings))


def _added_latency(servers: dict[str, Session], options: SharedOptions) -> dict[str, float]:
    """Latency of a `PUT` at a fixed rate, and what Redis adds to it, as medians of the rounds."""
    calls = CallOptions(
        duration_s=options.duration_s,
        warmup_s=options.warmup_s,
        connections=options.connections,
        size=options.size,
        rate=options.rate,
        rooms=100,
    )
    seen: defaultdict[str, list[float]] = defaultdict(list)
    for nth in range(options.rounds):
        for name, server in servers.items():
            server.live.say(f"round {nth + 1} of {options.rounds}: {options.rate:g} writes/s, {name}")
            answer = PUT.run(server, calls).latencies["answer"]
            for percentile in ("p50_us", "p99_us"):
                seen[f"put_{percentile}_{name}"].append(answer[percentile])
    medians = {name: statistics.median(values) for name, values in seen.items()}
    return {
        "added_p99_us": medians[f"put_p99_us_{REDIS}"] - medians[f"put_p99_us_{MEMORY}"],
        "added_p50_us": medians[f"put_p50_us_{REDIS}"] - medians[f"put_p50_us_{MEMORY}"],
        **medians,
    }


def _memory(servers: dict[str, Session], options: SharedOptions, url: str) -> dict[str, float]:
    """Bytes of a stream on a room of its own, for both, and how long it takes to look at all rooms again.

    In memory, a room that nobody has written is nothing: what Redis' server takes more is the room.
    """
    per_stream: dict[str, float] = {}
    for name, server in servers.items():
        requests = server.requests(options.size)
        rooms = [f"bench-{server.token}-watched-{nth}".encode() for nth in range(options.rooms)]
        wanted = [requests.stream(room) for room in rooms]
        if name == REDIS:
            fill(server, requests, rooms)
        with Engine() as engine:
            before = server.resident_bytes()
            server.open_streams(engine, len(wanted), wanted.__getitem__)
            engine.run(SETTLE_S)
            per_stream[name] = (server.resident_bytes() - before) / len(rooms)
            if name == REDIS:
                wall_s, cpu_s = _look_again(server, engine, len(rooms), url)
    return {
        "bytes_per_subscribed_room": round(per_stream[REDIS] - per_stream[MEMORY], 1),
        "bytes_per_stream_memory": round(per_stream[MEMORY], 1),
        "bytes_per_stream_and_room_redis": round(per_stream[REDIS], 1),
        "recheck_s": round(wall_s, 3),
        "recheck_cpu_us_per_room": round(cpu_s / options.rooms * 1e6, 1),
    }


def _look_again(server: Session, engine: Engine, rooms: int, url: str) -> tuple[float, float]:
    """Cut the server's connections to Redis; return (seconds, processor seconds) until all is checked.

    Raises:
        TargetError: It takes too long.
    """
    lost, sent = (_metric(server, name) for name in ("room_channels_lost_total", "room_store_commands_total"))
    cpu_s, begun = tree_cpu_s(server.pid or 0), time.monotonic()
    with redis.Redis.from_url(url) as client:
        client.client_kill_filter(_type="pubsub")
        client.client_kill_filter(_type="normal", skipme=True)
    while time.monotonic() - begun < RECHECK_TIMEOUT_S:
        engine.run(LOOK_EVERY_S)
        if (
            _metric(server, "room_channels_lost_total") > lost
            and _metric(server, "room_store_commands_total") - sent >= rooms
            and not _metric(server, "room_checks_waiting")
        ):
            return time.monotonic() - begun, tree_cpu_s(server.pid or 0) - cpu_s
    raise TargetError(f"{rooms:,} rooms were not looked at again within {RECHECK_TIMEOUT_S:g} s")


def _metric(server: Session, name: str) -> float:
    """Return a metric of a server that is reached over plain HTTP.

    Raises:
        TargetError: It does not tell.
    """
    try:
        with urllib.request.urlopen(f"http://{server.address.authority}/metrics", timeout=30) as answer:
            lines = answer.read().decode().splitlines()
    except OSError as wrong:
        raise TargetError(f"/metrics: {wrong}") from wrong
    for line in lines:
        if line.startswith(f"greenroom_{name} "):
            return float(line.split()[1])
    raise TargetError(f"/metrics has no greenroom_{name}")


SHARED: Final = Scenario(
    name="shared",
    summary="cost of rooms in Redis beside rooms in memory: processor time, latency, bytes, looking again",
    options=SharedOptions,
    run=_run,
    environment=lambda _: {"ROOM_STORE": "memory"},
)
