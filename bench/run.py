"""Run one scenario against one server, local or remote."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

from bench.errors import UsageError
from bench.generators import run_by_many
from bench.load.sockets import Address, parse_url, raise_file_limit
from bench.machine import Contention, facts, wait_for_quiet
from bench.peers.catalogue import Peer, by_name
from bench.process import tree
from bench.progress import Live
from bench.results import Outcome, Result
from bench.scenarios.scenario import Scenario
from bench.servers import cores, pinned
from bench.session import Session
from bench.steps import Steps, stepped

NOWHERE: Final = Address("127.0.0.1", 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """The server under test.

    Attributes:
        urls: Servers that run already; none to start one. Generators take them in turn.
        pid: The process of them all.
        generators: Processes that make the load.
        server: Name of the server to start: `greenroom` or one of the peers.
        bearer, headers: As a session's.
        ca, insecure: As those of `parse_url`.
    """

    urls: Sequence[str] = ()
    generators: int = 1
    pid: int | None = None
    server: str = "greenroom"
    bearer: str = ""
    headers: bytes = b""
    ca: Path | None = None
    insecure: bool = False

    @property
    def title(self) -> str:
        """For results."""
        return " ".join(self.urls) or self.server

    def addresses(self) -> list[Address]:
        """Addresses of the servers that run already.

        Raises:
            UsageError: A URL is none.
        """
        return [parse_url(url, ca=self.ca, insecure=self.insecure) for url in self.urls]


def run(
    scenario: Scenario,
    options: Any,
    target: Target,
    *,
    seed: int,
    quiet: bool,
    command: str,
    climb: Steps | None = None,
) -> Result:
    """Run a scenario, at the rates of `climb` if there are such, and return its result.

    The generator is pinned to one core, a server started here to another.

    Raises:
        BenchError: It could not be measured.
    """
    if target.generators > 1 and not scenario.adds_up:
        raise UsageError(f"{scenario.name} is measured by one generator only")
    machine = facts()
    raise_file_limit()
    with ExitStack() as stack:
        session = stack.enter_context(_session(scenario, options, target))
        server_core, own_core = cores()
        stack.enter_context(pinned(None if target.urls else own_core))
        live = stack.enter_context(Live(f"{scenario.name} · {target.title}", quiet=quiet))
        session = replace(session, seed=seed, live=live, bearer=target.bearer, headers=target.headers)
        if target.generators > 1:
            scenario = run_by_many(scenario, target.generators, target.addresses())
        if climb is not None:
            scenario = stepped(scenario, climb)
        outcome = watched(scenario, options, session, {server_core, own_core})
    return Result(
        scenario=scenario.name,
        target=target.title if scenario.needs_server else "this process",
        options=asdict(options),
        machine=machine,
        command=command,
        outcome=outcome,
    )


def watched(scenario: Scenario, options: Any, session: Session, used: set[int | None]) -> Outcome:
    """Run a scenario, and record the processor share that other programs used meanwhile."""
    contention = Contention(used, session.pid)
    outcome: Outcome = scenario.run(session, options)
    return replace(outcome, others_share=round(contention.share(), 3))


def measured_once(
    peer: Peer, scenario: Scenario, options: Any, *, seed: int, patience_s: float = 0
) -> Outcome:
    """Start a peer, run one scenario against it, stop it, and return what came out.

    Waits up to `patience_s` seconds for the cores to be idle before it begins.

    Raises:
        BenchError: It could not be measured.
    """
    raise_file_limit()
    server_core, own_core = cores()
    if patience_s:
        wait_for_quiet((server_core, own_core), patience_s)
    with started(peer, scenario, options) as session, pinned(own_core):
        return watched(scenario, options, replace(session, seed=seed), {server_core, own_core})


@contextmanager
def _session(scenario: Scenario, options: Any, target: Target) -> Iterator[Session]:
    if not scenario.needs_server:
        yield Session(address=NOWHERE)
        return
    if target.urls:
        if scenario.needs_memory and target.pid is None:
            raise UsageError(f"{scenario.name} reads the server's memory: give its process with --pid")
        if target.pid is not None and not list(tree(target.pid)):
            raise UsageError(f"--pid {target.pid}: there is no such process")
        yield Session(address=target.addresses()[0], pid=target.pid)
        return
    with started(by_name(target.server), scenario, options) as session:
        yield session


@contextmanager
def started(peer: Peer, scenario: Scenario, options: Any) -> Iterator[Session]:
    """Start a server for a scenario, on its own core.

    Raises:
        UsageError: It is not installed here.
        TargetError: It does not start.
    """
    reason = peer.absent()
    if reason is not None:
        raise UsageError(f"cannot start {peer.name}: {reason}")
    with _running(peer, scenario.environment(options)) as session:
        yield session


@contextmanager
def _running(peer: Peer, environment: Mapping[str, str]) -> Iterator[Session]:
    with peer.started(cores()[0], environment) as server:
        yield Session(
            address=server.address,
            pid=server.pid,
            start=lambda more: _running(peer, {**environment, **more}),
        )
