"""A running `greenroom dev`, and a shell whose commands reach it under the addresses the documents use."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx

from tests.engines import free_port
from tests.fakes.waiting import until_now
from tests.repository.documents import ROOT

# What the documents write.
WRITTEN_URL: Final = "http://localhost:4000"
WRITTEN_COMMANDS: Final = {".venv/bin/greenroom": "greenroom", ".venv/bin/python": "python3"}
START_S: Final = 30.0
STOP_S: Final = 15.0
ANSWER_S: Final = 20
# A stream is watched for so long.
WATCH_S: Final = 1
COMMAND_S: Final = 30.0

SHIMS: Final = {
    "curl": f"""#!/bin/sh
curl="{shutil.which("curl")} --silent --show-error --noproxy *"
case "$*" in *"-N "*) ;; *) exec $curl --max-time {ANSWER_S} "$@" ;; esac
# A stream has no end: watching it for a while is all one can do.
$curl --max-time {WATCH_S} "$@"
status=$?
[ $status = 28 ] || exit $status
""",
    "greenroom": f"""#!/bin/sh
# Bots need no time to think.
[ "$1" = demo ] && set -- "$@" --pace 0.01
exec {sys.executable} -m web.cli "$@"
""",
    "python3": f"""#!/bin/sh
exec {sys.executable} "$@"
""",
    "redis-cli": f"""#!{sys.executable}
import json, os, pathlib, sys, redis
[notice] = pathlib.Path(os.environ["XDG_RUNTIME_DIR"]).glob("greenroom-dev-*.json")
with redis.Redis.from_url(json.loads(notice.read_text())["redis_url"]) as client:
    print(client.execute_command(*sys.argv[1:]))
""",
}


def environment(directory: Path, **more: str) -> dict[str, str]:
    """Nothing of ours but the path, with the shims in front."""
    bin_directory = directory / "bin"
    if not bin_directory.exists():
        bin_directory.mkdir()
        for name, text in SHIMS.items():
            shim = bin_directory / name
            shim.write_text(text, encoding="utf-8")
            shim.chmod(0o755)
    return {
        "PATH": f"{bin_directory}:{os.environ.get('PATH', os.defpath)}",
        "PYTHONPATH": str(ROOT),
        "HOME": str(directory),
        "XDG_RUNTIME_DIR": str(directory),
        **more,
    }


@dataclass(frozen=True)
class DevServer:
    """`greenroom dev` on a free port.

    Attributes:
        url: Where it listens.
        directory: Its own, empty at the start.
        said: What it prints.
    """

    url: str
    directory: Path
    said: Path

    def run(self, command: str) -> str:
        """Run a line of a document; what it prints, under the document's addresses again."""
        line = command.replace(WRITTEN_URL, self.url)
        for written, shim in WRITTEN_COMMANDS.items():
            line = line.replace(written, shim)
        result = subprocess.run(
            ["bash", "-c", line],
            cwd=self.directory,
            env=environment(self.directory),
            check=False,
            capture_output=True,
            text=True,
            timeout=COMMAND_S,
        )
        assert result.returncode == 0, f"{command}\n{result.stdout}{result.stderr}{self.tail()}"
        return result.stdout.replace(self.url, WRITTEN_URL)

    def client(self) -> httpx.Client:
        """A client of the node."""
        return httpx.Client(base_url=self.url, timeout=10, trust_env=False)

    def hears(self, pattern: str) -> None:
        """Wait until it has printed something like that."""
        until_now(
            lambda: re.search(pattern, self.said.read_text(encoding="utf-8")),
            within_s=COMMAND_S,
            why=lambda: f"never said: {pattern}{self.tail()}",
        )

    def tail(self) -> str:
        """The last of what it printed."""
        lines = self.said.read_text(encoding="utf-8").splitlines()
        return "\n".join(["", "greenroom dev said:", *lines[-15:]])


@contextmanager
def running(directory: Path) -> Iterator[DevServer]:
    """Run `greenroom dev` as `make run` does; Ctrl-C at the end, and status 0."""
    port = free_port()
    said = directory / "said.txt"
    with said.open("w", encoding="utf-8") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "web.cli", "dev", "--port", str(port)],
            cwd=directory,
            # Off by default; on, it has metrics of its own.
            env=environment(directory, PERSIST_RECOVERY_ENABLED="on"),
            stdout=out,
            stderr=subprocess.STDOUT,
        )
    server = DevServer(f"http://localhost:{port}", directory, said)
    try:
        _wait_until_up(server, process)
        yield server
        process.send_signal(signal.SIGINT)
        assert process.wait(STOP_S) == 0, server.tail()
    finally:
        process.kill()
        process.wait()


def _wait_until_up(server: DevServer, process: subprocess.Popen[bytes]) -> None:
    def is_up() -> bool:
        assert process.poll() is None, server.tail()
        return any(server.directory.glob("greenroom-dev-*.json"))

    until_now(is_up, within_s=START_S, why=server.tail)


def redis_url(server: DevServer) -> str:
    """Its Redis."""
    [notice] = server.directory.glob("greenroom-dev-*.json")
    url: str = json.loads(notice.read_text(encoding="utf-8"))["redis_url"]
    return url
