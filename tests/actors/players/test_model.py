"""Any interleaving of deltas, repeats, mismatches and crashes adds up as a plain dictionary does."""

from __future__ import annotations

import tempfile
import uuid
from collections.abc import Sequence
from typing import NamedTuple

import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.players import Entry, Outcome, Refused
from tests.actors.players.conftest import ALICE, BOB, StatsNode, running
from tests.fakes.waiting import until

NON_NEGATIVE = ("cash", "pills")
DELTAS = st.dictionaries(st.sampled_from(("exp", "cash")), st.integers(-20, 20), min_size=1)
ENTRIES = st.builds(
    Entry,
    steam_id=st.sampled_from((ALICE, BOB)),
    deltas=DELTAS,
    # Few ids, so that they meet again, with the same deltas and with others.
    transaction_id=st.none() | st.sampled_from(("t-1", "t-2", "t-3")),
)


class Together(NamedTuple):
    """Entries under way at the same time; `as_batch` in one request."""

    entries: list[Entry]
    as_batch: bool


class Crash(NamedTuple):
    """A part crashes while these are under way; each has an id of its own, and is asked until it counts."""

    part: str
    earned: list[int]


class Restart(NamedTuple):
    pass


PARTS = ("players", "ledger", "database", "registry")
STEPS = st.lists(
    st.builds(Together, st.lists(ENTRIES, min_size=1, max_size=6), st.booleans())
    | st.builds(Crash, st.sampled_from(PARTS), st.lists(st.integers(0, 9), max_size=4))
    | st.just(Restart()),
    max_size=12,
)


class Model:
    """What it should come to."""

    def __init__(self) -> None:
        self.totals: dict[int, dict[str, int]] = {ALICE: {}, BOB: {}}
        self.counted: dict[tuple[int, str], dict[str, int]] = {}

    def expected(self, entry: Entry) -> str:
        """The outcome of this entry, now: what it does, in one word."""
        totals, deltas = self.totals[entry.steam_id], dict(entry.deltas)
        if entry.transaction_id is not None:
            before = self.counted.get((entry.steam_id, entry.transaction_id))
            if before is not None:
                return "repeated" if before == deltas else "transaction_mismatch"
        for stat, delta in deltas.items():
            if delta < 0 and stat in NON_NEGATIVE and totals.get(stat, 0) + delta < 0:
                return "insufficient"
        for stat, delta in deltas.items():
            totals[stat] = totals.get(stat, 0) + delta
        if entry.transaction_id is not None:
            self.counted[entry.steam_id, entry.transaction_id] = deltas
        return "applied"


def word(outcome: Outcome) -> str:
    if isinstance(outcome, Refused):
        return outcome.code
    return "applied" if outcome.applied else "repeated"


async def asked(node: StatsNode, step: Together) -> list[Outcome]:
    """Outcomes in the order asked; all of a step are under way at once."""
    await until(lambda: node.database.state.up and node.players.ledger.is_alive)
    if step.as_batch:
        return await node.players.change_all(step.entries)
    outcomes: list[Outcome | None] = [None] * len(step.entries)

    async def ask(nth: int) -> None:
        outcomes[nth] = await node.players.change(step.entries[nth])

    async with trio.open_nursery() as nursery:
        for nth in range(len(step.entries)):
            nursery.start_soon(ask, nth)
            await trio.testing.wait_all_tasks_blocked(0)
    return [outcome for outcome in outcomes if outcome is not None]


async def crashed(node: StatsNode, step: Crash, model: Model) -> None:
    async with trio.open_nursery() as nursery:
        for amount in step.earned:
            entry = Entry(ALICE, {"pills": amount}, uuid.uuid4().hex)
            nursery.start_soon(node.insist, entry)
            assert model.expected(entry) == "applied"
        node.tree.kill_child(step.part)
    # Until it has happened, and the next life has begun.
    await trio.testing.wait_all_tasks_blocked(0.02)


async def play(steps: Sequence[Together | Crash | Restart], url: str) -> None:
    model = Model()
    remaining = list(steps)
    while True:
        async with running(StatsNode(url)) as node:
            while remaining:
                step = remaining.pop(0)
                if isinstance(step, Restart):
                    break
                if isinstance(step, Crash):
                    await crashed(node, step, model)
                    continue
                outcomes = await asked(node, step)
                assert [word(outcome) for outcome in outcomes] == list(map(model.expected, step.entries))
            else:
                assert await node.total(ALICE) == model.totals[ALICE]
                assert await node.total(BOB) == model.totals[BOB]
                return


@settings(max_examples=40, deadline=None)
@given(STEPS)
def test_any_interleaving_adds_up_like_a_dictionary(steps: list[Together | Crash | Restart]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        trio.run(play, steps, f"sqlite:///{directory}/stats.sqlite3")
