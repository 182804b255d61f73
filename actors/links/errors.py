"""What can go wrong between this process and an engine, and who has to act on it."""


class LinkDown(Exception):
    """The engine cannot be reached, or did not answer in time.

    Whether a command that was under way took effect is unknown. The caller's
    move: wait with `until_up` and do again what may be done twice.

    Attributes:
        link: Name of the link.
        cause: What the driver said; None if nothing was sent, the link being down or too busy.
    """

    def __init__(self, link: str, cause: Exception | None = None) -> None:
        super().__init__(f"link {link!r} is down")
        self.link = link
        self.cause = cause


class CannotListen(LinkDown):
    """PostgreSQL is there, but its channels cannot be heard: poll instead, and try again later.

    Attributes:
        reason: Why, in one line.
    """

    def __init__(self, link: str, reason: str) -> None:
        super().__init__(link)
        self.reason = reason


class NotSent(LinkDown):
    """Nothing was sent: the connection is down, or too many commands wait. It can be sent again."""


class OutcomeUnknown(LinkDown):
    """The command was sent and not answered: it may have been carried out."""
