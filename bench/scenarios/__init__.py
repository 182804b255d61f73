"""What can be measured, one file each.

`scenario` says what a scenario is; `pump` and `latency.Deliveries` are what several of
them are made of.
"""

from __future__ import annotations

from typing import Final

from bench.scenarios.actors import ACTORS, MAILBOX
from bench.scenarios.calls import GET, PUT
from bench.scenarios.channels import CHANNELS
from bench.scenarios.connect import CONNECT
from bench.scenarios.crowd import CROWD
from bench.scenarios.deltas import DELTAS
from bench.scenarios.fanout import FANOUT
from bench.scenarios.idle import IDLE
from bench.scenarios.latency import LATENCY
from bench.scenarios.mixed import MIXED
from bench.scenarios.queue import QUEUE
from bench.scenarios.rooms import ROOMS
from bench.scenarios.scenario import Scenario
from bench.scenarios.snapshots import SNAPSHOTS
from bench.scenarios.soak import SOAK
from bench.scenarios.spread import SPREAD

SCENARIOS: Final[tuple[Scenario, ...]] = (
    FANOUT,
    LATENCY,
    SPREAD,
    PUT,
    GET,
    CONNECT,
    IDLE,
    CROWD,
    ROOMS,
    QUEUE,
    CHANNELS,
    DELTAS,
    SNAPSHOTS,
    MAILBOX,
    ACTORS,
    MIXED,
    SOAK,
)

__all__ = ["SCENARIOS", "Scenario"]
