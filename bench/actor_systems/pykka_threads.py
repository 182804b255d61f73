"""Pykka: a thread and an unbounded queue an actor."""

from __future__ import annotations

import threading
import time

import pykka

from bench.actor_systems.jobs import main, own_bytes


class Counter(pykka.ThreadingActor):
    """Counts messages and sets an event at the last."""

    def __init__(self, wanted: int, done: threading.Event) -> None:
        super().__init__()
        self._left = wanted
        self._done = done

    def on_receive(self, message: int) -> int:
        """Count one."""
        self._left -= 1
        if not self._left:
            self._done.set()
        return message


def _cast(count: int) -> float:
    done = threading.Event()
    counter = Counter.start(count, done)
    begun = time.perf_counter()
    for number in range(count):
        counter.tell(number)
    done.wait()
    took = time.perf_counter() - begun
    counter.stop()
    return count / took


def _call(count: int) -> float:
    counter = Counter.start(count, threading.Event())
    begun = time.perf_counter()
    for number in range(count):
        counter.ask(number)
    took = time.perf_counter() - begun
    counter.stop()
    return count / took


def _idle(count: int) -> tuple[float, float]:
    """Return (spawns per second, bytes per idle actor)."""
    before, begun = own_bytes(), time.perf_counter()
    for _ in range(count):
        Counter.start(1, threading.Event())
    took, after = time.perf_counter() - begun, own_bytes()
    pykka.ActorRegistry.stop_all()
    return count / took, (after - before) / count


if __name__ == "__main__":
    main(
        {
            "cast": _cast,
            "call": _call,
            "spawn": lambda count: _idle(count)[0],
            "bytes": lambda count: _idle(count)[1],
        }
    )
