"""The lines of the client's README are run against a node."""

from __future__ import annotations

from pathlib import Path

import httpx
import trio

from tests.e2e.browser.node import ServedNode
from tests.repository.documents import ROOT, tagged

README = ROOT / "clients" / "python" / "README.md"
TOKEN = "between-us"


def example(tag: str, node: ServedNode) -> str:
    (block,) = tagged(README, "python", tag)
    return block.text.replace("http://127.0.0.1:4000", node.url)


def exp(node: ServedNode, player: str) -> int:
    totals: int = httpx.get(f"{node.url}/players/{player}/stats").json()["stats"]["exp"]
    return totals


def test_what_the_readme_shows_counts(tmp_path: Path) -> None:
    with ServedNode(GAME_SERVER_TOKENS=TOKEN, DATA_DIR=str(tmp_path), LOG_LEVEL="warning") as node:
        names: dict[str, object] = {}
        exec(example("blocking", node), names)  # noqa: S102  # the README's own lines
        assert names["unsettled"] == 0
        assert exp(node, "76561197960265729") == 300

        exec(example("trio", node), names)  # noqa: S102
        main = names["main"]
        assert callable(main)
        trio.run(main)
        assert exp(node, "76561197960265730") == 250
