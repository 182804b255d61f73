"""A node with GRPS automation, and Roblox's stand-in beside it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx

from actors.automation.relay import RelayStatistics
from dev.open_cloud import OpenCloudStandIn
from tests.fakes import open_cloud
from tests.web.conftest import Serve
from tests.web.serving import Node

KEY = "inbound"
ACTIVITY = "/roblox/events/player-activity"
ROBLOX = {
    "ROBLOX_OPEN_CLOUD_API_KEY": open_cloud.API_KEY,
    "ROBLOX_GROUP_ID": str(open_cloud.GROUP_ID),
    "ROBLOX_UNIVERSE_ID": str(open_cloud.UNIVERSE_ID),
    "ROBLOX_DATASTORE_NAME": "ranks v1",
    "ROBLOX_DATASTORE_PREFIX": "player/",
}
RANKS = [
    {"name": "Cell", "minPoints": 0, "level": 0, "roleId": 10, "isPunishment": True},
    {"name": "New", "minPoints": 0, "level": 1, "roleId": 11},
    {"name": "Known", "minPoints": 100, "level": 2, "roleId": 12},
    {"name": "Kept", "minPoints": 300, "level": 3, "roleId": 13},
]


def policy_in(directory: Path, ranks: list[dict[str, Any]] | None = None) -> Path:
    """A `CONFIG_DIR` with ranks of the tests' own."""
    directory.mkdir(exist_ok=True)
    rows = json.dumps({"ranks": RANKS if ranks is None else ranks})
    (directory / "policy.ranks.json").write_text(rows)
    return directory


def env_of(directory: Path) -> dict[str, str]:
    """What a node with automation has in its environment."""
    config = policy_in(directory / "config")
    return {"INBOUND_API_KEYS": KEY, "DATA_DIR": str(directory), "CONFIG_DIR": str(config)}


def body_of(user_id: int = 5, **facts: Any) -> dict[str, Any]:
    """A snapshot."""
    return {"userId": user_id, "username": f"u{user_id}", "rankPoints": 0, "kos": 0, "wos": 0} | facts


async def post(
    node: Node, path: str, body: object, headers: Mapping[str, str] | None = None, *, key: str = KEY
) -> httpx.Response:
    """Send JSON with a key."""
    return await node.http.post(path, json=body, headers={"x-grps-api-key": key, **(headers or {})})


async def snapshot(node: Node, user_id: int = 5, *, apply: bool = False, **facts: Any) -> httpx.Response:
    """Send a snapshot that asks for a decision."""
    headers = {"x-grps-evaluate": "true", "x-grps-apply": str(apply).lower()}
    return await post(node, ACTIVITY, body_of(user_id, **facts), headers)


def told(node: Node) -> RelayStatistics:
    """Counts of the node's relay."""
    applying = node.program.core.automation.applying
    assert applying is not None
    return applying.relay.statistics()


def drained(node: Node) -> bool:
    """Whether something was applied, and nothing waits."""
    return told(node).done > 0 and told(node).waiting == 0


@asynccontextmanager
async def with_roblox(
    serve: Serve, directory: Path, **overrides: object
) -> AsyncIterator[tuple[Node, OpenCloudStandIn]]:
    """A node that can apply decisions, and where it applies them."""
    cloud = open_cloud.stand_in()
    async with open_cloud.running(cloud) as url:
        env = env_of(directory) | ROBLOX | {"ROBLOX_API_BASE": url} | overrides
        async with serve(**env) as node:
            yield node, cloud
