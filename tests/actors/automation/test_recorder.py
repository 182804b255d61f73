"""One transaction for everybody, in order; nobody is left without an answer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from typing import TypeVar

import pytest
import trio
from sqlalchemy import Connection, Engine, StaticPool, create_engine, func, select
from sqlalchemy.exc import DataError
from trio.testing import MockClock

from actors.automation.batch import Recorded, SnapshotEntry
from actors.automation.recorder import Entry, ManualDecision, NotRecorded, Recorder, Unknown
from actors.automation.snapshot import DecisionRequest
from actors.automation.tables import metadata, player_snapshots
from actors.links import LinkDown
from supervision import ChildSpec, Supervisor
from tests.actors.automation.people import NOW, context, entry

T = TypeVar("T")


@pytest.fixture
def engine() -> Iterator[Engine]:
    made = create_engine("sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False})
    metadata.create_all(made)
    yield made
    made.dispose()


class Writer:
    """A database with faults: each in `faults` spoils one transaction."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.faults: list[Exception] = []
        self.transactions = 0
        self.poison: int | None = None
        self.poisoning: Exception = DataError("poison", None, ValueError("poison"))

    async def write(self, function: Callable[[Connection], T], /) -> T:
        await trio.sleep(0.01)
        if self.faults:
            raise self.faults.pop()
        with self.engine.begin() as connection:
            result = function(connection)
            self._look_for_poison(connection)
        self.transactions += 1
        return result

    def _look_for_poison(self, connection: Connection) -> None:
        query = select(func.count()).where(player_snapshots.c.user_id == self.poison)
        if self.poison is not None and connection.execute(query).scalar():
            raise self.poisoning


class Asker:
    """Waits for one outcome."""

    def __init__(self) -> None:
        self.answer: object = None
        self.answered = trio.Event()

    def send(self, answer: object) -> None:
        self.answer = answer
        self.answered.set()


class Stage:
    """A recorder under a supervisor, and what it has told of."""

    def __init__(self, engine: Engine) -> None:
        self.writer = Writer(engine)
        self.told: list[int] = []
        self.recorder = Recorder(self.writer, context=context, on_recorded=self._note)
        self.supervisor = Supervisor([ChildSpec(id="recorder", start=self.recorder.run)])

    def _note(self, recorded: Sequence[Recorded]) -> None:
        self.told += [each.player.user_id for each in recorded]

    async def ask(self, wanted: Entry) -> object:
        [answer] = await self.ask_all([wanted])
        return answer

    async def ask_all(self, wanted: Sequence[Entry]) -> list[object]:
        """Ask everything in order and at once; the answers in the same order."""
        askers = [Asker() for _ in wanted]
        for each, asker in zip(wanted, askers, strict=True):
            self.recorder.submit(each, asker)
        for asker in askers:
            await asker.answered.wait()
        return [asker.answer for asker in askers]


@pytest.fixture
async def stage(engine: Engine, autojump_clock: MockClock, nursery: trio.Nursery) -> Stage:
    made = Stage(engine)
    nursery.start_soon(made.supervisor.run)
    await trio.testing.wait_all_tasks_blocked()
    return made


def _entries(count: int) -> list[SnapshotEntry]:
    return [entry(userId=user_id) for user_id in range(1, count + 1)]


async def test_those_who_come_together_share_a_transaction(stage: Stage, autojump_clock: MockClock) -> None:
    answers = await stage.ask_all(_entries(50))

    assert [answer.player.user_id for answer in answers if isinstance(answer, Recorded)] == [*range(1, 51)]
    assert stage.writer.transactions <= 2
    assert sorted(stage.told) == [*range(1, 51)]


async def test_one_alone_does_not_wait_for_company(stage: Stage, autojump_clock: MockClock) -> None:
    start = trio.current_time()
    await stage.ask(entry())

    assert trio.current_time() - start == pytest.approx(0.01)


async def test_a_transaction_has_a_largest_size(stage: Stage, autojump_clock: MockClock) -> None:
    await stage.ask_all(_entries(600))

    assert stage.writer.transactions >= 3


async def test_decisions_by_hand_and_snapshots_keep_their_order(
    stage: Stage, autojump_clock: MockClock
) -> None:
    asked = DecisionRequest(user_id=5, apply=True)
    before, first, with_reason, second = await stage.ask_all(
        [
            ManualDecision(asked, "too early"),
            entry(rank="New", rankPoints=150),
            ManualDecision(asked, "in time"),
            entry(rank="Known", rankPoints=150, capturedAt=(NOW + timedelta(seconds=1)).isoformat()),
        ]
    )

    assert isinstance(before, Unknown)
    assert isinstance(with_reason, Recorded)
    assert with_reason.decision is not None
    assert (with_reason.decision.request_id, with_reason.queued, with_reason.player.rank) == (
        "in time",
        True,
        "New",
    )
    assert isinstance(first, Recorded)
    assert isinstance(second, Recorded)
    assert second.player.rank == "Known"


async def test_while_the_database_is_away_everybody_is_told_so(
    stage: Stage, autojump_clock: MockClock
) -> None:
    stage.writer.faults = [LinkDown("database")]
    assert await stage.ask_all(_entries(3)) == [NotRecorded.UNAVAILABLE] * 3

    assert isinstance(await stage.ask(entry()), Recorded)
    assert stage.recorder.statistics().failed == 3


@pytest.mark.parametrize("fault", [DataError("poison", None, ValueError("poison")), RuntimeError("a bug")])
async def test_one_that_cannot_be_written_costs_the_others_nothing(
    stage: Stage, autojump_clock: MockClock, fault: Exception
) -> None:
    stage.writer.poison, stage.writer.poisoning = 2, fault
    answers = await stage.ask_all(_entries(4))

    assert [type(answer) for answer in answers] == [Recorded, NotRecorded, Recorded, Recorded]
    assert answers[1] is NotRecorded.FAILED


async def test_a_crash_answers_everybody_and_the_next_life_goes_on(
    stage: Stage, autojump_clock: MockClock
) -> None:
    askers = [Asker() for _ in range(3)]
    for each, asker in zip(_entries(3), askers, strict=True):
        stage.recorder.submit(each, asker)
    await trio.sleep(0.005)  # a transaction takes twice that
    stage.supervisor.kill_child("recorder", "a test")
    for asker in askers:
        await asker.answered.wait()
    assert [asker.answer for asker in askers] == [NotRecorded.FAILED] * 3

    await trio.testing.wait_all_tasks_blocked()
    assert isinstance(await stage.ask(entry()), Recorded)


async def test_at_an_orderly_stop_what_was_taken_is_committed(
    stage: Stage, autojump_clock: MockClock
) -> None:
    async with trio.open_nursery() as nursery:
        answers: list[object] = []

        async def ask() -> None:
            answers.extend(await stage.ask_all(_entries(5)))

        nursery.start_soon(ask)
        await trio.testing.wait_all_tasks_blocked()
        stage.supervisor.stop()

    assert [type(answer) for answer in answers] == [Recorded] * 5
