"""What can go wrong, and whose move is next.

Two families. `Shutdown` and `Ignore` are words a child says to its supervisor; they are raised
inside a child and are not failures. Everything under `SupervisionError` is said to a caller.
"""

from collections.abc import Hashable


class Shutdown(Exception):
    """Raised by a child to say: I end here, in good order.

    The same as OTP's exit reasons `shutdown` and `{shutdown, Term}`: a transient child is not
    run again, and nothing is logged as a crash.

    Attributes:
        reason: Whatever helps a reader of the log; never interpreted.
    """

    def __init__(self, reason: object = None) -> None:
        """Keep the reason; `Shutdown()` alone is fine."""
        super().__init__() if reason is None else super().__init__(reason)
        self.reason = reason


class RestartLimitReached(Shutdown):
    """More restarts than allowed within the time allowed: the supervisor gives up.

    Raised out of `Supervisor.run`, all children stopped. It is a `Shutdown` because that is how
    an OTP supervisor ends then: its own supervisor decides by the restart type whether to try
    the whole branch again.

    Attributes:
        child: Id of the child whose failure was one too many.
        max_restarts: How many were allowed.
        max_seconds: Within how many seconds.
    """

    def __init__(self, child: Hashable, max_restarts: int, max_seconds: float) -> None:
        """Keep the facts."""
        super().__init__(
            f"child {child!r} failed once more after {max_restarts} restarts within {max_seconds:g} s"
        )
        self.child = child
        self.max_restarts = max_restarts
        self.max_seconds = max_seconds


class Ignore(Exception):
    """Raised by a child before `started()` to say: not needed here, carry on without me.

    A static supervisor keeps the recipe (not that of a temporary child) and `restart_child` may
    try again; a dynamic one forgets the child. Raised after `started()` it is a crash.
    """


class Killed(Exception):
    """What stands as the reason of a life that ended through `kill_child`.

    Attributes:
        reason: As given to `kill_child`.
    """

    def __init__(self, reason: object = None) -> None:
        """Keep the reason."""
        super().__init__() if reason is None else super().__init__(reason)
        self.reason = reason


class SupervisionError(Exception):
    """Base of what a supervisor answers to a caller."""


class InvalidSpec(SupervisionError, ValueError):
    """The recipe contradicts itself or its supervisor: correct it, nothing was started."""


class SupervisorNotRunning(SupervisionError):
    """The supervisor has not started, is stopping, or has ended: nobody handled the request."""


class ChildError(SupervisionError):
    """Base of the answers that are about one child.

    Attributes:
        child: Its id.
    """

    text = "child {!r}"

    def __init__(self, child: Hashable) -> None:
        """Keep the id."""
        super().__init__(self.text.format(child))
        self.child = child


class ChildStartError(ChildError):
    """The child ended before it said `started()`; it is not kept.

    Out of `Supervisor.run` at its first start this means: every child started before it has been
    stopped again.

    Attributes:
        cause: What it raised; None if it returned without a word or was stopped meanwhile.
    """

    def __init__(self, child: Hashable, cause: BaseException | None = None) -> None:
        """Keep the facts; the cause is also `__cause__`."""
        super().__init__(child)
        # Its name only: the repr is the child's code and may crash in the supervisor's hands.
        why = "no exception" if cause is None else type(cause).__name__
        self.args = (f"child {child!r} ended before started(): {why}",)
        self.cause = cause
        self.__cause__ = cause


class ChildNotFound(ChildError):
    """No child has this id (any more)."""

    text = "no child {!r}"


class AlreadyStarted(ChildError):
    """A child with this id lives here (or is being restarted): talk to that one."""

    text = "child {!r} is already started"


class AlreadyPresent(ChildError):
    """A recipe with this id is kept, not running: `restart_child` or `delete_child` it."""

    text = "child {!r} is already present, not running"


class ChildRunning(ChildError):
    """The child lives: `terminate_child` it first."""

    text = "child {!r} is running"


class ChildRestarting(ChildError):
    """The supervisor is about to start it again: wait, or `terminate_child` it first."""

    text = "child {!r} is being restarted"


class MaxChildren(SupervisionError):
    """The dynamic supervisor is full; try again when a child has ended.

    Attributes:
        max_children: Its limit.
    """

    def __init__(self, max_children: int) -> None:
        """Keep the limit."""
        super().__init__(f"all {max_children} places for children are taken")
        self.max_children = max_children
