"""Server-sent events: an actor's event as the text of a stream (WHATWG HTML, section 9.2)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from actors.core import Event

HEARTBEAT: Final = b": heartbeat\n\n"


_last: tuple[Event | None, bytes] = (None, b"")


def sse(event: Event) -> bytes:
    """One event after its notice, without those in `earlier`.

    Its body is one line, as all JSON without indentation is.

    Streams take one event after the other, so the text of the last one is kept for the next stream.
    """
    global _last  # noqa: PLW0603  # one loop a process
    if event is not _last[0]:
        text = b"event: %b\nid: %b\ndata: %b\n\n" % (event.name.encode(), event.id.encode(), event.body)
        if event.notice is not None:
            text = notice(*event.notice) + text
        _last = (event, text)
    return _last[1]


def notice(name: str, body: bytes) -> bytes:
    """An event without an id: it names no state to come back to."""
    return b"event: %b\ndata: %b\n\n" % (name.encode(), body)


def sse_since(event: Event, seen: int) -> bytes:
    """What a stream misses that has seen event number `seen`: of `earlier`, and `event`."""
    if event.earlier:
        return b"".join([sse(each) for each in event.since(seen)])
    return sse(event)
