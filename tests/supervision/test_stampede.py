"""Kill at random, in a live tree, then ask only one thing: does it still serve?

The children answer pings. What exactly died, was restarted or was given up on the way is nobody's
business here; the other tests look at that.
"""

import logging
import random
from collections.abc import Hashable

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from supervision import (
    ChildNotFound,
    ChildSpec,
    ChildType,
    DynamicSupervisor,
    Life,
    MaxChildren,
    Strategy,
    Supervisor,
    SupervisorNotRunning,
    snapshot,
)
from tests.supervision.children import Oops

GUESTS = 40


class Echo:
    """Answers pings; now and then it crashes on one, or right at its start."""

    def __init__(self, luck: random.Random) -> None:
        self._luck = luck
        self._here: trio.MemorySendChannel[trio.Event] | None = None
        self.calm = True

    async def __call__(self, life: Life) -> None:
        if not self.calm and self._luck.random() < 0.02:
            raise Oops
        self._here, there = trio.open_memory_channel[trio.Event](0)
        with self._here, there:
            life.started()
            async for ping in there:
                if not self.calm and self._luck.random() < 0.05:
                    raise Oops
                ping.set()

    async def answers(self) -> bool:
        ping = trio.Event()
        with trio.move_on_after(1):
            try:
                if self._here is not None:
                    await self._here.send(ping)
                    await ping.wait()
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                return False
        return ping.is_set()


class StampedeTree:
    """A root with one branch of every strategy and a dynamic one, every leaf an echo."""

    def __init__(self, seed: int) -> None:
        self.luck = random.Random(seed)
        self.echoes = {f"{strategy.value} {n}": Echo(self.luck) for strategy in Strategy for n in range(4)}
        self.guests: dict[Hashable, Echo] = {}
        self.dynamic = DynamicSupervisor(max_children=GUESTS, on_given_up=self._invite_again)
        self.branches = {strategy: self._branch(strategy) for strategy in Strategy}
        nested = [
            ChildSpec(id=strategy, start=branch.run, type=ChildType.SUPERVISOR)
            for strategy, branch in self.branches.items()
        ]
        guests = ChildSpec(id="guests", start=self.dynamic.run, type=ChildType.SUPERVISOR)
        self.root = Supervisor([*nested, guests], max_restarts=10_000)

    def _branch(self, strategy: Strategy) -> Supervisor:
        mine = [name for name in self.echoes if name.startswith(strategy.value)]
        return Supervisor([ChildSpec(id=name, start=self.echoes[name]) for name in mine], strategy=strategy)

    def _invite_again(self, spec: ChildSpec, _: BaseException) -> None:
        self.guests.pop(spec.id, None)

    def invite(self) -> None:
        name = f"guest {self.luck.randrange(10**9)}"
        echo = Echo(self.luck)
        echo.calm = False
        try:
            self.dynamic.spawn(ChildSpec(id=name, start=echo))
        except (MaxChildren, SupervisorNotRunning):
            return
        self.guests[name] = echo

    def calm(self, *, on: bool) -> None:
        for echo in [*self.echoes.values(), *self.guests.values()]:
            echo.calm = on

    def victims(self) -> list[tuple[Supervisor | DynamicSupervisor, Hashable]]:
        # The root is among them: a branch dies as a whole now and then.
        supervisors: list[Supervisor | DynamicSupervisor] = [self.dynamic, self.root]
        supervisors.extend(self.branches.values())
        return [(above, info.id) for above in supervisors for info in above.which_children()]

    def kill_somebody(self) -> None:
        above, victim = self.luck.choice(self.victims())
        try:
            above.kill_child(victim, "stampede")
        except (ChildNotFound, SupervisorNotRunning):
            return

    async def do_harm(self) -> None:
        for _ in range(self.luck.randrange(4)):
            self.kill_somebody()
        if self.luck.random() < 0.5:
            self.invite()
        for echo in self.luck.sample([*self.echoes.values(), *self.guests.values()], 3):
            await echo.answers()
        await trio.sleep(self.luck.random())


@pytest.mark.parametrize("seed", range(5))
async def test_a_tree_serves_after_a_stampede(
    seed: int, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL, logger="supervision")
    tree = StampedeTree(seed)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(tree.root.run)
        await wait_all_tasks_blocked()
        tree.calm(on=False)
        for _ in range(300):
            await tree.do_harm()

        tree.calm(on=True)
        await trio.sleep(10)
        for name, echo in tree.echoes.items():
            assert await echo.answers(), name
        for guest in [info.id for info in tree.dynamic.which_children()]:
            assert await tree.guests[guest].answers(), guest
        for branch in [tree.root, *tree.branches.values()]:
            counts = branch.count_children()
            assert counts.specs == counts.active == 4
        assert len(snapshot(tree.root).children) == 4
        tree.root.stop()
    assert not tree.root.is_running
