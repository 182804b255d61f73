"""What can be measured, one file each."""

from __future__ import annotations

from typing import Final

from bench.scenarios.calls import GET, PUT
from bench.scenarios.fanout import FANOUT
from bench.scenarios.idle import IDLE
from bench.scenarios.latency import LATENCY
from bench.scenarios.scenario import Scenario

SCENARIOS: Final[tuple[Scenario, ...]] = (FANOUT, LATENCY, PUT, GET, IDLE)

__all__ = ["SCENARIOS", "Scenario"]
