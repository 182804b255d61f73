"""Three nodes that share their rooms behind nginx, as the compose file starts them, and a page."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.browser.chromium import page_of
from tests.e2e.browser.node import ServedNode
from tests.e2e.browser.test_nginx import NGINX, Proxy, until, watch
from tests.engines import RedisServer

pytestmark = pytest.mark.e2e


@pytest.fixture
def nodes(redis_server: RedisServer, tmp_path: Path) -> Iterator[Sequence[ServedNode]]:
    with ExitStack() as stack:
        yield [
            stack.enter_context(
                ServedNode(
                    NODE_NAME=f"node-{number}",
                    DATA_DIR=str(tmp_path / str(number)),
                    ROOM_STORE="redis",
                    REDIS_URL=redis_server.url,
                    LOG_LEVEL="warning",
                    TRUSTED_PROXIES="127.0.0.1",
                )
            )
            for number in (1, 2, 3)
        ]


@pytest.fixture
def proxy(nodes: Sequence[ServedNode], tmp_path: Path) -> Iterator[Proxy]:
    if NGINX is None:
        pytest.skip("nginx is not installed")
    changes = {f"node-{number}:4000": f"127.0.0.1:{node.port}" for number, node in enumerate(nodes, start=1)}
    directory = tmp_path / "nginx"
    directory.mkdir()
    with Proxy(directory, "listen 8080", changes, file="nginx-nodes.conf", scheme="http") as running:
        yield running


def streams(node: ServedNode) -> int:
    (line,) = (
        line
        for line in httpx.get(f"{node.url}/metrics").text.splitlines()
        if line.startswith("greenroom_streams ")
    )
    return int(float(line.split()[1]))


def put(node: ServedNode, turn: int) -> dict[str, Any]:
    answer = httpx.put(f"{node.url}/api/rooms/r", json={"state": {"turn": turn}})
    assert answer.status_code == 200, answer.text
    record: dict[str, Any] = answer.json()
    return record


def test_a_page_on_one_node_sees_a_write_at_another_and_goes_on_at_a_third_without_a_reset(
    nodes: Sequence[ServedNode], proxy: Proxy
) -> None:
    with page_of(f"{proxy.url}/healthz") as page:
        watch(page, "r")
        until(page, "opened == 1")
        (here,) = (node for node in nodes if streams(node))
        others = [node for node in nodes if node is not here]
        put(others[0], 1)
        until(page, "heard.some((event) => event.data.version == 1)")

        here.kill()
        until(page, "opened == 2")
        assert sum(map(streams, others)) == 1
        (away,) = (node for node in others if not streams(node))
        put(away, 2)
        until(page, "heard.some((event) => event.data.version == 2)")

        heard = json.loads(page.run("JSON.stringify(heard)"))
        page.run("source.close()")
    assert [(event["kind"], event["data"]["version"]) for event in heard] == [
        ("state", 0),
        ("state", 1),
        ("state", 2),
    ]
    assert heard[-1]["data"]["state"] == {"turn": 2}


def test_a_node_that_is_away_is_not_noticed_by_who_writes_and_reads(
    nodes: Sequence[ServedNode], proxy: Proxy
) -> None:
    for turn, node in enumerate((None, *nodes)):
        if node is not None:
            node.kill()
        body = {"state": {"turn": turn}}
        written = httpx.put(f"{proxy.url}/api/rooms/r", json=body, headers={"Idempotency-Key": f"k{turn}"})
        read = proxy.get("/api/rooms/r")
        if node is not None:
            node.start()

        assert written.status_code == 200
        assert read.json() == written.json()
        assert read.json()["version"] == turn + 1
