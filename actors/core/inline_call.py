"""A coroutine that runs without a task, while it waits for nothing but the answers of actors.

A task costs two turns of the loop for every answer it waits for. Whoever
serves thousands of requests a second, each waiting once for one actor, lets
them run on in the turn of whoever brings the answer instead.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Coroutine, Generator
from typing import Any, ClassVar, Generic, TypeVar

T = TypeVar("T")

_WAITING = object()


class InlineCall(Generic[T]):
    """One coroutine, from its first step to its result.

    What it awaits may be `Actor.call` and nothing else of trio: no sleeping,
    no cancel scope, no nursery. Anything else makes it hear a RuntimeError.
    Its exceptions are its own to catch.

    Args:
        coroutine: Not begun yet.
        on_done: Called once with its result; must neither wait nor raise.
    """

    __slots__ = ("_coroutine", "_on_done")

    current: ClassVar[InlineCall[Any] | None] = None

    def __init__(self, coroutine: Coroutine[Any, Any, T], on_done: Callable[[T], None]) -> None:
        self._coroutine = coroutine
        self._on_done = on_done

    def resume(self) -> None:
        """Run on, to the next answer it waits for or to its end."""
        outer, InlineCall.current = InlineCall.current, self
        try:
            trap = self._coroutine.send(None)
            if trap is not _WAITING:
                self._coroutine.throw(RuntimeError("a conversation can only wait for actors"))
                raise RuntimeError("a conversation waited twice for something that is no actor")
        except StopIteration as done:
            result = done.value
        else:
            return
        finally:
            InlineCall.current = outer
        self._on_done(result)


@types.coroutine
def answer_comes() -> Generator[object, None, None]:
    """Wait, inside a conversation, until it is resumed."""
    yield _WAITING
