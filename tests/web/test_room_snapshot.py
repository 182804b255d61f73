"""A node that is stopped and started again: what its rooms and its clients see of it."""

from __future__ import annotations

import io
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import httpx
import pytest

from actors.rooms import Sweeper
from supervision import ChildStartError
from tests.engines import free_port
from tests.web.serving import Served, Watcher, put_log_into, served, settings_of
from web.program import Program

FILE: Final = "rooms.snapshot"


@dataclass
class Running:
    """A node and a client of it."""

    server: Served
    http: httpx.AsyncClient

    async def put(self, room_id: str, state: object, **headers: str) -> httpx.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.http.put(f"/api/rooms/{room_id}", json={"state": state}, headers=named)

    async def stop(self) -> None:
        self.server.process.send_signal(signal.SIGTERM)
        assert await self.server.wait() == 0


Start = Callable[..., AbstractAsyncContextManager[Running]]


@asynccontextmanager
async def running(directory: Path, port: int, **env: str) -> AsyncIterator[Running]:
    variables = {"DATA_DIR": str(directory), "PORT": str(port), "ROOM_SNAPSHOT": "on", "DRAIN_SECONDS": "0.2"}
    async with (
        served("fast", variables | env) as server,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as http,
    ):
        yield Running(server, http)


@pytest.fixture
def start(tmp_path: Path) -> Start:
    return partial(running, tmp_path, free_port())


async def next_events(watcher: Watcher, count: int) -> list[tuple[str | None, str | None]]:
    events = [await watcher.event() for _ in range(count)]
    return [(event.event, event.id) for event in events]


async def test_clients_that_come_back_after_a_restart_hear_no_reset(start: Start, tmp_path: Path) -> None:
    async with start() as node, node.server.watch("r") as watcher:
        await watcher.event()
        first = await node.put("r", {"n": 1}, X_Room_Secret="s3cret")
        newest = await node.put("r", {"n": 2}, X_Room_Secret="s3cret")
        seen = await next_events(watcher, 2)
        assert [event for event, _ in seen] == ["state", "state"]
        record = (await node.http.get("/api/rooms/r")).json()
        await node.stop()
    assert (tmp_path / FILE).exists()

    etag = newest.headers["etag"]
    async with start() as node:
        # Its socket listens before it reads the file, and answers after.
        assert (await node.http.get("/api/rooms/r")).json() == record
        assert not (tmp_path / FILE).exists()
        unchanged = await node.http.get("/api/rooms/r", headers={"If-None-Match": etag})
        assert unchanged.status_code == 304
        assert "greenroom_rooms_restored_total 1.0" in (await node.http.get("/metrics")).text
        async with (
            node.server.watch("r", Last_Event_ID=etag.strip('"')) as current,
            node.server.watch("r", Last_Event_ID=first.headers["etag"].strip('"')) as behind,
            node.server.watch("r", Last_Event_ID="other000-1") as foreign,
        ):
            assert await next_events(behind, 1) == [("state", etag.strip('"'))]
            assert [event for event, _ in await next_events(foreign, 2)] == ["reset", "state"]
            assert (await node.put("r", {"n": 3})).status_code == 403
            written = await node.put("r", {"n": 3}, X_Room_Secret="s3cret", If_Match=etag)
            assert written.status_code == 200
            assert written.json()["version"] == 3
            # Nothing came before it: neither a reset nor the record again.
            wanted = [("state", written.headers["etag"].strip('"'))]
            assert await next_events(current, 1) == wanted


async def test_a_node_that_is_killed_leaves_no_file_and_its_streams_hear_a_reset(
    start: Start, tmp_path: Path
) -> None:
    async with start() as node:
        await node.put("r", {"n": 1})
        await node.stop()
    async with start() as node:
        newest = await node.put("r", {"n": 2})
        assert newest.json()["version"] == 2
        node.server.process.kill()
        await node.server.wait()
    assert not (tmp_path / FILE).exists()

    async with start() as node:
        assert (await node.http.get("/api/rooms/r")).status_code == 404
        async with node.server.watch("r", Last_Event_ID=newest.headers["etag"].strip('"')) as watcher:
            assert await next_events(watcher, 2) == [("reset", None), ("state", "none-0")]


async def test_a_start_that_fails_leaves_the_rooms_to_the_next_one(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with start() as node:
        await node.put("r", {"n": 1})
        await node.stop()

    async def fail(*_: object) -> None:
        raise OSError("no")

    monkeypatch.setattr(Sweeper, "run", fail)
    settings = settings_of("fast", {"DATA_DIR": tmp_path, "ROOM_SNAPSHOT": "on"})
    failed = pytest.RaisesGroup(ChildStartError, flatten_subgroups=True)
    with Program(settings, put_log_into(io.StringIO())) as program, failed:
        await program.run()

    async with start() as node:
        assert (await node.http.get("/api/rooms/r")).json()["version"] == 1


async def test_a_second_signal_keeps_nothing(start: Start, tmp_path: Path) -> None:
    async with start(DRAIN_SECONDS="60") as node, node.server.watch("r") as watcher:
        await node.put("r", {"n": 1})
        await next_events(watcher, 2)
        node.server.process.send_signal(signal.SIGTERM)
        await next_events(watcher, 1)
        node.server.process.send_signal(signal.SIGTERM)
        assert await node.server.wait() == 1

    assert not (tmp_path / FILE).exists()


async def test_a_write_acknowledged_during_the_drain_is_kept(start: Start) -> None:
    async with start(DRAIN_SECONDS="3") as node, node.server.watch("r") as watcher:
        await watcher.event()
        await node.put("r", {"n": 1})
        await next_events(watcher, 1)
        node.server.process.send_signal(signal.SIGTERM)
        await next_events(watcher, 1)
        late = await node.put("r", {"n": 2})
        assert late.status_code == 200
        assert await node.server.wait() == 0

    async with start() as node:
        assert (await node.http.get("/api/rooms/r")).json() == late.json()


async def test_off_keeps_nothing_and_removes_what_was_kept(start: Start, tmp_path: Path) -> None:
    async with start() as node:
        await node.put("r", {"n": 1})
        await node.stop()
    async with start(ROOM_SNAPSHOT="off") as node:
        assert (await node.http.get("/api/rooms/r")).status_code == 404
        await node.put("r", {"n": 2})
        await node.stop()

    assert not (tmp_path / FILE).exists()


async def test_a_file_that_cannot_be_used_is_no_reason_not_to_start(start: Start, tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"greenroom rooms 9\n")

    async with start() as node:
        assert (await node.put("r", {})).json()["version"] == 1
        assert not (tmp_path / FILE).exists()
        await node.stop()

    assert (tmp_path / FILE).exists()


async def test_a_data_directory_that_cannot_be_used_is_no_reason_not_to_start(
    start: Start, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()

    async with start(DATA_DIR=str(tmp_path / "file")) as node:
        assert (await node.put("r", {})).status_code == 200
        await node.stop()
