"""Group commit: what callers are told, whatever becomes of the transaction or of the actor."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import chain

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from actors.links import GroupCommit, LinkDown
from supervision import ChildSpec, Supervisor

BAD = -1


class Slip:
    """A caller that keeps its answers."""

    def __init__(self) -> None:
        self.answers: list[object] = []

    def send(self, answer: object) -> None:
        self.answers.append(answer)


class Doubler(GroupCommit[int, list[int], str]):
    """Answers with the double of each entry; cannot write `BAD`."""

    def __init__(self, *, max_entries: int = 100, max_waiting: int = 100, worth_waiting_for: int = 0) -> None:
        super().__init__(
            "doubler",
            unavailable="unavailable",
            failed="failed",
            busy="busy",
            max_wait_s=0.5,
            max_entries=max_entries,
            max_waiting=max_waiting,
            worth_waiting_for=worth_waiting_for,
        )
        self.committed: list[list[int]] = []
        self.counted: list[str] = []
        self.takes_s = 0.0
        self.is_away = False
        self.fault: Exception | None = None

    async def commit(self, entries: list[int]) -> list[int]:
        await trio.sleep(self.takes_s)
        if self.is_away:
            raise LinkDown("database")
        if BAD in entries:
            raise ValueError(BAD)
        self.committed.append(entries)
        return entries

    def outcomes(self, written: list[int]) -> list[int]:
        if self.fault is not None:
            raise self.fault
        return [2 * entry for entry in written]

    def refusal(self, entry: int, error: Exception) -> str:
        return f"{entry}: {type(error).__name__}"

    def count(self, refusal: str) -> None:
        self.counted.append(refusal)


@asynccontextmanager
async def running(actor: Doubler) -> AsyncIterator[Supervisor]:
    supervisor = Supervisor([ChildSpec(id="actor", start=actor.run, shutdown_s=5)])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(supervisor.run)
        await wait_all_tasks_blocked()
        yield supervisor
        nursery.cancel_scope.cancel()


def submitted(actor: Doubler, *entries: int) -> list[Slip]:
    slips = [Slip() for _ in entries]
    for entry, slip in zip(entries, slips, strict=True):
        assert actor.submit(entry, slip) is None
    return slips


async def test_entries_submitted_together_share_a_transaction(autojump_clock: MockClock) -> None:
    actor = Doubler()
    async with running(actor):
        slips = submitted(actor, 1, 2, 3)
        await trio.sleep(0.01)

    assert actor.committed == [[1, 2, 3]]
    assert [slip.answers for slip in slips] == [[2], [4], [6]]
    assert actor.transactions == 1


async def test_a_small_batch_waits_for_others_where_that_is_worth_it(autojump_clock: MockClock) -> None:
    actor = Doubler(worth_waiting_for=4)
    async with running(actor):
        submitted(actor, 1)
        await trio.sleep(0.2)
        submitted(actor, 2)
        await trio.sleep(0.2)
        assert actor.committed == []
        await trio.sleep(0.2)

    assert actor.committed == [[1, 2]]


async def test_the_entry_at_fault_is_refused_alone(autojump_clock: MockClock) -> None:
    actor = Doubler()
    async with running(actor):
        slips = submitted(actor, 1, 2, BAD, 4, 5, BAD, 7)
        await trio.sleep(0.01)

    refused = [f"{BAD}: ValueError"]
    assert [slip.answers for slip in slips] == [[2], [4], refused, [8], [10], refused, [14]]
    assert sorted(chain.from_iterable(actor.committed)) == [1, 2, 4, 5, 7]
    assert actor.counted == 2 * refused


async def test_a_database_that_is_away_is_told_to_everybody_at_once(autojump_clock: MockClock) -> None:
    actor = Doubler()
    actor.is_away = True
    async with running(actor):
        slips = submitted(actor, 1, BAD)
        await trio.sleep(0.01)

    assert [slip.answers for slip in slips] == [["unavailable"], ["unavailable"]]


async def test_one_transaction_takes_at_most_so_many_and_more_are_refused(autojump_clock: MockClock) -> None:
    actor = Doubler(max_entries=2, max_waiting=3)
    async with running(actor):
        slips = submitted(actor, 1, 2, 3)
        assert actor.submit(4, Slip()) == "busy"
        await trio.sleep(0.01)

    assert actor.committed == [[1, 2], [3]]
    assert [slip.answers for slip in slips] == [[2], [4], [6]]


@pytest.mark.parametrize("is_orderly", [True, False])
async def test_nobody_is_left_waiting_at_the_end(autojump_clock: MockClock, *, is_orderly: bool) -> None:
    actor = Doubler(max_entries=2)
    actor.takes_s = 1.0
    async with running(actor) as supervisor:
        slips = submitted(actor, 1, 2, 3)
        await trio.sleep(0.5)
        if is_orderly:
            supervisor.stop()
            await trio.sleep(3)

    expected = [[2], [4], [6]] if is_orderly else [["failed"], ["failed"], ["failed"]]
    assert [slip.answers for slip in slips] == expected
    assert actor.submit(9, Slip()) == "failed"


async def test_what_is_committed_is_never_written_twice(autojump_clock: MockClock) -> None:
    actor = Doubler()
    actor.fault = RuntimeError("after the commit")
    async with running(actor):
        slips = submitted(actor, 1, 2)
        await trio.sleep(0.01)

    assert actor.committed == [[1, 2]]
    assert [slip.answers for slip in slips] == [["failed"], ["failed"]]
