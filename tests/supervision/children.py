"""Tiny children that behave, and tiny children that do not. Each keeps a diary."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Hashable, Iterable
from contextlib import asynccontextmanager

import trio
from trio.testing import wait_all_tasks_blocked

from supervision import ChildSpec, DynamicSupervisor, Life, Restart, State, Supervisor

Behaviour = Callable[[Life], Awaitable[None]]


class Oops(Exception):
    """What these children raise when they crash."""


class Diary:
    """Who was born and who ended, in order."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, Hashable]] = []

    def births(self, child: Hashable = None) -> list[Hashable]:
        return [who for what, who in self.lines if what == "born" and child in (None, who)]

    def ends(self, child: Hashable = None) -> list[Hashable]:
        return [who for what, who in self.lines if what == "ended" and child in (None, who)]

    def clear(self) -> None:
        self.lines.clear()

    def steady(self, name: Hashable) -> Behaviour:
        """Come up and stay."""

        async def live(life: Life) -> None:
            self.lines.append(("born", name))
            life.started()
            try:
                await trio.sleep_forever()
            finally:
                self.lines.append(("ended", name))

        return live

    def polite(self, name: Hashable, *, leaves_after_s: float = 0.0) -> Behaviour:
        """Trap exits, and take some time to leave when told to."""

        async def live(life: Life) -> None:
            told = life.trap_exit()
            self.lines.append(("born", name))
            life.started()
            try:
                await told.wait()
                await trio.sleep(leaves_after_s)
                self.lines.append(("left", name))
            finally:
                self.lines.append(("ended", name))

        return live

    def script(self, name: Hashable, behaviours: Iterable[Behaviour]) -> Behaviour:
        """Behave differently in every life; steady when the script is over."""
        rest = iter(behaviours)

        async def live(life: Life) -> None:
            behaviour = next(rest, None)
            if behaviour is None:
                await self.steady(name)(life)
            else:
                self.lines.append(("born", name))
                await behaviour(life)

        return live


def crashing(*, life_s: float = 0.0, error: BaseException | None = None) -> Behaviour:
    """Come up, live for a while, crash."""

    async def live(life: Life) -> None:
        life.started()
        await trio.sleep(life_s)
        raise Oops if error is None else error

    return live


def failing_to_start(error: Exception | None = None) -> Behaviour:
    """Crash before coming up."""

    async def live(_: Life) -> None:
        raise Oops if error is None else error

    return live


async def returning(life: Life) -> None:
    """Come up and end normally."""
    life.started()
    await trio.lowlevel.checkpoint()


async def never_up(_: Life) -> None:
    """Neither come up nor end."""
    await trio.sleep_forever()


class Faulty:
    """Lives for a fixed time and then crashes, over and over."""

    def __init__(self, *, life_s: float) -> None:
        self.life_s = life_s
        self.births: list[float] = []

    async def __call__(self, life: Life) -> None:
        self.births.append(trio.current_time())
        life.started()
        await trio.sleep(self.life_s)
        raise Oops


def spec(diary: Diary, name: Hashable, restart: Restart = Restart.PERMANENT) -> ChildSpec:
    return ChildSpec(id=name, start=diary.steady(name), restart=restart)


def states(supervisor: Supervisor | DynamicSupervisor) -> dict[Hashable, State]:
    return {info.id: info.state for info in supervisor.which_children()}


def restarts(supervisor: Supervisor | DynamicSupervisor) -> dict[Hashable, int]:
    return {info.id: info.restarts for info in supervisor.which_children()}


@asynccontextmanager
async def running(*supervisors: Supervisor | DynamicSupervisor) -> AsyncGenerator[trio.Nursery, None]:
    """Have supervisors up inside, stopped in good order afterwards."""
    async with trio.open_nursery() as nursery:
        for supervisor in supervisors:
            nursery.start_soon(supervisor.run)
        await wait_all_tasks_blocked()
        yield nursery
        for supervisor in supervisors:
            supervisor.stop()
