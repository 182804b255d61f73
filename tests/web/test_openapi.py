"""The OpenAPI document: true to the routes, and nothing it allows brings the node down."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.web.automation_node import ACTIVITY, KEY, body_of, env_of, post, snapshot
from tests.web.conftest import Serve
from tests.web.serving import Node
from web.handlers.automation_api import (
    DecidedAnswer,
    DecisionsAnswer,
    InvalidAnswer,
    LiveAnswer,
    PlayerAnswer,
    RecordsAnswer,
    SnapshotAnswer,
    TopAnswer,
)
from web.handlers.openapi import document

# Two more checks want the schema to say exactly what is taken. JSON Schema has no word for "a time
# after 1970", nor for a metadata object of at most so many bytes.
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "missing_required_header",
    "unsupported_method",
    "ignored_auth",
)
PATIENCE_S = 120


async def test_the_document_is_served_and_speaks_of_every_route(node: Node) -> None:
    answer = await node.http.get("/openapi.json")

    said = answer.json()
    assert said == document()
    assert said["openapi"].startswith("3.1")
    routes = {route.pattern: route for route in node.program.core.automation.routes()}
    assert said["paths"].keys() == routes.keys() - {"/openapi.json"}
    for path, methods in said["paths"].items():
        assert {method.upper() for method in methods} == routes[path].endpoints.keys()


async def test_answers_are_what_the_models_say(serve: Serve, tmp_path: Path) -> None:
    async with serve(**env_of(tmp_path)) as node:
        SnapshotAnswer.model_validate((await snapshot(node, 5, rankPoints=150)).json())
        SnapshotAnswer.model_validate((await post(node, ACTIVITY, body_of(6))).json())
        DecidedAnswer.model_validate((await post(node, "/automation/decisions", {"userId": 5})).json())
        InvalidAnswer.model_validate((await post(node, "/automation/decisions", {})).json())
        for path, model in (
            ("/players/5", PlayerAnswer),
            ("/leaderboard/top", TopAnswer),
            ("/leaderboard/records", RecordsAnswer),
            ("/health/live", LiveAnswer),
        ):
            model.model_validate((await node.http.get(path)).json())
        asked = {"userId": 5, "apply": True}
        said = (await post(node, "/automation/decisions", asked)).json()["decision"]
        listed = await node.http.get("/automation/decisions", headers={"x-grps-api-key": KEY})
        assert DecisionsAnswer.model_validate(listed.json()).decisions[0].request_id == said["requestId"]


@pytest.mark.parametrize("key", [KEY, ""], ids=["with keys", "open"])
async def test_nothing_the_document_allows_brings_a_5xx_or_an_answer_it_does_not_name(
    serve: Serve, tmp_path: Path, key: str
) -> None:
    env = {"INBOUND_API_KEYS": key, "AUTOMATION": "on" if key else "open"}
    async with serve(**env_of(tmp_path) | env) as node:
        await post(node, ACTIVITY, body_of(1))
        result = await trio.to_thread.run_sync(_ask_everything, node.url, tmp_path, key)
        metrics = (await node.http.get("/metrics")).text

    assert result.returncode == 0, result.stdout[-4000:]
    assert "Tested: 8" in result.stdout
    assert 'greenroom_http_answers_total{status="200"}' in metrics
    assert "greenroom_http_faults_total 0.0" in metrics


def _ask_everything(url: str, directory: Path, key: str) -> subprocess.CompletedProcess[str]:
    # Anybody may send headers that the document does not speak of.
    (directory / "schemathesis.toml").write_text("[generation]\nallow-extra-parameters = false\n")
    options: dict[str, Any] = {
        "--checks": ",".join(CHECKS),
        "--max-examples": "30",
        "--seed": "7",
        "--generation-database": "none",
    }
    words = [word for name, value in options.items() for word in (name, value)]
    return subprocess.run(
        [
            Path(sys.executable).with_name("schemathesis"),
            "run",
            f"{url}/openapi.json",
            "--tls-verify=false",
            *(("--header", f"x-grps-api-key: {key}") if key else ()),
            *words,
            "--no-color",
        ],
        cwd=directory,
        check=False,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
