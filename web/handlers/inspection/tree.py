"""The supervision tree as JSON: static supervisors whole, dynamic ones as counts or in part."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from actors.core import Actor
from supervision import ChildNotFound, DynamicSupervisor, Supervisor
from web.handlers.inspection.section import Look, rows_of

if TYPE_CHECKING:
    from supervision import ChildInfo
    from supervision.spec import Supervises
    from web.handlers.inspection.section import Facts

ROOT: Final = "root"


def outline(root: Supervisor) -> Facts:
    """The whole tree, with the children of dynamic supervisors counted and not listed."""
    return {"id": ROOT, "type": "supervisor", "children": _children(root)}


def flat(node: Facts, path: str = "") -> Facts:
    """A tree as `{path: node}`, without ages, which change all the time."""
    found: Facts = {}
    for child in node.get("children", ()):
        at = f"{path}/{child['id']}" if path else child["id"]
        found[at] = {key: value for key, value in child.items() if key not in {"children", "age_s"}}
        found |= flat(child, at)
    return found


async def below(root: Supervisor, path: str, look: Look) -> Facts | None:
    """The children of the supervisor at `path`, such as `core/rooms`; None if there is no supervisor.

    Of a dynamic supervisor those whose id contains the text that is looked for, oldest first.
    """
    supervisor = find(root, path)
    if supervisor is None:
        return None
    if not isinstance(supervisor, DynamicSupervisor):
        return {"path": path, "children": _children(supervisor)}
    dynamic = supervisor

    def row(key: object) -> Facts | None:
        try:
            return _child(dynamic.child_info(key))
        except ChildNotFound:
            return None  # it has ended meanwhile

    found, more = await rows_of(dynamic.child_ids(), look, row)
    return {"path": path, "children": found, "more": more}


def find(root: Supervisor, path: str) -> Supervises | None:
    """The supervisor at a path of ids below the root; the empty path is the root."""
    supervisor: Supervises = root
    for name in filter(None, path.split("/")):
        if isinstance(supervisor, DynamicSupervisor):
            return None
        nested = [child.nested for child in supervisor.which_children() if str(child.id) == name]
        if not nested or nested[0] is None:
            return None
        supervisor = nested[0]
    return supervisor


def _children(supervisor: Supervises) -> list[Facts]:
    return [_child(info) for info in supervisor.which_children()]


def _child(info: ChildInfo) -> Facts:
    facts: Facts = {
        "id": str(info.id),
        "type": info.type.value,
        "state": info.state.value,
        "restarts": info.restarts,
        "last_reason": info.last_reason,
        "age_s": round(info.age_s, 1),
    }
    actor = getattr(info.start, "__self__", None)
    if isinstance(actor, Actor):
        facts |= {"mailbox": actor.unread, "handled": actor.handled}
    if info.nested is None:
        return facts
    if isinstance(info.nested, DynamicSupervisor):
        counts, statistics = info.nested.count_children(), info.nested.statistics()
        counted = {"specs": counts.specs, "active": counts.active}
        return facts | {
            "counts": counted,
            "children_restarts": statistics.restarts,
            "children_crashes": statistics.crashes,
        }
    return facts | {"children": _children(info.nested)}


async def kill(root: Supervisor, path: str) -> bool:
    """Crash the actor at `path`, or end and start again another child there; false if there is none.

    Raises:
        SupervisionError: It ended meanwhile.
    """
    above, _, name = path.rpartition("/")
    supervisor = find(root, above)
    if supervisor is None:
        return False
    if isinstance(supervisor, DynamicSupervisor):

        def named(key: object) -> Facts | None:
            return {"key": key} if str(key) == name else None

        found, _ = await rows_of(supervisor.child_ids(), Look(name, 1), named)
        info = supervisor.child_info(found[0]["key"]) if found else None
    else:
        info = next((child for child in supervisor.which_children() if str(child.id) == name), None)
    if info is None:
        return False
    actor = getattr(info.start, "__self__", None)
    if isinstance(actor, Actor):
        actor.crash(RuntimeError("killed by an operator"))
        return True
    if not isinstance(supervisor, Supervisor):
        return False
    await supervisor.terminate_child(info.id)
    await supervisor.restart_child(info.id)
    return True
