"""A node is the concatenation of its features."""

from __future__ import annotations

import textwrap
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.web.automation_node import env_of
from tests.web.conftest import Serve
from tests.web.serving import Node
from web.handlers.metrics import gauge
from web.handlers.routes import Endpoint, Route
from web.settings import Settings
from web.wiring import feature as module
from web.wiring.feature import Feature


def test_the_example_of_a_feature_works_as_it_stands() -> None:
    assert module.__doc__ is not None
    example = textwrap.dedent(module.__doc__.partition("::\n")[2])
    namespace: dict[str, Any] = {
        "Feature": Feature,
        "Route": Route,
        "Endpoint": Endpoint,
        "gauge": gauge,
        "Lobby": lambda: SimpleNamespace(join=lambda *_: None, show=None, guests=[1, 2]),
    }
    exec(compile(f"from __future__ import annotations\n{example}", "feature", "exec"), namespace)  # noqa: S102 - our own document
    lobby = namespace["LobbyFeature"]()

    assert list(lobby.topics()) == ["lobby:*"]
    assert [route.pattern for route in lobby.routes()] == ["/api/lobby"]
    assert [(sample.name, dict(sample.values)) for sample in lobby.metrics()] == [("lobby_guests", {(): 2})]
    # What it does not say, it does not have.
    assert [*lobby.supervisors(), *lobby.children(), *lobby.away(), *lobby.health()] == []


async def test_features_get_into_each_others_way_nowhere(serve: Serve) -> None:
    async with serve() as node:
        core, edge = node.program.core, node.program.edge
        topics = [pattern for feature in core.features for pattern in feature.topics()]
        names = [sample.name for feature in (*core.features, edge) for sample in feature.metrics()]
        children = [str(child.id) for feature in core.features for child in feature.supervisors()]

        assert sorted(topics) == ["room:*", "state:*"]
        for found in (names, children):
            assert len(found) == len(set(found))


OF_AUTOMATION = {"roblox_players", "policy_files", "recorder", "retention", "outbox", "reviews"}
OF_STATS = {"players", "ledger", "ledger_sweeper", "stats_news", "game_config"}


@pytest.mark.parametrize(
    ("switch", "theirs", "path"),
    [
        ({"AUTOMATION": "off"}, OF_AUTOMATION, "/leaderboard/top"),
        ({"STATS": "off"}, OF_STATS, "/players/STEAM_0:1:9/stats"),
        ({"AUTOMATION": "off", "STATS": "off"}, {*OF_AUTOMATION, *OF_STATS, "database"}, "/config"),
    ],
    ids=["automation", "stats", "both"],
)
async def test_a_part_that_is_off_has_neither_routes_nor_children(
    serve: Serve, tmp_path: Path, switch: dict[str, str], theirs: set[str], path: str
) -> None:
    (tmp_path / "game.json").write_text("{}")
    env = env_of(tmp_path) | {
        "ROBLOX_OPEN_CLOUD_API_KEY": "key",
        "AUTOMATION_REVIEW_SECONDS": "3600",
        "GAME_SERVER_TOKENS": "token",
        "GAME_CONFIG_FILE": str(tmp_path / "game.json"),
    }
    async with serve(**env) as node:
        on = _children(node)
        was = await node.http.get(path)
    if switch.get("AUTOMATION") == "off":
        # Files that nobody uses stop no start.
        (tmp_path / "config" / "policy.ranks.json").write_text("{")
    async with serve(**env | switch) as node:
        off = _children(node)
        answer = await node.http.get(path)
        health = (await node.http.get("/internal/health")).json()

    assert answer.status_code == 404
    assert answer.json()["error"] == "not_found" != was.json().get("error")
    assert off == on - theirs
    assert health["status"] == "ok"
    assert ("roblox" in health) == ("AUTOMATION" not in switch)


def _children(node: Node) -> set[str]:
    features = node.program.core.features
    return {str(one.id) for feature in features for one in (*feature.supervisors(), *feature.children())}


def test_matches_that_are_off_leave_the_queue_alone() -> None:
    env = {"REDIS_URL": "redis://127.0.0.1:1", "API_BASE_URL": "http://127.0.0.1:1"}

    assert Settings.from_env(env).matches_enabled
    assert not Settings.from_env(env | {"MATCHES": "off"}).matches_enabled
