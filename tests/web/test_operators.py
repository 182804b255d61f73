"""Commands for operators, against a real server."""

from __future__ import annotations

import json
import os
import pty
import select
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
import trio

from tests.engines import RedisServer
from tests.fakes.api_server import api_server
from tests.fakes.node import client_of, job
from tests.web.conftest import Serve
from tests.web.serving import ADMIN, eventually, serving_worker
from web.cli import main
from web.workers.place import WorkerPlace

TOKEN = ADMIN["Authorization"].removeprefix("Bearer ")
PATIENCE_S = 30.0


@pytest.fixture
def lane() -> str:
    """It makes no difference here which lane answers."""
    return "fast"


@pytest.fixture(autouse=True)
def token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADMIN_TOKEN", TOKEN)


async def run(*arguments: str) -> int:
    return await trio.to_thread.run_sync(main, arguments)


async def test_the_tree_and_rooms_are_shown_as_text_and_as_json(
    serve: Serve, capsys: pytest.CaptureFixture[str]
) -> None:
    async with serve(ADMIN_TOKEN=TOKEN) as node:
        await node.put("board", {"a": 1})
        assert await run("inspect", "--url", node.url) == 0
        tree = capsys.readouterr().out
        assert await run("inspect", "tree/core/rooms", "--search", "oar", "--json", "--url", node.url) == 0
        children = json.loads(capsys.readouterr().out)["children"]
        assert await run("inspect", "rooms", "--url", node.url) == 0
        rooms = capsys.readouterr().out
        assert await run("inspect", "rooms/board", "--json", "--url", node.url) == 0
        room = json.loads(capsys.readouterr().out)

    assert "1 running" in next(line for line in tree.splitlines() if line.strip().startswith("rooms"))
    assert [child["id"] for child in children] == ["board"]
    assert any(line.split()[:3] == ["board", "1", room["updated_at"]] for line in rooms.splitlines())
    assert room["record"]["state"] == {"a": 1}


async def test_status_says_by_its_exit_whether_all_is_well(
    serve: Serve, redis_server: RedisServer, capsys: pytest.CaptureFixture[str]
) -> None:
    async with serve(REDIS_URL=redis_server.url) as node:
        await eventually(lambda: node.program.core.redis.away() == ())
        well = await run("status", "--url", node.url)
        redis_server.stop()
        await eventually(lambda: node.program.core.redis.away() != ())
        unwell = await run("status", "--json", "--url", node.url)
    said = capsys.readouterr().out

    assert (well, unwell) == (0, 1)
    assert '"degraded"' in said


async def test_refusals_are_one_line_and_a_failure(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async with serve(ADMIN_TOKEN=TOKEN) as node:
        assert await run("inspect", "nonsense", "--url", node.url) == 1
        assert await run("dead", "list", "--url", node.url) == 1
        monkeypatch.setenv("ADMIN_TOKEN", "wrong")
        assert await run("inspect", "--url", node.url) == 1
    assert await run("inspect", "--url", node.url) == 1
    assert await run("status", "--url", "nonsense://x") == 1
    lines = capsys.readouterr().err.splitlines()

    assert len(lines) == 5
    assert all(line.startswith("greenroom: ") for line in lines)
    assert "not the server's ADMIN_TOKEN" in lines[2]


async def test_dead_letters_are_listed_put_back_and_thrown_away(
    serve: Serve, redis_server: RedisServer, capsys: pytest.CaptureFixture[str]
) -> None:
    dead = "room_creation_queue:dead"
    async with (
        api_server() as api,
        serve(REDIS_URL=redis_server.url, API_BASE_URL=api.base_url, ADMIN_TOKEN=TOKEN) as node,
        client_of(redis_server.url) as client,
    ):
        payload = job("m-1", game_rules="none-such")
        await trio.to_thread.run_sync(partial(client.lpush, "room_creation_queue", payload))
        await eventually(lambda: client.llen(dead) == 1)
        first = client.lindex(dead, 0)
        assert await run("dead", "list", "--url", node.url) == 0
        listed = capsys.readouterr().out
        assert await run("dead", "requeue", "0", "--url", node.url) == 0
        # It is refused once more, as another letter.
        await eventually(lambda: client.lindex(dead, 0) not in {None, first})
        assert await run("dead", "discard", "0", "--url", node.url) == 0
        assert await run("dead", "discard", "0", "--url", node.url) == 1
        assert await run("dead", "discard", "--url", node.url) == 1
        assert client.llen(dead) == 0

    assert "m-1" in listed
    assert "unknown_game_rules" in listed


async def test_top_runs_in_a_terminal_until_q(serve: Serve) -> None:
    async with serve(ADMIN_TOKEN=TOKEN) as node:
        await node.put("board", {})
        seen, status = await trio.to_thread.run_sync(_top_in_a_terminal, node.url)

    assert "board" in seen
    assert "supervision tree" in seen
    assert status == 0


def _top_in_a_terminal(url: str) -> tuple[str, int]:
    ours, theirs = pty.openpty()
    command = [str(Path(sys.executable).with_name("greenroom")), "top", "--url", url]
    env = {**os.environ, "TERM": "xterm", "COLUMNS": "120", "LINES": "60"}
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=env)
    os.close(theirs)
    seen, deadline = b"", time.monotonic() + PATIENCE_S
    while process.poll() is None and time.monotonic() < deadline:
        if select.select([ours], [], [], 0.1)[0]:
            try:
                seen += os.read(ours, 65536)
            except OSError:
                break  # the other end of a terminal is closed once its program has ended
        if b"board" in seen:
            os.write(ours, b"q")
    status = process.wait(timeout=PATIENCE_S)
    os.close(ours)
    return seen.decode(errors="replace"), status


async def test_of_several_workers_any_answers_and_who_is_silent_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with serving_worker(WorkerPlace(1, 2, (), -1, str(tmp_path)), ADMIN_TOKEN=TOKEN) as node:
        await node.put("board", {})
        assert await run("top", "--rounds", "1", "--url", node.url) == 0
        top = capsys.readouterr().out
        assert await run("inspect", "tree", "--url", node.url) == 0
        tree = capsys.readouterr().out.splitlines()

    assert "without node-under-test/2" in top
    assert [line.split()[:2] for line in tree if not line.startswith(" ")] == [
        ["worker-1", "running"],
        ["worker-2", "silent"],
    ]
