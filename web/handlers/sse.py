"""Server-sent events: an actor's event as the text of a stream (WHATWG HTML, section 9.2)."""

from __future__ import annotations

from typing import Final

from actors.core import Event

HEARTBEAT: Final = b": heartbeat\n\n"


class LateEvent(Event):
    """An event whose text is made when it is sent, of what is there then."""

    def text(self) -> bytes:
        """Whole frames; asked for once."""
        raise NotImplementedError


_last: tuple[Event | None, bytes] = (None, b"")


def sse(event: Event) -> bytes:
    """One event after its notice, without those in `earlier`.

    Its body is one line, as all JSON without indentation is.

    Streams take one event after the other, so the text of the last one is kept for the next stream.
    """
    global _last  # noqa: PLW0603  # one loop a process
    if event is not _last[0]:
        _last = (event, event.text() if isinstance(event, LateEvent) else frame(event, event.id))
    return _last[1]


def frame(event: Event, event_id: str) -> bytes:
    """One event after its notice, under another id than its own."""
    text = b"event: %b\nid: %b\ndata: %b\n\n" % (event.name.encode(), event_id.encode(), event.body)
    return text if event.notice is None else notice(*event.notice) + text


def notice(name: str, body: bytes) -> bytes:
    """An event without an id: it names no state to come back to."""
    return b"event: %b\ndata: %b\n\n" % (name.encode(), body)


def sse_since(event: Event, seen: int) -> bytes:
    """What a stream misses that has seen event number `seen`: of `earlier`, and `event`."""
    if event.earlier:
        return b"".join([sse(each) for each in event.since(seen)])
    return sse(event)
