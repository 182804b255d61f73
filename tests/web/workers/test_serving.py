"""`greenroom serve --workers`, as a program, with shared rooms."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import httpx
import pytest

from tests.engines import RedisServer
from tests.fakes.waiting import until_now

WITHIN_S: Final = 60.0
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
    house = Family(process, log)
    try:
        until_now(lambda: house.events("workers_serving"), within_s=WITHIN_S)
        house.port = int(str(house.events("parent_listening")[0]["port"]))
        yield house
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
    with family(redis_server, tmp_path) as house:
        with httpx.Client(base_url=house.url) as http:
            assert http.put("/api/rooms/r", json={"state": {"n": 1}}).status_code == 200
        first = house.children()
        assert len(first) == 2

        load = Load(house.url)
        threads = [threading.Thread(target=load.run) for _ in range(3)]
        for thread in threads:
            thread.start()
        try:
            with httpx.stream("GET", f"{house.url}/api/rooms/r/stream", timeout=WITHIN_S) as stream:
                house.process.send_signal(signal.SIGHUP)
                told = "".join(stream.iter_text())
            until_now(lambda: house.events("replaced"), within_s=WITHIN_S)
            until_now(lambda: len(house.children()) == 2, within_s=WITHIN_S)
        finally:
            load.stopped.set()
            for thread in threads:
                thread.join()
        assert load.problems == []
        assert load.done > 100
        assert "event: drain" in told
        assert not first & house.children()
        # A new connection each: both workers answer, with the same record.
        for _ in range(8):
            assert httpx.get(f"{house.url}/api/rooms/r").json()["state"] == {"n": 1}

        for _ in range(4):
            health = httpx.get(f"{house.url}/internal/health").json()
            assert (health["status"], health["workers"]) == ("ok", {"count": 2, "answering": 2})
        with httpx.Client(base_url=house.url) as http:
            session = http.post("/dashboard/session", json={"token": "let-me-in-please"})
            cookie = {"Cookie": session.headers["set-cookie"].partition(";")[0]}
        # A new connection each: whichever worker is asked knows the session, and shows both.
        for _ in range(8):
            tree = httpx.get(f"{house.url}/internal/inspect/tree", headers=cookie)
            assert tree.status_code == 200
            assert [child["id"] for child in tree.json()["children"]] == ["worker-1", "worker-2"]
            assert tree.json()["coverage"]["silent"] == []
        metrics = httpx.get(f"{house.url}/metrics").text
        assert 'greenroom_worker_answers{worker="2"} 1.0' in metrics
        assert 'process_resident_memory_bytes{worker="1"}' in metrics
        # The last of the old workers has counted its answers itself, and went with them.
        assert metrics.count("# TYPE greenroom_http_answers_total counter") == 1

        os.kill(min(house.children()), signal.SIGKILL)
        for _ in range(8):
            # What waits in the queue of the dead one is served by its successor.
            assert httpx.get(f"{house.url}/api/rooms/r", timeout=2 * WITHIN_S).json()["state"] == {"n": 1}
        house.process.send_signal(signal.SIGTERM)
        assert house.process.wait(timeout=WITHIN_S) == 0
        assert house.events("worker_silent") == []


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
