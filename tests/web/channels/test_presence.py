from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from web.channels.presence import FORBIDDEN_KEYS, Diff, ForbiddenKey, Presence, State


def presence() -> Presence:
    numbers = itertools.count(1)
    return Presence(lambda: f"r{next(numbers)}")


def test_who_joins_is_told_of_everybody() -> None:
    here = presence()
    here.track("u1", {"name": "Ann"})
    here.track("u2", {"name": "Bob"})

    assert here.state() == {
        "u1": {"metas": [{"name": "Ann", "phx_ref": "r1"}]},
        "u2": {"metas": [{"name": "Bob", "phx_ref": "r2"}]},
    }


def test_the_others_hear_of_who_joins_and_who_leaves() -> None:
    here = presence()

    ref, joined = here.track("u1", {"name": "Ann"})
    left = here.untrack("u1", ref)

    ann = {"u1": {"metas": [{"name": "Ann", "phx_ref": "r1"}]}}
    assert joined == {"joins": ann, "leaves": {}}
    assert left == {"joins": {}, "leaves": ann}
    assert here.state() == {}


def test_several_devices_are_several_metas_under_one_key() -> None:
    here = presence()
    first, _ = here.track("u1", {"device": "phone"})
    here.track("u1", {"device": "desk"})

    assert [meta["device"] for meta in here.state()["u1"]["metas"]] == ["phone", "desk"]
    here.untrack("u1", first)
    assert here.state() == {"u1": {"metas": [{"device": "desk", "phx_ref": "r2"}]}}
    assert len(here) == 1


def test_nobody_who_is_not_tracked_can_be_untracked() -> None:
    here = presence()
    ref, _ = here.track("u1", {})

    assert here.untrack("u1", "other") is None
    assert here.untrack("u2", ref) is None
    assert here.untrack("u1", ref) is not None
    assert here.untrack("u1", ref) is None


@pytest.mark.parametrize("key", [*sorted(FORBIDDEN_KEYS), ""])
def test_keys_that_would_break_clients_are_refused(key: str) -> None:
    here = presence()

    with pytest.raises(ForbiddenKey):
        here.track(key, {})

    assert len(here) == 0


def test_refs_are_never_the_same() -> None:
    refs = {Presence().track("u1", {})[0] for _ in range(100)}

    assert len(refs) == 100


class NpmPresence:
    """What the client's `Presence` keeps, by its own rules: joins first, then leaves."""

    def __init__(self, state: State) -> None:
        self.state: dict[str, list[Any]] = {key: list(entry["metas"]) for key, entry in state.items()}

    def apply(self, diff: Diff) -> None:
        for key, entry in diff["joins"].items():
            refs = {meta["phx_ref"] for meta in entry["metas"]}
            kept = [meta for meta in self.state.get(key, []) if meta["phx_ref"] not in refs]
            self.state[key] = [*kept, *entry["metas"]]
        for key, entry in diff["leaves"].items():
            refs = {meta["phx_ref"] for meta in entry["metas"]}
            self.state[key] = [meta for meta in self.state.get(key, []) if meta["phx_ref"] not in refs]
            if not self.state[key]:
                del self.state[key]


@given(st.lists(st.tuples(st.sampled_from(["track", "untrack"]), st.sampled_from("abc"), st.integers(0, 9))))
def test_a_client_that_applies_the_diffs_has_the_state(steps: list[tuple[str, str, int]]) -> None:
    here, client = Presence(), NpmPresence({})
    refs: dict[str, list[str]] = {"a": [], "b": [], "c": []}

    for what, key, number in steps:
        diff = _step(here, refs[key], what, key, number)
        if diff is not None:
            client.apply(diff)

    assert client.state == {key: entry["metas"] for key, entry in here.state().items()}


def _step(here: Presence, refs: list[str], what: str, key: str, number: int) -> Diff | None:
    if what == "track":
        ref, diff = here.track(key, {"n": number})
        refs.append(ref)
        return diff
    ref = refs.pop(number % len(refs)) if refs else "nobody"
    return here.untrack(key, ref)
