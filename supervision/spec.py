"""What a supervisor must know about a child, in the terms of OTP's `supervisor(3)`."""

import math
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass, field
from enum import Enum
from typing import Final, Protocol

import trio

from supervision.errors import InvalidSpec


class Restart(Enum):
    """When to run a child again: always, only after an abnormal end, never."""

    PERMANENT = "permanent"
    TRANSIENT = "transient"
    TEMPORARY = "temporary"


class Strategy(Enum):
    """What is restarted with a child that failed: nothing else, all children, those started after it."""

    ONE_FOR_ONE = "one_for_one"
    ONE_FOR_ALL = "one_for_all"
    REST_FOR_ONE = "rest_for_one"


class ChildType(Enum):
    """A leaf, or another supervisor."""

    WORKER = "worker"
    SUPERVISOR = "supervisor"


class AutoShutdown(Enum):
    """Whether a supervisor ends when its significant children have ended by themselves."""

    NEVER = "never"
    ANY_SIGNIFICANT = "any_significant"
    ALL_SIGNIFICANT = "all_significant"


# Values of `shutdown_s`. Zero seconds and OTP's `brutal_kill` have the same effect, so they are the
# same number.
BRUTAL_KILL: Final = 0.0
INFINITY: Final = math.inf
# Stands for OTP's default: 5 s for a worker, INFINITY for a supervisor, which needs as long as
# the tree below it. Recognised by identity: a caller's own -1.0 is refused.
DEFAULT_SHUTDOWN: Final = float("-1")
WORKER_SHUTDOWN_S: Final = 5.0


class Life(Protocol):
    """A child's handle to its supervisor, given to `start`; the same object for all lives of a child."""

    def started(self) -> None:
        """Report that the child is ready: whoever waits for its start goes on. Later calls do nothing."""

    def trap_exit(self) -> trio.Event:
        """Have the supervisor ask this life to end before it cancels it (OTP's `trap_exit`).

        Returns:
            An event of this life, set when the supervisor stops the child, which then has
            `shutdown_s` seconds before it is cancelled. A child that has not called this is
            cancelled at once.
        """


Start = Callable[[Life], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildSpec:
    """What to run as a child, and when to run it again.

    >>> async def worker(life: Life) -> None:
    ...     life.started()
    ...     await trio.sleep_forever()
    >>> ChildSpec(id="worker", start=worker, restart=Restart.TRANSIENT).shutdown_s
    5.0

    A life that returns ends NORMAL; one that raises `Shutdown` ends SHUTDOWN; any other
    exception is a crash, also an exception group (but a group of one counts as what is in it).
    `Ignore`, raised before `started()`, is OTP's `ignore`.

    Attributes:
        id: Unique among siblings; used in logs and errors.
        start: Runs the child. Called once for every life, so state that must survive a crash
            belongs to another object.
        restart: When to run `start` again.
        shutdown_s: Seconds a child that traps exits has to end before it is cancelled;
            `BRUTAL_KILL`: it is cancelled without being asked; `INFINITY`: it is never cancelled.
            By default 5 s for a worker and INFINITY for a supervisor.
        type: Worker or supervisor; for counts and the default above.
        significant: Its end may end the supervisor, see `AutoShutdown`.

    Raises:
        InvalidSpec: A `shutdown_s` that is negative or NaN, a `start` that cannot be called, or a significant
            permanent child, whose end could never count (OTP: `bad_combination`).
    """

    id: Hashable
    start: Start
    restart: Restart = Restart.PERMANENT
    shutdown_s: float = DEFAULT_SHUTDOWN
    type: ChildType = ChildType.WORKER
    significant: bool = False

    def __post_init__(self) -> None:
        """Refuse impossible values and fill in the default that depends on the type."""
        if not callable(self.start):
            raise InvalidSpec(f"child {self.id!r}: start is not callable")
        if self.significant and self.restart is Restart.PERMANENT:
            raise InvalidSpec(f"child {self.id!r}: a permanent child cannot be significant")
        if self.shutdown_s is DEFAULT_SHUTDOWN:
            worker = self.type is ChildType.WORKER
            object.__setattr__(self, "shutdown_s", WORKER_SHUTDOWN_S if worker else INFINITY)
        elif not self.shutdown_s >= 0:
            raise InvalidSpec(f"child {self.id!r}: shutdown_s is {self.shutdown_s!r}")


class State(Enum):
    """The state of a child; `child` draws the transitions.

    STOPPED is OTP's `undefined` (terminated, ended for good, or ignored); RESTARTING means that
    it failed and waits for its next attempt.
    """

    STARTING = "starting"
    RUNNING = "running"
    RESTARTING = "restarting"
    STOPPING = "stopping"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildInfo:
    """One line of `which_children`.

    Attributes:
        id: The child's.
        type: Worker or supervisor.
        state: Its state.
        restarts: Lives begun after the first.
        last_reason: How the last life ended, shortened; None if there was none.
        age_s: Seconds of the present life, 0.0 outside of one.
        nested: The supervisor that the present life runs, if it runs one.
        start: As in its spec: a method of what the child is, for whoever knows more about that.
    """

    id: Hashable
    type: ChildType
    state: State
    restarts: int
    last_reason: str | None
    age_s: float
    nested: "Supervises | None" = field(default=None, repr=False, compare=False)
    start: "Start | None" = field(default=None, repr=False, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildCounts:
    """What `count_children` returns, in OTP's terms.

    Attributes:
        specs: Children, running or not.
        active: Children with a life under way.
        supervisors: Children of type supervisor.
        workers: The others.
    """

    specs: int
    active: int
    supervisors: int
    workers: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistics:
    """Counters of a supervisor since it was made; they only grow.

    Attributes:
        restarts: Lives begun after a child's first.
        crashes: Lives that ended by an exception other than `Shutdown` and `Ignore`.
        given_up: Children (dynamic) or runs (static) ended by the restart limit.
    """

    restarts: int
    crashes: int
    given_up: int


class Supervises(Protocol):
    """What both kinds of supervisor report."""

    @property
    def is_running(self) -> bool:
        """Whether `run` is under way."""

    def which_children(self, limit: int | None = None) -> tuple[ChildInfo, ...]:
        """Describe at most `limit` children, in the order of their start."""

    def count_children(self) -> ChildCounts:
        """Count all children."""
