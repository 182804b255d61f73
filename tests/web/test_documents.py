"""The documents: true to the routes, and nothing they allow brings a fault or an answer they do not name."""

from __future__ import annotations

import faulthandler
import subprocess
import sys
from itertools import chain
from pathlib import Path
from typing import Any, Final

import pytest
import trio

from tests.web.automation_node import ACTIVITY, KEY, body_of, env_of, post, snapshot
from tests.web.conftest import Serve
from tests.web.serving import ADMIN, Node
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
from web.handlers.description.node import Alive, Health, LoggedOut
from web.handlers.description.rooms import RoomPage, RoomRecord
from web.handlers.description.stats import ChangeResults, Counted, History, Totals
from web.handlers.documents import openapi

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
# They do not end by themselves, wait for what nobody sends, or end what answers.
ENDLESS = (
    "watch_room",
    "watch_rooms",
    "watch_stats",
    "watch_stats_internal",
    "poll",
    "open_socket",
    "inspect_live",
    "kill",
)
# Sixty examples of each call take minutes on a busy machine: longer than any other test may run.
PATIENCE_S = 900
# One for admins and game servers: then one run may ask everything.
TOKEN: Final = ADMIN["Authorization"].removeprefix("Bearer ")
PLAYER: Final = "/players/STEAM_0:1:9/stats"


def _everything(directory: Path) -> dict[str, str]:
    config = directory / "game_config.json"
    config.write_text('{"defaults": {"sv_gravity": 800}}')
    return env_of(directory) | {
        "ADMIN_TOKEN": TOKEN,
        "GAME_SERVER_TOKENS": TOKEN,
        "GAME_CONFIG_FILE": str(config),
        "DASHBOARD": "open",
        "DEMO": "on",
    }


async def test_the_document_speaks_of_every_route_and_of_no_other(serve: Serve, tmp_path: Path) -> None:
    async with serve(**_everything(tmp_path)) as node:
        said = (await node.http.get("/openapi.json")).json()
        program = node.program
        routes = chain.from_iterable(feature.routes() for feature in program.core.features)
        served = {(route.pattern, method.lower()) for route in routes for method in route.endpoints}

    assert said["openapi"].startswith("3.1")
    described = {(path, method) for path, methods in said["paths"].items() for method in methods}
    of_the_node = {
        (path, "get")
        for path in (
            "/",
            "/healthz",
            "/internal/health",
            "/metrics",
            "/greenroom.js",
            "/openapi.json",
            "/openapi-callbacks.json",
            "/asyncapi.json",
            "/docs",
        )
    }
    assert described == served | of_the_node


async def test_a_node_describes_only_what_it_serves(serve: Serve) -> None:
    async with serve(AUTOMATION="off", ADMIN_TOKEN="") as node:
        paths = (await node.http.get("/openapi.json")).json()["paths"]

    assert "/automation/decisions" not in paths
    assert "/players/{userId}" not in paths
    assert "/api/rooms/{id}" in paths


@pytest.mark.parametrize("path", ["/openapi.json", "/openapi-callbacks.json", "/asyncapi.json"])
async def test_every_reference_leads_somewhere_and_ids_are_unique(node: Node, path: str) -> None:
    said = (await node.http.get(path)).json()

    for reference in _references(said):
        at = said
        for key in reference.removeprefix("#/").split("/"):
            at = at[key]
    ids = [
        operation["operationId"]
        for methods in said.get("paths", {}).values()
        for operation in methods.values()
    ]
    assert len(ids) == len(set(ids))


def _references(value: Any) -> list[str]:
    if isinstance(value, list):
        return [found for one in value for found in _references(one)]
    if not isinstance(value, dict):
        return []
    own = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
    return own + [found for one in value.values() for found in _references(one)]


async def test_examples_are_answered_as_the_document_says(serve: Serve, tmp_path: Path) -> None:
    async with serve(**_everything(tmp_path)) as node:
        said = openapi()["paths"]
        put = said["/api/rooms/{id}"]["put"]
        example = put["requestBody"]["content"]["application/json"]["example"]
        room = (await node.http.put("/api/rooms/board", json=example)).json()
        patch = said["/players/{steamid}/stats"]["patch"]
        change = patch["requestBody"]["content"]["application/json"]["example"]
        totals = (await node.http.patch(PLAYER, json=change, headers=ADMIN)).json()

    wanted = put["responses"]["200"]["content"]["application/json"]["example"]
    assert {**room, "updated_at": wanted["updated_at"]} == wanted
    wanted = patch["responses"]["200"]["content"]["application/json"]["example"]
    assert {**totals, "steamid": wanted["steamid"]} == wanted


async def test_answers_are_what_the_models_say(serve: Serve, tmp_path: Path) -> None:
    async with serve(**_everything(tmp_path)) as node:
        SnapshotAnswer.model_validate((await snapshot(node, 5, rankPoints=150)).json())
        SnapshotAnswer.model_validate((await post(node, ACTIVITY, body_of(6))).json())
        DecidedAnswer.model_validate((await post(node, "/automation/decisions", {"userId": 5})).json())
        InvalidAnswer.model_validate((await post(node, "/automation/decisions", {})).json())
        RoomRecord.model_validate((await node.put("board", {"a": 1})).json())
        updates = {"updates": [{"steamid": "STEAM_0:1:9", "deltas": {"exp": 1}}, {}]}
        batch = await node.http.post("/players/stats:batch", json=updates, headers=ADMIN)
        ChangeResults.model_validate(batch.json())
        change = {"exp": 1, "transaction_id": "t"}
        Counted.model_validate((await node.http.patch(PLAYER, json=change, headers=ADMIN)).json())
        for path, headers, model in (
            ("/players/5", {}, PlayerAnswer),
            ("/leaderboard/top", {}, TopAnswer),
            ("/leaderboard/records", {}, RecordsAnswer),
            ("/health/live", {}, LiveAnswer),
            ("/healthz", {}, Alive),
            ("/internal/health", {}, Health),
            ("/api/rooms", ADMIN, RoomPage),
            (PLAYER, {}, Totals),
            (f"{PLAYER}/history", ADMIN, History),
        ):
            model.model_validate((await node.http.get(path, headers=headers)).json())
        asked = {"userId": 5, "apply": True}
        said = (await post(node, "/automation/decisions", asked)).json()["decision"]
        listed = await node.http.get("/automation/decisions", headers={"x-grps-api-key": KEY})
        assert DecisionsAnswer.model_validate(listed.json()).decisions[0].request_id == said["requestId"]
        gone = await node.http.post("/internal/inspect/users/ann/logout", headers=ADMIN)
        LoggedOut.model_validate(gone.json())


async def test_the_page_loads_nothing_from_elsewhere(node: Node) -> None:
    page = await node.http.get("/docs")

    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "http://" not in page.text
    assert "https://" not in page.text


KEYS: Final = ("--header", f"x-grps-api-key: {KEY}", "--header", f"Authorization: Bearer {TOKEN}")
OPEN: Final = ("--include-tag", "automation")


@pytest.mark.parametrize(
    ("lane", "key", "words"),
    [
        ("fast", KEY, (*KEYS, "--max-examples", "2")),
        ("fast", "", (*OPEN, "--max-examples", "2")),
        pytest.param("tls", KEY, (*KEYS, "--max-examples", "60"), marks=pytest.mark.slow),
        pytest.param("tls", "", (*OPEN, "--max-examples", "60"), marks=pytest.mark.slow),
    ],
    ids=["keys", "open", "keys, at length", "open, at length"],
)
async def test_nothing_the_document_allows_brings_a_5xx_or_an_answer_it_does_not_name(
    serve: Serve, tmp_path: Path, key: str, words: tuple[str, ...]
) -> None:
    faulthandler.dump_traceback_later(PATIENCE_S + 60, exit=True)
    opened = {} if key else {"AUTOMATION": "open"}
    async with serve(**_everything(tmp_path) | {"INBOUND_API_KEYS": key} | opened) as node:
        if key:
            await post(node, ACTIVITY, body_of(1))
        result = await trio.to_thread.run_sync(_ask_everything, node.url, tmp_path, words)
        metrics = (await node.http.get("/metrics")).text

    assert result.returncode == 0, result.stdout[-6000:]
    assert 'greenroom_http_answers_total{status="200"}' in metrics
    assert "greenroom_http_faults_total 0.0" in metrics


def _ask_everything(url: str, directory: Path, words: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
    # Anybody may send headers that the document does not speak of.
    (directory / "schemathesis.toml").write_text("[generation]\nallow-extra-parameters = false\n")
    options: dict[str, Any] = {
        "--checks": ",".join(CHECKS),
        "--seed": "7",
        "--generation-database": "none",
    }
    words += tuple(word for name, value in options.items() for word in (name, value))
    words += tuple(word for name in ENDLESS for word in ("--exclude-operation-id", name))
    return subprocess.run(
        [
            Path(sys.executable).with_name("schemathesis"),
            "run",
            f"{url}/openapi.json",
            "--tls-verify=false",
            *words,
            "--no-color",
        ],
        cwd=directory,
        check=False,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
