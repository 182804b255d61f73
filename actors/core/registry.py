"""Unique names of actors: Elixir's `Registry`.

Look-ups read the table in the caller's task, so the registry is no bottleneck; the registry's own task
is sent a `Down` for every actor that ends, and removes its names. The table is made before the tree of
supervisors and outlives the task: a crash of the registry loses nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from actors.core.actor import Actor, Down
from actors.core.errors import AlreadyRegistered, TooMany

if TYPE_CHECKING:
    from collections.abc import Hashable

    from actors.core.audience import Audiences, Event

MAX_NAMES: Final = 1_000_000


class Registry(Actor[Down]):
    """Unique names of actors, each valid for one life.

    >>> class Echo(Actor[str]):
    ...     async def receive(self, message: str) -> str:
    ...         return message
    >>> async def main() -> None:
    ...     registry = Registry(Audiences(max_members=100))
    ...     echo = Echo("echo")
    ...     specs = [ChildSpec(id="registry", start=registry.run), ChildSpec(id="echo", start=echo.run)]
    ...     supervisor = Supervisor(specs)
    ...     async with trio.open_nursery() as nursery:
    ...         nursery.start_soon(supervisor.run)
    ...         registry.register("echo", echo)
    ...         print(await registry.whereis("echo").call("hello"))
    ...         supervisor.stop()
    ...     print(registry.whereis("echo"))
    >>> trio.run(main)
    hello
    None

    An actor registers in its `init`; when that life ends the name ends too, and the next life registers
    again. `whereis` never returns an actor that has ended, even before the registry's task knows.

    Attributes:
        audiences: Who listens to which topic.
    """

    __slots__ = ("_max_names", "_names", "audiences")

    def __init__(self, audiences: Audiences, *, max_names: int = MAX_NAMES) -> None:
        super().__init__("registry")
        self.audiences = audiences
        self._names: dict[Hashable, Actor[Any]] = {}
        self._max_names = max_names

    def __len__(self) -> int:
        return len(self._names)

    def __bool__(self) -> bool:
        return True  # also without names

    def register(self, name: Hashable, actor: Actor[Any]) -> None:
        """Give `name` to `actor` until its life ends. Again for the same actor changes nothing.

        Raises:
            AlreadyRegistered: Another living actor has it.
            TooMany: The table is full.
        """
        holder = self._names.get(name)
        if holder is not None and holder is not actor and holder.is_alive:
            raise AlreadyRegistered(name)
        if holder is None and len(self._names) >= self._max_names:
            raise TooMany("names", self._max_names)
        self._names[name] = actor
        actor.demonitor(self, name)
        actor.monitor(self, name)

    def unregister(self, name: Hashable) -> None:
        """Remove `name`; nothing happens if no actor has it."""
        actor = self._names.pop(name, None)
        if actor is not None:
            actor.demonitor(self, name)

    def whereis(self, name: Hashable) -> Actor[Any] | None:
        """The actor of that name, if it is alive."""
        actor = self._names.get(name)
        return actor if actor is not None and actor.is_alive else None

    async def broadcast(self, topic: Hashable, event: Event) -> None:
        """Offer `event` to everybody who listens to `topic`."""
        await self.audiences.broadcast(topic, event)

    async def init(self) -> None:
        """Remove the names of actors that ended while the registry was not running."""
        for name, actor in tuple(self._names.items()):
            if actor.is_alive:
                actor.demonitor(self, name)
                actor.monitor(self, name)
            else:
                del self._names[name]

    async def receive(self, message: Down) -> None:
        """Remove the name of an actor that ended, unless a living one has it again."""
        actor = self._names.get(message.ref)
        if actor is not None and not actor.is_alive:
            del self._names[message.ref]
