"""Looking inside a node of several workers: whichever is asked speaks for all, and says who is silent."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.web.serving import ADMIN, Node, Watcher, eventually, serving_worker
from web.handlers.inspection.merged import merged_children, merged_section, merged_series, split_path
from web.handlers.inspection.node import NodeView
from web.handlers.inspection.process import ProcessView
from web.handlers.inspection.section import Acted, Facts, Section
from web.workers import siblings as module
from web.workers.place import WorkerPlace

INSPECT = "/internal/inspect"
TOKEN = ADMIN["Authorization"].removeprefix("Bearer ")


@pytest.fixture
async def workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[list[Node]]:
    """Two of three workers: the third never starts."""
    monkeypatch.setattr(module, "ANSWER_S", 20.0)
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(
                serving_worker(WorkerPlace(number, 3, (), -1, str(tmp_path)), DASHBOARD="open")
            )
            for number in (1, 2)
        ]


async def look(node: Node, path: str) -> Any:
    answer = await node.http.get(f"{INSPECT}{path}", headers=ADMIN)
    assert answer.status_code == 200, answer.text
    return answer.json()


def below(tree: Any, *path: str) -> Any:
    for name in path:
        (tree,) = [child for child in tree["children"] if child["id"] == name]
    return tree


async def test_whichever_is_asked_the_rooms_and_numbers_of_all_are_shown(workers: list[Node]) -> None:
    one, two = workers
    for room_id in ("a", "b"):
        await one.put(room_id, {})
    await two.put("c", {"here": "two"})
    for node in workers:
        rooms = await look(node, "/rooms")
        nodes = await look(node, "/nodes")
        history = await look(node, "/history")
        tree = await look(node, "/tree")

        assert rooms["rooms"] == 3
        assert sorted(row["room_id"] for row in rooms["rooms_listed"]) == ["a", "b", "c"]
        assert set(rooms["rooms_limit"]) == {"1", "2"}
        assert nodes["node-under-test"]["rooms"] == 3
        assert set(nodes["node-under-test"]["pid"]) == {"1", "2"}
        assert set(history["series"]) >= {"rooms", "writes_per_s"}
        assert below(tree, "worker-1", "core", "rooms")["counts"]["active"] == 2
        assert below(tree, "worker-2", "core", "rooms")["counts"]["active"] == 1
        assert below(tree, "worker-3")["state"] == "silent"
        for shown in (rooms, nodes, history, tree):
            assert shown["coverage"] == {
                "answered": ["node-under-test/1", "node-under-test/2"],
                "silent": ["node-under-test/3"],
            }


async def test_a_room_and_the_children_of_a_supervisor_are_found_wherever_they_are(
    workers: list[Node],
) -> None:
    one, two = workers
    await one.put("a", {})
    await two.put("c", {"here": "two"})

    assert (await look(one, "/rooms/c"))["record"]["state"] == {"here": "two"}
    everywhere = (await look(one, "/tree?under=core/rooms"))["children"]
    assert [(child["id"], child["worker"]) for child in everywhere] == [("a", 1), ("c", 2)]
    (there,) = (await look(one, "/tree?under=worker-2/core/rooms"))["children"]
    assert there["id"] == "c"
    limited = await look(one, "/tree?under=core/rooms&limit=1")
    assert (len(limited["children"]), limited["more"]) == (1, True)
    missing = await one.http.get(f"{INSPECT}/rooms/none", headers=ADMIN)
    assert missing.status_code == 404
    assert missing.json()["coverage"]["silent"] == ["node-under-test/3"]
    silent = await one.http.get(f"{INSPECT}/tree?under=worker-3/core", headers=ADMIN)
    assert (silent.status_code, silent.json()["coverage"]["silent"]) == (404, ["node-under-test/3"])


async def test_an_actor_of_another_worker_is_killed_and_heals(workers: list[Node]) -> None:
    one, two = workers
    await two.put("c", {})
    for path in ("core%2Frooms%2Fc", "worker-2%2Fcore%2Fregistry"):
        assert (await one.http.post(f"{INSPECT}/tree/{path}/kill", headers=ADMIN)).status_code == 200
    silent = await one.http.post(f"{INSPECT}/tree/worker-3%2Fcore%2Fregistry/kill", headers=ADMIN)
    assert silent.status_code == 503

    def healed() -> bool:
        room = two.program.core.registry.whereis(("room", "c"))
        return room is not None

    await eventually(healed)
    with trio.fail_after(20):
        while below(await look(one, "/tree"), "worker-2", "core", "registry")["restarts"] != 1:
            await trio.lowlevel.checkpoint()
    assert below(await look(one, "/tree"), "worker-1", "core", "registry")["restarts"] == 0


async def test_a_session_counts_at_all_workers_until_it_is_signed_out_at_one(workers: list[Node]) -> None:
    one, two = workers
    opened = await one.http.post("/dashboard/session", json={"token": TOKEN})
    cookie = {"Cookie": opened.headers["set-cookie"].partition(";")[0]}
    for node in workers:
        node.http.cookies.clear()
        assert (await node.http.get(f"{INSPECT}/tree", headers=cookie)).status_code == 200
    forged = {"Cookie": cookie["Cookie"][:-1] + ("0" if cookie["Cookie"][-1] != "0" else "1")}
    assert (await two.http.get(f"{INSPECT}/tree", headers=forged)).status_code == 401

    assert (await two.http.delete("/dashboard/session", headers=cookie)).status_code == 204
    for node in workers:
        assert (await node.http.get(f"{INSPECT}/tree", headers=cookie)).status_code == 401


async def test_a_worker_that_starts_later_knows_which_sessions_have_ended(
    workers: list[Node], tmp_path: Path
) -> None:
    opened = await workers[0].http.post("/dashboard/session", json={"token": TOKEN})
    cookie = {"Cookie": opened.headers["set-cookie"].partition(";")[0]}
    await workers[0].http.delete("/dashboard/session", headers=cookie)
    async with serving_worker(WorkerPlace(3, 3, (), -1, str(tmp_path))) as three:
        for _ in range(1000):
            if (await three.http.get(f"{INSPECT}/tree", headers=cookie)).status_code == 401:
                break
        answer = await three.http.get(f"{INSPECT}/tree", headers=cookie)
    assert answer.status_code == 401


async def test_a_user_is_logged_out_of_all_workers(workers: list[Node]) -> None:
    answer = await workers[0].http.post(f"{INSPECT}/users/u1/logout", headers=ADMIN)

    assert answer.json() == {
        "user_id": "u1",
        "sockets": 0,
        "coverage": {
            "answered": ["node-under-test/1", "node-under-test/2"],
            "silent": ["node-under-test/3"],
        },
    }


async def test_the_live_view_shows_all_workers_and_what_changes_at_another(workers: list[Node]) -> None:
    one, two = workers
    async with await one.connect() as stream:
        watcher = Watcher(stream)
        await watcher.ask(f"{INSPECT}/live", ADMIN)
        first = await watcher.event()
        await two.put("c", {})
        seen: Facts = {}
        while "rooms" not in seen:
            seen |= (await watcher.event()).data["set"].get("rooms", {})

    assert first.data["tree"]["worker-2/core/registry"]["state"] == "running"
    assert first.data["tree"]["worker-3"]["state"] == "silent"
    assert first.data["coverage"]["silent"] == ["node-under-test/3"]
    assert seen["rooms"] == 1


# -- without servers -------------------------------------------------------------------------


class Lines(Section):
    """Has one line, which can be acted on."""

    def __init__(self, line: str, acted: Acted = Acted.DONE, *, is_shared: bool = False) -> None:
        self.is_shared = is_shared
        self._line = line
        self._acted = acted
        self.acts = 0

    async def item(self, id: str) -> Facts | None:
        return {"line": id} if id == self._line else None

    async def act(self, action: str, id: str, seen: str) -> Acted:  # whatever it is
        self.acts += 1
        return self._acted if id == self._line else Acted.NOT_FOUND


class Beside:
    """The sibling of a worker, which has a section of its own."""

    number, count = 1, 2

    def __init__(self, section: Section) -> None:
        self._process = ProcessView(lambda: pytest.fail("no tree"), {"lines": section}, may_kill=False)

    async def ask(self, question: str) -> list[tuple[int, object]]:
        raise NotImplementedError(question)

    async def ask_others(
        self, question: str, value: object, worker: int | None = None
    ) -> list[tuple[int, object]]:
        assert (question, worker) == ("inspect", None)
        return [(2, await self._process.answer(value))]


def node_of(own: Section, other: Section) -> NodeView:
    node = NodeView("n", ProcessView(lambda: pytest.fail("no tree"), {"lines": own}, may_kill=False))
    node.siblings = Beside(other)
    return node


@pytest.mark.parametrize(
    ("line", "outcome", "answered"),
    [
        ("mine", Acted.DONE, ["n/1"]),
        ("theirs", Acted.CHANGED, ["n/1", "n/2"]),
        ("nobody's", Acted.NOT_FOUND, ["n/1", "n/2"]),
    ],
)
async def test_an_action_reaches_the_worker_that_has_the_line(
    line: str, outcome: Acted, answered: list[str]
) -> None:
    node = node_of(Lines("mine"), Lines("theirs", Acted.CHANGED))

    asked = await node.act("lines", "poke", line, "")

    assert (asked.outcome, asked.coverage) == (outcome, {"answered": answered, "silent": []})


async def test_what_all_workers_share_is_acted_on_by_one() -> None:
    own, other = Lines("mine", is_shared=True), Lines("x", is_shared=True)

    asked = await node_of(own, other).act("lines", "poke", "x", "")

    assert (asked.outcome, own.acts, other.acts) == (Acted.NOT_FOUND, 1, 0)


@pytest.mark.parametrize(
    "question", [None, [], {}, {"of": 1}, {"of": "item"}, {"of": "act", "name": "lines"}, {"of": "dance"}]
)
async def test_a_question_of_another_version_is_answered_with_nothing(question: object) -> None:
    process = ProcessView(lambda: pytest.fail("no tree"), {"lines": Lines("mine")}, may_kill=False)

    assert await process.answer(question) == {}


def test_a_section_of_several_workers_is_summed_joined_and_told_apart() -> None:
    def of(streams: int, version: int, count: int, mean_s: float | None) -> Facts:
        row = {"room_id": "r", "version": version, "updated_at": "2026-11-29", "streams": streams}
        return {
            "streams": streams,
            "streams_limit": 100,
            "redis_up": True,
            "ended": {"gone": streams},
            "commit_seconds": {"count": count, "mean_s": mean_s},
            "last_error": None if streams == 1 else "x",
            "rooms_listed": [row],
            "more": streams == 1,
        }

    assert merged_section([(1, of(1, 7, 3, 0.1)), (2, of(2, 6, 1, 0.5))]) == {
        "streams": 3,
        "streams_limit": {"1": 100, "2": 100},
        "redis_up": {"1": True, "2": True},
        "ended": {"gone": 3},
        "commit_seconds": {"count": 4, "mean_s": 0.2},
        "last_error": {"1": None, "2": "x"},
        "rooms_listed": [{"room_id": "r", "version": 7, "updated_at": "2026-11-29", "streams": 3}],
        "more": True,
    }
    alone = of(1, 7, 0, None)
    assert merged_section([(0, alone)]) == alone
    assert merged_section([(1, alone), (2, alone)])["commit_seconds"] == {"count": 0, "mean_s": None}


def test_numbers_of_several_workers_are_aligned_at_their_newest() -> None:
    several: list[dict[str, list[float | None]]] = [
        {"n": [1.0, 2.0, 3.0], "mean": [None, 4.0]},
        {"n": [10.0], "mean": [2.0, 2.0]},
    ]

    assert merged_series(several, {"mean"}) == {"n": [1.0, 2.0, 13.0], "mean": [2.0, 3.0]}


def test_a_path_may_begin_with_a_worker() -> None:
    assert split_path("worker-12/core/rooms") == (12, "core/rooms")
    assert split_path("worker-2") == (2, "")
    for path in ("", "core/rooms", "worker-/core", "worker-x/core", "worker-123456/core"):
        assert split_path(path) == (None, path)


def test_children_of_several_workers_are_limited_together() -> None:
    shown = [(number, {"path": "p", "children": [{"id": "c"}], "more": False}) for number in (1, 2)]

    assert merged_children(shown, "p", 2)["more"] is False
    assert merged_children(shown, "p", 1) == {
        "path": "p",
        "children": [{"id": "c", "worker": 1}],
        "more": True,
    }
