"""`/config`: variables for game servers, from a file that changes."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from actors.players import game_config
from tests.fakes.waiting import until_some
from tests.web.serving import LANES, Node, eventually, serving

TOKEN = {"Authorization": "Bearer plain"}
NAMED = {"Authorization": "Bearer hush"}
CONFIG = {"defaults": {"sm_rate": 30, "name": "dust"}, "servers": {"srv7": {"sm_rate": 60, "hard": True}}}


@pytest.fixture(autouse=True)
def _look_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(game_config, "CHECK_EVERY_S", 0.02)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "game.json"
    path.write_text(json.dumps(CONFIG))
    return path


@pytest.fixture(params=LANES)
async def node(request: pytest.FixtureRequest, tmp_path: Path, file: Path) -> AsyncIterator[Node]:
    tokens = "plain,srv7:hush"
    async with serving(
        request.param, DATA_DIR=tmp_path, GAME_SERVER_TOKENS=tokens, GAME_CONFIG_FILE=file
    ) as made:
        yield made


def replace(file: Path, content: str) -> None:
    """Change the file at once: a reader never meets half of it."""
    new = file.with_suffix(".new")
    new.write_text(content)
    new.replace(file)


async def config(node: Node, headers: dict[str, str], path: str = "/config") -> httpx.Response:
    return await node.http.get(path, headers=headers | {"Content-Type": "application/json"})


async def until_changed(node: Node, before: Any) -> Any:
    async def changed() -> Any:
        found = (await config(node, TOKEN)).json()
        return found if found != before else None

    return await until_some(changed)


async def test_a_server_gets_the_defaults_with_its_own_over_them(node: Node) -> None:
    assert (await config(node, TOKEN)).json() == {"sm_rate": 30, "name": "dust"}
    assert (await config(node, NAMED)).json() == {"sm_rate": 60, "name": "dust", "hard": True}
    assert (await config(node, NAMED, "/internal//config/")).json()["hard"] is True


async def test_a_nameless_token_may_say_for_whom_it_asks_and_a_named_one_not(node: Node) -> None:
    assert (await config(node, TOKEN, "/config?server_id=srv7")).json()["sm_rate"] == 60
    assert (await config(node, TOKEN, "/config?server_id=srv9")).json()["sm_rate"] == 30
    assert (await config(node, NAMED, "/config?server_id=srv9")).json()["sm_rate"] == 60


async def test_it_always_needs_a_token(node: Node) -> None:
    assert (await config(node, {})).status_code == 401


async def test_who_has_it_already_is_told_so(node: Node) -> None:
    etag = (await config(node, TOKEN)).headers["ETag"]

    assert (await config(node, TOKEN | {"If-None-Match": etag})).status_code == 304
    assert (await config(node, NAMED | {"If-None-Match": etag})).status_code == 200


async def test_a_change_of_the_file_takes_effect(node: Node, file: Path) -> None:
    before = (await config(node, TOKEN)).json()
    replace(file, '{"defaults":{"sm_rate":31}}')

    assert await until_changed(node, before) == {"sm_rate": 31}


async def test_a_reload_reads_the_file_without_waiting(
    tmp_path: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(game_config, "CHECK_EVERY_S", 3600)
    settings = {"DATA_DIR": tmp_path, "GAME_SERVER_TOKENS": "plain", "GAME_CONFIG_FILE": file}
    async with serving(LANES[0], **settings) as node:
        before = (await config(node, TOKEN)).json()
        replace(file, '{"defaults":{"sm_rate":31}}')
        node.program.reload()  # as SIGHUP does

        assert await until_changed(node, before) == {"sm_rate": 31}


@pytest.mark.parametrize(
    "broken", ["", "{", '{"defaults":{"a":[1]}}', '{"defaults":{"a":NaN}}', '{"default":{}}', "[]"]
)
async def test_a_broken_file_leaves_the_old_variables(
    broken: str, node: Node, file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before = (await config(node, TOKEN)).json()
    replace(file, broken)
    await eventually(lambda: "game_config_refused" in caplog.messages)
    assert (await config(node, TOKEN)).json() == before

    replace(file, '{"defaults":{"well":"again"}}')
    assert await until_changed(node, before) == {"well": "again"}


async def test_integers_beyond_32_bits_are_text(node: Node, file: Path) -> None:
    before = (await config(node, TOKEN)).json()
    replace(file, json.dumps({"defaults": {"large": 2**31, "fits": 2**31 - 1, "on": True}}))

    assert await until_changed(node, before) == {"large": "2147483648", "fits": 2147483647, "on": True}


async def test_without_a_file_the_answer_says_so(tmp_path: Path) -> None:
    async with serving("fast", DATA_DIR=tmp_path, GAME_SERVER_TOKENS="plain") as node:
        answer = await config(node, TOKEN)

    assert (answer.status_code, answer.json()["error"]) == (404, "config_not_configured")


async def test_a_file_that_was_never_good_is_unavailable(tmp_path: Path) -> None:
    missing = tmp_path / "not-there.json"
    async with serving(
        "fast", DATA_DIR=tmp_path, GAME_SERVER_TOKENS="plain", GAME_CONFIG_FILE=missing
    ) as node:
        answer = await config(node, TOKEN)

    assert (answer.status_code, answer.json()["error"]) == (503, "config_unavailable")
