"""A cancel scope that is entered only when somebody needs it.

A supervisor must be able to cancel any one child. Trio's way is a cancel scope around each, entered
before anything happens: some 900 bytes a child (two sets among them) and 40 % of the spawn rate,
for something that nearly no child ever needs. With a hundred thousand idle children that is 90 MB.

So a child is run without one. When it is to be cancelled, a scope is put between its nursery's
cancel status and whatever scopes the child opened since: the place where a scope entered at the
beginning would sit. Trio itself moves cancel statuses like this when `nursery.start` hands a task
over to another nursery. From then on the scope is an ordinary one: level-triggered, nests, may be
shielded against inside; the task leaves it through the ordinary `__exit__`.

Trio has no public call for it, so this file touches five private names and nothing else here does.
`SUPPORTED` says whether they are what they were; if not, every life gets its own scope up front, as
it would without this file. Tests run both ways.
"""

# ruff: noqa: SLF001 - the point of this file

from inspect import signature
from typing import Final

import trio
from trio._core._run import CancelStatus, Task


def _understood() -> bool:
    parameters = signature(CancelStatus).parameters
    return (
        {"scope", "parent"} <= set(parameters)
        and isinstance(getattr(CancelStatus, "parent", None), property)
        and hasattr(Task, "_activate_cancel_status")
        and {"_cancel_status", "_has_been_entered"} <= set(dir(trio.CancelScope))
    )


SUPPORTED: Final = _understood()


def enter_for(task: Task) -> trio.CancelScope:
    """Put a new scope around everything a task is doing, its own nurseries included.

    Args:
        task: A nursery's child that has not ended; running, parked or scheduled.

    Returns:
        The scope, not cancelled yet. The task must leave it: `scope.__exit__`, where it would
        have left a scope entered as its first act.
    """
    nursery = task.parent_nursery
    assert nursery is not None, "only the main task has none"  # noqa: S101 - for the type checker
    outer = nursery._cancel_status
    scope = trio.CancelScope()
    status = CancelStatus(scope=scope, parent=outer)
    scope._cancel_status = status
    scope._has_been_entered = True
    inner = task._cancel_status
    if inner is outer or inner is None:
        task._activate_cancel_status(status)
        return scope
    while inner.parent is not None and inner.parent is not outer:
        inner = inner.parent
    inner.parent = status
    return scope
