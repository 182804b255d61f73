"""Stored decisions, what the hook is owed, and what strangers leave, in both databases."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from functools import partial

from sqlalchemy import Engine, func, insert, select

from actors.automation import decision_log, hook, review_schedule
from actors.automation.outbox import Claimed, claim_decisions, progress_after
from actors.automation.outcome import Done
from actors.automation.tables import OPEN, automation_reviews, player_snapshots, players
from actors.automation.transactions import advance, record_open_snapshots, record_snapshots
from tests.actors.automation.people import NOW, context, entry, policy

SECOND = timedelta(seconds=1)


def _promote(engine: Engine, *user_ids: int) -> None:
    entries = [entry(userId=user_id, rank="New", rankPoints=150, apply=True) for user_id in user_ids]
    with engine.begin() as connection:
        record_snapshots(connection, entries, context())


def _carry_out(engine: Engine, *, has_hook: bool) -> None:
    with engine.begin() as connection:
        todo: list[Claimed | None] = [*claim_decisions(connection, owner="one", limit=10, now=NOW)]
        while todo:
            if (job := todo.pop()) is None:
                continue
            progress = progress_after(job, Done(), NOW)
            record = partial(advance, owner="one", policy=policy(), now=NOW, has_hook=has_hook)
            assert record(connection, job, progress)
            todo.append(job.after(progress))


def test_decisions_are_found_newest_first_of_one_player_and_of_all(engine: Engine) -> None:
    _promote(engine, 1, 2, 3)

    with engine.connect() as connection:
        everyone = decision_log.newest(connection, user_id=None, before=None, limit=2)
        rest = decision_log.newest(connection, user_id=None, before=everyone[-1].id, limit=2)
        [mine] = decision_log.newest(connection, user_id=2, before=None, limit=2)
        newest = decision_log.newest_of_each(connection, [1, 2, 404])
        assert decision_log.find(connection, mine.request_id) == mine == newest[2]
        assert decision_log.find(connection, "unknown") is None

    assert [one.user_id for one in (*everyone, *rest)] == [3, 2, 1]
    assert newest.keys() == {1, 2}


def test_the_hook_is_owed_what_is_done_and_each_node_takes_its_own(engine: Engine) -> None:
    _promote(engine, 1, 2, 3)
    with engine.begin() as connection:
        assert hook.count_owed(connection) == 0
        assert hook.claim(connection, limit=10, now=NOW) == []
    _carry_out(engine, has_hook=True)

    with engine.begin() as connection:
        assert hook.count_owed(connection) == 3
        first = hook.claim(connection, limit=2, now=NOW)
        second = hook.claim(connection, limit=2, now=NOW)
        assert hook.claim(connection, limit=2, now=NOW + hook.LEASE - SECOND) == []
    assert [(one.decision.status, one.attempts) for one in first + second] == [("done", 0)] * 3
    assert {one.player.rank for one in first if one.player is not None} == {"Known"}

    done, later, wrong = (one.decision.id for one in first + second)
    with engine.begin() as connection:
        hook.settle(connection, done, hook_at=None, attempts=1)
        hook.settle(connection, later, hook_at=NOW + SECOND, attempts=1)
        # Written by a clock that ran a year ahead.
        hook.settle(connection, wrong, hook_at=NOW + timedelta(days=365), attempts=7)
        assert hook.count_owed(connection) == 2
        assert [one.attempts for one in hook.claim(connection, limit=9, now=NOW)] == [7]
        assert [one.attempts for one in hook.claim(connection, limit=9, now=NOW + SECOND)] == [1]


def test_without_a_hook_nothing_is_owed(engine: Engine) -> None:
    _promote(engine, 1)
    _carry_out(engine, has_hook=False)

    with engine.begin() as connection:
        assert hook.count_owed(connection) == 0
        assert [one.status for one in decision_log.newest(connection, user_id=1, before=None, limit=1)] == [
            "done"
        ]


def test_one_node_takes_the_review_that_is_due(engine: Engine) -> None:
    period = timedelta(hours=1)
    with engine.begin() as connection:
        connection.execute(insert(automation_reviews).values(id=1))
        assert review_schedule.claim(connection, period=period, now=NOW) is None
    with engine.begin() as connection:
        assert review_schedule.claim(connection, period=period, now=NOW + period) == 0
        review_schedule.save(connection, after=7, now=NOW + period)
        assert review_schedule.claim(connection, period=period, now=NOW + period) is None
        review_schedule.release(connection, after=9)
        assert review_schedule.claim(connection, period=period, now=NOW + period) == 9
        review_schedule.finish(connection, period=period, now=NOW + period)
        assert review_schedule.claim(connection, period=period, now=NOW + period) is None
        assert review_schedule.claim(connection, period=period, now=NOW + 2 * period) == 0


def test_strangers_leave_so_many_players_and_so_much_history(engine: Engine) -> None:
    with engine.begin() as connection:
        record_snapshots(connection, [entry(userId=1)], context())
        entries = [entry(userId=user_id, kos=kos) for kos in range(3) for user_id in range(1, 6)]
        opened = [replace(one, source=OPEN) for one in entries]
        recorded = record_open_snapshots(connection, opened, context(inbound_key=False), most=3)

    assert [one is not None for one in recorded] == [True, True, True, False, False] * 3
    with engine.connect() as connection:
        assert connection.scalar(select(func.count()).select_from(players)) == 3
        sources = connection.execute(select(player_snapshots.c.source, player_snapshots.c.id)).all()
    assert sorted(source for source, _ in sources) == [OPEN, OPEN, OPEN, "roblox"]
