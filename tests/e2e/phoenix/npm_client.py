"""The npm client in a Node process, as an object of a test."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import trio

HERE: Final = Path(__file__).parent
NODE: Final = shutil.which("node")
VERSIONS: Final = ("1.6", "1.7", "1.8")
# Everything a client does by itself happens sooner, its slowest rejoin included.
PATIENCE_S: Final = 15.0


def unavailable() -> str | None:
    """Why the client cannot be run here, None if it can."""
    if NODE is None:
        return "Node is not installed"
    if not (HERE / "node_modules" / "phoenix-1.8").is_dir():
        return "run `npm ci` in tests/e2e/phoenix first"
    return None


class NpmClient:
    """What it is told, and what it has said that nobody has asked about yet."""

    def __init__(self, process: trio.Process) -> None:
        self._process = process
        self._lines = b""
        self.said: list[dict[str, Any]] = []

    async def tell(self, do: str, **what: object) -> None:
        """Give it a command."""
        assert self._process.stdin is not None
        await self._process.stdin.send_all(json.dumps({"do": do, **what}).encode() + b"\n")

    async def hear(self, on: str, **what: object) -> dict[str, Any]:
        """The next thing of this kind, whatever else it says; earlier ones that were skipped count."""
        with trio.fail_after(PATIENCE_S):
            while True:
                for index, event in enumerate(self.said):
                    if event["on"] == on and what.items() <= event.items():
                        del self.said[index]
                        return event
                await self._read()

    async def next(self) -> dict[str, Any]:
        """The next thing it says, whatever it is."""
        while not self.said:
            await self._read()
        return self.said.pop(0)

    async def quiet(self, seconds: float) -> list[dict[str, Any]]:
        """What it says within some time, and has said before."""
        with trio.move_on_after(seconds):
            while True:
                await self._read()
        said, self.said = self.said, []
        return said

    async def join(
        self, topic: str, payload: object = None, events: tuple[str, ...] = (), *, presence: bool = False
    ) -> Any:
        """Join, with the client's `Presence` before that if wanted, and the response."""
        await self.tell("join", topic=topic, payload=payload or {}, events=list(events), presence=presence)
        return (await self.hear("joined", topic=topic))["response"]

    async def push(self, topic: str, event: str, payload: object = None, **more: object) -> dict[str, Any]:
        """Push, and the reply."""
        await self.tell("push", id=event, topic=topic, event=event, payload=payload or {}, **more)
        return await self.hear("reply", id=event)

    async def _read(self) -> None:
        assert self._process.stdout is not None
        data = await self._process.stdout.receive_some()
        if not data:
            raise EOFError(f"the client has ended, having said {self.said}")
        *lines, self._lines = (self._lines + data).split(b"\n")
        self.said += [json.loads(line) for line in lines]


@asynccontextmanager
async def npm_client(version: str, url: str, **options: object) -> AsyncIterator[NpmClient]:
    """A client of a version (`1.6`, `1.7`, `1.8`), not connected yet; ended with the block."""
    command = [str(NODE), str(HERE / "driver.mjs"), version, url, json.dumps(options)]
    process = await trio.lowlevel.open_process(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=HERE
    )
    try:
        yield NpmClient(process)
    finally:
        process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()
