"""What can go wrong between two actors, and who has to act on it."""

from __future__ import annotations

from collections.abc import Hashable


class ActorError(Exception):
    """Base of all errors in sending to an actor."""


class NotDelivered(ActorError):
    """The message was not handled: the sender may send it elsewhere or later, or report it.

    Attributes:
        actor: Name of the receiver.
        message: The message that was not handled.
    """

    def __init__(self, actor: Hashable, message: object) -> None:
        super().__init__(f"{type(self).__name__}: {actor!r}")
        self.actor = actor
        self.message = message


class MailboxFull(NotDelivered):
    """The receiver is alive but has as many unread messages as it may hold."""


class ActorGone(NotDelivered):
    """The receiver has ended; the message was not handled."""


class CallingSelf(NotDelivered):
    """An actor called itself while it handled a message, and would have waited for itself."""


class ActorCrashed(ActorGone):
    """The receiver crashed while it handled this very message; its effect is unknown.

    Attributes:
        reason: What the receiver raised, without groups of one around it.
    """

    def __init__(self, actor: Hashable, message: object, reason: BaseException | None) -> None:
        super().__init__(actor, message)
        self.reason = reason


class CallTimeout(ActorError):
    """No answer before the deadline. The message may still be handled; a late answer is dropped.

    Attributes:
        actor: Name of the receiver.
        message: The request.
    """

    def __init__(self, actor: Hashable, message: object) -> None:
        super().__init__(f"no answer in time from {actor!r}")
        self.actor = actor
        self.message = message


class AlreadyRunning(ActorError):
    """The actor runs as another child already: make one actor for each child.

    Attributes:
        actor: Name of the actor.
    """

    def __init__(self, actor: Hashable) -> None:
        super().__init__(f"{actor!r} is running as another child")
        self.actor = actor


class AlreadyRegistered(ActorError):
    """Another living actor has the name.

    Attributes:
        name: The name.
    """

    def __init__(self, name: Hashable) -> None:
        super().__init__(f"name {name!r} is taken")
        self.name = name


class TooMany(ActorError):
    """A table is full.

    Attributes:
        what: Which limit was reached: `names`, `members`, `members_of_topic` or `views`.
        limit: How many there may be.
    """

    def __init__(self, what: str, limit: int) -> None:
        super().__init__(f"limit of {limit} {what} reached")
        self.what = what
        self.limit = limit
