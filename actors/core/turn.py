"""What many conversations write, written together at the end of the turn in which they ran.

A write that wakes a sleeping client takes twice as long as one to a client
that is awake. Whoever runs many conversations in one go therefore makes it a
turn: what is put off in it is done in one go too, so that the first write
does the waking for all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

_put_off: list[tuple[Callable[..., None], tuple[Any, ...]]] = []
_is_on = False


@contextmanager
def turn() -> Iterator[None]:
    """Do what is put off inside, in its order, at the end. Nothing may wait inside; not to be nested."""
    global _is_on  # noqa: PLW0603  # one loop a process, one turn at a time
    _is_on = True
    try:
        yield
    finally:
        _is_on = False
        for call, args in _put_off:
            call(*args)
        _put_off.clear()


def at_turn_end(call: Callable[..., None], *args: Any) -> None:
    """Call `call` at the end of the turn under way; at once if there is none. Must neither wait nor raise."""
    if _is_on:
        _put_off.append((call, args))
    else:
        call(*args)
