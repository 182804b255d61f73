"""Names of actors, kept by an actor and read by everybody.

Looking up and sending read the table in the caller, so the registry is no
bottleneck; the registry's own task hears of deaths and cleans up. The table
is made before the tree of supervisors and outlives the task: a crash of the
registry loses nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from actors.core.actor import Actor, Down
from actors.core.errors import ActorGone, AlreadyRegistered, TooMany

if TYPE_CHECKING:
    from collections.abc import Hashable

    from actors.core.audience import Audiences, Event

MAX_NAMES: Final = 1_000_000


class Registry(Actor[Down]):
    """Unique names, gone with the life that had them.

    A life registers in its `init`; when it ends the name ends too, and a
    restarted life registers again. `whereis` never returns an actor that has
    ended, even before the registry's task has heard of it.

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
        """Free `name`; nothing happens if nobody has it."""
        actor = self._names.pop(name, None)
        if actor is not None:
            actor.demonitor(self, name)

    def whereis(self, name: Hashable) -> Actor[Any] | None:
        """The living actor of that name."""
        actor = self._names.get(name)
        return actor if actor is not None and actor.is_alive else None

    def send(self, name: Hashable, message: object) -> None:
        """Cast to whoever has the name.

        Raises:
            ActorGone: Nobody has it.
            MailboxFull: The receiver's mailbox is full.
        """
        actor = self.whereis(name)
        if actor is None:
            raise ActorGone(name, message)
        actor.cast(message)

    async def broadcast(self, topic: Hashable, event: Event) -> None:
        """Offer `event` to everybody who listens to `topic`."""
        await self.audiences.broadcast(topic, event)

    async def init(self) -> None:
        """Catch up with deaths that no life of ours heard of."""
        for name, actor in tuple(self._names.items()):
            if actor.is_alive:
                actor.demonitor(self, name)
                actor.monitor(self, name)
            else:
                del self._names[name]

    async def receive(self, message: Down) -> None:
        """Clean up after a death, unless the name has a living owner again."""
        actor = self._names.get(message.ref)
        if actor is not None and not actor.is_alive:
            del self._names[message.ref]
