"""The tree of supervisors, one function per subtree.

root                 one_for_one
├─ core              log · registry · rooms (dynamic) · players (dynamic) · community (dynamic) ·
│                    matches (dynamic) · sweeper
├─ integrations      Redis link · callbacks · creation consumer · command listener ·
│                    results · recovery · database · ledger · ledger sweeper · stats news · game config ·
│                    policy files · recorder · retention · outbox;
│                    restarts with a backoff, never escalates, absent when not configured
├─ fastlane          poller · raw_streams · lane
├─ channels          sockets: their idle limits, and joins nobody answers
└─ web               the acceptors; last to start, first to stop accepting

Trouble with Redis or the API server must not cost one stream: that is why
integrations stand apart.

Connections are not in it: their tasks belong to the program, so that a crash
of an acceptor, or of this whole tree's web part, drops none of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from supervision import Backoff, ChildSpec, ChildType, Supervisor

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from web.log import PutLog
    from web.server.acceptor import Acceptor
    from web.wiring.node import Core, Edge

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


def tree_of(core: Core, edge: Edge, put_log: PutLog) -> Tree:
    """The whole tree, nothing running yet."""
    subtrees = {"core": core_of(core, put_log)}
    integrations = [
        *core.integrations.children(),
        *core.stats.children(),
        *core.automation.children(),
    ]
    if integrations:
        subtrees[INTEGRATIONS] = integrations_of(integrations)
        core.restarting.supervisor = subtrees[INTEGRATIONS]
    subtrees["fastlane"] = Supervisor(edge.fastlane.children())
    subtrees["channels"] = Supervisor([ChildSpec(id="sockets", start=edge.channels.sockets.run)])
    subtrees[WEB] = web_of(edge.acceptors)
    return Tree(Supervisor([_subtree(name, below) for name, below in subtrees.items()]), subtrees)


def core_of(core: Core, put_log: PutLog) -> Supervisor:
    """What everything else leans on."""
    children = [
        ChildSpec(id="log", start=put_log.run),
        ChildSpec(id="registry", start=core.registry.run),
        ChildSpec(id="rooms", start=core.rooms.run, type=ChildType.SUPERVISOR),
    ]
    keeping = core.stats.keeping
    if keeping is not None:
        children.append(ChildSpec(id="players", start=keeping.players.run, type=ChildType.SUPERVISOR))
    community = core.automation.community
    children.append(ChildSpec(id="community", start=community.run, type=ChildType.SUPERVISOR))
    making = core.integrations.match_making
    if making is not None:
        children.append(ChildSpec(id="matches", start=making.matches.run, type=ChildType.SUPERVISOR))
    return Supervisor([*children, ChildSpec(id="sweeper", start=core.sweeper.run)])


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
