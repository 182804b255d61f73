"""Keep children running, and give up loudly when that stops making sense.

Reading order, each file leaning only on the ones above it:

    errors      what can go wrong, and the words a child ends with
    spec        what a supervisor must know about a child, and what it tells about it
    policy      restart or not: a table, a sliding window, a row of delays; no clock, no trio
    lazy_cancel_scope
                a cancel scope around a running task, made only when it must be cancelled
    child       what both supervisors keep about a child: the Life its start is handed
    child_list  children in order, and how one of them is started and stopped
    supervisor  OTP's supervisor: a fixed row whose members know of each other
    dynamic_child, dynamic
                very many children, each with a restart limit of its own
    tree        a picture of all that

A child is a coroutine function that takes a `Life`. It says `life.started()` when it is up, and how
it ends says what follows: it returns (normal), raises `Shutdown` (orderly) or anything else (a
crash). A life begins with nothing from the life before; what must survive belongs to somebody else.

What is promised: one life of a child at a time, ended before the next begins; children of a static
supervisor start from left to right and stop from right to left; a child that fails over and over is
given up after a bounded number of restarts. What is not: that a child stops within `shutdown_s` (a
task that ignores cancellation is waited for), and any order when `run` itself is cancelled.

Nobody else, here or above, catches `Exception`: a bug ends a life, and the life's supervisor logs
it (logger `supervision`) and begins the next.
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
from supervision.policy import Backoff, Exit
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
]
