"""What both supervisors keep about a child, and hand to it as its `Life`."""

import logging
import math
from typing import Final

import trio

from supervision.errors import Killed, Shutdown
from supervision.policy import Exit, classify, unwrap
from supervision.spec import BRUTAL_KILL, ChildInfo, ChildSpec, Life, State, Supervises

logger: Final = logging.getLogger("supervision")

# A last reason is kept as text: the exception itself would keep its frames alive.
REASON_CHARS: Final = 200

# The supervisor that is calling `trap_exit` right now, if the caller is one.
_asking: Supervises | None = None

# What `stop_reason` holds while a supervisor ends a life for good.
STOP: Final = Shutdown("stopped by its supervisor")


def brief(raised: BaseException) -> str:
    """Write an exception down in few words."""
    try:
        return repr(raised)[:REASON_CHARS]
    # An exception is a child's code as well, and this runs where nobody catches its mistakes.
    except Exception:  # noqa: BLE001 - see above
        return f"{type(raised).__name__}(its repr crashed)"


class Child:
    """A child's record.

    Attributes:
        spec: Its recipe.
        state: Where it stands.
        begun: Whether the present life, or else the last, has said `started()`.
        born: `trio.current_time()` at the beginning of the life under way.
        restarts: Lives begun after the first.
        last_reason: How the last life ended, as short text.
        scope: What cancels the life under way, once there is one.
        trap: Set to ask a life to stop, if that life asked to be asked.
        stop_reason: Why the life under way is being ended from outside: a `Killed`, `STOP`, or None.
        nested: The supervisor this life runs, if it runs one; for the picture of the tree.
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
        """A child that has not lived yet."""
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
        return self.state in LIVING

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

    def notify(self) -> None:
        """Wake whoever waits for a change of this child."""
        raise NotImplementedError

    def cancel(self) -> None:
        """Cancel the life under way."""
        raise NotImplementedError

    def ask_to_stop(self) -> float:
        """Make the life under way end, by the means its spec and its manners allow.

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
        """End the life under way as abnormally as a crash; nothing happens outside of a life."""
        if self.state is State.STARTING or self.state is State.RUNNING:
            self.stop_reason = Killed(reason)
            self.cancel()

    def judge(self, raised: BaseException | None) -> tuple[Exit, BaseException | None]:
        """Say how a life ended and for what reason, log it if need be, remember it as text.

        Clears what belonged to that life. To be called by the child's task, outside of the life's
        scope. A life that its supervisor stopped is SHUTDOWN with reason `STOP`, whatever it raised.
        """
        stop_reason = self.stop_reason
        self.stop_reason = self.exit_request = self.scope = self.nested = None
        end = classify(raised, started=self.is_started)
        if end is Exit.CRASHED:
            if stop_reason is None and trio.current_effective_deadline() == -math.inf:
                # It was cancelled together with its supervisor, which this exception covers up.
                stop_reason = STOP
            self._log_crash(raised, stop_reason)
        if isinstance(stop_reason, Killed):
            raised, end = stop_reason, Exit.KILLED
            logger.warning("child_killed", extra={"child": self.spec.id, "reason": stop_reason.reason})
        elif stop_reason is not None:
            raised, end = stop_reason, Exit.SHUTDOWN
        self.last_reason = "normal" if raised is None else brief(unwrap(raised))
        return end, raised

    def _log_crash(self, raised: BaseException | None, stop_reason: object) -> None:
        event = "child_crashed" if stop_reason is None else "child_crashed_while_stopping"
        facts = {"child": self.spec.id, "started": self.is_started, "restarts": self.restarts}
        logger.error(event, extra=facts, exc_info=raised)

    def info(self, now: float) -> ChildInfo:
        """Describe the child."""
        return ChildInfo(
            id=self.spec.id,
            type=self.spec.type,
            state=self.state,
            restarts=self.restarts,
            last_reason=self.last_reason,
            age_s=now - self.born if self.is_alive else 0.0,
            nested=self.nested,
        )


def trap_exit_as(supervisor: Supervises, life: Life) -> trio.Event:
    """Call `life.trap_exit()`, and record `supervisor` as what that child runs.

    The child behind the handle records it, so a handle wrapped by the child's own code, which
    forwards the call, does not hide a supervisor from `tree.snapshot`.
    """
    global _asking  # noqa: PLW0603 - set for the duration of one call that cannot wait
    _asking = supervisor
    try:
        return life.trap_exit()
    finally:
        _asking = None


LIVING: Final = frozenset({State.STARTING, State.RUNNING, State.STOPPING})


def without_crashes(child: Child, raised: BaseException) -> BaseException:
    """Take the crashes out of what interrupted a child, and log them.

    A child cancelled together with its supervisor may crash on its way out, and a nursery of its
    own then mixes both. The crash is the child's affair; only the interruption goes on.

    Returns:
        The rest, never an `Exception`.
    """
    if isinstance(raised, BaseExceptionGroup):
        crashes, rest = raised.split(Exception)
        if crashes is not None and rest is not None:
            logger.error("child_crashed_while_stopping", extra={"child": child.spec.id}, exc_info=crashes)
            return rest
    return raised


def exit_scope(scope: trio.CancelScope, raised: BaseException | None) -> BaseException | None:
    """Leave a scope entered by `lazy_cancel_scope.enter_for`.

    Returns:
        What is left of the exception once the scope has taken out its own cancellation.
    """
    try:
        kind = None if raised is None else type(raised)
        taken = scope.__exit__(kind, raised, None if raised is None else raised.__traceback__)
    except BaseException as rest:  # noqa: BLE001 - handed to the caller, who goes on raising it
        return rest
    return None if taken else raised
