"""The supervision tree, made from what the features bring.

root                 one_for_one
├─ core              registry, and the features' `supervisors`: log · loop lag · heap · rooms (dynamic) ·
│                    sweeper · matches (dynamic) · players (dynamic) · roblox_players (dynamic)
├─ integrations      the features' `children`: store, channels and views of shared rooms · Redis link ·
│                    name of this node · inbox of other nodes' calls · results · callbacks ·
│                    creation consumer · command listener · recovery · channels over nodes · database ·
│                    ledger · ledger sweeper · stats news · game config · policy files · recorder ·
│                    retention · outbox; restarts with a backoff, never escalates, absent when not
│                    configured
├─ fastlane          poller · raw_streams · lane
├─ channels          sockets: their idle limits, and joins nobody answers
└─ web               the acceptors; last to start, first to stop accepting

A failure of Redis or of the API server must not cost a stream: that is why
integrations have a supervisor of their own.

Connections are not in it: their tasks belong to the program, so that a crash
of an acceptor, or of this whole tree's web part, drops none of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from supervision import Backoff, ChildSpec, ChildType, State, Supervisor
from web.handlers.metrics import gauges
from web.wiring.feature import Feature

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from web.handlers.metrics import Sample
    from web.server.acceptor import Acceptor
    from web.wiring.edge import Edge
    from web.wiring.node import Core

WEB: Final = "web"
INTEGRATIONS: Final = "integrations"


@dataclass(frozen=True, slots=True)
class Tree:
    """The supervisors.

    Attributes:
        root: Above all others.
        subtrees: Those below it, by their ids, in the order of their start.
    """

    root: Supervisor
    subtrees: Mapping[str, Supervisor]


class Restarting(Feature):
    """Children of `integrations` that failed and wait for their next start: health and metrics.

    Attributes:
        supervisor: Theirs; None until the tree is made, or without any such child.
    """

    def __init__(self) -> None:
        self.supervisor: Supervisor | None = None

    def away(self) -> tuple[str, ...]:
        """Their ids."""
        children = () if self.supervisor is None else self.supervisor.which_children()
        return tuple(str(child.id) for child in children if child.state is State.RESTARTING)

    def metrics(self) -> Iterator[Sample]:
        """One for each that restarts now."""
        names = dict.fromkeys(self.away(), 1.0)
        children = () if self.supervisor is None else self.supervisor.which_children()
        known = [str(child.id) for child in children]
        text = "Children that failed and wait for their next start."
        yield gauges("child_restarting", text, "child", names, known)


def build_tree(core: Core, edge: Edge, restarting: Restarting) -> Tree:
    """The whole tree, nothing running yet."""
    registry = ChildSpec(id="registry", start=core.registry.run)
    supervisors = [child for feature in core.features for child in feature.supervisors()]
    subtrees = {"core": Supervisor([registry, *supervisors])}
    children = [child for feature in core.features for child in feature.children()]
    if children:
        subtrees[INTEGRATIONS] = restarting.supervisor = integrations_of(children)
    subtrees["fastlane"] = Supervisor(edge.fastlane.children())
    subtrees["channels"] = Supervisor([ChildSpec(id="sockets", start=core.channels.sockets.run)])
    subtrees[WEB] = web_of(edge.acceptors)
    return Tree(Supervisor([_subtree(name, below) for name, below in subtrees.items()]), subtrees)


def integrations_of(children: Sequence[ChildSpec]) -> Supervisor:
    """Children that depend on servers outside: Redis, the database, the API server, Roblox."""
    return Supervisor(children, max_restarts=None, backoff=Backoff(first_s=0.2, ceiling_s=30.0))


def web_of(acceptors: Iterable[Acceptor]) -> Supervisor:
    """Who lets the world in."""
    return Supervisor(
        [ChildSpec(id=f"acceptor-{number}", start=each.run) for number, each in enumerate(acceptors, start=1)]
    )


def _subtree(name: str, supervisor: Supervisor) -> ChildSpec:
    return ChildSpec(id=name, start=supervisor.run, type=ChildType.SUPERVISOR)
