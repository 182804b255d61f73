"""`greenroom serve` as a process of its own, on a port that stays the same over restarts."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import httpx

from tests.engines import free_port

ROOT: Final = Path(__file__).resolve().parents[3]
START_S: Final = 30.0


class ServedNode:
    """A node that can be stopped and started again."""

    def __init__(self, **env: str) -> None:
        self.port = free_port()
        self._env = os.environ | {"HOST": "127.0.0.1", "PORT": str(self.port), **env}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it, and wait until it answers."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "web.cli", "serve"], cwd=ROOT, env=self._env, stdout=subprocess.DEVNULL
        )
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            try:
                httpx.get(f"{self.url}/healthz").raise_for_status()
                return
            except httpx.HTTPError:
                time.sleep(0.05)
        raise AssertionError("the node has not started")

    def stop(self) -> int:
        """Ask it to drain; its exit status."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(timeout=60)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()
