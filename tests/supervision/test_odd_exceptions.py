"""What a child raises is a crash unless it interrupts the program; reasons come without groups of one."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from supervision import (
    ChildSpec,
    ChildStartError,
    DynamicSupervisor,
    InvalidSpec,
    Life,
    Restart,
    Supervisor,
)
from supervision.policy import Backoff
from tests.supervision.children import running


class Boom(BaseException):
    """A child's own, not an `Exception`."""


ODD: list[Callable[[], BaseException]] = [
    asyncio.CancelledError,
    GeneratorExit,
    Boom,
    StopAsyncIteration,
    lambda: BaseExceptionGroup("two", [GeneratorExit(), Boom()]),
    lambda: ExceptionGroup("one", [ValueError("inside")]),
]


class Raising:
    """Raises what it is given in its first life, or in each, and runs on afterwards."""

    def __init__(
        self, make: Callable[[], BaseException], *, started: bool = True, always: bool = False
    ) -> None:
        self.make = make
        self.births = 0
        self.started = started
        self.always = always

    async def start(self, life: Life) -> None:
        self.births += 1
        if self.started:
            life.started()
        if self.always or self.births == 1:
            await trio.lowlevel.checkpoint()
            raise self.make()
        await trio.sleep_forever()

    async def start_in_nursery(self, life: Life) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.start, life)


@pytest.mark.parametrize("make", ODD)
@pytest.mark.parametrize("nested", [False, True])
async def test_a_static_child_that_raises_it_is_restarted(
    make: Callable[[], BaseException], nested: bool
) -> None:
    child = Raising(make)
    start = child.start_in_nursery if nested else child.start
    supervisor = Supervisor([ChildSpec(id="a", start=start, restart=Restart.TRANSIENT)])
    async with running(supervisor):
        await wait_all_tasks_blocked()
        assert child.births == 2
        assert supervisor.statistics().crashes == 1


@pytest.mark.parametrize("make", ODD)
@pytest.mark.parametrize("nested", [False, True])
async def test_a_dynamic_child_that_raises_it_is_restarted_alone(
    make: Callable[[], BaseException], nested: bool
) -> None:
    child, other = Raising(make), Raising(ValueError, always=False)
    supervisor = DynamicSupervisor(max_children=9)
    async with running(supervisor):
        supervisor.spawn(ChildSpec(id="a", start=child.start_in_nursery if nested else child.start))
        supervisor.spawn(ChildSpec(id="b", start=other.start))
        await wait_all_tasks_blocked()
        assert (child.births, other.births) == (2, 2)
        assert supervisor.statistics().crashes == 2


@pytest.mark.parametrize("make", [*ODD, KeyboardInterrupt, SystemExit])
async def test_one_that_raises_it_while_it_is_stopped_stops(make: Callable[[], BaseException]) -> None:
    async def stubborn(life: Life) -> None:
        life.started()
        try:
            await trio.sleep_forever()
        finally:
            raise make()

    outcomes: list[BaseException] = []
    for supervisor in (Supervisor([ChildSpec(id="a", start=stubborn)]), DynamicSupervisor(max_children=9)):
        try:
            async with running(supervisor):
                if isinstance(supervisor, DynamicSupervisor):
                    await supervisor.start_child(ChildSpec(id="a", start=stubborn))
                await supervisor.terminate_child("a")
        except BaseExceptionGroup as group:
            outcomes += [*group.exceptions]
    assert (outcomes == []) == (make in ODD)


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, SystemExit])
async def test_an_interruption_of_the_program_is_raised_on(interruption: type[BaseException]) -> None:
    for supervisor in (
        Supervisor([ChildSpec(id="a", start=Raising(interruption).start)]),
        DynamicSupervisor(max_children=9),
    ):
        with pytest.RaisesGroup(interruption, flatten_subgroups=True):
            async with running(supervisor):
                if isinstance(supervisor, DynamicSupervisor):
                    supervisor.spawn(ChildSpec(id="a", start=Raising(interruption).start))
                await trio.sleep(1)


def test_a_child_that_python_closes_ends_there(caplog: pytest.LogCaptureFixture) -> None:
    """Closing throws GeneratorExit into a suspended coroutine, as the end of the interpreter does."""
    coroutines: list[Coroutine[Any, Any, Any]] = []

    async def child(life: Life) -> None:
        life.started()
        coroutines.append(trio.lowlevel.current_task().coro)
        await trio.sleep_forever()

    async def main() -> None:
        supervisor = DynamicSupervisor(max_children=9)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(supervisor.run)
            await wait_all_tasks_blocked()
            supervisor.spawn(ChildSpec(id="a", start=child))
            await wait_all_tasks_blocked()
            coroutines[0].close()
            seen.append(len(coroutines))
            raise Boom

    seen: list[int] = []
    with contextlib.suppress(BaseException):
        trio.run(main)
    assert seen == [1]
    assert "child_crashed" not in caplog.text


@pytest.mark.parametrize("nested", [False, True])
async def test_reasons_are_never_groups_of_one(nested: bool) -> None:
    given_up: list[BaseException] = []
    child = Raising(lambda: ValueError("inside"), always=True)
    start = child.start_in_nursery if nested else child.start
    supervisor = DynamicSupervisor(
        max_children=9, max_restarts=0, on_given_up=lambda _, reason: given_up.append(reason)
    )
    async with running(supervisor):
        supervisor.spawn(ChildSpec(id="a", start=start))
        await wait_all_tasks_blocked()
        assert [repr(reason) for reason in given_up] == ["ValueError('inside')"]

        never = Raising(lambda: ValueError("inside"), started=False, always=True)
        spec = ChildSpec(id="b", start=never.start_in_nursery if nested else never.start)
        with pytest.raises(ChildStartError) as caught:
            await supervisor.start_child(spec)
        assert repr(caught.value.cause) == "ValueError('inside')"
    with pytest.raises(ChildStartError) as caught:
        await Supervisor([spec]).run()
    assert repr(caught.value.cause) == "ValueError('inside')"


async def nothing(life: Life) -> None:
    life.started()


@pytest.mark.parametrize("shutdown_s", [-1, -1.0, float("-1.0"), float("nan"), float("-inf"), -0.001])
def test_a_shutdown_that_is_no_length_of_time_is_refused(shutdown_s: float) -> None:
    with pytest.raises(InvalidSpec):
        ChildSpec(id="a", start=nothing, shutdown_s=shutdown_s)


@pytest.mark.parametrize(
    "limits",
    [
        {"max_seconds": float("nan")},
        {"max_seconds": -1.0},
        {"max_seconds": float("-inf")},
        {"max_restarts": float("nan")},
        {"max_restarts": -1},
    ],
)
def test_limits_that_are_no_numbers_are_refused(limits: dict[str, float]) -> None:
    with pytest.raises(InvalidSpec):
        Supervisor([], **limits)  # type: ignore[arg-type]
    with pytest.raises(InvalidSpec):
        DynamicSupervisor(max_children=1, **limits)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["first_s", "factor", "ceiling_s", "jitter"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf"), -1.0])
def test_a_backoff_of_no_number_is_refused(name: str, value: float) -> None:
    with pytest.raises(InvalidSpec):
        Backoff(**{name: value})


async def test_an_infinite_window_counts_restarts_for_ever(autojump_clock: MockClock) -> None:
    child = Raising(ValueError, always=True)
    supervisor = DynamicSupervisor(max_children=1, max_restarts=2, max_seconds=float("inf"))

    async def rarely(life: Life) -> None:
        await trio.sleep(10_000)
        await child.start(life)

    async with running(supervisor):
        supervisor.spawn(ChildSpec(id="a", start=rarely))
        await trio.sleep(80_000)
        assert child.births == 3
