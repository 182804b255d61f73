"""The checker of matches finds what must not happen, and nothing else."""

from __future__ import annotations

import pytest

from tests.faults.match_history import MatchHistory, Said, check


def history(*said: Said, dies_at: float | None = None, dead: bool = False) -> MatchHistory:
    made = MatchHistory(pushed=["r"])
    made.said["r"] += said
    if dies_at is not None:
        made.deaths["a"].append(dies_at)
    if dead:
        made.dead.add("r")
    return made


READY = Said(1, "ready", "k1", "a")
AGAIN = Said(8, "ready", "k2", "b")
END = Said(9, "aborted", "end")
UNHEARD = Said(4, "finished", "end", is_acknowledged=False)

GOOD = {
    "confirmed and ended": history(READY, END),
    "told twice under one key": history(READY, UNHEARD, END, END),
    "begun anew after a death": history(READY, AGAIN, END, dies_at=5),
    "a ready that was under way at the death": history(READY, AGAIN, END, dies_at=0.5),
    "ready repeated by the same match": history(READY, READY, END),
    "failed": history(Said(1, "failed", "k", "a")),
    "a dead letter": history(dead=True),
}
GOOD["begun anew after a stop that the node has noticed"] = history(READY, AGAIN, END)
GOOD["begun anew after a stop that the node has noticed"].stood_still["r"].add("a")
BAD = {
    "the job has vanished": history(),
    "unheard": history(Said(1, "ready", "k1", "a", is_acknowledged=False)),
    "the match has vanished": history(READY),
    "its end was never acknowledged": history(READY, UNHEARD),
    "its end is told under 2 keys": history(READY, END, Said(10, "finished", "other")),
    "lives twice": history(READY, AGAIN, END),
    "lives twice, the death was another's": history(READY, AGAIN, END, dies_at=8.5),
    "begins anew after its end": history(READY, END, Said(10, "ready", "k3", "b"), dies_at=9.5),
}


@pytest.mark.parametrize("name", GOOD)
def test_what_may_happen_is_no_violation(name: str) -> None:
    assert check(GOOD[name]) == []


@pytest.mark.parametrize("name", BAD)
def test_what_must_not_happen_is_found(name: str) -> None:
    assert check(BAD[name])


def test_a_room_nobody_asked_for_is_found() -> None:
    assert check(MatchHistory(said={"r": [READY, END]}))
