"""`STREAM_COMPRESSION=on` as Chromium's EventSource and fetch read it, from the node and through nginx."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.e2e.browser.chromium import Page, page_of
from tests.e2e.browser.node import ServedNode
from tests.e2e.browser.test_event_source import put
from tests.e2e.browser.test_nginx import NGINX, before, until, watch, write

pytestmark = pytest.mark.e2e


@pytest.fixture
def node(tmp_path: Path) -> Iterator[ServedNode]:
    env = {
        "DATA_DIR": str(tmp_path),
        "DRAIN_SECONDS": "1",
        "LOG_LEVEL": "warning",
        "ROOM_SNAPSHOT": "off",
        "METRICS_TOKEN": "",
        "HEARTBEAT_SECONDS": "1",
        "TRUSTED_PROXIES": "127.0.0.1",
        "STREAM_COMPRESSION": "on",
    }
    with ServedNode(**env) as running:
        yield running


@pytest.fixture(params=["from the node", "through nginx"])
def page(request: pytest.FixtureRequest, node: ServedNode, tmp_path: Path) -> Iterator[Page]:
    with ExitStack() as stack:
        url = node.url
        if request.param == "through nginx":
            if NGINX is None:
                pytest.skip("nginx is not installed")
            url = stack.enter_context(before(node, tmp_path)).url
        yield stack.enter_context(page_of(f"{url}/healthz"))


def test_an_event_source_hears_all_at_once_and_comes_back(page: Page, node: ServedNode) -> None:
    coding = "fetch('/api/rooms/r/stream').then((answer) => answer.headers.get('content-encoding'))"
    assert page.run(coding) == "gzip"
    watch(page, "r")
    until(page, "heard.length == 1")
    for turn in range(1, 6):
        assert write(page, "r", turn) == 200
        until(page, f"heard.length == {turn + 1}")  # each arrives by itself, not when more does
    assert page.run("heard.map((event) => event.data.version)") == list(range(6))

    assert node.stop() == 0
    until(page, "heard.some((event) => event.kind == 'drain') && errors.length >= 1")
    node.start()
    until(page, "opened == 2")
    assert write(page, "r", 9) == 200
    until(page, "heard.some((event) => event.data.state && event.data.state.turn == 9)")
    assert set(page.run("errors")) == {0}  # CONNECTING, and never CLOSED
    page.run("source.close()")


def test_a_large_record_is_read_and_its_tag_writes(page: Page, node: ServedNode) -> None:
    put(node, "large", {"text": "to and fro " * 1000})
    answer = page.run(
        """
        (async () => {
          const url = "/api/rooms/large";
          const read = await fetch(url);
          const tag = read.headers.get("etag");
          const put = await fetch(url, {method: "PUT", headers: {"If-Match": tag}, body: '{"state":{}}'});
          return [read.headers.get("content-encoding"), (await read.json()).state.text.length, put.status];
        })()
        """
    )
    assert answer == ["gzip", 11_000, 200]
