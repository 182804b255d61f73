"""`/docs` in a real browser: it shows every call and event, can be filtered, and says nothing is wrong."""

from __future__ import annotations

import httpx
import pytest

from tests.e2e.browser.chromium import Page, page_elsewhere
from tests.e2e.browser.node import ServedNode
from tests.fakes.waiting import until_now

pytestmark = pytest.mark.e2e


def wait_for(page: Page, condition: str) -> None:
    until_now(lambda: page.run(condition), why=lambda: str(page.run("document.body.innerText")))


def test_the_page_shows_every_call_and_event_and_can_be_filtered() -> None:
    with ServedNode(LOG_LEVEL="warning", ROOM_SNAPSHOT="off") as node, page_elsewhere() as (page, _):
        documents = [
            httpx.get(f"{node.url}{path}").json() for path in ("/openapi.json", "/openapi-callbacks.json")
        ]
        page.call(
            "Page.addScriptToEvaluateOnNewDocument",
            source="window.faults = []; addEventListener('error', (event) => faults.push(event.message));"
            "addEventListener('securitypolicyviolation', (event) => faults.push(event.blockedURI));",
        )
        page.call("Page.enable")
        page.call("Page.navigate", url=f"{node.url}/docs")
        wait_for(page, "document.querySelectorAll('details').length > 0")

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
