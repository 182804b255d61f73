"""Memory that has been freed goes back to the system once that is worth a pause."""

from __future__ import annotations

import ctypes

import pytest
import trio
from trio.testing import MockClock

from tests.fakes.life import LoneLife
from tests.fakes.waiting import until
from web import heap
from web.heap import WORTH_IT, HeapSize, HeapTrimmer, TrimPolicy

MIB = 1 << 20


@pytest.mark.parametrize(
    ("looks", "wanted"),
    [
        ([(100, 10)] * 3, [False] * 3),
        ([(300, 200)] * 2, [False, True]),
        ([(300, 200), (300, 10), (300, 200)], [False, False, False]),
        ([(20, 200)] * 2, [False, False]),
    ],
    ids=["little is free", "much is free", "free only for a moment", "given back already"],
)
def test_what_is_free_for_long_is_given_back(looks: list[tuple[int, int]], wanted: list[bool]) -> None:
    policy = TrimPolicy()

    assert [policy.judge(HeapSize(resident * MIB, free * MIB)) for resident, free in looks] == wanted


def test_what_was_given_back_is_not_given_back_again() -> None:
    policy = TrimPolicy()
    policy.trimmed(HeapSize(100 * MIB, 200 * MIB))
    assert not any(policy.judge(HeapSize(100 * MIB, 200 * MIB)) for _ in range(5))
    assert [policy.judge(HeapSize(100 * MIB + WORTH_IT, 200 * MIB)) for _ in range(2)] == [True, True]


async def test_where_the_library_cannot_tell_nothing_is_done(autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(HeapTrimmer(library=object()).run, LoneLife())
        await trio.sleep(60)
        nursery.cancel_scope.cancel()


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallinfo2"), reason="no glibc")
async def test_a_heap_that_was_large_becomes_small_again(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heap, "WORTH_IT", 4 * MIB)
    monkeypatch.setattr(heap, "LOOK_EVERY_S", 0.01)
    caplog.set_level("DEBUG", "web.heap")
    # Blocks too small for a mapping of their own; every hundredth stays and holds those below it.
    blocks = [bytes(16_000) for _ in range(4000)]
    kept = blocks[::100]
    del blocks
    async with trio.open_nursery() as nursery:
        nursery.start_soon(HeapTrimmer().run, LoneLife())
        await until(lambda: caplog.records)
        nursery.cancel_scope.cancel()

    assert kept
    assert caplog.records[0].bytes > 4 * MIB  # type: ignore[attr-defined]
