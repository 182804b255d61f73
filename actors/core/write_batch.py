"""What is written to many clients, written together at the end of the turn that made it.

A write that wakes a sleeping client takes twice as long as one to a client
that is awake. Whoever answers or tells many clients in one go therefore makes
it a turn: what is put off in it is done in one go too, so that the first write
does the waking for all of them, and a client that is told several things gets
them in one write.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

_put_off: Final[deque[tuple[Callable[..., None], tuple[Any, ...]]]] = deque()
_is_on = False


@contextmanager
def write_batch() -> Iterator[None]:
    """Do what is put off inside, in its order, at the end. Nothing may wait inside; not to be nested."""
    global _is_on  # noqa: PLW0603  # one loop a process, one turn at a time
    _is_on = True
    try:
        yield
    finally:
        _is_on = False
        # One that raises, which none should, takes nothing of the others with it: the next turn does them.
        while _put_off:
            call, args = _put_off.popleft()
            call(*args)


def at_batch_end(call: Callable[..., None], *args: Any) -> None:
    """Call `call` at the end of the turn under way; at once if there is none. Must neither wait nor raise."""
    if _is_on:
        _put_off.append((call, args))
    else:
        call(*args)
