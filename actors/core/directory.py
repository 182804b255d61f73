"""A directory of actors by key: found, or made, registered and started under one dynamic supervisor."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Generic, NamedTuple, TypeVar

import trio

from actors.core.actor import Actor
from actors.core.errors import TooMany
from supervision import (
    BRUTAL_KILL,
    AlreadyStarted,
    ChildSpec,
    DynamicSupervisor,
    MaxChildren,
    Restart,
    SupervisorNotRunning,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Iterator

    from actors.core.registry import Registry
    from supervision import Life

M = TypeVar("M")
K = TypeVar("K", bound="Hashable")
A = TypeVar("A", bound=Actor[Any])

# Looking at this many actors takes about a millisecond.
ACTORS_PER_SLICE: Final = 1000
# Pauses after an actor was given up: one second, doubling to thirty.
FIRST_COOLDOWN_S: Final = 1.0
MAX_COOLDOWN_S: Final = 30.0


class Cooldown(NamedTuple):
    """A pause in which an actor that crashed too often is not started again.

    Attributes:
        until_s: When it ends, on the caller's clock.
        pause_s: How long it is altogether.
    """

    until_s: float
    pause_s: float

    def retry_after_s(self, now_s: float) -> int:
        """Whole seconds left, at least 1; 0 once it is over."""
        return max(1, math.ceil(self.until_s - now_s)) if now_s < self.until_s else 0

    def is_forgiven(self, now_s: float) -> bool:
        """Whether the next failure would begin with the shortest pause again."""
        return now_s - self.until_s > MAX_COOLDOWN_S


def next_cooldown(before: Cooldown | None, now_s: float) -> Cooldown:
    """The pause after an actor was given up at `now_s`: twice the last, unless that is long past."""
    if before is None or before.is_forgiven(now_s):
        pause_s = FIRST_COOLDOWN_S
    else:
        pause_s = min(before.pause_s * 2, MAX_COOLDOWN_S)
    return Cooldown(now_s + pause_s, pause_s)


@dataclass(frozen=True, slots=True)
class Unavailable:
    """There is no actor for a key, and none can be started now.

    Attributes:
        retry_after_s: Seconds until its cooldown ends; None where the directory is full or not running.
    """

    retry_after_s: int | None = None


NO_PLACE: Final = Unavailable()


class RetiringActor(Actor[M]):
    """An actor that its directory ends, normally, once nobody has used it for a while.

    >>> async def main() -> None:
    ...     registry = Registry(Audiences(max_members=100))
    ...     sessions = Directory[int, RetiringActor[None]](
    ...         "session",
    ...         registry,
    ...         lambda number: RetiringActor(("session", number), mailbox_slots=8),
    ...         max_actors=1000,
    ...         idle_s=0.01,
    ...     )
    ...     async with trio.open_nursery() as nursery:
    ...         nursery.start_soon(sessions.run)
    ...         await trio.testing.wait_all_tasks_blocked()
    ...         sessions.open(1)
    ...         print(sessions.supervisor.child_ids())
    ...         await trio.sleep(0.1)
    ...         print(sessions.supervisor.child_ids())
    ...         nursery.cancel_scope.cancel()
    >>> trio.run(main)
    (1,)
    ()

    Whoever uses it says so with `touch`; the directory looks at it every `idle_s` seconds, so it
    retires after one to two of these periods. One timer serves them all: thousands of timers would make
    every operation on the heap of deadlines slower.
    """

    __slots__ = ("_was_used",)

    def __init__(self, name: Hashable, *, mailbox_slots: int) -> None:
        super().__init__(name, mailbox_slots=mailbox_slots)
        self._was_used = True

    @property
    def is_needed(self) -> bool:
        """Whether it has to stay although nobody uses it, as an actor with listeners may."""
        return False

    def touch(self) -> None:
        """Do not retire before a whole period without use has passed."""
        self._was_used = True

    def retire_if_idle(self) -> None:
        """Have it end if it was not used since the last call, nor is until it gets to this message."""
        if not (self._was_used or self.is_needed):
            self.run_soon(self._retire)
        self._was_used = False

    def _retire(self) -> None:
        if not (self._was_used or self.is_needed):
            self.stop()


class Directory(Generic[K, A]):
    """Finds the actor of a key, or makes, registers and starts it.

    The name of an actor in the registry is `(kind, key)`; nobody else may register names of this kind.
    Actors are transient children of `supervisor`: a crash restarts one, a normal end forgets it. One that
    uses up its restarts is given up; the next `open` starts a new one, after a cooldown if there is one.

    >>> class Counter(Actor[int]):
    ...     total = 0
    ...
    ...     async def receive(self, message: int) -> int:
    ...         self.total += message
    ...         return self.total
    >>> async def main() -> None:
    ...     registry = Registry(Audiences(max_members=100))
    ...     counters = Directory[str, Counter](
    ...         "counter", registry, lambda key: Counter(("counter", key)), max_actors=1000
    ...     )
    ...     async with trio.open_nursery() as nursery:
    ...         nursery.start_soon(counters.run)
    ...         await trio.testing.wait_all_tasks_blocked()
    ...         counter = counters.open("apples")
    ...         if not isinstance(counter, Unavailable):
    ...             await counter.call(2)
    ...             print(await counter.call(3), counters.find("apples") is counter)
    ...         nursery.cancel_scope.cancel()
    >>> trio.run(main)
    5 True

    Args:
        kind: First half of the actors' names.
        registry: Where they are registered.
        make: A new actor for a key, named `(kind, key)`. It must register itself in `init`, since a
            name belongs to one run.
        max_actors: Most actors at a time.
        resume: Keys that need an actor whenever the supervisor has (re)started; by default those with
            listeners.
        on_given_up: Called with the key and the last failure of an actor that used up its restarts; may
            `open` a new one. Must not wait.
        has_cooldown: Whether a key is refused for a while after its actor was given up.
        idle_s: Seconds between two looks at the actors, which must then be `RetiringActor`s. At each look
            one that was given up and has listeners is started again.

    Attributes:
        supervisor: Has the actors as children, by their keys.
        given_up: How many actors have been given up.
    """

    def __init__(
        self,
        kind: str,
        registry: Registry,
        make: Callable[[K], A],
        *,
        max_actors: int,
        resume: Callable[[], Iterable[K]] | None = None,
        on_given_up: Callable[[K, BaseException], None] | None = None,
        has_cooldown: bool = False,
        idle_s: float | None = None,
    ) -> None:
        self._kind = kind
        self._registry = registry
        self._make = make
        self._keys_to_resume = resume or self.listened
        self._tell_given_up = on_given_up
        self._has_cooldown = has_cooldown
        self._cooldowns: dict[K, Cooldown] = {}
        self._lost = set[K]()
        self._idle_s = idle_s
        self.given_up = 0
        self.supervisor = DynamicSupervisor(
            max_children=max_actors, on_given_up=self._on_given_up, on_started=self._resume
        )

    def find(self, key: K) -> A | None:
        """The actor of `key` that is running, if there is one."""
        found: Any = self._registry.whereis((self._kind, key))
        return found  # type: ignore[no-any-return]  # only this directory registers names of its kind

    def open(self, key: K) -> A | Unavailable:
        """The actor of `key`, started if there is none. Never waits: its `init` has not run yet."""
        found = self.find(key)
        if found is not None:
            return found
        cooldown = self._cooldowns.get(key)
        if cooldown is not None and (left_s := cooldown.retry_after_s(trio.current_time())):
            return Unavailable(left_s)
        actor = self._make(key)
        try:
            self._registry.register(actor.name, actor)
            self.supervisor.spawn(
                ChildSpec(id=key, start=actor.run, restart=Restart.TRANSIENT, shutdown_s=BRUTAL_KILL)
            )
        except (AlreadyStarted, MaxChildren, SupervisorNotRunning, TooMany):
            self._registry.unregister(actor.name)
            return NO_PLACE
        return actor

    def listened(self) -> Iterator[K]:
        """Keys whose topic, which has the actor's name, has members now."""
        for topic in self._registry.audiences.topics():
            if isinstance(topic, tuple) and topic[0] == self._kind:
                yield topic[1]

    @property
    def cooling(self) -> int:
        """How many keys are in a cooldown, or have been in one lately."""
        return len(self._cooldowns)

    def forget_recovered(self) -> None:
        """Drop cooldowns so long past that the next failure begins with the shortest pause anyway."""
        now = trio.current_time()
        for key, cooldown in tuple(self._cooldowns.items()):
            if cooldown.is_forgiven(now):
                del self._cooldowns[key]

    async def run(self, life: Life | None = None) -> None:
        """Supervise the actors, and let idle ones retire, until stopped or cancelled."""
        if self._idle_s is None:
            await self.supervisor.run(life)
            return
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._retire_idle_actors, self._idle_s)
            await self.supervisor.run(life)
            nursery.cancel_scope.cancel()

    async def _retire_idle_actors(self, idle_s: float) -> None:
        while True:
            await trio.sleep(idle_s)
            for looked, key in enumerate(self.supervisor.child_ids(), start=1):
                actor = self._registry.whereis((self._kind, key))
                if isinstance(actor, RetiringActor):
                    actor.retire_if_idle()
                if looked % ACTORS_PER_SLICE == 0:
                    await trio.lowlevel.checkpoint()
            self._start_lost()

    def _start_lost(self) -> None:
        lost, self._lost = self._lost, set()
        for key in lost:
            if self._registry.audiences.count((self._kind, key)) and isinstance(self.open(key), Unavailable):
                self._lost.add(key)

    def _resume(self) -> None:
        for key in self._keys_to_resume():
            self.open(key)

    def _on_given_up(self, spec: ChildSpec, reason: BaseException) -> None:
        key: Any = spec.id
        self.given_up += 1
        if self._idle_s is not None:
            self._lost.add(key)
        if self._has_cooldown:
            self._cooldowns[key] = next_cooldown(self._cooldowns.get(key), trio.current_time())
        if self._tell_given_up is not None:
            self._tell_given_up(key, reason)
