"""A real server of the room API for the bench to measure: its own bare loop."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from bench.peers.catalogue import by_name
from bench.servers import RunningServer
from bench.session import Session


@pytest.fixture(scope="session")
def bare_server() -> Iterator[RunningServer]:
    with by_name("bare").started(None) as running:
        yield running


@pytest.fixture
def new_session(bare_server: RunningServer) -> Callable[[], Session]:
    """Make sessions against that server, with rooms of their own."""
    return lambda: Session(address=bare_server.address, pid=bare_server.pid)


@pytest.fixture
def session(new_session: Callable[[], Session]) -> Session:
    return new_session()


@pytest.fixture
def url(bare_server: RunningServer) -> str:
    return f"http://{bare_server.address.authority}"
