"""Batches socket writes until the current event-loop callback ends.

A write that wakes a sleeping process takes twice as long as one to a process that is awake. So code
that answers many clients postpones its writes to the end of the batch: the first write wakes the
receiving processes, and a client that is sent several things gets them in one write.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Final

_postponed: Final[deque[tuple[Callable[..., None], tuple[Any, ...]]]] = deque()
_is_on = False


class WriteBatch:
    """The context manager of `write_batch`: a class, since a generator takes four times as long."""

    __slots__ = ()

    def __enter__(self) -> None:
        global _is_on  # noqa: PLW0603  # one loop a process, one batch at a time
        _is_on = True

    def __exit__(self, *_: object) -> None:
        global _is_on  # noqa: PLW0603  # as above
        _is_on = False
        # None should raise. If one does, the rest are called at the end of the next batch.
        while _postponed:
            call, args = _postponed.popleft()
            call(*args)


_THE_BATCH: Final = WriteBatch()


def write_batch() -> WriteBatch:
    """Make the calls given to `at_batch_end` inside, in order, at the end. Must not await or be nested."""
    return _THE_BATCH


def is_in_write_batch() -> bool:
    """Whether calls given to `at_batch_end` are postponed now."""
    return _is_on


def at_batch_end(call: Callable[..., None], *args: Any) -> None:
    """Call `call` at the end of the present batch; at once outside of one. Must neither wait nor raise."""
    if _is_on:
        _postponed.append((call, args))
    else:
        call(*args)
