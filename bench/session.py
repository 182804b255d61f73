"""The context of a scenario: server, engine options, progress line."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import Final

from bench.errors import TargetError, UsageError
from bench.load.caller import Caller
from bench.load.engine import Engine
from bench.load.opening import MakeRequest, open_streams
from bench.load.sockets import Address
from bench.load.stream import Stream
from bench.load.window import WindowResult, measure
from bench.load.wire import Requests, header_line
from bench.process import ResourceSampler, resident_bytes, tree_cpu_s
from bench.progress import Live

ANSWER_TIMEOUT_S: Final = 10.0
_OK: Final = range(200, 300)


def _token() -> str:
    return secrets.token_hex(4)


def _go_on(_engine: Engine) -> None:
    """Do not wait: there is no other generator."""


@dataclass(frozen=True, kw_only=True)
class Session:
    """One run against one server.

    Attributes:
        address: The server.
        pid: Its process, for memory; None when unknown.
        seed: Of everything random.
        live: Where progress goes.
        token: Part of every room's name, so that each run has rooms of its own.
        bearer: Token, or key, that requests carry; "" for none.
        headers: Header lines that every request carries, each with its line end.
        start: Starts another server like this one, with these variables in its environment, for a
            scenario that compares the two; None of a server that was not started here.
        generators: Processes that do the same at the same time.
        meet: Runs the engine until all of them have come to this point.
    """

    address: Address
    pid: int | None = None
    seed: int = 1
    live: Live = field(default_factory=lambda: Live(quiet=True))
    token: str = field(default_factory=_token)
    bearer: str = ""
    headers: bytes = b""
    start: Callable[[Mapping[str, str]], AbstractContextManager[Session]] | None = None
    generators: int = 1
    meet: Callable[[Engine], None] = _go_on

    def requests(self, size: int = 256) -> Requests:
        """Return the requests for this server, with states of `size` bytes."""
        bearer = header_line("Authorization", f"Bearer {self.bearer}") if self.bearer else b""
        address = self.address
        return Requests(address.authority, address.prefix, size=size, headers=bearer + self.headers)

    def rooms(self, count: int) -> list[bytes]:
        """Return `count` room names unique to this run."""
        return [self.room(nth) for nth in range(count)]

    def room(self, nth: int) -> bytes:
        """Return the nth of these names."""
        return f"bench-{self.token}-{nth}".encode()

    def open_streams(self, engine: Engine, count: int, make: MakeRequest) -> list[Stream]:
        """Open `count` streams, the nth with the request `make(n)`."""
        self.live.say(f"opening {count:,} streams")
        return open_streams(engine, self.address, count, make)

    def measure(self, engine: Engine, counter: Callable[[], int], *, duration_s: float) -> WindowResult:
        """Measure with the progress line, and the server's processor time and memory where it is known."""
        self.meet(engine)
        if self.pid is None:
            return measure(engine, counter, duration_s=duration_s, on_slice=self.live.share)
        server = ResourceSampler(self.pid)

        def on_slice(done: float, rate: float) -> None:
            self.live.share(done, rate)
            server.add()

        measured = measure(engine, counter, duration_s=duration_s, on_slice=on_slice)
        return replace(
            measured, server_share=server.cores(measured.elapsed_s), resources=tuple(server.samples)
        )

    def server_cpu_s(self) -> float:
        """Return the seconds of processor time that the server has used so far; 0 where it is not known."""
        return tree_cpu_s(self.pid) if self.pid is not None else 0.0

    def resident_bytes(self) -> int:
        """Return the server's resident bytes.

        Raises:
            UsageError: Its process is not known.
        """
        if self.pid is None:
            raise UsageError("this scenario reads the server's memory: give its process with --pid")
        return resident_bytes(self.pid)

    def ask(self, engine: Engine, request: bytes, what: str) -> None:
        """Send one request and wait until it went well.

        Raises:
            TargetError: No answer in time, or not a 2xx.
        """
        statuses: list[int] = []
        caller = Caller(engine, self.address, lambda _, status: statuses.append(status))
        caller.send(request)
        answered = engine.run(ANSWER_TIMEOUT_S, lambda: bool(statuses))
        caller.close()
        if not answered:
            raise TargetError(f"{what}: no answer within {ANSWER_TIMEOUT_S:g} s")
        if statuses[0] not in _OK:
            raise TargetError(f"{what}: answered {statuses[0]}")
