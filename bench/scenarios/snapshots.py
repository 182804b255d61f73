"""`snapshots`: Roblox players' states recorded per second, one a request.

What is counted is answered requests, so each player and its history row has
reached the disk of the server (or of its database).
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Final

from bench.load.engine import Engine
from bench.load.snapshots import FIRST_USER_ID, KEY, SnapshotRequests
from bench.options import Timing, option
from bench.results import Outcome, generator_facts
from bench.scenarios.pump import Pump
from bench.scenarios.scenario import Scenario
from bench.session import Session

_ORDERS: Final = 65_536


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotOptions(Timing):
    """Options of `snapshots`."""

    connections: int = option(128, "keep-alive connections, each a game server", least=1)
    players: int = option(1000, "active players, chosen at random", least=1)
    evaluate: int = option(1, "1 to ask for a decision with each snapshot, 0 not to", least=0)
    rate: float = option(0.0, "requests per second; 0 is flat out", least=0)
    database: str = option("", "DATABASE_URL of a server started here; a SQLite file if empty")


def _environment(options: SnapshotOptions) -> dict[str, str]:
    return {"INBOUND_API_KEYS": KEY, "DATABASE_URL": options.database}


def _run(session: Session, options: SnapshotOptions) -> Outcome:
    address = session.address
    requests = SnapshotRequests(
        address.authority,
        address.prefix,
        evaluate=bool(options.evaluate),
        key=session.bearer or KEY,
        headers=session.headers,
    )
    everybody = range(FIRST_USER_ID, FIRST_USER_ID + options.players)
    order = random.Random(session.seed).choices(everybody, k=_ORDERS)
    with Engine() as engine:
        pump = Pump(
            session,
            engine,
            options.connections,
            lambda nth: requests.snapshot(order[nth % _ORDERS], nth),
            options.rate,
        )
        session.live.say("warming up")
        pump.start()
        engine.run(options.warmup_s)
        pump.clear()
        measured = session.measure(engine, lambda: pump.answered, duration_s=options.duration_s)
        pump.close()
    pump.check()
    lateness = {"behind schedule": pump.lateness.summary()} if options.rate else {}
    return Outcome(
        figures={"snapshots_per_s": round(measured.per_s, 1), **pump.shares()},
        latencies={"answer": pump.latencies.summary(), **lateness},
        curves={"answer": pump.latencies.curve()},
        warnings=pump.warnings(),
        **generator_facts(measured),
    )


SNAPSHOTS: Final = Scenario(
    name="snapshots",
    summary="durable snapshots of Roblox players per second",
    options=SnapshotOptions,
    run=_run,
    has_steps=True,
    environment=_environment,
)
