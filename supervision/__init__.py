"""Supervisors: start, stop and restart child tasks, with OTP's semantics, on trio.

    async def ticker(life: Life) -> None:
        life.started()
        while True:
            await trio.sleep(1)

    await Supervisor([ChildSpec(id="ticker", start=ticker)]).run()

Reading order, each file leaning only on the ones above it:

    errors      what can go wrong, and the exceptions a child ends with
    spec        what a supervisor must know about a child, and what it reports about it
    policy      restart or not: a table, a sliding window, growing delays; no clock, no trio
    lazy_cancel_scope
                a cancel scope around a running task, made only when it must be cancelled
    child       a child's record and states; the `Life` its start is handed
    child_list  children in order, and how one of them is started and stopped
    supervisor  OTP's supervisor: children in a fixed order, with a common restart limit
    dynamic_child
                a child of a dynamic supervisor, and its first start
    dynamic     very many children, each with a restart limit of its own
    tree        a snapshot of supervisors and their children

A child is a coroutine function that takes a `Life`. One call of it is one life. It calls
`life.started()` when it is ready; it ends normally by returning, in good order by raising `Shutdown`,
and by a crash with any other exception. Only trio's cancellation, KeyboardInterrupt and SystemExit are
raised on. State does not pass from one life to the next; what must survive a crash belongs to another
object.

Promised: one life of a child at a time, ended before the next begins; children of a static
supervisor start in order and stop in reverse order; a child that keeps failing is given up after a
bounded number of restarts. Not promised: that a child ends within `shutdown_s` (a task that ignores
cancellation is waited for), nor any order when `run` itself is cancelled.

A crash is logged (logger `supervision`) by the child's supervisor, which then begins the next life.
"""

from supervision.dynamic import DynamicSupervisor, GivenUp
from supervision.errors import (
    AlreadyPresent,
    AlreadyStarted,
    ChildError,
    ChildNotFound,
    ChildRestarting,
    ChildRunning,
    ChildStartError,
    Ignore,
    InvalidSpec,
    Killed,
    MaxChildren,
    RestartLimitReached,
    Shutdown,
    SupervisionError,
    SupervisorNotRunning,
)
from supervision.policy import Backoff, Exit, unwrap
from supervision.spec import (
    BRUTAL_KILL,
    DEFAULT_SHUTDOWN,
    INFINITY,
    AutoShutdown,
    ChildCounts,
    ChildInfo,
    ChildSpec,
    ChildType,
    Life,
    Restart,
    Start,
    State,
    Statistics,
    Strategy,
)
from supervision.supervisor import Supervisor
from supervision.tree import Node, snapshot

__all__ = [
    "BRUTAL_KILL",
    "DEFAULT_SHUTDOWN",
    "INFINITY",
    "AlreadyPresent",
    "AlreadyStarted",
    "AutoShutdown",
    "Backoff",
    "ChildCounts",
    "ChildError",
    "ChildInfo",
    "ChildNotFound",
    "ChildRestarting",
    "ChildRunning",
    "ChildSpec",
    "ChildStartError",
    "ChildType",
    "DynamicSupervisor",
    "Exit",
    "GivenUp",
    "Ignore",
    "InvalidSpec",
    "Killed",
    "Life",
    "MaxChildren",
    "Node",
    "Restart",
    "RestartLimitReached",
    "Shutdown",
    "Start",
    "State",
    "Statistics",
    "Strategy",
    "SupervisionError",
    "Supervisor",
    "SupervisorNotRunning",
    "snapshot",
    "unwrap",
]
