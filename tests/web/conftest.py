"""Every contract test runs once per lane."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from functools import partial

import pytest

from tests.web.serving import LANES, Node, serving

Serve = Callable[..., AbstractAsyncContextManager[Node]]


@pytest.fixture(params=sorted(LANES))
def lane(request: pytest.FixtureRequest) -> str:
    """The lane under test."""
    return str(request.param)


@pytest.fixture
def serve(lane: str) -> Serve:
    """Runs a node with settings of the test's own: `async with serve(MAX_ROOMS=1) as node`."""
    return partial(serving, lane)


@pytest.fixture
async def node(lane: str) -> AsyncIterator[Node]:
    """A node with default settings."""
    async with serving(lane) as running:
        yield running
