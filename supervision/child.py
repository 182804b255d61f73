"""A child's record, as both supervisors keep it; the child itself is handed it as its `Life`.

A life is one run of a child: one call of `ChildSpec.start`, from its first step to its end.

                 begin             started()
    STOPPED ───────────▶ STARTING ───────────▶ RUNNING
       ▲                  ▲   │ │               │   │
       │      next attempt│   │ └──────┬────────┘   │
       │                  │   │        │ asked to stop, or cancelled
       │             RESTARTING        ▼            │
       │              │   ▲         STOPPING        │
       │ called off   │   │            │            │
       ├──────────────┘   └──── ended, │ runs again ┤
       ├───────────────────────────────┘            │
       └─────────────── ended, does not run again ──┘

Ended means: it returned, raised, or was killed by `kill_child`; `policy` says whether it runs again.
A dynamic supervisor without a delay goes from a life to STARTING of the next at once. STOPPED is where
a static supervisor keeps a child's spec; a dynamic one forgets the child there.
"""

import logging
import math
from abc import ABC, abstractmethod
from typing import Final

import trio

from supervision.errors import Killed, Shutdown
from supervision.policy import Exit, classify, unwrap
from supervision.spec import BRUTAL_KILL, ChildInfo, ChildSpec, Life, State, Supervises

logger: Final = logging.getLogger("supervision")

# How the task of a static child is called, in front of its id.
TASK_OF: Final = "child "
# A last reason is kept as text: the exception itself would keep its frames alive.
REASON_CHARS: Final = 200

# What interrupts a life from outside and is raised on. Whatever else a child raises is a crash, also
# what is no `Exception`: asyncio's CancelledError, GeneratorExit, a child's own BaseException.
INTERRUPTIONS: Final = (trio.Cancelled, KeyboardInterrupt, SystemExit)

# The supervisor that is calling `trap_exit` right now, if the caller is one.
_asking: Supervises | None = None

# `stop_reason` of a child that is being stopped, not restarted.
STOP: Final = Shutdown("stopped by its supervisor")


def brief(raised: BaseException) -> str:
    """An exception as short text."""
    try:
        return repr(raised)[:REASON_CHARS]
    # `__repr__` is the child's code as well, and here nobody else would catch what it raises.
    except Exception:  # noqa: BLE001 - see above
        return f"{type(raised).__name__}(its repr crashed)"


def supervisor_path() -> str:
    """Ids of the supervisors above the running child, from the top; empty for a child of the topmost.

    Read from the tasks that run them, so that a supervisor need not know its place in the tree.
    """
    ids: list[str] = []
    nursery = trio.lowlevel.current_task().parent_nursery
    while nursery is not None:
        name = nursery.parent_task.name
        if name.startswith(TASK_OF):
            ids.append(name[len(TASK_OF) :].strip("'"))
        nursery = nursery.parent_task.parent_nursery
    return "/".join(reversed(ids))


class Child(ABC):
    """A child's record.

    Attributes:
        spec: What to run, and when to run it again.
        state: See the diagram.
        is_started: Whether the present life, or else the last, has called `started()`.
        born: `trio.current_time()` at the beginning of the life under way.
        restarts: Lives begun after the first.
        last_reason: How the last life ended, as short text; None if there was none.
        scope: Cancels the life under way; None until it is needed.
        exit_request: Set to ask the life to end; None unless it has called `trap_exit`.
        stop_reason: Why the life under way is being ended from outside: a `Killed`, `STOP`, or None.
        nested: The supervisor this life runs, if it runs one; for the tree's snapshot.
    """

    __slots__ = (
        "born",
        "exit_request",
        "is_started",
        "last_reason",
        "nested",
        "restarts",
        "scope",
        "spec",
        "state",
        "stop_reason",
    )

    def __init__(self, spec: ChildSpec) -> None:
        """A child before its first life."""
        self.spec = spec
        self.state = State.STARTING
        self.is_started = False
        self.born = 0.0
        self.restarts = 0
        self.last_reason: str | None = None
        self.scope: trio.CancelScope | None = None
        self.exit_request: trio.Event | None = None
        self.stop_reason: Killed | Shutdown | None = None
        self.nested: Supervises | None = None

    @property
    def is_alive(self) -> bool:
        """Whether a life is under way."""
        return self.state in ALIVE

    def started(self) -> None:
        """See `Life.started`."""
        if not self.is_started:
            self.is_started = True
            if self.state is State.STARTING:
                self.state = State.RUNNING
            self.notify()

    def trap_exit(self) -> trio.Event:
        """See `Life.trap_exit`."""
        if _asking is not None:
            self.nested = _asking
        if self.exit_request is None:
            self.exit_request = trio.Event()
        return self.exit_request

    @abstractmethod
    def notify(self) -> None:
        """Wake whoever waits for a change of this child."""

    @abstractmethod
    def cancel(self) -> None:
        """Cancel the life under way; nothing happens between lives."""

    def ask_to_stop(self) -> float:
        """Have the life under way end: by its exit request if it traps exits, else by cancellation.

        Returns:
            Seconds to wait before `cancel`; 0.0 if that has been done.
        """
        self.state = State.STOPPING
        self.stop_reason = STOP
        if self.exit_request is None or self.spec.shutdown_s == BRUTAL_KILL:
            self.cancel()
            return 0.0
        self.exit_request.set()
        return self.spec.shutdown_s

    def kill(self, reason: object) -> None:
        """End the life under way as a failure, like a crash; nothing happens between lives."""
        if self.state is State.STARTING or self.state is State.RUNNING:
            self.stop_reason = Killed(reason)
            self.cancel()

    def judge(self, raised: BaseException | None) -> tuple[Exit, BaseException | None]:
        """Classify how a life ended, log a crash, keep the reason as text, reset what belonged to that life.

        The reason is returned without groups of one around it. To be called by the child's task, outside
        of the life's scope. A life that its supervisor stopped is SHUTDOWN with reason `STOP`, whatever
        it raised.
        """
        stop_reason = self.stop_reason
        self.stop_reason = self.exit_request = self.scope = self.nested = None
        end = classify(raised, started=self.is_started)
        if end is Exit.CRASHED:
            if stop_reason is None and trio.current_effective_deadline() == -math.inf:
                # It was cancelled together with its supervisor and raised this on its way out.
                stop_reason = STOP
            self._log_crash(raised, stop_reason)
        if isinstance(stop_reason, Killed):
            raised, end = stop_reason, Exit.KILLED
            logger.warning("child_killed", extra={"child": self.spec.id, "reason": stop_reason.reason})
        elif stop_reason is not None:
            raised, end = stop_reason, Exit.SHUTDOWN
        reason = None if raised is None else unwrap(raised)
        self.last_reason = "normal" if reason is None else brief(reason)
        return end, reason

    def _log_crash(self, raised: BaseException | None, stop_reason: object) -> None:
        event = "child_crashed" if stop_reason is None else "child_crashed_while_stopping"
        logger.error(event, extra=self._report(raised, stop_reason), exc_info=raised)

    def _report(self, raised: BaseException | None, stop_reason: object) -> dict[str, object]:
        """OTP's supervisor report: who, what it was doing, why it ended, and how often it has before."""
        reason = None if raised is None else unwrap(raised)
        doing = "starting" if not self.is_started else "running" if stop_reason is None else "stopping"
        return {
            "child": self.spec.id,
            "supervisor": supervisor_path(),
            "doing": ", ".join([doing, *getattr(reason, "__notes__", ())]),
            "reason": "normal" if reason is None else brief(reason),
            "started": self.is_started,
            "lived_s": round(trio.current_time() - self.born, 3),
            "restart": self.spec.restart.value,
            "restarts": self.restarts,
        }

    def info(self, now: float) -> ChildInfo:
        """The child's line in `which_children`."""
        return ChildInfo(
            id=self.spec.id,
            type=self.spec.type,
            state=self.state,
            restarts=self.restarts,
            last_reason=self.last_reason,
            age_s=now - self.born if self.is_alive else 0.0,
            nested=self.nested,
            start=self.spec.start,
        )


def trap_exit_as(supervisor: Supervises, life: Life) -> trio.Event:
    """Call `life.trap_exit()`, and record `supervisor` as what that child runs.

    It is the child's record that notes it, so a handle that merely forwards to the record does not
    hide a supervisor from `tree.snapshot`.
    """
    global _asking  # noqa: PLW0603 - set for the duration of one call that cannot wait
    _asking = supervisor
    try:
        return life.trap_exit()
    finally:
        _asking = None


ALIVE: Final = frozenset({State.STARTING, State.RUNNING, State.STOPPING})


def is_interruption(raised: BaseException) -> bool:
    """Whether an exception, or one in a group, interrupts the child from outside."""
    if isinstance(raised, BaseExceptionGroup):
        return raised.subgroup(INTERRUPTIONS) is not None
    return isinstance(raised, INTERRUPTIONS)


def is_being_closed(raised: BaseException, task: trio.lowlevel.Task | None) -> bool:
    """Whether this is Python closing the coroutine of `task`, which must not go on, and not a crash."""
    if not isinstance(raised, GeneratorExit):
        return False
    try:
        return trio.lowlevel.current_task() is not task
    except RuntimeError:  # no trio loop is running
        return True


def without_crashes(child: Child, raised: BaseException) -> BaseException:
    """Log the crashes in an exception group that interrupted a child, and return the rest.

    A child cancelled together with its supervisor may crash on its way out, and a nursery of its
    own then groups both. The crash is only logged; the interruption has to be raised on.
    """
    if isinstance(raised, BaseExceptionGroup):
        rest, crashes = raised.split(INTERRUPTIONS)
        if crashes is not None and rest is not None:
            logger.error("child_crashed_while_stopping", extra={"child": child.spec.id}, exc_info=crashes)
            return rest
    return raised


def exit_scope(scope: trio.CancelScope, raised: BaseException | None) -> BaseException | None:
    """Leave a scope entered by `lazy_cancel_scope.enter_for`.

    Returns:
        The exception without the cancellation that this scope caused; None if nothing is left.
    """
    try:
        kind = None if raised is None else type(raised)
        taken = scope.__exit__(kind, raised, None if raised is None else raised.__traceback__)
    except BaseException as rest:  # noqa: BLE001 - handed to the caller, who goes on raising it
        return rest
    return None if taken else raised
