"""Actors: an address that others send messages to, and a supervised task that handles them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final, Generic, NamedTuple, TypeVar

import trio

from actors.core.errors import ActorCrashed, ActorGone, AlreadyRunning, CallingSelf
from actors.core.mailbox import Mailbox, PendingCall, Run
from actors.core.timers import check_delay, timers
from supervision import unwrap

if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Callable, Hashable

    from actors.core.timers import Timer
    from supervision import Life

M = TypeVar("M")

# Many enough that yielding costs little (a checkpoint costs as much as about ten messages), few
# enough that a flooded actor holds the loop for less than a millisecond.
YIELD_EVERY: Final = 128
MAILBOX_SLOTS: Final = 1024
CALL_TIMEOUT_S: Final = 5.0


class Down(NamedTuple):
    """Message to a watcher: the life of a monitored actor has ended.

    Attributes:
        ref: As given to `monitor`.
        reason: What the life raised, without groups of one around it; None after a normal end, and if
            there was no life to monitor.
    """

    ref: Hashable
    reason: BaseException | None


class Actor(Generic[M]):
    """One task, one mailbox, one message at a time: OTP's `gen_server`.

    >>> class Counter(Actor[int]):
    ...     async def init(self) -> None:
    ...         self.total = 0
    ...
    ...     async def receive(self, message: int) -> int:
    ...         self.total += message
    ...         return self.total
    >>> async def main() -> None:
    ...     counter = Counter("counter")
    ...     supervisor = Supervisor([ChildSpec(id="counter", start=counter.run)])
    ...     async with trio.open_nursery() as nursery:
    ...         nursery.start_soon(supervisor.run)
    ...         counter.cast(2)
    ...         print(await counter.call(3))
    ...         supervisor.stop()
    >>> trio.run(main)
    5

    A subclass handles messages in `receive`. State that must not survive a crash is made in `init`;
    state that must survive belongs to another object, handed to the constructor. `run` is one life,
    and is what a `ChildSpec` starts; the address stays the same from one life to the next.

    Attributes:
        name: Who it is, in logs, errors and the registry.
        traps_exit: Set on the class to be asked to end, after the messages already in the mailbox,
            instead of being cancelled. Costs a second task.
        handled: Messages taken from the mailbox so far, over all lives.
    """

    __slots__ = ("_mailbox", "_monitors", "_reply", "_stopping", "_task", "handled", "name")

    traps_exit: ClassVar[bool] = False

    def __init__(self, name: Hashable, *, mailbox_slots: int = MAILBOX_SLOTS) -> None:
        self.name = name
        self._mailbox = Mailbox(mailbox_slots)
        self._monitors: list[tuple[Actor[Any], Hashable]] | None = None
        self._reply: PendingCall | None = None
        self._stopping = False
        self._task: trio.lowlevel.Task | None = None
        self.handled = 0

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r}>"

    # -- for senders ------------------------------------------------------------------

    @property
    def is_alive(self) -> bool:
        """Whether messages are accepted now. True promises nothing about the next instant."""
        return self._mailbox.is_open

    @property
    def unread(self) -> int:
        """How many messages wait in the mailbox."""
        return len(self._mailbox)

    def cast(self, message: M) -> None:
        """Send a message without waiting for anything.

        Raises:
            MailboxFull: The receiver has too many unread messages.
            ActorGone: The receiver has ended.
        """
        self._mailbox.put(self.name, message, message)

    async def call(self, message: M, *, timeout_s: float = CALL_TIMEOUT_S) -> Any:
        """Send a message and wait for what `receive` returns.

        Raises:
            MailboxFull: As for `cast`.
            ActorGone: The receiver ended before it handled the message.
            ActorCrashed: The receiver crashed while handling it.
            CallTimeout: No answer in `timeout_s` seconds; infinity waits for ever.
            CallingSelf: The caller is this very actor.
            ValueError: `timeout_s` is NaN; the message was not sent.
        """
        if timeout_s != timeout_s:  # noqa: PLR0124  # before the message is sent
            check_delay(timeout_s)
        reply = PendingCall(self.name, message)
        if reply.waiter is self._task:
            raise CallingSelf(self.name, message)
        self._mailbox.put(self.name, reply, message)
        return await reply.wait(timeout_s)

    def force_cast(self, message: object) -> bool:
        """Deliver even if the mailbox is full; false if the receiver has ended.

        Only for messages whose number the receiver bounds: its timers, `Down` of actors it monitors,
        answers to its own requests.
        """
        return self._mailbox.put_always(message)

    def run_soon(self, call: Callable[[], None]) -> bool:
        """Call `call` in the actor's task, after the messages already there; false if it has ended.

        What it raises crashes the actor. Like `force_cast` it ignores the mailbox's bound.
        """
        return self._mailbox.put_always(Run(call))

    def crash(self, reason: Exception) -> None:
        """Make the actor's task raise `reason`; for code that ran its work inline, in another task."""

        def fail() -> None:
            raise reason

        self.run_soon(fail)

    def monitor(self, watcher: Actor[Any], ref: Hashable) -> None:
        """Send `watcher` one `Down(ref, reason)` when this life ends; at once if there is no life."""
        if not self.is_alive:
            watcher.force_cast(Down(ref, None))
        elif self._monitors is None:
            self._monitors = [(watcher, ref)]
        else:
            self._monitors.append((watcher, ref))

    def demonitor(self, watcher: Actor[Any], ref: Hashable) -> None:
        """Undo `monitor`. A `Down` that was sent already still arrives."""
        if self._monitors is not None:
            self._monitors = [
                entry for entry in self._monitors if entry[0] is not watcher or entry[1] != ref
            ] or None

    # -- for subclasses to override -----------------------------------------------------

    async def init(self) -> None:
        """Prepare a life: called first, in the actor's task. What it raises makes the start fail."""

    async def receive(self, message: M) -> object:
        """Handle one message; for a call, return the answer. What it raises ends this life as a crash."""
        raise NotImplementedError

    async def terminate(self) -> None:
        """Clean up after `stop`, or an exit request if it traps exits; not called after a crash or kill."""

    def ended(self) -> None:
        """Called last, however the life ended, when no messages are accepted. Must neither wait nor raise."""

    # -- for subclasses to call, inside `receive` ----------------------------------------

    def defer(self) -> PendingCall | None:
        """Take over answering the call under way; None for a cast. What `receive` returns is then dropped."""
        reply, self._reply = self._reply, None
        return reply

    def stop(self) -> None:
        """End this life normally once the message under way is handled."""
        self._stopping = True

    # -- one life ----------------------------------------------------------------------

    async def run(self, life: Life) -> None:
        """One life: `init`, then one message after the other until stopped, cancelled or crashed.

        Raises:
            AlreadyRunning: It is under way, as another child.
        """
        if self._task is not None:
            raise AlreadyRunning(self.name)
        self._task = trio.lowlevel.current_task()
        self._stopping = False
        self._mailbox.open()
        reason: BaseException | None = None
        try:
            if self.traps_exit:
                await self._live_until_asked(life)
            else:
                await self._live(life)
        except BaseException as error:
            reason = unwrap(error)
            raise
        finally:
            self._task = None
            self._end(reason)

    async def _live_until_asked(self, life: Life) -> None:
        failure: BaseException | None = None
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._pass_on, life.trap_exit())
                await self._live(life)
                nursery.cancel_scope.cancel()
        except BaseExceptionGroup as group:
            # The group is the nursery's; an actor that does not trap exits raises what is in it.
            failure = unwrap(group)
        if failure is not None:
            raise failure

    async def _pass_on(self, exit_asked: trio.Event) -> None:
        await exit_asked.wait()
        self.run_soon(self.stop)

    async def _live(self, life: Life) -> None:
        await self.init()
        life.started()
        take = self._mailbox.take
        while not self._stopping:
            # No variable for the queue: while it waits, an actor keeps nothing alive that it has read.
            await self._handle(await take())
        await self.terminate()

    async def _handle(self, queue: deque[Any]) -> None:
        """Handle the waiting messages, up to a bound; yield to other tasks if there are more."""
        entry: Any = None
        count = min(len(queue), YIELD_EVERY)
        self.handled += count
        try:
            for _ in range(count):
                entry = queue.popleft()
                if type(entry) is PendingCall:
                    self._reply = entry
                    answer = await self.receive(entry.message)  # type: ignore[arg-type]  # `call` took an M
                    if self._reply is not None:
                        self._reply = None
                        entry.send(answer)
                elif type(entry) is Run:
                    entry.call()
                else:
                    await self.receive(entry)
                if self._stopping:
                    return
        except Exception as error:
            # For the supervisor's report. Only the kind: what a message holds may be a secret.
            message = entry.message if type(entry) is PendingCall else entry
            error.add_note(f"handling {type(message).__name__}")
            raise
        if queue:
            await trio.lowlevel.checkpoint()

    def _end(self, reason: BaseException | None) -> None:
        """Fail the calls that wait for this life, and notify its watchers."""
        under_way, self._reply = self._reply, None
        if under_way is not None:
            under_way.fail(ActorCrashed(self.name, under_way.message, reason))
        for entry in self._mailbox.close():
            if type(entry) is PendingCall:
                entry.fail(ActorGone(self.name, entry.message))
        watchers, self._monitors = self._monitors, None
        for watcher, ref in watchers or ():
            watcher.force_cast(Down(ref, reason))
        self.ended()


def send_after(delay_s: float, actor: Actor[Any], message: object) -> Timer:
    """Send `message` to `actor` after `delay_s` seconds; dropped if it has ended by then.

    A negative delay is over already; an infinite one never is.

    A timer belongs to the address, not to a life: one set by a life that crashed reaches the next,
    unless it is cancelled.

    Raises:
        ValueError: `delay_s` is NaN.
    """

    def fire() -> None:
        actor.force_cast(message)

    return timers().call_after(delay_s, fire)
