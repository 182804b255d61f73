"""What a page sees: an unmodified EventSource and fetch, in a real browser, from another origin."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.browser.chromium import Page, page_elsewhere
from tests.e2e.browser.node import ServedNode
from web.handlers.rooms import REFUSALS

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def tab() -> Iterator[tuple[Page, str]]:
    with page_elsewhere() as opened:
        yield opened


@pytest.fixture
def page(tab: tuple[Page, str]) -> Page:
    return tab[0]


@pytest.fixture
def node(tab: tuple[Page, str]) -> Iterator[ServedNode]:
    env = {"CORS_ORIGINS": tab[1], "DRAIN_SECONDS": "1", "LOG_LEVEL": "warning", "ROOM_SNAPSHOT": "off"}
    with ServedNode(**env) as running:
        yield running


def put(node: ServedNode, room_id: str, state: object) -> None:
    assert httpx.put(f"{node.url}/api/rooms/{room_id}", json={"state": state}).status_code == 200


def watch(page: Page, node: ServedNode, room_id: str) -> None:
    """Open an EventSource that notes everything it hears."""
    page.run(
        f"""
        window.heard = [];
        window.source = new EventSource("{node.url}/api/rooms/{room_id}/stream");
        for (const kind of ["state", "reset", "drain"])
          source.addEventListener(kind, (event) =>
            heard.push({{kind, id: event.lastEventId, data: JSON.parse(event.data)}}));
        0
        """
    )


def heard_until(page: Page, condition: str, timeout_s: float = 20) -> list[dict[str, Any]]:
    """What was heard once `condition`, an expression about `heard`, is true."""
    heard: list[dict[str, Any]] = page.run(
        f"""
        new Promise((resolve, reject) => {{
          const begun = Date.now();
          const look = () => {{
            if ({condition}) resolve(heard);
            else if (Date.now() - begun > {timeout_s * 1000}) reject(new Error(JSON.stringify(heard)));
            else setTimeout(look, 20);
          }};
          look();
        }})
        """
    )
    return heard


def test_a_page_hears_the_state_and_then_every_change(page: Page, node: ServedNode) -> None:
    watch(page, node, "r")
    heard_until(page, "heard.length == 1")
    for turn in (1, 2, 3):
        put(node, "r", {"turn": turn})
        heard_until(page, f"heard.length == {turn + 1}")
    heard = heard_until(page, "true")
    assert [event["data"]["version"] for event in heard] == [0, 1, 2, 3]
    assert heard[0]["id"] == "none-0"
    assert heard[3]["data"]["state"] == {"turn": 3}
    page.run("source.close()")


def test_after_a_restart_a_page_comes_back_by_itself_and_is_told_of_the_loss(
    page: Page, node: ServedNode
) -> None:
    put(node, "r", {"turn": 1})
    watch(page, node, "r")
    (before,) = heard_until(page, "heard.length == 1")

    assert node.stop() == 0
    node.start()
    put(node, "r", {"turn": 2})
    heard = heard_until(page, "heard.some((event) => event.data.state && event.data.state.turn == 2)")

    kinds = [event["kind"] for event in heard]
    assert kinds[:2] == ["state", "drain"]
    assert kinds.index("reset") < len(kinds) - 1
    assert heard[kinds.index("reset")]["data"] == {"room_id": "r", "previous": before["id"]}
    page.run("source.close()")


def test_after_a_restart_that_kept_the_rooms_a_page_goes_on_without_a_reset(
    page: Page, tab: tuple[Page, str], tmp_path: Path
) -> None:
    with ServedNode(CORS_ORIGINS=tab[1], DRAIN_SECONDS="1", DATA_DIR=str(tmp_path)) as node:
        put(node, "r", {"turn": 1})
        watch(page, node, "r")
        heard_until(page, "heard.length == 1")

        assert node.stop() == 0
        node.start()
        put(node, "r", {"turn": 2})
        heard = heard_until(page, "heard.some((event) => event.data.state && event.data.state.turn == 2)")
        page.run("source.close()")

    assert [event["kind"] for event in heard] == ["state", "drain", "state"]
    assert heard[-1]["data"]["version"] == 2


def test_a_page_of_an_allowed_origin_writes_conditionally_and_reads_the_tag(
    page: Page, node: ServedNode
) -> None:
    outcome = page.run(
        f"""
        (async () => {{
          const put = (tag, turn) => fetch("{node.url}/api/rooms/r", {{
            method: "PUT",
            headers: {{"Content-Type": "application/json", ...(tag ? {{"If-Match": tag}} : {{}})}},
            body: JSON.stringify({{state: {{turn}}}}),
          }});
          const first = await put(null, 1);
          const tag = first.headers.get("ETag");
          const second = await put(tag, 2);
          const third = await put(tag, 3);
          return [first.status, second.status, third.status, await third.json()];
        }})()
        """
    )
    message = REFUSALS["version_mismatch"][1]
    assert outcome == [200, 200, 412, {"error": "version_mismatch", "message": message, "version": 2}]


def test_a_page_of_another_origin_reads_nothing(page: Page) -> None:
    with ServedNode(
        CORS_ORIGINS="https://elsewhere.example", LOG_LEVEL="warning", ROOM_SNAPSHOT="off"
    ) as closed:
        put(closed, "r", {})
        outcome = page.run(f"""fetch("{closed.url}/api/rooms/r").then(() => "read", (error) => error.name)""")
    assert outcome == "TypeError"
