"""Roblox Open Cloud for tests: the stand-in of `greenroom dev` on a port of its own."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

import trio

from actors.automation.open_cloud import OpenCloudSettings
from dev.open_cloud import OpenCloudStandIn, serve

API_KEY = "open-cloud-test-key"
GROUP_ID = 4242
UNIVERSE_ID = 777


def stand_in() -> OpenCloudStandIn:
    """A fresh stand-in."""
    return OpenCloudStandIn(api_key=API_KEY, group_id=GROUP_ID, universe_id=UNIVERSE_ID)


def settings_for(base_url: str) -> OpenCloudSettings:
    """Settings that can do everything there."""
    return OpenCloudSettings(
        base_url=base_url,
        api_key=API_KEY,
        group_id=GROUP_ID,
        universe_id=UNIVERSE_ID,
        datastore="ranks v1",
        scope="global",
        prefix="player/",
    )


@contextlib.asynccontextmanager
async def running(cloud: OpenCloudStandIn) -> AsyncIterator[str]:
    """Serve it; the base URL."""
    async with trio.open_nursery() as nursery:
        yield await nursery.start(serve_it, cloud)
        nursery.cancel_scope.cancel()


async def serve_it(cloud: OpenCloudStandIn, *, task_status: trio.TaskStatus[str]) -> None:
    """`serve` with its answer, for `nursery.start`."""
    await serve(cloud, task_status=task_status)


def said(cloud: OpenCloudStandIn) -> list[str]:
    """What came in, one line a call: method, path and query, status."""
    return [f"{call.method} {call.target} {call.status}" for call in cloud.calls]
