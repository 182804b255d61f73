"""Take the pictures of the documents with Chromium: `make pictures`.

A server of its own is filled with rooms and writes, and shown as a dashboard and as the demo page, in light
and dark, wide and on a phone.
"""

from __future__ import annotations

import base64
import math
import sys
import time
from pathlib import Path
from typing import Final

import httpx

ROOT: Final = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.e2e.browser.chromium import Page, page_elsewhere  # noqa: E402  # found in the checkout
from tests.e2e.browser.node import ServedNode  # noqa: E402

PICTURES: Final = ROOT / "docs" / "pictures"
ENV: Final = {
    "ADMIN_TOKEN": "dev",
    "DASHBOARD": "open",
    "DEMO": "on",
    "GAME_SERVER_TOKENS": "dev",
    "LOG_LEVEL": "error",
    "NODE_NAME": "node-1",
    "ROOM_SNAPSHOT": "off",
}
ROOMS: Final = 240
CHARTS_S: Final = 120
COLOURS: Final = ("#0b8f6a", "#e0a100", "#c8453a", "#3b7dd8")
# By the name of the picture: the page, width and height, and the colour scheme.
SHOTS: Final = {
    "dashboard-light": ("/dashboard", 1280, 900, "light"),
    "dashboard-dark": ("/dashboard", 1280, 900, "dark"),
    "dashboard-phone": ("/dashboard", 390, 844, "dark"),
    "demo": ("/", 1000, 720, "light"),
}


def fill(url: str) -> None:
    """Write rooms and stats for a while, so that charts have something to show."""
    cells = {
        str(row * 16 + column): COLOURS[(row + column) % len(COLOURS)]
        for row in range(10)
        for column in range(16)
        if abs(row - 4.5 - 3 * math.sin(column / 2.5)) < 1
    }
    with httpx.Client(base_url=url, trust_env=False) as client:
        client.put("/api/rooms/demo-board", json={"state": {"cells": cells}})
        begun = time.monotonic()
        turn = 0
        while time.monotonic() - begun < CHARTS_S:
            for number in range(int(6 + 5 * math.sin(turn / 9))):
                room = (turn * 7 + number * 13) % ROOMS
                client.put(f"/api/rooms/table-{room}", json={"state": {"turn": turn}})
            deltas = {"transaction_id": f"t-{turn}", "deltas": {"exp": 10}}
            client.patch("/players/STEAM_0:1:9/stats", json=deltas, headers={"Authorization": "Bearer dev"})
            turn += 1
            time.sleep(0.2)


def shoot(page: Page, url: str, name: str) -> None:
    """One picture."""
    path, width, height, scheme = SHOTS[name]
    page.call(
        "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False
    )
    page.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
    page.call("Page.navigate", url=f"{url}{path}")
    time.sleep(3)
    picture = page.call("Page.captureScreenshot", format="png")["data"]
    (PICTURES / f"{name}.png").write_bytes(base64.b64decode(picture))


def main() -> None:
    """Take them all."""
    PICTURES.mkdir(exist_ok=True)
    with ServedNode(**ENV) as node, page_elsewhere() as (page, _):
        fill(node.url)
        page.call("Page.enable")
        for name in SHOTS:
            shoot(page, node.url, name)


if __name__ == "__main__":
    main()
