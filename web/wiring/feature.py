"""What one feature brings to a node: `node.py` lists the features, and a node is their concatenation.

How to add

    a topic      an entry in `topics` of a feature
    a route      a handler in `web/handlers/`, and its `Route` in `routes` of a feature
    a metric     a number the part counts by itself, and a line in `metrics` of its feature
    a child      in `supervisors` if it keeps actors, in `children` if it needs a server outside
    a feature    a subclass of `Feature` beside this file, and its line in `build_core` of `node.py`
    a game       nothing here: `RulesRegistry` finds installed games (docs/games.md)

A whole feature::

    class LobbyFeature(Feature):
        def __init__(self) -> None:
            self.lobby = Lobby()

        def topics(self) -> Mapping[str, JoinHandler]:
            return {"lobby:*": self.lobby.join}

        def routes(self) -> Sequence[Route]:
            return (Route("/api/lobby", {"GET": Endpoint(self.lobby.show)}),)

        def metrics(self) -> Iterator[Sample]:
            yield gauge("lobby_guests", "Guests in the lobby.", len(self.lobby.guests))
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from supervision import ChildSpec
    from web.channels.router import JoinHandler
    from web.handlers.inspection.section import Section
    from web.handlers.metrics import Sample
    from web.handlers.routes import Route


class Feature:
    """One part of a node: what it adds to the supervision tree, to HTTP, channels, metrics and health.

    A feature overrides what it has; by default there is none of it. All methods but `metrics`, `away`
    and `health` are called once, while the node is built.
    """

    __slots__ = ()

    def supervisors(self) -> Sequence[ChildSpec]:
        """Supervisors of its actors and what else needs nothing outside: children of `core`."""
        return ()

    def children(self) -> Sequence[ChildSpec]:
        """What needs servers outside: children of `integrations`, in the order of the start."""
        return ()

    def topics(self) -> Mapping[str, JoinHandler]:
        """Its channel routes, by topic pattern."""
        return {}

    def routes(self) -> Sequence[Route]:
        """Its HTTP routes."""
        return ()

    def metrics(self) -> Iterable[Sample]:
        """Samples for `/metrics`, taken at each scrape; their names are no other feature's."""
        return ()

    def away(self) -> tuple[str, ...]:
        """Names of configured engines that cannot be used now; with any, health is degraded."""
        return ()

    def health(self) -> Mapping[str, object]:
        """Further fields of `/internal/health`."""
        return {}

    def sections(self) -> Mapping[str, Section]:
        """What operators see of it, by the names of `/internal/inspect/{section}`."""
        return {}

    def reload(self) -> None:
        """Read files again, on SIGHUP. What is broken leaves the old in force."""

    async def aclose(self) -> None:
        """Close what is open to servers outside; called last, once the tree has ended."""
