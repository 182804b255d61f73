"""`/docs` in a real browser: it shows every call and event, can be filtered, and says nothing is wrong."""

from __future__ import annotations

import httpx
import pytest

from tests.e2e.browser.chromium import page_elsewhere
from tests.e2e.browser.node import ServedNode

pytestmark = pytest.mark.e2e


def test_the_page_shows_every_call_and_event_and_can_be_filtered() -> None:
    with ServedNode(LOG_LEVEL="warning", ROOM_SNAPSHOT="off") as node, page_elsewhere() as (page, _):
        documents = [
            httpx.get(f"{node.url}{path}").json() for path in ("/openapi.json", "/openapi-callbacks.json")
        ]
        page.show(f"{node.url}/docs")
        page.wait_for("document.querySelectorAll('details').length > 0")

        shown = page.run("[...document.querySelectorAll('summary code')].map((code) => code.textContent)")
        for document in documents:
            assert set(document["paths"]) <= set(shown)
        assert {"game:action", "game:ended", "reset", "drain"} <= set(shown)

        page.run("search.value = 'chat:send'; search.dispatchEvent(new Event('input')); 0")
        left = page.run(
            "[...document.querySelectorAll('details')].filter((one) => one.checkVisibility())"
            ".map((one) => one.querySelector('code').textContent)"
        )
        assert left == ["chat:send"]
        assert page.run("faults") == []
