from __future__ import annotations

from collections import Counter

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from actors.matches.in_flight import InFlight, PoisonJobs, orphans
from actors.matches.reclaim import Missing

JOBS = st.lists(st.sampled_from([b"a", b"b", b"c"]), max_size=8)


@given(shelf=JOBS, known=JOBS)
def test_strangers_are_what_stands_on_the_shelf_beyond_what_is_known(
    shelf: list[bytes], known: list[bytes]
) -> None:
    found = orphans(shelf, Counter(known))
    assert Counter(found) == Counter(shelf) - Counter(known)
    rest = iter(shelf)
    assert all(payload in rest for payload in found), "in the shelf's order"


async def test_whoever_waits_for_a_place_gets_it_when_one_is_free(autojump_clock: MockClock) -> None:
    jobs = InFlight(2)
    jobs.add(b"a")
    jobs.add(b"a")
    assert jobs.free == 0
    async with trio.open_nursery() as nursery:
        nursery.start_soon(jobs.until_free)
        await wait_all_tasks_blocked()
        jobs.remove(b"a")
    assert (len(jobs), jobs.free) == (1, 1)


async def test_whoever_waits_for_the_end_hears_of_the_last(autojump_clock: MockClock) -> None:
    jobs = InFlight(2)
    jobs.add(b"a")
    jobs.add(b"b")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(jobs.until_empty)
        for payload in (b"a", b"b"):
            await wait_all_tasks_blocked()
            assert len(nursery.child_tasks) == 1
            jobs.remove(payload)


def test_crashes_are_counted_per_payload_until_it_goes_well() -> None:
    suspects = PoisonJobs()
    for _ in range(2):
        with pytest.raises(ZeroDivisionError), suspects.watch(b"a"):
            raise ZeroDivisionError
    assert (suspects.crashes(b"a"), suspects.crashes(b"b")) == (2, 0)
    with suspects.watch(b"a"):
        pass
    assert suspects.crashes(b"a") == 0


async def test_a_cancellation_is_nobodys_fault(autojump_clock: MockClock) -> None:
    suspects = PoisonJobs()
    with trio.move_on_after(1):
        with suspects.watch(b"a"):
            await trio.sleep_forever()
    assert suspects.crashes(b"a") == 0


def test_the_memory_of_suspects_is_bounded() -> None:
    suspects = PoisonJobs()
    for number in range(2000):
        with pytest.raises(ZeroDivisionError), suspects.watch(str(number).encode()):
            raise ZeroDivisionError
    assert suspects.crashes(b"0") == 0
    assert suspects.crashes(b"1999") == 1


def test_an_owner_is_dead_when_it_was_missing_at_every_look_for_long_enough() -> None:
    missing = Missing(patience_s=5)
    assert missing.look(["x", "y"], now=0) == []
    assert missing.look(["x"], now=4) == []
    assert missing.look(["x", "y"], now=5) == ["x"]
    assert missing.look(["x", "y"], now=9) == ["x"]
    assert missing.look(["x", "y"], now=10) == ["x", "y"]


def test_after_an_outage_everybody_gets_another_chance() -> None:
    missing = Missing(patience_s=5)
    missing.look(["x"], now=0)
    missing.forget()
    assert missing.look(["x"], now=10) == []
