"""The tree of supervisors, one function per subtree.

root                 one_for_one
├─ core              log · registry · rooms (dynamic) · sweeper
└─ web               the acceptors; last to start, first to stop accepting

Connections are not in it: their tasks belong to the program, so that a crash
of an acceptor, or of this whole tree's web part, drops none of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from supervision import ChildSpec, ChildType, Supervisor

if TYPE_CHECKING:
    from collections.abc import Iterable

    from web.log import PutLog
    from web.parts import Domain
    from web.server.acceptor import Acceptor

WEB: Final = "web"


def root_of(domain: Domain, acceptors: Iterable[Acceptor], put_log: PutLog) -> Supervisor:
    """The whole tree."""
    return Supervisor(
        [
            _subtree("core", core_of(domain, put_log)),
            _subtree(WEB, web_of(acceptors)),
        ]
    )


def core_of(domain: Domain, put_log: PutLog) -> Supervisor:
    """What everything else leans on."""
    return Supervisor(
        [
            ChildSpec(id="log", start=put_log.run),
            ChildSpec(id="registry", start=domain.registry.run),
            ChildSpec(id="rooms", start=domain.rooms.run, type=ChildType.SUPERVISOR),
            ChildSpec(id="sweeper", start=domain.sweeper.run),
        ]
    )


def web_of(acceptors: Iterable[Acceptor]) -> Supervisor:
    """Who lets the world in."""
    return Supervisor(
        [ChildSpec(id=f"acceptor-{number}", start=each.run) for number, each in enumerate(acceptors, start=1)]
    )


def _subtree(name: str, supervisor: Supervisor) -> ChildSpec:
    return ChildSpec(id=name, start=supervisor.run, type=ChildType.SUPERVISOR)
