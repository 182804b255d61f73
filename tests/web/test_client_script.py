"""`/greenroom.js`: small, and the same to the letter as what npm installs."""

from __future__ import annotations

import gzip
from pathlib import Path

from tests.web.serving import Node

TEXT = (Path(__file__).parents[2] / "clients" / "js" / "greenroom.js").read_bytes()
MOST_BYTES = 4000


async def test_a_node_serves_the_client_for_pages_compressed_if_asked(node: Node) -> None:
    compressed = await node.http.get("/greenroom.js", headers={"Accept-Encoding": "gzip"})
    plain = await node.http.get("/greenroom.js", headers={"Accept-Encoding": "identity"})

    assert compressed.content == plain.content == TEXT
    assert (
        compressed.headers["Content-Type"]
        == plain.headers["Content-Type"]
        == "text/javascript; charset=utf-8"
    )
    assert compressed.headers["Content-Encoding"] == "gzip"
    assert "Content-Encoding" not in plain.headers
    assert plain.headers["Vary"] == "Accept-Encoding"
    assert int(compressed.headers["Content-Length"]) <= MOST_BYTES
    assert len(gzip.compress(TEXT, 9)) <= MOST_BYTES


async def test_a_page_that_has_the_client_is_not_sent_it_again(node: Node) -> None:
    tag = (await node.http.get("/greenroom.js")).headers["ETag"]

    assert (await node.http.get("/greenroom.js", headers={"If-None-Match": tag})).status_code == 304
