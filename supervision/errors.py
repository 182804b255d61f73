"""Errors, and who has to act on them.

Two families. `Shutdown` and `Ignore` are raised inside a child to tell its supervisor how it ends;
they are not failures. Everything under `SupervisionError` is raised to a caller.
"""

from collections.abc import Hashable


class Shutdown(Exception):
    """Raised by a child that ends in good order.

    OTP's exit reasons `shutdown` and `{shutdown, Term}`: a transient child is not run again, and
    nothing is logged as a crash.

    Attributes:
        reason: For the log; not interpreted.
    """

    def __init__(self, reason: object = None) -> None:
        """Keep the reason; `Shutdown()` alone is fine."""
        super().__init__() if reason is None else super().__init__(reason)
        self.reason = reason


class RestartLimitReached(Shutdown):
    """More restarts than allowed within the time allowed: the supervisor gives up.

    Raised by `Supervisor.run` when all children are stopped. A `Shutdown`, as in OTP: the supervisor
    above decides by the restart type whether to start the whole branch again.

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
    """Raised by a child before `started()`: it is not needed, its supervisor goes on without it.

    A static supervisor keeps the spec, unless it is temporary, for `restart_child`; a dynamic one drops
    the child. Raised after `started()` it is a crash.
    """


class Killed(Exception):
    """The reason of a life that was ended by `kill_child`.

    Attributes:
        reason: As given to `kill_child`.
    """

    def __init__(self, reason: object = None) -> None:
        """Keep the reason."""
        super().__init__() if reason is None else super().__init__(reason)
        self.reason = reason


class SupervisionError(Exception):
    """Base of the errors raised to callers."""


class InvalidSpec(SupervisionError, ValueError):
    """The spec contradicts itself or its supervisor: correct it; nothing was started."""


class SupervisorNotRunning(SupervisionError):
    """The supervisor has not started, is stopping, or has ended; the request was not handled."""


class ChildError(SupervisionError):
    """Base of the errors about one child.

    Attributes:
        child: Its id.
    """

    text = "child {!r}"

    def __init__(self, child: Hashable) -> None:
        """Keep the id."""
        super().__init__(self.text.format(child))
        self.child = child


class ChildStartError(ChildError):
    """The child ended before it called `started()`; it is not kept.

    Raised by `Supervisor.run` at its first start after every child started before has been stopped.

    Attributes:
        cause: What it raised; None if it returned or was stopped meanwhile.
    """

    def __init__(self, child: Hashable, cause: BaseException | None = None) -> None:
        """Keep the facts; the cause is also `__cause__`."""
        super().__init__(child)
        # The type's name only: `repr` is the child's code and may raise here.
        why = "no exception" if cause is None else type(cause).__name__
        self.args = (f"child {child!r} ended before started(): {why}",)
        self.cause = cause
        self.__cause__ = cause


class ChildNotFound(ChildError):
    """No child has this id (any more)."""

    text = "no child {!r}"


class AlreadyStarted(ChildError):
    """A child with this id runs or is being restarted: use that one."""

    text = "child {!r} is already started"


class AlreadyPresent(ChildError):
    """A child with this id is kept, not running: `restart_child` or `delete_child` it."""

    text = "child {!r} is already present, not running"


class ChildRunning(ChildError):
    """The child runs: `terminate_child` it first."""

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
        super().__init__(f"there are {max_children} children already, the most allowed")
        self.max_children = max_children
