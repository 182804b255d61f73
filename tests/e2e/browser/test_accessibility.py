"""axe-core on every page, in light and dark, wide and on a phone: it finds no serious fault."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from tests.e2e.browser.chromium import Page, page_elsewhere
from tests.e2e.browser.node import ServedNode

pytestmark = pytest.mark.e2e
AXE: Final = Path(__file__).parent / "node_modules" / "axe-core" / "axe.min.js"
# Each page, and what is true once it shows what it has.
PAGES: Final = {
    "/dashboard": "document.querySelector('#rooms button') && document.querySelector('#tiles .tile')",
    "/": "document.getElementById('status')?.textContent === 'connected'",
    "/docs": "document.querySelectorAll('details').length > 0",
}
SIZES: Final = ((390, 844), (1440, 900))
FAULTS: Final = """
axe.run(document, {resultTypes: ['violations']}).then((found) => found.violations
  .filter((fault) => ['serious', 'critical'].includes(fault.impact))
  .map((fault) => [fault.id, ...fault.nodes.slice(0, 3).map((node) => node.html)]))
"""


def faults(page: Page) -> Any:
    """What axe-core finds on the page as it is."""
    page.run(f"{AXE.read_text(encoding='utf-8')}; 0")
    return page.run(FAULTS)


def show(page: Page, url: str, condition: str, size: tuple[int, int], scheme: str) -> None:
    width, height = size
    page.call(
        "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False
    )
    page.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
    page.show(url)
    page.wait_for(f"document.readyState === 'complete' && !!({condition})")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_serious_fault_on_any_page(scheme: str) -> None:
    assert AXE.exists(), "run `npm ci` in tests/e2e/browser first"
    with (
        ServedNode(
            LOG_LEVEL="warning", ADMIN_TOKEN="dev", DASHBOARD="open", DEMO="on", ROOM_SNAPSHOT="off"
        ) as node,
        page_elsewhere() as (page, _),
    ):
        httpx.put(f"{node.url}/api/rooms/a-room", json={"state": {}})
        for path, condition in PAGES.items():
            for size in SIZES:
                show(page, f"{node.url}{path}", condition, size, scheme)
                assert faults(page) == [], (path, size)
                assert page.run("document.documentElement.scrollWidth <= innerWidth"), (path, size)


def test_axe_finds_no_serious_fault_before_signing_in_and_in_what_opens() -> None:
    with (
        ServedNode(LOG_LEVEL="warning", ADMIN_TOKEN="let-me-in", ROOM_SNAPSHOT="off") as node,
        page_elsewhere() as (page, _),
    ):
        httpx.put(f"{node.url}/api/rooms/a-room", json={"state": {"a": 1}})
        show(page, f"{node.url}/dashboard", "!document.getElementById('sign-in').hidden", SIZES[0], "light")
        assert faults(page) == []
        page.run(
            "document.getElementById('token').value = 'let-me-in';"
            "document.querySelector('#sign-in form').requestSubmit(); 0"
        )
        page.wait_for("document.querySelector('#rooms button') !== null")
        page.run("document.querySelector('#rooms button').click(); 0")
        page.wait_for("document.getElementById('detail').open")
        assert "a-room" in page.run("document.getElementById('detail').innerText")
        assert faults(page) == []
