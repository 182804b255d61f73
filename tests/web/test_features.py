"""A node is the concatenation of its features."""

from __future__ import annotations

import textwrap
from types import SimpleNamespace
from typing import Any

from tests.web.conftest import Serve
from web.handlers.metrics import gauge
from web.handlers.routes import Endpoint, Route
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
