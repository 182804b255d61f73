from __future__ import annotations

import socket
import time

from bench.load.engine import Engine
from bench.load.window import BOTTLENECK_SHARE, WindowResult, measure


def test_timers_run_in_their_order_and_not_before_their_time() -> None:
    called: list[tuple[str, bool]] = []
    with Engine() as engine:
        start_ns = time.perf_counter_ns()

        def note(name: str, due_ns: int) -> None:
            called.append((name, time.perf_counter_ns() >= due_ns))

        for name, delay_ns in (("late", 8_000_000), ("soon", 1_000_000), ("at once", 0)):
            due_ns = start_ns + delay_ns
            engine.at(due_ns, lambda name=name, due_ns=due_ns: note(name, due_ns))  # type: ignore[misc]
        engine.run(0.05, lambda: len(called) == 3)

    assert called == [("at once", True), ("soon", True), ("late", True)]


def test_running_ends_when_the_condition_holds() -> None:
    with Engine() as engine:
        assert engine.run(10, lambda: True)
        assert not engine.run(0.001, lambda: False)


def test_a_handler_may_close_a_socket_that_is_ready_too() -> None:
    called = []
    with Engine() as engine:
        pairs = [socket.socketpair() for _ in range(2)]

        def first_come() -> None:
            called.append(1)
            for ours, _ in pairs:
                engine.forget(ours)

        for ours, theirs in pairs:
            engine.watch(ours, first_come)
            theirs.send(b"x")
        engine.run(0.01)
        for pair in pairs:
            for each in pair:
                each.close()

    assert called == [1]


def test_a_window_counts_only_what_happens_inside() -> None:
    counted = 1000
    with Engine() as engine:

        def tick() -> None:
            nonlocal counted
            counted += 1
            engine.at(engine.now_ns + 1_000_000, tick)

        tick()
        measured = measure(engine, lambda: counted, duration_s=0.1)

    assert 20 <= measured.count <= 101
    assert measured.elapsed_s >= 0.1
    assert len(measured.timeline) >= 2


def of(cpu_share: float, server_share: float | None) -> WindowResult:
    return WindowResult(elapsed_s=1, count=1, timeline=(), cpu_share=cpu_share, server_share=server_share)


def test_a_generator_without_time_left_is_the_bottleneck() -> None:
    assert of(BOTTLENECK_SHARE, None).is_bottleneck
    assert of(1.0, 0.5).is_bottleneck
    assert not of(0.9, None).is_bottleneck


def test_where_both_are_full_the_server_is_at_its_limit() -> None:
    assert not of(1.0, 0.99).is_bottleneck
