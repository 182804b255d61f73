"""A match from its job to its end, with an API server that is a function and a clock that jumps."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from actors.core import Audiences, Registry, iso_utc
from actors.matches import (
    Callbacks,
    CreationJob,
    JobEnd,
    JobFuture,
    JobOutcome,
    Matches,
    MatchTimeouts,
    Status,
    read_job,
)
from supervision import ChildSpec, ChildType, Supervisor
from tests.fakes.http import Network
from tests.fakes.keeper import DirectKeeper
from tests.fakes.life import LoneLife
from tests.fakes.node import GAMES, RULES, Stage, job

T0 = 1_770_000_000.0


class Api:
    """Acknowledges, or does as told; remembers what was said: `ready`, `aborted:join_timeout`."""

    def __init__(self) -> None:
        self.status = 200
        self.acknowledged = True
        self.takes_s = 0.0
        self.said: list[str] = []

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        body = json.loads(request.content)
        call = body.get("status") or request.url.path.rsplit("/", 1)[-1]
        self.said.append(f"{call}:{body['reason']}" if "reason" in body else call)
        await trio.sleep(self.takes_s)
        return httpx.Response(self.status, json={"acknowledged": self.acknowledged})


class MatchContext:
    """Callbacks and matches, alive."""

    def __init__(self, *, max_matches: int = 10, ahead_s: float = 0.0, **patience: float) -> None:
        # Of the wall clock.
        self.ahead_s = ahead_s
        self.api = Api()
        self.stage = Stage()
        self.callbacks = Callbacks("http://api", keys=["k"], transport=Network(self.api))
        self.matches = Matches(
            Registry(Audiences(max_members=10)),
            callbacks=self.callbacks,
            publisher=self.stage,
            node_name="node-a",
            games=GAMES,
            keeper=DirectKeeper(self.callbacks),
            timeouts=MatchTimeouts(**patience),
            max_matches=max_matches,
            clock=lambda: T0 + trio.current_time() + self.ahead_s,
        )
        self.root = Supervisor(
            [
                ChildSpec(id="callbacks", start=self.callbacks.run),
                ChildSpec(id="matches", start=self.matches.run, type=ChildType.SUPERVISOR),
            ]
        )

    def create(self, room: str = "room-1") -> JobFuture:
        wanted = read_job(job(room), RULES)
        assert isinstance(wanted, CreationJob)
        return self.matches.create(wanted)

    def crash(self, room: str = "room-1") -> None:
        actor = self.matches.whereis(room)
        assert actor is not None
        actor.force_cast("what no match understands")

    def status(self, room: str = "room-1") -> Status | None:
        state = self.matches.state(room)
        return None if state is None else state.status


@asynccontextmanager
async def context(**options: Any) -> AsyncIterator[MatchContext]:
    made = MatchContext(**options)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(made.root.run)
        await wait_all_tasks_blocked()
        yield made
        nursery.cancel_scope.cancel()


async def test_a_match_is_preparing_until_it_is_acknowledged_and_then_ready(
    autojump_clock: MockClock,
) -> None:
    async with context() as w:
        w.api.takes_s = 1
        future = w.create()
        await trio.sleep(0.5)
        assert w.status() is Status.PREPARING
        assert w.stage.rooms["room-1"]["status"] == "preparing"
        assert await future.wait() == JobEnd(JobOutcome.CONFIRMED)
        assert w.status() is Status.READY
        assert w.stage.history == [("room-1", "preparing"), ("room-1", "ready")]


async def test_a_match_nobody_joins_is_aborted_after_its_time_and_lingers(autojump_clock: MockClock) -> None:
    async with context(join_timeout_s=120, linger_s=30) as w:
        await w.create().wait()
        await trio.sleep(119.9)
        assert w.status() is Status.READY
        await trio.sleep(0.2)
        assert w.status() is Status.ABORTED
        assert w.api.said == ["ready", "aborted:join_timeout"]
        assert w.stage.rooms["room-1"]["reason"] == "join_timeout"
        assert w.matches.active == 0
        await trio.sleep(29.7)
        assert w.stage.rooms["room-1"]["status"] == "aborted"
        await trio.sleep(0.3)
        assert w.status() is None
        assert w.stage.rooms == {}
        assert w.matches.supervisor.count_children().specs == 0
        assert w.matches.statistics().endings == {"join_timeout": 1}


async def test_an_administrator_ends_a_match(autojump_clock: MockClock) -> None:
    async with context() as w:
        await w.create().wait()
        assert w.matches.terminate("room-1")
        await wait_all_tasks_blocked()
        assert w.status() is Status.ABORTED
        assert not w.matches.terminate("room-1")
        assert not w.matches.terminate("elsewhere")
        await trio.sleep(1)
        assert w.api.said == ["ready", "aborted:admin_terminated"]


async def test_a_match_ended_before_its_acknowledgement_says_both_in_order(autojump_clock: MockClock) -> None:
    async with context() as w:
        w.api.takes_s = 1
        future = w.create()
        await trio.sleep(0.5)
        w.matches.terminate("room-1")
        assert await future.wait() == JobEnd(JobOutcome.CONFIRMED)
        await trio.sleep(2)
        assert w.api.said == ["ready", "aborted:admin_terminated"]
        assert w.status() is Status.ABORTED


@pytest.mark.parametrize(
    ("status", "acknowledged", "fate"),
    [
        (404, True, JobOutcome.DISCARDED),
        (200, False, JobOutcome.REFUSED),
        (302, True, JobOutcome.REFUSED),
        (422, True, JobOutcome.REFUSED),
        (401, True, JobOutcome.REFUSED),
        (500, True, JobOutcome.UNCONFIRMED),
    ],
)
async def test_without_an_acknowledgement_there_is_no_match(
    status: int, acknowledged: bool, fate: JobOutcome, autojump_clock: MockClock
) -> None:
    async with context() as w:
        w.api.status, w.api.acknowledged = status, acknowledged
        settled = await w.create().wait()
        assert settled.outcome is fate
        assert w.status() is None
        assert w.stage.rooms == {}
        await trio.sleep(60)
        # What was not answered may have been taken all the same.
        unconfirmed = fate is JobOutcome.UNCONFIRMED
        assert set(w.api.said) == {"ready", *(["aborted:process_error"] if unconfirmed else [])}


async def test_a_crash_costs_a_match_nothing(autojump_clock: MockClock) -> None:
    async with context(join_timeout_s=120) as w:
        await w.create().wait()
        ready = w.matches.state("room-1")
        for _ in range(5):
            await trio.sleep(10)
            w.crash()
            await wait_all_tasks_blocked()
            assert w.matches.state("room-1") is ready
            assert w.matches.whereis("room-1") is not None
        assert w.api.said == ["ready"]
        await trio.sleep(70.1)
        assert w.api.said == ["ready", "aborted:join_timeout"]


async def test_a_crash_while_the_answer_is_on_its_way_loses_no_answer(autojump_clock: MockClock) -> None:
    async with context() as w:
        w.api.takes_s = 1
        future = w.create()
        await trio.sleep(0.5)
        w.crash()
        assert await future.wait() == JobEnd(JobOutcome.CONFIRMED)
        assert w.api.said == ["ready"]
        assert w.status() is Status.READY


async def test_a_wish_that_was_lost_with_a_life_is_found_by_the_next(autojump_clock: MockClock) -> None:
    async with context() as w:
        await w.create().wait()
        w.crash()
        w.matches.terminate("room-1")
        await trio.sleep(1)
        assert w.api.said == ["ready", "aborted:admin_terminated"]


async def test_a_match_that_crashes_past_its_limit_is_aborted_and_lingers(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)
    async with context(linger_s=30) as w:
        await w.create().wait()
        for _ in range(4):
            w.crash()
            await wait_all_tasks_blocked()
        await trio.sleep(0.1)
        assert w.api.said == ["ready", "aborted:process_error"]
        assert w.status() is Status.ABORTED
        assert w.stage.rooms["room-1"]["reason"] == "process_error"
        assert w.matches.statistics().given_up == 1
        await trio.sleep(30)
        assert w.status() is None
        assert w.stage.rooms == {}


async def test_a_match_beyond_all_help_is_still_reported(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)
    async with context() as w:
        await w.create().wait()
        w.stage.broken = True
        w.crash()
        await trio.sleep(1)
        assert w.api.said == ["ready", "aborted:process_error"]
        assert w.status() is None
        assert w.matches.supervisor.count_children().specs == 0


async def test_a_match_that_never_comes_up_fails_without_a_word_of_an_abort(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)
    async with context() as w:
        w.stage.broken = True
        assert await w.create().wait() == JobEnd(JobOutcome.FAILED, "process_error")
        assert w.status() is None
        assert w.api.said == []


@pytest.mark.parametrize(
    ("status", "told"),
    [
        (200, ["ready", "aborted:process_error"]),
        (500, ["ready", "aborted:process_error"]),
        (404, ["ready"]),
        (422, ["ready"]),
    ],
)
async def test_a_match_that_failed_while_ready_was_under_way_is_aborted_if_anybody_believes_in_it(
    status: int, told: list[str], autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)
    async with context() as w:
        w.api.takes_s, w.api.status = 1, status
        future = w.create()
        await trio.sleep(0.5)
        for _ in range(4):
            w.crash()
            await wait_all_tasks_blocked()
        assert await future.wait() == JobEnd(JobOutcome.FAILED, "process_error")
        assert w.status() is None
        await trio.sleep(30)
        assert list(dict.fromkeys(w.api.said)) == told


@pytest.mark.parametrize("status", [200, 500])
async def test_a_match_that_was_given_back_while_ready_was_under_way_is_not_aborted(
    status: int, autojump_clock: MockClock
) -> None:
    async with context() as w:
        w.api.takes_s, w.api.status = 1, status
        w.create()
        await trio.sleep(0.5)
        w.matches.discard("room-1")
        await trio.sleep(20)
        assert set(w.api.said) == {"ready"}
        assert w.status() is None


async def test_a_match_in_a_crash_loop_leaves_its_neighbours_alone(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)
    async with context() as w:
        for room in ("sick", "well"):
            await w.create(room).wait()
        neighbour = w.matches.whereis("well")
        for _ in range(4):
            w.crash("sick")
            await wait_all_tasks_blocked()
        assert w.status("sick") is Status.ABORTED
        assert w.matches.whereis("well") is neighbour


async def test_all_matches_come_back_when_their_supervisor_does(autojump_clock: MockClock) -> None:
    matches = MatchContext(join_timeout_s=120)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(matches.callbacks.run, LoneLife())
        with trio.CancelScope() as first_life:
            async with trio.open_nursery() as inner:
                inner.start_soon(matches.matches.run, LoneLife())
                await wait_all_tasks_blocked()
                for room in ("room-1", "room-2"):
                    await matches.create(room).wait()
                await trio.sleep(60)
                first_life.cancel()
        nursery.start_soon(matches.matches.run, LoneLife())
        await wait_all_tasks_blocked()
        assert matches.matches.whereis("room-1") is not None
        assert matches.status("room-2") is Status.READY
        await trio.sleep(60.1)
        assert sorted(matches.api.said) == ["aborted:join_timeout"] * 2 + ["ready"] * 2
        nursery.cancel_scope.cancel()


async def test_there_are_no_more_matches_than_allowed(autojump_clock: MockClock) -> None:
    async with context(max_matches=2) as w:
        for room in ("room-1", "room-2"):
            await w.create(room).wait()
        assert await w.create("room-3").wait() == JobEnd(JobOutcome.FAILED, "max_matches")
        w.matches.terminate("room-1")
        await trio.sleep(31)
        assert await w.create("room-3").wait() == JobEnd(JobOutcome.CONFIRMED)


async def test_without_a_supervisor_there_is_no_match(autojump_clock: MockClock) -> None:
    assert await MatchContext().create().wait() == JobEnd(JobOutcome.FAILED, "not_running")


async def test_a_repeat_is_confirmed_again_by_the_same_match(autojump_clock: MockClock) -> None:
    async with context() as w:
        await w.create().wait()
        actor = w.matches.whereis("room-1")
        assert await w.create().wait() == JobEnd(JobOutcome.CONFIRMED)
        assert w.api.said == ["ready", "ready"]
        assert w.matches.whereis("room-1") is actor


async def test_a_repeat_that_cannot_be_confirmed_takes_nothing_back(autojump_clock: MockClock) -> None:
    async with context() as w:
        await w.create().wait()
        w.api.status = 500
        settled = await w.create().wait()
        assert settled.outcome is JobOutcome.CONFIRMED
        assert w.status() is Status.READY


async def test_a_repeat_of_a_match_that_is_over_begins_nothing(autojump_clock: MockClock) -> None:
    async with context() as w:
        await w.create().wait()
        w.matches.terminate("room-1")
        await trio.sleep(1)
        assert await w.create().wait() == JobEnd(JobOutcome.OVER, "aborted")
        assert w.api.said == ["ready", "aborted:admin_terminated"]


async def test_only_an_unacknowledged_match_can_be_discarded(autojump_clock: MockClock) -> None:
    async with context() as w:
        w.api.takes_s = 1
        await w.create("known").wait()
        future = w.create("unknown")
        await trio.sleep(0.5)
        w.matches.discard("known")
        w.matches.discard("unknown")
        w.matches.discard("elsewhere")
        assert (await future.wait()).outcome is JobOutcome.DISCARDED
        assert w.status("known") is Status.READY
        assert w.status("unknown") is None


async def test_the_public_state_names_what_everybody_may_know(autojump_clock: MockClock) -> None:
    async with context() as w:
        await w.create().wait()
        shown = w.stage.rooms["room-1"]
        created_at = shown.pop("created_at")
        assert created_at.endswith("Z")
        assert shown == {
            "status": "ready",
            "game_type_id": "type-1",
            "game_rules": "simple_card_battle",
            "turn_time_limit": 60,
            "players": [
                {"user_id": "u1", "display_name": "u1", "connected": False},
                {"user_id": "u2", "display_name": "u2", "connected": False},
            ],
            "started_at": None,
            "ended_at": None,
            "turn_ends_at": None,
            "game": None,
            "reason": None,
            "result": None,
        }


@pytest.mark.parametrize("jump_s", [8 * 86_400.0, -8 * 86_400.0, 3600.0])
async def test_a_wall_clock_that_is_set_moves_what_is_told_and_no_deadline(
    autojump_clock: MockClock, jump_s: float
) -> None:
    async with context(join_timeout_s=30) as w:
        await w.create().wait()
        started_s = trio.current_time()
        w.ahead_s = jump_s
        await trio.sleep(29.9)
        assert w.stage.rooms["room-1"]["status"] == "ready"
        await trio.sleep(0.2)
        shown = w.stage.rooms["room-1"]

    assert shown["status"] == "aborted"
    assert shown["ended_at"] == iso_utc(T0 + started_s + 30 + jump_s)
    assert shown["created_at"] == iso_utc(T0 + started_s + jump_s)
