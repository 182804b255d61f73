"""Find the `greenroom dev` that runs on this machine, or run one until the caller is done."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

import httpx
import trio

from dev import addresses
from dev.addresses import DevAddresses

START_S: Final = 30.0
STOP_S: Final = 20.0
LOOK_EVERY_S: Final = 0.1
# Lines of the started process's output that are passed on.
TOLD: Final = "API server <-"


class DevNotRunning(Exception):
    """No `greenroom dev` runs, and none could be started."""


@asynccontextmanager
async def dev(say: Callable[[str], None]) -> AsyncIterator[DevAddresses]:
    """Yield the addresses of the running `greenroom dev`; without one, run one until the block ends.

    Raises:
        DevNotRunning: None could be started.
    """
    found = addresses.read()
    if found is not None and await _answers(found):
        say(f"using the greenroom dev on {found.url}; its terminal shows what the API server is told")
        yield found
        return
    say("starting a greenroom dev, for there is none ...")
    async with _own(say, found) as own:
        say(f"... which is up on {own.url}")
        yield own


@asynccontextmanager
async def _own(say: Callable[[str], None], stale: DevAddresses | None) -> AsyncIterator[DevAddresses]:
    env = os.environ | {"LOG_LEVEL": "critical", "PYTHONUNBUFFERED": "1"}
    process = await trio.lowlevel.open_process(
        # -P: `-m` would look for `web` in the current directory first, whatever is there.
        [sys.executable, "-P", "-m", "web.cli", "dev"],
        stdout=subprocess.PIPE,
        env=env,
        # Ctrl-C at a terminal is for us to pass on.
        start_new_session=True,
    )
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_relay, process, say)
            yield await _wait_for(process, stale)
            nursery.cancel_scope.cancel()
    finally:
        await _end(process)


async def _wait_for(process: trio.Process, stale: DevAddresses | None) -> DevAddresses:
    with trio.move_on_after(START_S):
        while process.poll() is None:
            found = addresses.read()
            if found is not None and found != stale and await _answers(found):
                return found
            await trio.sleep(LOOK_EVERY_S)
    raise DevNotRunning("greenroom dev does not come up; run it by itself to see why")


async def _answers(found: DevAddresses) -> bool:
    async with httpx.AsyncClient(trust_env=False, timeout=1.0) as client:
        try:
            return (await client.get(f"{found.url}/healthz")).status_code == httpx.codes.OK
        except httpx.HTTPError:
            return False


async def _relay(process: trio.Process, say: Callable[[str], None]) -> None:
    assert process.stdout is not None  # noqa: S101  # opened with a pipe
    unread = b""
    async for chunk in process.stdout:
        *complete, unread = (unread + chunk).split(b"\n")
        for line in complete:
            text = line.decode(errors="replace")
            if text.startswith(TOLD):
                say(text)


async def _end(process: trio.Process) -> None:
    with trio.CancelScope(shield=True):
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        with trio.move_on_after(STOP_S):
            await process.wait()
        if process.poll() is None:
            process.kill()
        await process.wait()
        if process.stdout is not None:
            await process.stdout.aclose()
