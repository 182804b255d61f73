from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any, TypeVar

import httpx
import pytest
import trio
from sqlalchemy import Connection, Engine, StaticPool, create_engine, select
from trio.testing import MockClock

from actors.automation.outcome import Outcome
from actors.automation.relay import Cloud, Relay, RelayWorker
from actors.automation.roblox import OpenCloud, http_caller
from actors.automation.steps import Step
from actors.automation.tables import automation_decisions, metadata, players
from actors.automation.transactions import record_snapshots
from dev.open_cloud import OpenCloudResponse, OpenCloudStandIn, RecordedRequest, problem
from tests.actors.automation.people import NOW, context, entry, policy
from tests.fakes import open_cloud
from tests.fakes.life import LoneLife

T = TypeVar("T")


@pytest.fixture
def database() -> Iterator[Engine]:
    engine = create_engine("sqlite://", poolclass=StaticPool)
    metadata.create_all(engine)
    yield engine
    engine.dispose()


def _now() -> datetime:
    """Wall time as the test's clock has it."""
    return NOW + timedelta(seconds=trio.current_time())


class RelayNode:
    """One node: a relay with a database and a cloud, which can be run and killed."""

    def __init__(self, engine: Engine, cloud: Cloud, owner: str) -> None:
        self._engine = engine
        self.changed: list[int] = []
        self.relay = Relay(
            self._transact, cloud, owner=owner, policy=policy, now=_now, on_changed=self.changed.append
        )

    async def _transact(self, function: Callable[[Connection], T]) -> T:
        await trio.lowlevel.checkpoint()
        with self._engine.begin() as connection:
            return function(connection)

    async def run(self, seconds: float) -> None:
        with trio.move_on_after(seconds):
            await self.relay.run(LoneLife())


@asynccontextmanager
async def _client(there: OpenCloudStandIn) -> AsyncIterator[OpenCloud]:
    settings = open_cloud.settings_for("http://cloud")
    yield OpenCloud(settings, http_caller(settings, httpx.ASGITransport(there)), now=_now)


class Attempts:
    """When each user was spoken of in calls of one kind."""

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._times: dict[int, list[float]] = defaultdict(list)
        self.successes: Counter[int] = Counter()

    def note(self, call: RecordedRequest) -> None:
        if self._kind in call.target:
            [user] = re.findall(r"(?:memberships|restrictions)/(\d+)", call.target)
            self._times[int(user)].append(trio.current_time())
            self.successes[int(user)] += call.status == 200

    def shortest_span_s(self, calls: int) -> float:
        """The shortest time that so many successive calls of one user take."""
        spans = [
            times[at + calls - 1] - times[at]
            for times in self._times.values()
            for at in range(len(times) - calls + 1)
        ]
        return min(spans)

    @property
    def longest_gap_s(self) -> float:
        """Between two, of whichever users."""
        times = sorted(time for times in self._times.values() for time in times)
        return max(after - before for before, after in pairwise(times))


class Faulty:
    """A cloud with a bug."""

    def __init__(self, cloud: OpenCloud) -> None:
        self._cloud = cloud
        self.well = False

    async def perform(
        self, step: Step, user_id: int, *, attempts: int, headers: Mapping[str, str] | None = None
    ) -> Outcome:
        if not self.well:
            raise SyntaxError("with a secret in it")
        return await self._cloud.perform(step, user_id, attempts=attempts)


class Up:
    """A database that is always there."""

    name = "database"

    async def until_up(self) -> None:
        await trio.lowlevel.checkpoint()


class Connected:
    """Connections that are always there."""

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[None]:
        yield


def _promote(engine: Engine, users: int) -> None:
    _decide(engine, users, rankPoints=150)


def _decide(engine: Engine, users: int, **facts: Any) -> None:
    entries = [entry(userId=user, rank="New", apply=True, **facts) for user in range(1, users + 1)]
    with engine.begin() as connection:
        record_snapshots(connection, entries, context(now=_now()))


def _ranks(engine: Engine) -> set[str]:
    with engine.connect() as connection:
        return set(connection.execute(select(players.c.rank)).scalars())


def _statuses(engine: Engine) -> set[str]:
    with engine.connect() as connection:
        return set(connection.execute(select(automation_decisions.c.status)).scalars())


def _assigned(there: OpenCloudStandIn) -> list[str]:
    """The users whose role was given with success, a line per call."""
    return sorted(call.target for call in there.calls if ":assignRole" in call.target and call.status == 200)


async def test_each_decision_is_carried_out_once_and_its_player_announced(
    database: Engine, autojump_clock: MockClock
) -> None:
    there = open_cloud.stand_in()
    async with _client(there) as cloud:
        _promote(database, users=100)
        node = RelayNode(database, cloud, "one")
        await node.run(60)

    assert (_ranks(database), _statuses(database)) == ({"Known"}, {"done"})
    assert len(there.calls) == 300
    assert sorted(node.changed) == list(range(1, 101))
    assert node.relay.statistics().done == 100
    assert node.relay.statistics().waiting == 0


async def test_a_poke_starts_at_once_what_was_just_queued(
    database: Engine, autojump_clock: MockClock
) -> None:
    there = open_cloud.stand_in()
    async with _client(there) as cloud, trio.open_nursery() as nursery:
        node = RelayNode(database, cloud, "one")
        nursery.start_soon(node.run, 60)
        await trio.sleep(10.5)
        _promote(database, users=1)
        node.relay.poke()
        await trio.sleep(0.1)

        assert _statuses(database) == {"done"}
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("facts", "call"), [({"rankPoints": 150}, ":assignRole"), ({"warnings": 7}, "restr")]
)
async def test_an_outage_of_ten_minutes_loses_and_doubles_nothing(
    database: Engine, autojump_clock: MockClock, facts: dict[str, Any], call: str
) -> None:
    attempts = Attempts(call)
    there = open_cloud.stand_in()
    there.down, there.on_call = True, attempts.note
    async with _client(there) as cloud, trio.open_nursery() as nursery:
        _decide(database, users=20, **facts)
        node = RelayNode(database, cloud, "one")
        nursery.start_soon(node.run, 1200)
        await trio.sleep(600)
        assert node.relay.statistics().waiting == 20
        assert "503" in (node.relay.statistics().problem or "")
        assert _statuses(database) == {"pending"}

        there.down = False
        await trio.sleep(30)
        assert _statuses(database) == {"done"}
        assert node.relay.statistics().problem is None
        nursery.cancel_scope.cancel()

    assert attempts.successes == dict.fromkeys(range(1, 21), 1)
    assert attempts.longest_gap_s <= 30


async def test_while_roblox_is_down_one_decision_asks_for_all(
    database: Engine, autojump_clock: MockClock
) -> None:
    there = open_cloud.stand_in()
    there.down = True
    async with _client(there) as cloud, trio.open_nursery() as nursery:
        _promote(database, users=200)
        node = RelayNode(database, cloud, "one")
        nursery.start_soon(node.run, 1200)
        await trio.sleep(60)
        begun = len(there.calls)
        await trio.sleep(600)
        assert len(there.calls) - begun <= 600 / 20

        there.down = False
        await trio.sleep(60)
        assert _statuses(database) == {"done"}
        nursery.cancel_scope.cancel()


async def test_a_429_holds_back_every_decision(database: Engine, autojump_clock: MockClock) -> None:
    there = open_cloud.stand_in()
    there.script.append(problem(429, "RESOURCE_EXHAUSTED", "slow", retry_after_s=20))
    times: list[float] = []
    there.on_call = lambda _call: times.append(trio.current_time())
    async with _client(there) as cloud:
        _promote(database, users=100)
        await RelayNode(database, cloud, "one").run(120)

    # Those that were under way beside it, then nothing until it is time.
    first = times[0]
    assert sum(first + 1 < time < first + 19.9 for time in times) == 0
    assert _statuses(database) == {"done"}


async def test_a_refusal_is_an_answer_and_no_problem_of_roblox(
    database: Engine, autojump_clock: MockClock
) -> None:
    there = open_cloud.stand_in()
    async with _client(there) as cloud, trio.open_nursery() as nursery:
        node = RelayNode(database, cloud, "one")
        nursery.start_soon(node.run, 60)
        there.script.append(problem(401, "UNAUTHENTICATED", "Invalid API key."))
        _promote(database, users=1)
        await trio.sleep(2)
        assert "401" in (node.relay.statistics().problem or "")

        there.script.append(problem(404, "NOT_FOUND", "no such member"))
        _promote(database, users=2)
        await trio.sleep(2)
        told = node.relay.statistics()
        assert (told.waiting, told.refused, told.problem) == (1, 1, None)
        nursery.cancel_scope.cancel()


async def test_a_refused_step_of_a_decision_that_is_done_is_counted_and_said(
    database: Engine, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    there = open_cloud.stand_in()
    async with _client(there) as cloud, trio.open_nursery() as nursery:
        node = RelayNode(database, cloud, "one")
        nursery.start_soon(node.run, 60)
        there.script += [OpenCloudResponse(200, {}), problem(400, "INVALID_ARGUMENT", "no such role")]
        _promote(database, users=1)
        await trio.sleep(2)
        told = node.relay.statistics()
        nursery.cancel_scope.cancel()

    assert (told.done, told.refused, told.steps_refused) == (1, 0, 1)
    assert "unassign of user" in (told.step_problem or "")
    assert "INVALID_ARGUMENT" in (told.step_problem or "")
    assert "decision_step_refused" in caplog.text


async def test_a_crash_is_a_problem_until_nothing_waits(database: Engine, autojump_clock: MockClock) -> None:
    there = open_cloud.stand_in()
    async with _client(there) as cloud:
        faulty = Faulty(cloud)
        _promote(database, users=3)
        node = RelayNode(database, faulty, "one")
        patient = RelayWorker(node.relay, Up(), Connected())
        for _ in range(3):
            with pytest.RaisesGroup(*[SyntaxError] * 3, flatten_subgroups=True):
                await patient.run(LoneLife())
            told = node.relay.statistics()
            assert (told.waiting, told.problem) == (3, "the outbox crashed: SyntaxError; its log has more")

        faulty.well = True
        await node.run(10)

    assert node.relay.statistics().problem is None


async def test_a_wait_of_our_own_is_no_problem_of_roblox(database: Engine, autojump_clock: MockClock) -> None:
    there = open_cloud.stand_in()
    async with _client(there) as cloud, trio.open_nursery() as nursery:
        node = RelayNode(database, cloud, "one")
        nursery.start_soon(node.run, 120)
        for _ in range(3):
            _decide(database, users=1, warnings=7)
            await trio.sleep(2)
            _decide(database, users=1, warnings=0)

        assert _statuses(database) == {"done", "pending"}
        assert (node.relay.statistics().problem, node.relay.statistics().retries) == (None, 0)
        await trio.sleep(60)
        assert _statuses(database) == {"done"}
        nursery.cancel_scope.cancel()


async def test_a_storm_of_429_is_sat_out(database: Engine, autojump_clock: MockClock) -> None:
    there = open_cloud.stand_in()
    there.script.extend(problem(429, "RESOURCE_EXHAUSTED", "slow", retry_after_s=2) for _ in range(60))
    async with _client(there) as cloud:
        _promote(database, users=20)
        await RelayNode(database, cloud, "one").run(120)

    assert _statuses(database) == {"done"}
    assert len(_assigned(there)) == len(set(_assigned(there))) == 20


async def test_two_nodes_on_one_outbox_apply_each_decision_once(
    database: Engine, autojump_clock: MockClock
) -> None:
    there = open_cloud.stand_in()
    there.delay_s = 1.0
    async with _client(there) as cloud, trio.open_nursery() as nursery:
        _promote(database, users=100)
        one, two = RelayNode(database, cloud, "one"), RelayNode(database, cloud, "two")
        nursery.start_soon(one.run, 120)
        nursery.start_soon(two.run, 120)

    assert _statuses(database) == {"done"}
    assert len(there.calls) == 300
    assert one.relay.statistics().done + two.relay.statistics().done == 100
    assert min(one.relay.statistics().done, two.relay.statistics().done) > 0


async def test_a_node_killed_at_any_moment_leaves_the_rest_to_the_next(
    database: Engine, autojump_clock: MockClock
) -> None:
    there = open_cloud.stand_in()
    there.delay_s = 0.7
    async with _client(there) as cloud:
        _promote(database, users=10)
        for life in range(8):
            await RelayNode(database, cloud, f"life {life}").run(0.35 * (life + 1))
            await trio.sleep(31)
        await RelayNode(database, cloud, "last").run(300)

    assert (_ranks(database), _statuses(database)) == ({"Known"}, {"done"})
    assert there.roles == {user: {12} for user in range(1, 11)}


async def test_what_a_killed_node_had_begun_is_tried_again_within_30_s(
    database: Engine, autojump_clock: MockClock
) -> None:
    attempts = Attempts(":assignRole")
    there = open_cloud.stand_in()
    there.delay_s, there.on_call = 10, attempts.note
    async with _client(there) as cloud, trio.open_nursery() as nursery:
        _promote(database, users=10)
        await RelayNode(database, cloud, "killed").run(0.1)
        nursery.start_soon(RelayNode(database, cloud, "other").run, 60)

    assert attempts.longest_gap_s <= 30
    assert _statuses(database) == {"done"}


async def test_a_node_that_stops_gives_back_what_it_had_begun(
    database: Engine, autojump_clock: MockClock
) -> None:
    there = open_cloud.stand_in()
    there.delay_s = 10
    async with _client(there) as cloud:
        _promote(database, users=1)
        stopping = RelayWorker(RelayNode(database, cloud, "stopping").relay, Up(), Connected())
        with trio.move_on_after(5):
            await stopping.run(LoneLife())
        there.delay_s = 0
        await RelayNode(database, cloud, "other").run(1)

    assert _statuses(database) == {"done"}


async def test_a_banned_player_has_one_restriction_and_a_mirror_that_says_so(
    database: Engine, autojump_clock: MockClock
) -> None:
    there = open_cloud.stand_in()
    async with _client(there) as cloud:
        with database.begin() as connection:
            record_snapshots(connection, [entry(rank="New", warnings=7, apply=True)], context())
        await RelayNode(database, cloud, "one").run(30)

    assert [call.method for call in there.calls] == ["PATCH", "PATCH"]
    assert there.restrictions[5]["active"] is True
    assert "duration" not in there.restrictions[5]
    [value] = there.entries.values()
    assert (value["action"], value["punishmentStatus"], value["rank"]) == ("BAN", "Punishment_Severe", "New")


async def _ban_again(engine: Engine, warnings: int = 7) -> None:
    """Pardon the player and call for a ban anew, as of a second later."""
    for count in (0, warnings):
        await trio.sleep(0.5)
        with engine.begin() as connection:
            record_snapshots(connection, [entry(rank="New", warnings=count, apply=True)], context(now=_now()))


async def test_two_restriction_updates_a_minute_are_made_per_user_by_all_nodes(
    database: Engine, autojump_clock: MockClock
) -> None:
    attempts = Attempts("user-restrictions")
    there = open_cloud.stand_in()
    there.on_call = attempts.note
    async with _client(there) as cloud, trio.open_nursery() as nursery:
        for at in range(3):
            await _ban_again(database)
            # Each ban is made by a node that has made none before, as after a restart.
            nursery.start_soon(RelayNode(database, cloud, f"node {at}").run, 200)
            await trio.sleep(4)
        at_first = attempts.successes[5]
        await trio.sleep(100)

    assert (at_first, attempts.successes[5], len(there.calls)) == (2, 3, 6)
    assert attempts.shortest_span_s(3) >= 60
    assert _statuses(database) == {"done"}


async def test_users_do_not_share_the_limit_of_restriction_updates(
    database: Engine, autojump_clock: MockClock
) -> None:
    there = open_cloud.stand_in()
    async with _client(there) as cloud, trio.open_nursery() as nursery:
        _decide(database, 20, warnings=7)
        nursery.start_soon(RelayNode(database, cloud, "one").run, 3)

    assert len(there.restrictions) == 20


async def test_a_restriction_that_roblox_did_not_take_is_none_of_the_two_a_minute(
    database: Engine, autojump_clock: MockClock
) -> None:
    attempts = Attempts("user-restrictions")
    there = open_cloud.stand_in()
    there.on_call = attempts.note
    there.script += [problem(500, "INTERNAL", "no")] * 5
    async with _client(there) as cloud, trio.open_nursery() as nursery:
        await _ban_again(database)
        nursery.start_soon(RelayNode(database, cloud, "one").run, 50)

    assert (attempts.successes[5], _statuses(database)) == (1, {"done"})
