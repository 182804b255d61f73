"""`greenroom serve --workers`, as a program, with shared rooms."""

from __future__ import annotations

import itertools
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import h11
import httpx
import pytest
import trio

from tests.engines import RedisServer
from tests.fakes.waiting import until, until_now
from tests.faults.cluster import request
from tests.web.serving import Watcher

WITHIN_S: Final = 60.0
# So many that each of two workers has some.
STREAMS: Final = 16
# No Python starts a server in less.
SOONEST_START_S: Final = 0.2
# For a machine that does ten other things.
BUSY_S: Final = 10.0
HEAVY: Final = (
    "actors",
    "web.wiring",
    "web.fastlane",
    "web.handlers",
    "web.settings",
    "pydantic",
    "sqlalchemy",
)


@dataclass
class Family:
    """The parent's process, and what all have logged."""

    process: subprocess.Popen[bytes]
    log: Path
    port: int = 0

    def events(self, name: str) -> list[dict[str, object]]:
        lines = self.log.read_text(encoding="utf-8").splitlines()
        events = [json.loads(line) for line in lines if line.startswith("{")]
        return [event for event in events if event["event"] == name]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def children(self) -> set[int]:
        tasks = Path(f"/proc/{self.process.pid}/task").glob("*/children")
        return {int(pid) for path in tasks for pid in path.read_text(encoding="ascii").split()}


def environment(redis_server: RedisServer, directory: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not re.match("PORT|REDIS|GREENROOM", name)}
    return {
        **kept,
        "HOST": "127.0.0.1",
        "PORT": "0",
        "DATA_DIR": str(directory),
        "ROOM_STORE": "redis",
        "REDIS_URL": redis_server.url,
        "DRAIN_SECONDS": "1",
        "ADMIN_TOKEN": "let-me-in-please",
    }


@contextmanager
def family(redis_server: RedisServer, directory: Path) -> Iterator[Family]:
    log = directory / "log"
    with log.open("wb") as out:
        command = [sys.executable, "-m", "web.cli", "serve", "--workers", "2"]
        env = environment(redis_server, directory)
        process = subprocess.Popen(command, env=env, stdout=out, stderr=out)
    group = Family(process, log)
    try:
        until_now(lambda: group.events("workers_serving"), within_s=WITHIN_S)
        group.port = int(str(group.events("parent_listening")[0]["port"]))
        yield group
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


@dataclass
class Load:
    """Requests without pause, on new connections and on kept ones."""

    url: str
    done: int = 0
    problems: list[str] = field(default_factory=list)
    stopped: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        with httpx.Client(timeout=10) as kept:
            while not self.stopped.wait(0.002):
                for get in (kept.get, httpx.get):
                    try:
                        answer = get(f"{self.url}/healthz")
                    except httpx.HTTPError as error:
                        self.problems.append(repr(error))
                    else:
                        self.done += 1
                        if answer.status_code != 200:
                            self.problems.append(str(answer.status_code))


@pytest.mark.slow
def test_workers_share_rooms_and_are_replaced_without_a_failed_request(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    with family(redis_server, tmp_path) as group:
        with httpx.Client(base_url=group.url) as http:
            assert http.put("/api/rooms/r", json={"state": {"n": 1}}).status_code == 200
        first = group.children()
        assert len(first) == 2

        load = Load(group.url)
        threads = [threading.Thread(target=load.run) for _ in range(3)]
        for thread in threads:
            thread.start()
        try:
            with httpx.stream("GET", f"{group.url}/api/rooms/r/stream", timeout=WITHIN_S) as stream:
                group.process.send_signal(signal.SIGHUP)
                told = "".join(stream.iter_text())
            until_now(lambda: group.events("replaced"), within_s=WITHIN_S)
            until_now(lambda: len(group.children()) == 2, within_s=WITHIN_S)
        finally:
            load.stopped.set()
            for thread in threads:
                thread.join()
        assert load.problems == []
        assert load.done > 100
        assert "event: drain" in told
        assert not first & group.children()
        # A new connection each: both workers answer, with the same record.
        for _ in range(8):
            assert httpx.get(f"{group.url}/api/rooms/r").json()["state"] == {"n": 1}

        for _ in range(4):
            health = httpx.get(f"{group.url}/internal/health").json()
            assert (health["status"], health["workers"]) == ("ok", {"count": 2, "answering": 2})
        with httpx.Client(base_url=group.url) as http:
            session = http.post("/dashboard/session", json={"token": "let-me-in-please"})
            cookie = {"Cookie": session.headers["set-cookie"].partition(";")[0]}
        # A new connection each: whichever worker is asked knows the session, and shows both.
        for _ in range(8):
            tree = httpx.get(f"{group.url}/internal/inspect/tree", headers=cookie)
            assert tree.status_code == 200
            assert [child["id"] for child in tree.json()["children"]] == ["worker-1", "worker-2"]
            assert tree.json()["coverage"]["silent"] == []
        metrics = httpx.get(f"{group.url}/metrics").text
        assert 'greenroom_worker_answers{worker="2"} 1.0' in metrics
        assert 'process_resident_memory_bytes{worker="1"}' in metrics
        # The last of the old workers has counted its answers itself, and went with them.
        assert metrics.count("# TYPE greenroom_http_answers_total counter") == 1

        os.kill(min(group.children()), signal.SIGKILL)
        for _ in range(8):
            # What waits in the queue of the dead one is served by its successor.
            assert httpx.get(f"{group.url}/api/rooms/r", timeout=2 * WITHIN_S).json()["state"] == {"n": 1}
        group.process.send_signal(signal.SIGTERM)
        assert group.process.wait(timeout=WITHIN_S) == 0
        assert group.events("worker_silent") == []


@dataclass
class Watching:
    """A client of a room's stream, as an EventSource is one: it comes back by itself.

    Attributes:
        versions: Of the records it was told of.
        resets: How often it was told that something is lost.
        connects: How often it has come.
        away_s: How long it was away, after each end of a stream, beyond what it was asked to wait.
    """

    port: int
    versions: list[int] = field(default_factory=list)
    resets: int = 0
    connects: int = 0
    away_s: list[float] = field(default_factory=list)

    async def run(self) -> None:
        last_id, ended_at, retry_s = "", 0.0, 0.0
        while True:
            with suppress(OSError, trio.BrokenResourceError, h11.RemoteProtocolError):
                async with await trio.open_tcp_stream("127.0.0.1", self.port) as stream:
                    watcher = Watcher(stream)
                    headers = {"Last-Event-ID": last_id} if last_id else {}
                    await watcher.ask("/api/rooms/r/stream", headers)
                    if ended_at:
                        self.away_s.append(trio.current_time() - ended_at - retry_s)
                    self.connects += 1
                    while (frame := await watcher.frame()) is not None:
                        last_id = frame.id or last_id
                        retry_s = retry_s if frame.retry is None else frame.retry / 1000
                        self.resets += frame.event == "reset"
                        if frame.event == "state":
                            self.versions.append(frame.data["version"])
            ended_at = trio.current_time()
            await trio.sleep(retry_s)  # real time: as it was asked to


async def test_a_worker_that_is_killed_is_missed_by_nobody_else(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    with family(redis_server, tmp_path) as group:
        async with trio.open_nursery() as nursery:
            await request(group.port, "PUT", "/api/rooms/r", b'{"state":{"n":1}}')
            clients = [Watching(group.port) for _ in range(STREAMS)]
            for client in clients:
                nursery.start_soon(client.run)
            await until(lambda: all(client.versions for client in clients), within_s=WITHIN_S)

            os.kill(min(group.children()), signal.SIGKILL)
            waits = list[float]()
            async with trio.open_nursery() as asking:
                for _ in range(STREAMS):
                    asking.start_soon(ask, group.port, waits)
            # Some came to the socket of the dead one, and waited there for its successor.
            assert len(waits) == STREAMS
            assert max(waits) > SOONEST_START_S
            assert (await request(group.port, "PUT", "/api/rooms/r", b'{"state":{"n":2}}')).status == 200
            await until(lambda: all(2 in client.versions for client in clients), within_s=WITHIN_S)
            nursery.cancel_scope.cancel()

    cut = [client for client in clients if client.connects > 1]
    assert 0 < len(cut) < STREAMS
    assert all(client.versions == [1, 2] and client.resets == 0 for client in clients)
    # When they were asked to: or, where they came to the dead one's socket, once it has a successor.
    assert all(sum(client.away_s) <= max(waits) + BUSY_S for client in cut)


async def ask(port: int, waits: list[float]) -> None:
    """Read the room over a connection of one's own, and note how long that took."""
    began = trio.current_time()
    with trio.fail_after(WITHIN_S):
        assert (await request(port, "GET", "/api/rooms/r")).status == 200
    waits.append(trio.current_time() - began)


@pytest.mark.parametrize(("given", "said"), [("2", "ROOM_STORE: must be redis"), ("none", "WORKERS: ")])
def test_what_cannot_be_is_said_in_one_line(given: str, said: str, tmp_path: Path) -> None:
    env = {**os.environ, "DATA_DIR": str(tmp_path), "PORT": "0"}
    command = [sys.executable, "-m", "web.cli", "serve", "--workers", given]
    ended = subprocess.run(command, env=env, capture_output=True, text=True, timeout=WITHIN_S, check=False)

    assert ended.returncode == 2
    assert ended.stderr.startswith(f"greenroom: {said}")
    assert len(ended.stderr.splitlines()) == 1


def test_the_parent_imports_no_server_code() -> None:
    program = "import sys, web.cli, web.workers.parent; print(*sys.modules)"
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert [name for name in ended.stdout.split() if name.startswith(HEAVY)] == []


@pytest.mark.slow
def test_viewers_of_all_workers_are_counted_and_any_of_them_changes_a_stream(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    with family(redis_server, tmp_path) as group, ExitStack() as held:

        def lines_of(path: str) -> Iterator[str]:
            stream = held.enter_context(httpx.stream("GET", f"{group.url}{path}", timeout=WITHIN_S))
            return itertools.islice(stream.iter_lines(), 500)

        all_of_them = f'data: {{"room_id":"r","viewers":{STREAMS}}}'
        for lines in [lines_of("/api/rooms/r/stream?viewers=1") for _ in range(STREAMS)]:
            assert all_of_them in lines

        lines = lines_of("/api/stream?room=a")
        [opened] = itertools.islice((line for line in lines if '"stream_id"' in line), 1)
        path = f"/api/streams/{json.loads(opened.removeprefix('data: '))['stream_id']}"
        # A new connection each: whichever worker is asked.
        for number in range(8):
            changed = httpx.post(f"{group.url}{path}", json={"add": [f"b{number}"]})
            assert changed.status_code == 200, changed.text
        assert any('"room_id":"b7"' in line for line in lines)
