"""The demo page in real browsers: what one paints, the other sees; who comes back hears one event."""

from __future__ import annotations

import httpx
import pytest

from tests.e2e.browser.chromium import Page, page_elsewhere
from tests.e2e.browser.node import ServedNode

pytestmark = pytest.mark.e2e
CELL = "document.querySelectorAll('#board button')[{}]"


def show(page: Page, node: ServedNode) -> None:
    page.call("Network.enable")
    page.show(f"{node.url}/")
    page.wait_for("document.getElementById('status')?.textContent === 'connected'")


def go_offline(page: Page, *, offline: bool) -> None:
    page.call(
        "Network.emulateNetworkConditions",
        offline=offline,
        latency=0,
        downloadThroughput=-1,
        uploadThroughput=-1,
    )


def test_two_browsers_see_each_others_edits_and_come_back_after_being_offline() -> None:
    with (
        ServedNode(LOG_LEVEL="warning", DEMO="on", ROOM_SNAPSHOT="off") as node,
        page_elsewhere() as (one, _),
        page_elsewhere() as (other, _),
    ):
        show(one, node)
        show(other, node)
        one.run(f"{CELL.format(5)}.click(); 0")
        other.wait_for(f"{CELL.format(5)}.style.background !== ''")
        other.run(f"{CELL.format(7)}.click(); 0")
        one.wait_for(f"{CELL.format(7)}.style.background !== ''")
        one.wait_for("document.getElementById('here').textContent === '2'")

        go_offline(other, offline=True)
        for cell in (20, 21, 22):
            one.run(f"{CELL.format(cell)}.click(); 0")
            one.wait_for(f"{CELL.format(cell)}.style.background !== ''")
        versions = (
            "[...document.querySelectorAll('#log li')].map((line) => line.textContent.split(' ').at(-1))"
        )
        before = other.run(versions)
        go_offline(other, offline=False)
        other.wait_for(f"{CELL.format(22)}.style.background !== ''")
        after = other.run(versions)

        newest = httpx.get(f"{node.url}/api/rooms/demo-board").json()["version"]
        assert after[0] == str(newest)
        assert len(after) - len(before) <= 3  # an emulated outage does not cut streams that are open
        assert one.run("faults") == []
        assert other.run("faults") == []


def test_a_page_comes_back_after_a_restart_of_the_server() -> None:
    with (
        ServedNode(LOG_LEVEL="warning", DEMO="on", DRAIN_SECONDS="0.5") as node,
        page_elsewhere() as (page, _),
    ):
        show(page, node)
        page.run(f"{CELL.format(1)}.click(); 0")
        page.wait_for(f"{CELL.format(1)}.style.background !== ''")
        assert node.stop() == 0
        page.wait_for("document.getElementById('status').textContent !== 'connected'")
        node.start()
        page.wait_for("document.getElementById('status').textContent === 'connected'")
        page.run(f"{CELL.format(2)}.click(); 0")
        page.wait_for(f"{CELL.format(2)}.style.background !== ''")


def test_serve_has_no_such_page_unless_it_is_asked_for() -> None:
    with ServedNode(LOG_LEVEL="warning", ROOM_SNAPSHOT="off") as node:
        assert httpx.get(f"{node.url}/").status_code == 404
