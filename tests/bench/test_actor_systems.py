from __future__ import annotations

import importlib.util

import pytest

from bench.scenarios.actors import ACTORS, MAILBOX, ActorOptions, MailboxOptions
from bench.session import Session


def test_casts_and_calls_are_compared_in_one_run(session: Session) -> None:
    outcome = MAILBOX.run(session, MailboxOptions(casts=3000, calls=300, rounds=1))

    assert outcome.headline[0] == "greenroom_cast_per_s"
    assert all(value > 0 for value in outcome.figures.values())
    assert "call_per_s_ratio_to_trio_channel" in outcome.figures


def test_idle_actors_and_rooms_have_a_size(session: Session) -> None:
    outcome = ACTORS.run(session, ActorOptions(actors=1500, rounds=1))

    assert 500 < outcome.figures["greenroom_bytes_per_actor"] < 20_000
    assert 500 < outcome.figures["greenroom_bytes_per_room"] < 30_000
    assert outcome.figures["greenroom_spawn_per_s"] > 0


def test_without_pykka_the_others_are_compared_and_that_is_said(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = importlib.util.find_spec

    def without(name: str) -> object:
        return None if name == "pykka" else found(name)

    monkeypatch.setattr(importlib.util, "find_spec", without)

    outcome = MAILBOX.run(session, MailboxOptions(casts=100, calls=10, rounds=1))

    assert not [name for name in outcome.figures if "pykka" in name]
    assert outcome.warnings == ["pykka is not installed (the extra `peers`): not compared"]


def test_an_interrupted_run_keeps_what_was_measured(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = iter([100.0, 50.0])

    def measure(_job: object) -> float:
        value = next(values, None)
        if value is None:
            raise KeyboardInterrupt
        return value

    monkeypatch.setattr("bench.scenarios.actors._measure", measure)

    outcome = MAILBOX.run(session, MailboxOptions(rounds=2))

    assert outcome.partial
    assert outcome.headline == ("greenroom_cast_per_s", 100.0)
    with pytest.raises(KeyboardInterrupt):
        MAILBOX.run(session, MailboxOptions(rounds=2))
