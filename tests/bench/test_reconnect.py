"""Streams that come back at once, on servers with and without tokens."""

from __future__ import annotations

from pathlib import Path

import jwt
import pytest

from bench.cli import main
from bench.load.tokens import room_token
from bench.results import read_json


@pytest.mark.slow
def test_both_servers_are_measured_and_compared(tmp_path: Path) -> None:
    file = tmp_path / "reconnect.json"
    brief = ["--streams", "60", "--rooms", "3", "--rounds", "2", "--connections", "4"]

    assert (
        main(
            ["reconnect", *brief, "--duration-s", "0.2", "--warmup-s", "0.1", "--quiet", "--json", str(file)]
        )
        == 0
    )

    outcome = read_json(file)["outcome"]
    figures = outcome["figures"]
    assert figures["tokens_to_none"] > 0
    for name in ("with_tokens", "without_tokens"):
        assert figures[f"share_of_writes_{name}"] > 0
        assert figures[f"return_s_{name}"] > 0
        assert f"server_us_a_stream_{name}" in figures
    assert set(outcome["latencies"]) == {"answer, without tokens", "answer, with tokens"}
    assert outcome["warnings"] == []


def test_a_token_is_one_that_others_can_read() -> None:
    token = room_token("x" * 40, "bench-*", "ann", rights="rw")

    claims = jwt.decode(token, "x" * 40, algorithms=["HS256"])
    assert (claims["sub"], claims["rooms"]) == ("ann", {"bench-*": "rw"})
    with pytest.raises(jwt.InvalidSignatureError):
        jwt.decode(token, "y" * 40, algorithms=["HS256"])
