"""Replace servers one after the other under load, and say whether their clients noticed.

    .venv/bin/python scripts/rolling_restart.py               three nodes behind nginx, stopped and started
    .venv/bin/python scripts/rolling_restart.py --workers 4   `greenroom serve --workers 4`, sent SIGHUP

Starts a Redis, the servers and, for nodes, nginx with `config/nginx-nodes.conf`, all on free ports of the
loopback interface; opens streams as browsers do and writes their rooms all the while. Prints what the
clients noted and a verdict. Exit status: 0 when everything promised was kept, 1 when not.
`bench/continuity.py` says what is promised.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from bench.continuity import Clients, Notes, judge, most_in_one_second, promised
from bench.errors import BenchError, TargetError
from bench.load.engine import Engine
from bench.load.sockets import Address, raise_file_limit
from bench.servers import free_port
from dev.redis import RedisNotInstalled, redis_binary

ROOT: Final = Path(__file__).resolve().parents[1]
LOOPBACK: Final = "127.0.0.1"
LOOK_EVERY_S: Final = 0.05
# On a machine that is busy; nothing waits that long for what comes.
START_S: Final = 60.0
SETTLE_S: Final = 60.0
# nginx keeps a client at one node by its address: so many clients' addresses.
SOURCES: Final = 200
STREAMS_PER_ROOM: Final = 5
NODES: Final = 3
WRITERS: Final = 32


class Server:
    """One `greenroom serve`, with its log in a file; it can be stopped and started again."""

    def __init__(
        self, name: str, port: int, directory: Path, redis_url: str, arguments: argparse.Namespace
    ) -> None:
        self.name = name
        self.port = port
        self._log = directory / f"{name}.log"
        self._command = [sys.executable, "-P", "-m", "web.cli", "serve", "--workers", str(arguments.workers)]
        kept = {key: value for key, value in os.environ.items() if not key.startswith("GREENROOM")}
        self._env = kept | {
            "HOST": LOOPBACK,
            "PORT": str(port),
            "NODE_NAME": name,
            "DATA_DIR": str(directory / name),
            "ROOM_STORE": "redis",
            "REDIS_URL": redis_url,
            "DRAIN_SECONDS": f"{arguments.drain_s:g}",
            "MAX_CONNECTIONS": "15000",
            "MAX_STREAMS": "15000",
            "TRUSTED_PROXIES": LOOPBACK,
            "LOG_LEVEL": "warning" if arguments.workers == 1 else "info",
            "MATCHES": "off",
        }
        self.process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        with self._log.open("ab") as log:
            return subprocess.Popen(self._command, env=self._env, stdout=log, stderr=log)

    def wait_until_ready(self) -> None:
        """Return once it accepts connections."""
        wait(lambda: self.process.poll() is not None or accepts(self.port), self.name)
        if self.process.poll() is not None:
            raise TargetError(f"{self.name} has ended: {self._log.read_text(encoding='utf-8')[-400:]}")

    def restart(self) -> None:
        """Drain it, and start it again."""
        self.process.terminate()
        status = self.process.wait(START_S + 60)
        if status:
            raise TargetError(f"{self.name} ended with status {status}")
        self.process = self._start()
        self.wait_until_ready()

    def replace_workers(self) -> None:
        """Have the parent replace its workers one after the other."""
        wait(lambda: bool(self._events("workers_serving")), f"the workers of {self.name}")
        self.process.send_signal(signal.SIGHUP)
        wait(lambda: bool(self._events("replaced", "replacing_stopped")), "the workers' successors", 600)
        if self._events("replacing_stopped"):
            raise TargetError("a worker was not replaced")

    def _events(self, *names: str) -> list[str]:
        lines = self._log.read_text(encoding="utf-8").splitlines()
        events = [json.loads(line)["event"] for line in lines if line.startswith("{")]
        return [event for event in events if event in names]

    def stop(self) -> None:
        """End it without a word."""
        end(self.process, signal.SIGINT)


def accepts(port: int) -> bool:
    """Whether somebody listens there."""
    with socket.socket() as probe:
        return probe.connect_ex((LOOPBACK, port)) == 0


def wait(condition: Callable[[], bool], what: str, within_s: float = START_S) -> None:
    """Return once `condition` holds."""
    deadline = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > deadline:
            raise TargetError(f"waited {within_s:g} s for {what}")
        time.sleep(LOOK_EVERY_S)


def end(process: subprocess.Popen[bytes], number: signal.Signals = signal.SIGTERM) -> None:
    """Ask a process to end, and kill it if it does not."""
    if process.poll() is None:
        process.send_signal(number)
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@contextmanager
def redis(directory: Path) -> Iterator[str]:
    """Run a Redis; its URL."""
    port = free_port()
    command = [redis_binary(), "--port", str(port), "--bind", LOOPBACK, "--save", "", "--dir", str(directory)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        wait(lambda: accepts(port), "Redis")
        yield f"redis://{LOOPBACK}:{port}/0"
    finally:
        end(process)


@contextmanager
def nginx(directory: Path, ports: list[int]) -> Iterator[int]:
    """Run nginx with the configuration that ships, in front of three nodes; its port."""
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
    if program is None:
        raise TargetError("nginx is not installed")
    port = free_port()
    shipped = (ROOT / "config" / "nginx-nodes.conf").read_text(encoding="utf-8")
    changes = {f"node-{number}:4000": f"{LOOPBACK}:{each}" for number, each in enumerate(ports, start=1)}
    for said, meant in {"listen 8080": f"listen {LOOPBACK}:{port} backlog=4096", **changes}.items():
        if shipped.count(said) != 1:
            raise TargetError(f"config/nginx-nodes.conf says {said!r} {shipped.count(said)} times")
        shipped = shipped.replace(said, meant)
    paths = "\n".join(
        f"{name}_temp_path {directory}/{name};"
        for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    file = directory / "nginx.conf"
    file.write_text(
        f"daemon off; worker_processes 1; pid {directory}/pid; error_log {directory}/error.log;"
        f" events {{ worker_connections 15000; }} http {{ access_log off;\n{paths}\n{shipped} }}",
        encoding="utf-8",
    )
    process = subprocess.Popen([program, "-p", directory, "-c", file], stderr=subprocess.DEVNULL)
    try:
        wait(lambda: accepts(port), "nginx")
        yield port
    finally:
        end(process)


def replace_all(servers: list[Server], clients: Clients, say: Callable[[str], None]) -> None:
    """Replace one server after the other, each when all streams of the one before are back."""
    for server in servers:
        begun = time.monotonic()
        say(f"replacing {server.name}")
        if len(servers) == 1:
            server.replace_workers()
        else:
            server.restart()
        took_s = time.monotonic() - begun
        say(f"{server.name} is up again after {took_s:.1f} s; {clients.away:,} streams are away")
        wait(lambda: not clients.away, "the streams to come back", 600)


def run(arguments: argparse.Namespace, directory: Path, say: Callable[[str], None]) -> Notes:
    """Start everything, replace the servers under load, stop everything; what the clients noted."""
    with ExitStack() as stack:
        redis_url = stack.enter_context(redis(directory))
        servers = []
        for number in range(1, (NODES if arguments.workers == 1 else 1) + 1):
            servers.append(Server(f"node-{number}", free_port(), directory, redis_url, arguments))
            stack.callback(servers[-1].stop)
        for server in servers:
            server.wait_until_ready()
        port = servers[0].port
        if len(servers) > 1:
            port = stack.enter_context(nginx(directory, [server.port for server in servers]))
        addresses = [Address(LOOPBACK, port, source=f"127.0.1.{1 + nth}") for nth in range(SOURCES)]
        rooms = [b"rolling-%d" % nth for nth in range(max(1, arguments.streams // STREAMS_PER_ROOM))]
        engine = stack.enter_context(Engine())
        clients = Clients(engine, addresses, rooms, arguments.streams, WRITERS)
        clients.open()
        if not engine.run(START_S, lambda: not clients.away):
            raise TargetError(f"{clients.away:,} of {arguments.streams:,} streams have not opened")
        say(f"{arguments.streams:,} streams on {len(rooms):,} rooms are open; writes begin")
        clients.write(arguments.writes)
        engine.run(2.0)
        with ThreadPoolExecutor(1) as pool:
            done = pool.submit(replace_all, servers, clients, say)
            engine.run(3600, done.done)
            done.result()
        engine.run(2.0)
        clients.stop()
        engine.run(SETTLE_S, lambda: clients.is_settled)
        return clients.close()


def report(notes: Notes) -> Iterator[str]:
    """Say what was noted."""
    yield f"writes acknowledged          {notes.written:>9,}"
    failures = ", ".join(f"{count} x {status or 'broken'}" for status, count in notes.first_failures.items())
    yield f"writes repeated              {notes.first_failures.total():>9,}  {failures}"
    yield f"streams ended by `drain`     {notes.ends:>9,}"
    most = most_in_one_second(notes.came_back_at_s)
    yield f"of them back                 {len(notes.away_s):>9,}  at most {most:,} a second"
    yield f"longest away                 {max(notes.away_s, default=0.0):>9.1f}  s"
    lost = ", ".join(f"{count} {how.value}" for how, count in notes.lost.items() if count)
    yield f"connections lost             {notes.lost.total():>9,}  {lost}"


def main() -> int:
    """Run it; the exit status."""
    parser = argparse.ArgumentParser(description="Replace servers under load and judge what clients noticed.")
    parser.add_argument(
        "--workers", type=int, default=1, metavar="N", help="replace N workers of one node by SIGHUP"
    )
    parser.add_argument("--streams", type=int, default=5000, metavar="N", help="open streams (5000)")
    parser.add_argument("--writes", type=float, default=500, metavar="N", help="writes a second (500)")
    parser.add_argument(
        "--drain-s", type=float, default=10, metavar="S", help="DRAIN_SECONDS of the servers (10)"
    )
    parser.add_argument(
        "--slack-s", type=float, default=1, metavar="S", help="what a busy machine may add (1)"
    )
    arguments = parser.parse_args()
    promise = promised(streams=arguments.streams, drain_s=arguments.drain_s, slack_s=arguments.slack_s)
    raise_file_limit()
    # What was started is stopped, also where a time-out or a supervisor ends this.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    begun = time.monotonic()

    def say(line: str) -> None:
        print(f"{time.monotonic() - begun:7.1f} s  {line}", flush=True)

    try:
        with tempfile.TemporaryDirectory(prefix="greenroom-rolling-") as directory:
            notes = run(arguments, Path(directory), say)
    except (BenchError, RedisNotInstalled) as wrong:
        print(f"FAILED: {wrong}")
        return 1
    print("\n".join(report(notes)))
    print(
        f"promised: away at most {promise.back_within_s:g} s, at most {promise.reconnects_per_s:,.0f} back "
        "a second, no write that fails twice, no reset, no connection refused"
    )
    broken = judge(notes, promise)
    for line in broken:
        print(f"BROKEN: {line}")
    print("FAILED" if broken else "HELD")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
