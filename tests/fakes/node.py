"""A node as far as matches go: link, callbacks, matches, consumer and listener under real supervisors."""

from __future__ import annotations

import json
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import redis
import trio

from actors.core import Audiences, Registry
from actors.links import RedisLink
from actors.matches import (
    Callbacks,
    Claims,
    CommandListener,
    CreationConsumer,
    CreationPolicy,
    Lease,
    Matches,
    MatchTimeouts,
    Outcomes,
    Patience,
    ResultKeeper,
    Results,
    ResultSpool,
    ends_of_matches,
)
from actors.matches.rules import RulesRegistry
from supervision import Backoff, ChildSpec, ChildType, Supervisor
from tests.fakes.keeper import DirectKeeper

RULES: Final = {"simple_card_battle": (2,), "rock_paper_scissors": (2,), "any_number": range(2, 13)}
GAMES: Final = RulesRegistry.load(())
# The same shapes as in production, a hundred times as fast.
QUICK: Final = Patience(request_s=0.5, pauses_s=(0.005, 0.01))
BRISK: Final = CreationPolicy(wait_s=0.5, renew_every_s=0.2, alive_s=0.6, fence_s=0.4, drain_s=1.0)
SOON: Final = Backoff(first_s=0.01, factor=2, ceiling_s=0.1, jitter=0.5)


@dataclass
class Stage:
    """Where matches show themselves; remembers every version."""

    rooms: dict[str, dict[str, Any]] = field(default_factory=dict)
    history: list[tuple[str, str]] = field(default_factory=list)
    broken: bool = False

    def publish(self, room_id: str, state: dict[str, Any]) -> None:
        if self.broken:
            raise RuntimeError("the stage is broken")
        self.rooms[room_id] = state
        self.history.append((room_id, state["status"]))

    def remove(self, room_id: str) -> None:
        self.rooms.pop(room_id, None)


class MatchNode:
    """One node; `run` it in a nursery, or use `running`.

    With a `spool` its final reports are kept on the disk and fenced, as in production.
    """

    def __init__(
        self,
        redis_url: str,
        api_url: str,
        *,
        name: str = "node-a",
        keys: Sequence[str] = ("key-1",),
        policy: CreationPolicy = BRISK,
        patience: Patience = QUICK,
        join_timeout_s: float = 60.0,
        linger_s: float = 30.0,
        reconnect_grace_s: float = 60.0,
        max_matches: int = 10_000,
        keeper: ResultKeeper | None = None,
        spool: Path | None = None,
    ) -> None:
        self.name = name
        self.boot_id = uuid.uuid4().hex[:8]
        self.stage = Stage()
        self.link = RedisLink(redis_url, ping_every_s=0.2, answer_timeout_s=1.0, backoff=SOON)
        self.callbacks = Callbacks(api_url, keys=keys, patience=patience, drain_s=0.5)
        self.lease = Lease(f"{name}:{self.boot_id}", lasts_s=policy.alive_s, fence_s=policy.fence_s)
        self.claims = Claims(self.link, self.lease, over_s=linger_s)
        self.outcomes = Outcomes(self.link, self.lease)
        self.results: Results | None = None
        if spool is not None:
            self.results = keeper = Results(
                link=self.link,
                callbacks=self.callbacks,
                spool=ResultSpool(spool),
                fence=self.outcomes,
                retry_s=0.2,
            )
        keeper = keeper or DirectKeeper(self.callbacks)
        self.matches = Matches(
            Registry(Audiences(max_members=10)),
            callbacks=self.callbacks,
            publisher=self.stage,
            node_name=name,
            games=GAMES,
            keeper=keeper,
            timeouts=MatchTimeouts(
                join_timeout_s=join_timeout_s, reconnect_grace_s=reconnect_grace_s, linger_s=linger_s
            ),
            max_matches=max_matches,
            on_over=ends_of_matches(self.claims, self.outcomes),
        )
        self.consumer = CreationConsumer(
            link=self.link,
            matches=self.matches,
            lease=self.lease,
            claims=self.claims,
            outcomes=self.outcomes,
            keeper=keeper,
            callbacks=self.callbacks,
            known_rules=RULES,
            node_name=name,
            policy=policy,
        )
        self.listener = CommandListener(link=self.link, matches=self.matches, wait_s=0.05)
        self.integrations = Supervisor(
            [
                ChildSpec(id="link", start=self.link.run),
                *([] if self.results is None else [ChildSpec(id="results", start=self.results.run)]),
                ChildSpec(id="callbacks", start=self.callbacks.run),
                ChildSpec(id="creation_consumer", start=self.consumer.run, shutdown_s=10),
                ChildSpec(id="command_listener", start=self.listener.run),
            ],
            max_restarts=None,
            backoff=SOON,
        )
        self.root = Supervisor(
            [
                ChildSpec(id="matches", start=self.matches.run, type=ChildType.SUPERVISOR),
                ChildSpec(id="integrations", start=self.integrations.run, type=ChildType.SUPERVISOR),
            ]
        )

    @property
    def processing(self) -> str:
        return f"room_creation_queue:processing:{self.name}:{self.boot_id}"


@asynccontextmanager
async def running(*nodes: MatchNode) -> AsyncIterator[None]:
    """Run nodes for as long as the block lasts, and stop them in order."""
    async with trio.open_nursery() as nursery:
        for node in nodes:
            nursery.start_soon(node.root.run)
            await node.link.until_up()
        yield
        for node in nodes:
            node.root.stop()


@asynccontextmanager
async def mortal(node: MatchNode) -> AsyncIterator[trio.CancelScope]:
    """Run a node; cancelled, it ends as by `kill -9`: nothing is handed back, nothing is told."""
    life = trio.CancelScope()

    async def live() -> None:
        with life:
            await node.root.run()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(live)
        await node.link.until_up()
        yield life
        life.cancel()


def job(room_id: str, *, players: Sequence[str] = ("u1", "u2"), age_s: float = 0.0, **config: Any) -> bytes:
    """A payload as a matchmaker writes it."""
    return json.dumps(job_fields(room_id, players=players, age_s=age_s, **config)).encode()


def job_fields(
    room_id: str, *, players: Sequence[str] = ("u1", "u2"), age_s: float = 0.0, **config: Any
) -> dict[str, Any]:
    """The same, before it is encoded."""
    pushed = datetime.now(UTC) - timedelta(seconds=age_s)
    return {
        "room_id": room_id,
        "game_type_id": "type-1",
        "player_ids": list(players),
        "config": {"player_count": len(players), "turn_time_limit": 60, **config},
        "enqueued_at": pushed.isoformat().replace("+00:00", "Z"),
    }


@asynccontextmanager
async def client_of(url: str) -> AsyncIterator[redis.Redis]:
    """A plain client, as a producer has."""
    client = redis.Redis.from_url(url, protocol=2)
    try:
        yield client
    finally:
        client.close()


def dead_letters(client: redis.Redis) -> list[Mapping[str, Any]]:
    """The dead letters, oldest first."""
    return [json.loads(letter) for letter in client.lrange("room_creation_queue:dead", 0, -1)[::-1]]
