"""Whatever crashes: versions never go back, no stream drops, no acknowledged PUT is lost.

The writers and watchers of `under_load` assert exactly that, all the time; the tests only add what is
particular to the crash.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict, deque
from collections.abc import Callable
from functools import partial

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from actors.rooms import MemoryRooms, Record, RoomTable
from supervision import State, Supervisor, SupervisorNotRunning
from tests.engines import RedisServer, free_port
from tests.faults.load import Load, progress, under_load
from tests.web.conftest import Serve
from tests.web.serving import Node, eventually

ROOMS = ("alpha", "beta", "gamma")
# What takes long: the tree that crashes is the same behind TLS.
seldom_behind_tls = pytest.mark.parametrize(
    "lane", ["fast", pytest.param("tls", marks=pytest.mark.slow)], indirect=True
)


class Bug(Exception):
    """Something in our own code goes wrong."""


def supervisor_of(node: Node, path: str) -> tuple[Supervisor, str]:
    """The supervisor and the id of a child, such as `core/rooms` or, right below the root, `core`."""
    subtree, _, child = path.partition("/")
    return (node.program.tree.subtrees[subtree], child) if child else (node.program.tree.root, subtree)


def kill(node: Node, path: str) -> None:
    supervisor, child = supervisor_of(node, path)
    try:
        supervisor.kill_child(child, "a test")
    except SupervisorNotRunning:
        # It is being started again itself.
        return


def restarts(node: Node) -> int:
    """How often any child of the tree was started again."""
    tree = node.program.tree
    return sum(supervisor.statistics().restarts for supervisor in (tree.root, *tree.subtrees.values()))


def has_restarted(node: Node, before: int) -> bool:
    return restarts(node) > before


def is_running(node: Node, path: str) -> bool:
    supervisor, child = supervisor_of(node, path)
    return any(info.id == child and info.state is State.RUNNING for info in supervisor.which_children())


def children_of(node: Node) -> list[str]:
    tree = node.program.tree
    below = [
        f"{name}/{child.id}" for name, subtree in tree.subtrees.items() for child in subtree.which_children()
    ]
    return [*tree.subtrees, *below]


class Pace:
    """Keeps every supervisor within its restart limit, whoever is killed below it."""

    def __init__(self) -> None:
        self._kills: dict[str, deque[float]] = defaultdict(lambda: deque(maxlen=3))

    async def wait(self, path: str) -> None:
        kills = self._kills[path.partition("/")[0] if "/" in path else ""]
        if len(kills) == kills.maxlen:
            await trio.sleep_until(kills[0] + 5.5)  # real time: restart limits count five seconds
        kills.append(trio.current_time())


def in_turn(paths: list[str]) -> list[str]:
    """One of each supervisor, then the next of each: the least to wait for."""
    places = Counter[str]()
    rank = {}
    for path in paths:
        supervisor = path.partition("/")[0] if "/" in path else ""
        rank[path] = places[supervisor]
        places[supervisor] += 1
    return sorted(paths, key=rank.__getitem__)


@seldom_behind_tls
async def test_every_child_of_the_tree_may_crash_in_turn(serve: Serve) -> None:
    """Slowly enough that no restart limit is met."""
    pace = Pace()
    async with serve() as node, under_load(node, *ROOMS) as load:
        await progress(load)
        for path in in_turn(children_of(node)):
            await pace.wait(path)
            kill(node, path)
            await progress(load)

    assert load.statuses[200] > 50


async def test_integrations_may_crash_in_turn(serve: Serve, redis_server: RedisServer) -> None:
    api_that_is_away = f"http://127.0.0.1:{free_port()}/internal"
    async with serve(REDIS_URL=redis_server.url, API_BASE_URL=api_that_is_away) as node:
        paths = [
            path for path in children_of(node) if path.startswith("integrations") or path == "core/matches"
        ]
        assert {"core/matches", "integrations/redis_link", "integrations/creation_consumer"} < set(paths)
        async with under_load(node, *ROOMS) as load:
            await progress(load)
            for path in paths:
                await eventually(partial(is_running, node, path))
                before = restarts(node)
                kill(node, path)
                # A subtree stops its children in order before it is started again, which takes a while.
                await eventually(partial(has_restarted, node, before))
                await progress(load)


async def test_the_core_may_crash_past_its_restart_limit(serve: Serve) -> None:
    async with serve() as node, under_load(node, *ROOMS) as load:
        await progress(load)
        for _ in range(5):
            kill(node, "core/sweeper")
            await wait_all_tasks_blocked()
        await progress(load)

        assert node.program.tree.root.statistics().restarts >= 1


@pytest.mark.parametrize("path", ["core/registry", "core/rooms", "core", "web", "web/acceptor-1"])
async def test_a_child_may_crash_three_times_in_a_row(serve: Serve, path: str) -> None:
    async with serve() as node, under_load(node, *ROOMS) as load:
        await progress(load)
        for _ in range(3):
            kill(node, path)
            await wait_all_tasks_blocked()
        await progress(load)

    assert restarts(node) >= 1


async def test_a_room_may_crash_again_and_again_and_the_others_do_not_notice(serve: Serve) -> None:
    async with serve() as node, under_load(node, *ROOMS) as load:
        await progress(load)
        rooms = node.program.core.rooms
        assert isinstance(rooms, MemoryRooms)
        for _ in range(12):
            rooms.supervisor.kill_child("alpha", "a test") if is_up(node, "alpha") else None
            before = load.acknowledged["beta"]
            await eventually(partial(has_passed, load, "beta", before))
        await progress(load)

    assert rooms.statistics().given_up >= 1


def has_passed(load: Load, room_id: str, version: int) -> bool:
    return load.acknowledged[room_id] > version


def is_up(node: Node, room_id: str) -> bool:
    return node.program.core.registry.whereis(("room", room_id)) is not None


def failing(chance: float, rng: random.Random, where: str) -> Callable[..., Record]:
    """`RoomTable.write` with a bug that shows now and then, before or after the record is stored."""
    real = RoomTable.write

    def write(self: RoomTable, room_id: str, *args: object, **kwargs: object) -> Record:
        broken = room_id == "alpha" and rng.random() < chance
        if broken and where == "before":
            raise Bug
        record = real(self, room_id, *args, **kwargs)  # type: ignore[arg-type]
        if broken:
            raise Bug
        return record

    return write


@pytest.mark.parametrize("where", ["before", "after"])
async def test_a_room_that_crashes_while_it_writes_answers_500_and_goes_on(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    async with serve() as node:
        monkeypatch.setattr(RoomTable, "write", failing(0.1, random.Random(4), where))
        async with under_load(node, *ROOMS) as load:
            await eventually(lambda: load.statuses[500] >= 4)
            await progress(load)

    assert load.statuses[200] > load.statuses[500]


async def test_a_room_past_its_limit_is_left_alone_for_a_while_and_then_serves_again(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serve() as node, node.watch("alpha") as watcher:
        await node.put("alpha", {"n": 1})
        assert await watcher.until_version(1)
        with monkeypatch.context() as broken:
            broken.setattr(RoomTable, "write", failing(1.0, random.Random(1), "before"))
            answers = [await node.put("alpha", {"n": 2}) for _ in range(5)]

        assert [answer.status_code for answer in answers] == [500, 500, 500, 500, 503]
        assert int(answers[-1].headers["retry-after"]) >= 1
        assert (await node.get("alpha")).json()["state"] == {"n": 1}
        assert (await node.put("beta", {})).status_code == 200

        await trio.sleep(int(answers[-1].headers["retry-after"]))  # real time: as a client waits
        answer = await node.put("alpha", {"n": 3})
        assert answer.status_code == 200
        assert answer.json()["version"] == 2
        assert await watcher.version() == 2


@seldom_behind_tls
async def test_after_a_stampede_the_node_still_serves(serve: Serve) -> None:
    """Random children killed at random moments, slowly enough for the root to keep up."""
    rng = random.Random(7)
    async with serve() as node, under_load(node, *ROOMS) as load:
        await progress(load)
        rooms = node.program.core.rooms
        assert isinstance(rooms, MemoryRooms)
        for _ in range(12):
            targets = [path for path in children_of(node) if "/" in path]
            kill(node, rng.choice(targets))
            for room_id in ROOMS:
                if rng.random() < 0.5 and is_up(node, room_id):
                    rooms.supervisor.kill_child(room_id, "a test")
            await trio.sleep(rng.uniform(0.8, 1.4))  # real time: slower than the root gives up
        await progress(load)

    assert restarts(node) >= 12
