"""A snapshot of a running tree of supervisors, cheap enough to be taken every second.

Counting the children of a dynamic supervisor is O(1); only the children that are listed are visited,
oldest first, and the caller says how many. With 100,000 children below one supervisor, 100 of them
listed, a snapshot takes well under a millisecond.
"""

from collections.abc import Hashable
from dataclasses import dataclass

from supervision.spec import ChildCounts, ChildInfo, ChildType, State, Supervises


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One child, and if it is a supervisor, what is below it.

    Attributes:
        id: The child's; for the root what the caller calls it.
        type: Worker or supervisor.
        state: Its state.
        restarts: Lives begun after the first.
        last_reason: How the last life ended, shortened; None if there was none.
        age_s: Seconds of the present life, 0.0 outside of one.
        counts: Of a running supervisor: all its children, listed or not. Else None.
        children: The children listed, in the order of their start.
    """

    id: Hashable
    type: ChildType
    state: State
    restarts: int
    last_reason: str | None
    age_s: float
    counts: ChildCounts | None
    children: tuple["Node", ...]


def snapshot(supervisor: Supervises, *, id: Hashable = "root", max_children_listed: int = 100) -> Node:
    """Take a snapshot of a supervisor and everything below it.

    Args:
        supervisor: The root. Only its own supervisor knows its restarts and age, so they are 0 here.
        id: What to call it.
        max_children_listed: Per supervisor; `counts.specs` says how many there really are.
    """
    return Node(
        id=id,
        type=ChildType.SUPERVISOR,
        state=State.RUNNING if supervisor.is_running else State.STOPPED,
        restarts=0,
        last_reason=None,
        age_s=0.0,
        counts=supervisor.count_children(),
        children=_below(supervisor, max_children_listed),
    )


def _below(supervisor: Supervises, limit: int) -> tuple[Node, ...]:
    return tuple(_node(info, limit) for info in supervisor.which_children(limit))


def _node(info: ChildInfo, limit: int) -> Node:
    nested = info.nested
    return Node(
        id=info.id,
        type=info.type,
        state=info.state,
        restarts=info.restarts,
        last_reason=info.last_reason,
        age_s=info.age_s,
        counts=None if nested is None else nested.count_children(),
        children=() if nested is None else _below(nested, limit),
    )
