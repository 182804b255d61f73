"""A coroutine that runs without a task of its own, as long as it waits only for answers of actors.

A task costs two iterations of the event loop for every answer it waits for. Such a coroutine goes on
at once in whichever task sends the answer, which is what a server needs that handles thousands of
requests a second, each waiting once for one actor.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Coroutine, Generator
from typing import Any, ClassVar, Generic, TypeVar

T = TypeVar("T")

_WAITING = object()


class InlineCall(Generic[T]):
    """Runs one coroutine, from its first step to its result.

    >>> class Doubler(Actor[int]):
    ...     async def receive(self, message: int) -> int:
    ...         return 2 * message
    >>> async def main() -> None:
    ...     doubler = Doubler("doubler")
    ...     supervisor = Supervisor([ChildSpec(id="doubler", start=doubler.run)])
    ...     async with trio.open_nursery() as nursery:
    ...         nursery.start_soon(supervisor.run)
    ...         InlineCall(doubler.call(21), print).resume()
    ...         await trio.testing.wait_all_tasks_blocked()
    ...         supervisor.stop()
    >>> trio.run(main)
    42

    It may await `Actor.call` and nothing else of trio: no sleeping, no cancel scope, no nursery, or a
    RuntimeError is raised in it. It has to catch its own exceptions: they would be raised in the task
    that answers.

    Args:
        coroutine: Not started yet.
        on_done: Called once with its result; must neither wait nor raise.
    """

    __slots__ = ("_coroutine", "_on_done")

    current: ClassVar[InlineCall[Any] | None] = None

    def __init__(self, coroutine: Coroutine[Any, Any, T], on_done: Callable[[T], None]) -> None:
        self._coroutine = coroutine
        self._on_done = on_done

    def resume(self) -> None:
        """Run to the next answer it waits for, or to its end."""
        outer, InlineCall.current = InlineCall.current, self
        try:
            trap = self._coroutine.send(None)
            if trap is not _WAITING:
                self._coroutine.throw(RuntimeError("an inline call can only wait for actors"))
                raise RuntimeError("an inline call waited twice for something that is not an actor")
        except StopIteration as done:
            result = done.value
        else:
            return
        finally:
            InlineCall.current = outer
        self._on_done(result)


@types.coroutine
def wait_for_answer() -> Generator[object, None, None]:
    """Wait, inside an inline call, until it is resumed."""
    yield _WAITING
