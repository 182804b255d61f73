"""A node without one of the safeguards of matches is found out by the checker; with all of them it is not."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest
import redis
import trio

from actors.matches import QUEUE, Claims, Outcomes
from actors.matches.callback import Callback
from actors.matches.claims import Claim
from actors.matches.reclaim import Estate, Reclaimer
from tests.engines import RedisServer
from tests.fakes.api_server import serving
from tests.fakes.node import BRISK, MatchNode, client_of, job, mortal, running
from tests.fakes.waiting import WITHIN_S, until
from tests.faults.match_history import WritingApi, check

ROOMS: Final = [f"room-{number}" for number in range(6)]
POLICY: Final = replace(BRISK, alive_s=2.0, fence_s=1.2, renew_every_s=0.3)
LINGER_S: Final = 0.3
# Longer than a lease and two looks: what nobody has taken over by then stays where it is.
HEAL_S: Final = 6.0


@dataclass
class Field:
    """What nodes are made of, and those who look on."""

    api: WritingApi
    queue: redis.Redis
    directory: Path
    redis_url: str
    monkeypatch: pytest.MonkeyPatch

    def node(self, name: str) -> MatchNode:
        return MatchNode(
            self.redis_url,
            self.api.base_url,
            name=name,
            policy=POLICY,
            linger_s=LINGER_S,
            spool=self.directory / name,
        )

    def push(self) -> None:
        self.api.history.pushed += ROOMS
        self.queue.lpush(QUEUE, *[job(room) for room in ROOMS])

    async def all_heard(self, call: str, *, node: str = "") -> None:
        """Wait until the API server has acknowledged a call about each room."""
        with trio.fail_after(WITHIN_S):
            await self.api.until(
                lambda: all(
                    any(said.call == call and node in {"", said.node} for said in self.api.history.said[room])
                    for room in ROOMS
                )
            )

    def stand_still(self, node: MatchNode) -> None:
        """Stop renewing its lease; all else of it goes on, as after a stop that has just ended."""
        self.monkeypatch.setattr(node.consumer, "_renew", trio.sleep_forever)
        self.api.history.deaths[node.name].append(trio.current_time())

    async def end_all(self, *nodes: MatchNode) -> None:
        """End every match, and let all be said about it that will be said."""
        for node in nodes:
            for room in ROOMS:
                node.matches.terminate(room)
        for node in nodes:
            results = node.results
            assert results is not None
            await until(lambda node=node: node.matches.active == 0)  # type: ignore[misc]
            await until(lambda node=node: node.callbacks.statistics().waiting == 0)  # type: ignore[misc]


# -- what happens ----------------------------------------------------------------------------------


async def wake_late(all_: Field) -> None:
    """A node stands still, a survivor reports its matches, and then it ends them itself."""
    one, two = all_.node("a"), all_.node("b")
    async with mortal(one):
        all_.push()
        await all_.all_heard("ready")
        await until(lambda: all_.queue.llen(one.processing) == 0)
        all_.stand_still(one)
        async with running(two):
            await all_.all_heard("aborted")
            await all_.end_all(one)
            await until(lambda: dropped_or_told(one, len(ROOMS)))


async def wake_after_the_match_was_played_elsewhere(all_: Field) -> None:
    """The jobs of a node that stands still are done by another, to their end, before it wakes."""
    one, two = all_.node("a"), all_.node("b")
    all_.monkeypatch.setattr(one.consumer._processing, "remove", never)  # noqa: SLF001  # still under way
    async with mortal(one):
        all_.push()
        await all_.all_heard("ready")
        all_.stand_still(one)
        async with running(two):
            await all_.all_heard("ready", node="b")
            await until(lambda: two.matches.active == len(ROOMS))
            await all_.end_all(two)
            await all_.all_heard("aborted")
            claims = [f"greenroom:match:{room}" for room in ROOMS]
            await until(lambda: not all_.queue.exists(*claims))
            await all_.end_all(one)
            await until(lambda: dropped_or_told(one, len(ROOMS)))


async def push_twice(all_: Field) -> None:
    """Each job comes twice, to two nodes."""
    one, two = all_.node("a"), all_.node("b")
    async with running(one, two):
        all_.push()
        await all_.all_heard("ready")
        begun_by = [sum(node.consumer.statistics().fates.values()) for node in (one, two)]
        for node, begun in zip((two, one), begun_by, strict=True):
            if begun:
                # As if the other one had taken them, too: it resumes what stands in its list.
                all_.queue.lpush(node.processing, *[job(room) for room in ROOMS])
        await until(lambda: not all_.queue.exists(one.processing, two.processing))
        await all_.end_all(one, two)
        await all_.all_heard("aborted")


async def die(all_: Field) -> None:
    """A node dies with its matches."""
    one, two = all_.node("a"), all_.node("b")
    async with mortal(one) as life:
        all_.push()
        await all_.all_heard("ready")
        await until(lambda: all_.queue.llen(one.processing) == 0)
        life.cancel()
    all_.api.history.deaths["a"].append(trio.current_time())
    async with running(two):
        with trio.move_on_after(HEAL_S):
            while all_.api.history.unsettled():  # noqa: ASYNC110
                await trio.sleep(0.05)  # real time: of leases


def dropped_or_told(node: MatchNode, count: int) -> bool:
    """Whether each report of a node was made or dropped."""
    results = node.results
    told = node.callbacks.statistics().verdicts["acknowledged"]
    return results is not None and results.statistics().dropped + told >= count


async def never(_payload: bytes) -> None:
    await trio.sleep_forever()


# -- what is missing -------------------------------------------------------------------------------


async def no_claim_of_outcomes(_: Outcomes, _callbacks: Sequence[Callback], **_options: bool) -> set[str]:
    await trio.lowlevel.checkpoint()
    return set()


async def no_claim_of_rooms(_: Claims, _room_id: str, _facts: bytes) -> Claim:
    await trio.lowlevel.checkpoint()
    return Claim.MINE


def no_fence(_: Outcomes, _rooms: Sequence[str], _client: redis.Redis, **_options: bool) -> set[str]:
    return set()


async def no_takeover(_: Reclaimer, _owner: str, _rooms: Sequence[str] | None = None) -> Estate:
    await trio.lowlevel.checkpoint()
    return Estate()


class Safeguard(NamedTuple):
    """Something that a node does, and what shows that it does it.

    Attributes:
        owner: Class of the method.
        method: Its name.
        without: In its place.
        happens: Needs it.
    """

    owner: type
    method: str
    without: Callable[..., Any]
    happens: Callable[[Field], Awaitable[None]]


SAFEGUARDS: Final = {
    "claim of outcomes": Safeguard(Outcomes, "win", no_claim_of_outcomes, wake_late),
    "claim of rooms": Safeguard(Claims, "take", no_claim_of_rooms, push_twice),
    "fence": Safeguard(Outcomes, "_lost_among", no_fence, wake_after_the_match_was_played_elsewhere),
    "takeover": Safeguard(Reclaimer, "_take_over", no_takeover, die),
}


@pytest.mark.parametrize("name", SAFEGUARDS)
@pytest.mark.parametrize("is_there", [True, False], ids=["with", "without"])
async def test_a_safeguard(
    name: str, is_there: bool, redis_server: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    safeguard = SAFEGUARDS[name]
    if not is_there:
        monkeypatch.setattr(safeguard.owner, safeguard.method, safeguard.without)
    async with serving(WritingApi()) as api, client_of(redis_server.url) as queue:
        await safeguard.happens(Field(api, queue, tmp_path, redis_server.url, monkeypatch))

    found = check(api.history)
    assert bool(found) is not is_there, found
