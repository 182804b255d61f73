"""`greenroom serve` as a process of its own, on a port that stays the same over restarts."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import httpx

from tests.engines import free_port
from tests.fakes.waiting import until_now

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
        until_now(self._answers, within_s=START_S, why=lambda: "the node has not started")

    def _answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/healthz").is_success
        except httpx.HTTPError:
            return False

    def stop(self) -> int:
        """Ask it to drain; its exit status."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(timeout=60)

    def kill(self) -> None:
        """End it without a word."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None and self._process.poll() is None:
            self.kill()
