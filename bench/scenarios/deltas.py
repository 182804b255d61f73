"""`deltas`: durable changes of players' stats per second, one a request or many.

Every transaction id is new. What is counted is changes answered with 200, those of
a batch each by itself, so each has reached the disk of the server (or of its database).

What a large table costs is measured in two runs on one database: one that fills it
(`--fill 1`), and one that finds it full, so that only the active players are active:

    greenroom bench deltas --database sqlite:////tmp/million.sqlite3 --table 1000000 --fill 1
    greenroom bench deltas --database sqlite:////tmp/million.sqlite3 --table 1000000 --players 10000 \
        --warmup-s 4

The second warms up for so long that all of them have become active before it is measured.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from bench.errors import TargetError
from bench.load.deltas import FIRST_STEAM_ID, TOKEN, DeltaRequests
from bench.load.engine import Engine
from bench.options import Timing, option
from bench.results import Outcome, generator_facts
from bench.scenarios.pump import MakeRequest, Pump
from bench.scenarios.scenario import Scenario
from bench.session import Session

_ORDERS: Final = 65_536
CONNECTIONS: Final = 128
# Half of what the ledger lets wait: changes beyond that are refused, which is no measurement of anything.
MOST_UNDER_WAY: Final = 8192
FILL_BATCH: Final = 1000
FILL_CONNECTIONS: Final = 4
FILL_S: Final = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class DeltaOptions(Timing):
    """Options of `deltas`."""

    connections: int = option(
        0,
        f"keep-alive connections, each a game server; 0: {CONNECTIONS}, or fewer for large batches",
        least=0,
    )
    batch: int = option(1, "changes a request; 1 is a PATCH, more is stats:batch", least=1)
    players: int = option(1000, "active players, chosen at random", least=1)
    table: int = option(0, "players among whom the active ones lie evenly; 0: there are no others", least=0)
    fill: int = option(0, "1: give each player of the table a first change beforehand", least=0)
    rate: float = option(0.0, "requests per second; 0 is flat out", least=0)
    database: str = option("", "DATABASE_URL of a server started here; a SQLite file if empty")

    @property
    def callers(self) -> int:
        """How many connections there are."""
        return self.connections or max(1, min(CONNECTIONS, MOST_UNDER_WAY // self.batch))


def _environment(options: DeltaOptions) -> dict[str, str]:
    return {"GAME_SERVER_TOKENS": TOKEN, "DATABASE_URL": options.database}


def _run(session: Session, options: DeltaOptions) -> Outcome:
    requests = DeltaRequests(
        session.address.authority,
        session.address.prefix,
        session.token,
        token=session.bearer or TOKEN,
        headers=session.headers,
    )
    everybody = range(FIRST_STEAM_ID, FIRST_STEAM_ID + max(options.table, options.players))
    active = everybody[:: len(everybody) // options.players][: options.players]
    if options.fill:
        _fill(session, requests, everybody)
    make = _maker(requests, active, options, random.Random(session.seed))
    with Engine() as engine:
        weigh = None if options.batch == 1 else _counted
        pump = Pump(session, engine, options.callers, make, options.rate, weigh)
        session.live.say("warming up")
        pump.start()
        engine.run(options.warmup_s)
        pump.clear()
        measured = session.measure(engine, lambda: pump.granted, duration_s=options.duration_s)
        pump.close()
    pump.check()
    refused = pump.answered * options.batch - pump.granted
    lateness = {"behind schedule": pump.lateness.summary()} if options.rate else {}
    return Outcome(
        figures={
            "deltas_per_s": round(measured.per_s, 1),
            "requests_per_s": round(pump.answered / measured.elapsed_s, 1),
            **pump.shares(),
        },
        latencies={"answer": pump.latencies.summary(), **lateness},
        curves={"answer": pump.latencies.curve()},
        warnings=pump.warnings() + ([f"{refused:,} changes were refused inside batches"] if refused else []),
        **generator_facts(measured),
    )


def _counted(answer: bytes) -> int:
    """How many changes the answer to a batch says are counted."""
    return answer.count(b'"status":200')


def _maker(
    requests: DeltaRequests, active: Sequence[int], options: DeltaOptions, rng: random.Random
) -> MakeRequest:
    order = rng.choices(active, k=_ORDERS)
    size = options.batch
    if size == 1:
        return lambda nth: requests.single(order[nth % _ORDERS], nth)
    starts = [rng.randrange(_ORDERS - size) for _ in range(1024)]

    def batch(nth: int) -> bytes:
        start = starts[nth % len(starts)]
        return requests.batch(order[start : start + size], nth * size)

    return batch


def _fill(session: Session, requests: DeltaRequests, everybody: Sequence[int]) -> None:
    """Give each player a first change.

    Raises:
        TargetError: Some were refused.
    """
    session.live.say(f"making {len(everybody):,} players")
    parts = [everybody[at : at + FILL_BATCH] for at in range(0, len(everybody), FILL_BATCH)]
    # Numbers that no transaction of the measurement has.
    first = 10**12

    def make(nth: int) -> bytes:
        if nth + 1 == len(parts):
            pump.stop()
        return requests.batch(parts[nth], first + nth * FILL_BATCH)

    with Engine() as engine:
        pump = Pump(session, engine, min(FILL_CONNECTIONS, len(parts)), make, weigh=_counted)
        pump.start()
        engine.run(FILL_S, lambda: pump.answered + pump.refused.total() >= len(parts))
        pump.close()
    if pump.granted < len(everybody):
        missing = len(everybody) - pump.granted
        raise TargetError(f"{missing:,} of {len(everybody):,} players could not be made")


DELTAS: Final = Scenario(
    name="deltas",
    summary="durable changes of players' stats per second",
    options=DeltaOptions,
    run=_run,
    has_steps=True,
    environment=_environment,
)
