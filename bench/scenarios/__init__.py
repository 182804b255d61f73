"""The scenarios, one file each.

Reading order:

    scenario   a name, options, and a function from a session to an outcome
    pump       keep-alive connections, flat out or on a schedule; used by several
    calls      `put` and `get`
    latency    `latency`, and the count of deliveries that others use
    fanout     one room, many streams
    spread     many rooms with a few streams each
    connect    streams opened per second
    idle       bytes per idle stream
    rooms      many live rooms in one process
    shared     rooms in Redis beside rooms in memory
    workers    two workers of a node beside one
    crowd      writes with many idle streams open
    reconnect  writes while all streams come back, without and with tokens
    mixed, soak   rooms full of clients that listen and write
    channels   Phoenix channels over WebSockets
    queue      jobs from Redis to the `ready` callback
    deltas     durable changes of stats
    snapshots  Roblox players' states
    capacity   a million streams in one process, without sockets
    actors     `mailbox` and `actors`, against other actor systems
"""

from __future__ import annotations

from typing import Final

from bench.scenarios.actors import ACTORS, MAILBOX
from bench.scenarios.calls import GET, PUT
from bench.scenarios.capacity import CAPACITY
from bench.scenarios.channels import CHANNELS
from bench.scenarios.connect import CONNECT
from bench.scenarios.crowd import CROWD
from bench.scenarios.deltas import DELTAS
from bench.scenarios.fanout import FANOUT
from bench.scenarios.idle import IDLE
from bench.scenarios.latency import LATENCY
from bench.scenarios.mixed import MIXED
from bench.scenarios.queue import QUEUE
from bench.scenarios.reconnect import RECONNECT
from bench.scenarios.rooms import ROOMS
from bench.scenarios.scenario import Scenario
from bench.scenarios.shared import SHARED
from bench.scenarios.snapshots import SNAPSHOTS
from bench.scenarios.soak import SOAK
from bench.scenarios.spread import SPREAD
from bench.scenarios.workers import WORKERS

SCENARIOS: Final[tuple[Scenario, ...]] = (
    FANOUT,
    LATENCY,
    SPREAD,
    PUT,
    GET,
    CONNECT,
    IDLE,
    CROWD,
    RECONNECT,
    ROOMS,
    SHARED,
    WORKERS,
    QUEUE,
    CHANNELS,
    DELTAS,
    SNAPSHOTS,
    CAPACITY,
    MAILBOX,
    ACTORS,
    MIXED,
    SOAK,
)

__all__ = ["SCENARIOS", "Scenario"]
