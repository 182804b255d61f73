"""A cancel scope put around a running task, only once the task has to be cancelled.

A supervisor must be able to cancel any one child. Trio's way is a cancel scope around each, entered
first: some 900 bytes per child (two sets among them) and 40 % of the spawn rate, for something that
nearly no child needs. With a hundred thousand idle children that is 90 MB.

So a child runs without one. When it is to be cancelled, a scope is inserted between its nursery's
cancel status and the scopes the child has opened since, which is where a scope entered first would
be. Trio itself moves cancel statuses like this when `nursery.start` hands a task over to another
nursery. From then on the scope is an ordinary one: level-triggered, it nests, shields inside it work;
the task leaves it through the ordinary `__exit__`.

Trio has no public call for this, so this file uses five private names of trio, and no other file
does; pyproject.toml caps trio's version for its sake. `SUPPORTED` says whether the names are as
expected; if not, every life enters a scope of its own first. Tests run both ways.
"""

# ruff: noqa: SLF001 - private names are what this file is about

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
    """Put a new scope around everything a task is doing, the nurseries it has opened included.

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
