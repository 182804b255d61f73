"""Every contract test runs once per lane."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from functools import partial

import pytest

from tests.engines import RedisServer
from tests.web.serving import LANES, Node, serving

Serve = Callable[..., AbstractAsyncContextManager[Node]]


@pytest.fixture(params=sorted(LANES))
def lane(request: pytest.FixtureRequest) -> str:
    """The lane under test."""
    return str(request.param)


@pytest.fixture(scope="session")
def room_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """One Redis for all tests of shared rooms in this process, each with a prefix of its own."""
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture
def store(request: pytest.FixtureRequest) -> dict[str, str]:
    """Settings of the store of rooms: `memory`, unless its module has `STORES`."""
    if getattr(request, "param", "memory") == "memory":
        return {}
    redis: RedisServer = request.getfixturevalue("room_redis")
    prefix = f"gr{next(_prefixes)}"
    # Two databases of one server are as good as two servers, as long as neither is away.
    urls = redis.url if request.param == "redis" else f"{redis.url},{redis.url.removesuffix('0')}1"
    return {"ROOM_STORE": "redis", "REDIS_URL": urls, "ROOM_KEY_PREFIX": prefix}


_prefixes = itertools.count()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run the tests of a module with `STORES` once for each of them, except those about memory alone."""
    stores = getattr(metafunc.module, "STORES", None)
    if stores and "store" in metafunc.fixturenames:
        is_memory = metafunc.definition.get_closest_marker("memory_store") is not None
        metafunc.parametrize("store", ["memory"] if is_memory else stores, indirect=True)


# Where the records of rooms may be kept: what section 1 of the contract promises holds for each.
BOTH_STORES = ("memory", "redis")
ALL_STORES = (*BOTH_STORES, "several")


@pytest.fixture
def serve(lane: str, store: dict[str, str]) -> Serve:
    """Runs a node with settings of the test's own: `async with serve(MAX_ROOMS=1) as node`."""
    return partial(serving, lane, **store)


@pytest.fixture
async def node(serve: Serve) -> AsyncIterator[Node]:
    """A node with default settings."""
    async with serve() as running:
        yield running
