from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, func, inspect, select

from actors.automation import outbox, transactions
from actors.automation.batch import DecisionContext, Recorded, SnapshotEntry
from actors.automation.decision import Action
from actors.automation.merge import MergeResult
from actors.automation.outbox import Claimed, Status, progress_after
from actors.automation.outcome import Done, Outcome, Refused, RetryIn
from actors.automation.player import enriched
from actors.automation.snapshot import DecisionRequest
from actors.automation.steps import Assign, Ban, Mirror, Unassign
from actors.automation.store import load
from actors.automation.tables import automation_decisions, metadata, player_snapshots, players
from actors.automation.transactions import record_snapshots
from actors.links import Slice
from tests.actors.automation.people import EVERYTHING, NOW, RANKS, context, entry, policy

SECOND = timedelta(seconds=1)

PLAYERS = """
    user_id username display_name rank previous_rank next_rank rank_points kos wos warnings
    recommendations privileged punishment_status punishment_expires_at metadata created_at
    last_synced_at updated_at
"""
SNAPSHOTS = "id user_id payload source experience_key actor_user_id created_at"

NO_WAITING = policy(
    [rank for rank in RANKS if "minTimeDays" not in rank]
    + [{"name": "Tried", "minPoints": 200, "level": 3, "roleId": 13}]
)
NO_ROLE_IDS = policy(
    [{"name": "New", "minPoints": 0, "level": 1}, {"name": "Known", "minPoints": 1, "level": 2}], {}
)


def _record(engine: Engine, *entries: SnapshotEntry, on: DecisionContext | None = None) -> list[Recorded]:
    with engine.begin() as connection:
        return record_snapshots(connection, entries, on or context())


def _claim(engine: Engine, owner: str = "one", limit: int = 10, **later: Any) -> list[Claimed]:
    with engine.begin() as connection:
        return outbox.claim_decisions(connection, owner=owner, limit=limit, now=NOW + timedelta(**later))


def _hear(engine: Engine, job: Claimed, outcome: Outcome, owner: str = "one", **later: Any) -> Claimed | None:
    now = NOW + timedelta(**later)
    progress = progress_after(job, outcome, now)
    with engine.begin() as connection:
        assert transactions.advance(connection, job, progress, owner=owner, policy=policy(), now=now)
    return job.after(progress)


def _carry_out(engine: Engine, job: Claimed) -> None:
    following: Claimed | None = job
    while following is not None:
        following = _hear(engine, following, Done())


def _history(engine: Engine) -> int:
    with engine.connect() as connection:
        return connection.execute(select(func.count()).select_from(player_snapshots)).scalar_one()


def _statuses(engine: Engine) -> list[tuple[str, str]]:
    columns = automation_decisions.c
    with engine.connect() as connection:
        rows = connection.execute(select(columns.action, columns.status).order_by(columns.id))
        return [(row.action, row.status) for row in rows]


def _row(engine: Engine, user_id: int = 5) -> dict[str, Any]:
    with engine.connect() as connection:
        statement = select(players).where(players.c.user_id == user_id)
        return dict(connection.execute(statement).mappings().one())


def _rows(engine: Engine) -> dict[str, list[tuple[Any, ...]]]:
    with engine.connect() as connection:
        return {
            name: [tuple(row) for row in connection.execute(select(table))]
            for name, table in metadata.tables.items()
        }


def test_a_first_snapshot_makes_a_player_and_a_row_of_history(engine: Engine) -> None:
    [recorded] = _record(engine, entry(rankPoints=150, kos=3, metadata={"team": "red"}, displayName="Ada"))

    row = _row(engine)
    assert recorded.player.rank == row["rank"] == "Known"
    assert (row["next_rank"], row["previous_rank"], row["privileged"]) == ("Tried", "New", False)
    assert (row["created_at"], row["last_synced_at"], row["metadata"]) == (NOW, NOW, {"team": "red"})
    assert (recorded.decision, recorded.result, _history(engine)) == (None, MergeResult.APPLIED, 1)
    with engine.connect() as connection:
        assert load(connection, [5]) == {5: recorded.player}


def test_an_identical_repeat_moves_the_time_of_the_last_sync_and_nothing_else(engine: Engine) -> None:
    [first] = _record(engine, entry(rankPoints=150))
    [again] = _record(engine, entry(rankPoints=150), on=context(now=NOW + SECOND))

    assert again.result is MergeResult.REPEATED
    assert again.player == first.player._replace(last_synced_at=NOW + SECOND)
    assert _history(engine) == 1


def test_a_snapshot_older_than_the_stored_one_is_history_only(engine: Engine) -> None:
    _record(engine, entry(kos=9, capturedAt="2026-03-01T11:00:10Z"))
    [late] = _record(engine, entry(kos=8, capturedAt="2026-03-01T11:00:09Z"))

    assert (late.result, late.player.kos, _row(engine)["kos"]) == (MergeResult.OUTDATED, 9, 9)
    assert _history(engine) == 2


def test_a_repeat_of_one_that_is_out_of_date_is_no_second_row_of_history(engine: Engine) -> None:
    _record(engine, entry(kos=9, capturedAt="2026-03-01T11:00:10Z"))
    late = [_record(engine, entry(kos=8, capturedAt="2026-03-01T11:00:09Z"))[0] for _ in range(3)]

    assert {one.result for one in late} == {MergeResult.OUTDATED}
    assert _history(engine) == 2


def test_one_that_is_out_of_date_applies_nothing(engine: Engine) -> None:
    _record(engine, entry(rank="New", rankPoints=150, capturedAt="2026-03-01T11:00:10Z"))
    [late] = _record(engine, entry(rankPoints=0, capturedAt="2026-03-01T11:00:09Z", apply=True))

    assert late.decision is not None
    assert (late.decision.verdict.action, late.decision.apply) == (Action.PROMOTE, False)
    assert late.decision.reason == "a newer snapshot has been applied"
    assert _statuses(engine) == []


def test_a_clock_that_runs_ahead_does_not_lock_others_out(engine: Engine) -> None:
    _record(engine, entry(kos=1, capturedAt="2030-01-01T00:00:00Z"))
    [next_one] = _record(
        engine, entry(kos=2, capturedAt="2026-03-01T12:00:01Z"), on=context(now=NOW + SECOND)
    )

    assert next_one.result is MergeResult.APPLIED


def test_several_snapshots_of_one_player_in_a_batch_are_taken_in_order(engine: Engine) -> None:
    recorded = _record(engine, *(entry(kos=kos) for kos in (1, 2, 2, 3)), entry(userId=6, username="bob"))

    assert [one.player.kos for one in recorded] == [1, 2, 2, 3, 0]
    assert (_row(engine)["kos"], _history(engine)) == (3, 4)


def test_a_rank_nobody_has_said_follows_the_points_and_a_known_one_stays(engine: Engine) -> None:
    ranks = [
        _record(engine, entry(**said))[0].player.rank
        for said in ({"rankPoints": 0}, {"rankPoints": 100}, {"rank": "Cell"}, {"rankPoints": 350})
    ]

    assert ranks == ["New", "Known", "Cell", "Cell"]


def test_evaluating_reports_and_queues_nothing(engine: Engine) -> None:
    [recorded] = _record(engine, entry(rank="New", rankPoints=150, evaluate=True))

    assert recorded.decision is not None
    said = recorded.decision.to_json()
    assert (said["action"], said["targetRank"], said["apply"]) == ("PROMOTE", "Known", False)
    assert said.keys() == {"action", "targetRank", "reason", "apply", "requestId"}
    assert (_statuses(engine), recorded.queued) == ([], False)


@pytest.mark.parametrize("facts", [{"rankPoints": 150}, {"warnings": 4}, {"warnings": 7}, {}])
def test_evaluating_changes_nothing_that_the_snapshot_alone_would_not(
    engine: Engine, facts: dict[str, Any]
) -> None:
    _record(engine, entry(userId=1, rank="New", evaluate=True, **facts))
    _record(engine, entry(userId=2, rank="New", **facts))

    assert _row(engine, 1) | {"user_id": 0} == _row(engine, 2) | {"user_id": 0}


@pytest.mark.parametrize("facts", [{"rankPoints": 150}, {"warnings": 4}, {"warnings": 7}, {}])
def test_evaluating_what_is_known_leaves_every_stored_row_as_it_was(
    engine: Engine, facts: dict[str, Any]
) -> None:
    _record(engine, entry(rank="New", **facts))
    before = _rows(engine)
    [recorded] = _record(engine, entry(rank="New", **facts, evaluate=True))

    assert recorded.decision is not None
    assert _rows(engine) == before


def test_an_applied_promotion_is_carried_out_step_by_step(engine: Engine) -> None:
    [recorded] = _record(engine, entry(rank="New", rankPoints=150, apply=True))
    [job] = _claim(engine)

    assert recorded.queued
    assert recorded.decision is not None
    assert recorded.decision.apply
    assert job.request_id == recorded.decision.request_id
    assert job.steps[:2] == (Assign(12), Unassign(11))
    assert isinstance(job.steps[2], Mirror)
    assert _row(engine)["rank"] == "New"

    following = _hear(engine, job, Done())

    assert _row(engine)["rank"] == "Known"
    assert following is not None
    _carry_out(engine, following)
    assert _statuses(engine) == [("PROMOTE", "done")]


def test_the_same_decision_waits_once_however_often_it_is_asked_for(engine: Engine) -> None:
    answers = _record(
        engine, *(entry(rank="New", rankPoints=points, apply=True) for points in (150, 150, 160))
    )

    assert len({one.decision.request_id for one in answers if one.decision}) == 1
    assert [one.queued for one in answers] == [True, False, False]
    assert _statuses(engine) == [("PROMOTE", "pending")]


@pytest.mark.parametrize("facts", [{"rankPoints": 150}, {"warnings": 4}, {"warnings": 7}])
def test_a_repeat_is_told_the_decision_applied_and_applies_nothing(
    engine: Engine, facts: dict[str, Any]
) -> None:
    again = entry(rank="New", apply=True, **facts)
    answers = []
    for minutes in range(4):
        later = context(policy=NO_WAITING, now=NOW + timedelta(minutes=minutes))
        repeat = replace(again, request_id=f"repeat-{minutes}")
        answers += [one.decision for one in _record(engine, repeat, repeat, on=later)]
        for job in _claim(engine, minutes=minutes):
            _carry_out(engine, job)

    assert answers == [answers[0]] * 8
    assert answers[0] is not None
    assert (answers[0].apply, answers[0].request_id) == (True, "repeat-0")
    assert [status for _, status in _statuses(engine)] == ["done"]


def test_a_refused_decision_is_tried_again_when_the_snapshot_is_repeated(engine: Engine) -> None:
    again = entry(rank="New", rankPoints=150, apply=True)
    _record(engine, again)
    _hear(engine, _claim(engine)[0], Refused("INVALID_ARGUMENT", "no such role"))

    [recorded] = _record(engine, replace(again, request_id="second"))

    assert recorded.decision is not None
    assert (recorded.queued, recorded.decision.apply, recorded.decision.request_id) == (True, True, "second")
    assert _statuses(engine) == [("PROMOTE", "refused"), ("PROMOTE", "pending")]


def test_a_refused_decision_that_cannot_be_tried_again_is_not_told_as_applied(engine: Engine) -> None:
    again = entry(rank="New", rankPoints=150, apply=True)
    _record(engine, again)
    _hear(engine, _claim(engine)[0], Refused("INVALID_ARGUMENT", "no such role"))

    on = context(capabilities=replace(EVERYTHING, key=False))
    answers = _record(engine, *(replace(again, request_id=f"again-{at}") for at in range(2)), on=on)

    told = [(one.decision.apply, one.decision.reason) for one in answers if one.decision]
    assert told == [(False, "no Open Cloud key configured")] * 2


def test_an_unchanged_player_gets_one_step_after_the_other(engine: Engine) -> None:
    again = entry(rank="New", rankPoints=250, apply=True)
    for at in range(3):
        _record(engine, replace(again, request_id=f"repeat-{at}"), on=context(policy=NO_WAITING))
        for job in _claim(engine):
            _carry_out(engine, job)

    assert _row(engine)["rank"] == "Tried"
    assert _statuses(engine) == [("PROMOTE", "done")] * 2


@pytest.mark.parametrize("facts", [{"rankPoints": 150}, {"warnings": 4}, {"warnings": 7}])
def test_the_mirror_shows_the_player_as_the_api_does(engine: Engine, facts: dict[str, Any]) -> None:
    status = None if "warnings" in facts else "Verbal_Warning"
    _record(engine, entry(rank="New", apply=True, kos=3, punishmentStatus=status, **facts))
    [job] = _claim(engine)
    [value] = [step.value for step in job.steps if isinstance(step, Mirror)]
    _carry_out(engine, job)

    with engine.connect() as connection:
        shown = enriched(load(connection, [5])[5], policy())

    assert {key: value[key] for key in shown} == shown
    assert value.keys() - shown.keys() == {"action", "reason", "requestId", "decidedAt"}


@pytest.mark.parametrize(
    ("said", "status"),
    [
        ({"warnings": 7}, "Punishment_Severe"),
        ({"warnings": 9}, "Punishment_Severe"),
        ({}, "Punishment_Severe"),
        ({"warnings": 7, "punishmentStatus": None}, None),
        ({"warnings": 2}, None),
    ],
)
def test_the_status_of_a_ban_survives_snapshots_that_do_not_speak_of_it(
    engine: Engine, said: dict[str, Any], status: str | None
) -> None:
    _record(engine, entry(rank="New", warnings=7, apply=True))
    _carry_out(engine, _claim(engine)[0])

    _record(engine, entry(rank="New", kos=1, **said))

    assert _row(engine)["punishment_status"] == status


def test_a_repeat_of_one_that_only_asked_may_apply(engine: Engine) -> None:
    told: dict[str, Any] = {"rank": "New", "rankPoints": 150}
    _record(engine, entry(**told, evaluate=True))
    [applied] = _record(engine, entry(**told, apply=True))
    [asked] = _record(engine, entry(**told, evaluate=True))

    assert [one.decision.apply for one in (applied, asked) if one.decision] == [True, False]


def test_a_retried_snapshot_does_not_undo_or_repeat_a_decision_carried_out(engine: Engine) -> None:
    told: dict[str, Any] = {"rank": "New", "rankPoints": 150, "apply": True}
    _record(engine, entry(**told))
    _carry_out(engine, _claim(engine)[0])

    [again] = _record(engine, entry(**told))
    [lagging] = _record(engine, entry(**told, kos=1))

    assert (again.player.rank, lagging.player.rank) == ("Known", "Known")
    assert _statuses(engine) == [("PROMOTE", "done")]


def _tell_and_carry_out(engine: Engine, *, minutes: int, **facts: Any) -> None:
    later = timedelta(minutes=minutes)
    _record(engine, entry(apply=True, **facts), on=context(policy=NO_WAITING, now=NOW + later))
    for job in _claim(engine, minutes=minutes):
        _carry_out(engine, job)


def test_a_rank_the_game_goes_on_reporting_undoes_no_promotion(engine: Engine) -> None:
    for kos in range(6):
        _tell_and_carry_out(engine, minutes=20 * kos, rank="New", rankPoints=250, kos=kos)

    assert _row(engine)["rank"] == "Tried"
    assert _statuses(engine) == [("PROMOTE", "done")] * 2


def test_a_rank_the_game_goes_on_reporting_suspends_nobody_twice(engine: Engine) -> None:
    for kos in range(6):
        warnings = 4 if kos else 0
        _tell_and_carry_out(engine, minutes=20 * kos, rank="New", rankPoints=150, kos=kos, warnings=warnings)

    assert _row(engine)["rank"] == "Cell"
    assert _statuses(engine) == [("PROMOTE", "done"), ("SUSPEND", "done")]


def test_a_rank_left_before_anybody_had_said_it_is_no_news_either(engine: Engine) -> None:
    _tell_and_carry_out(engine, minutes=0, rankPoints=150, warnings=4)
    later = context(now=NOW + timedelta(hours=1))

    [lagging] = _record(engine, entry(rank="Known", rankPoints=150, warnings=4), on=later)

    assert lagging.player.rank == "Cell"


def test_a_rank_that_is_reported_to_change_is_believed(engine: Engine) -> None:
    _tell_and_carry_out(engine, minutes=0, rank="New", rankPoints=150)
    for minutes, rank in ((20, "Known"), (40, "New")):
        later = context(now=NOW + timedelta(minutes=minutes))
        [recorded] = _record(engine, entry(rank=rank, rankPoints=150), on=later)

        assert recorded.player.rank == rank


def test_after_a_day_without_a_word_a_reported_rank_is_believed(engine: Engine) -> None:
    _tell_and_carry_out(engine, minutes=0, rank="New", rankPoints=150)
    told: dict[str, Any] = {"rank": "New", "rankPoints": 150}

    [soon] = _record(engine, entry(**told, kos=1), on=context(now=NOW + timedelta(hours=23)))
    [still] = _record(engine, entry(**told, kos=2), on=context(now=NOW + timedelta(hours=46)))
    [anew] = _record(engine, entry(**told, kos=3), on=context(now=NOW + timedelta(hours=70)))

    assert [one.player.rank for one in (soon, still, anew)] == ["Known", "Known", "New"]


def test_a_different_decision_takes_the_place_of_one_nobody_has_begun(engine: Engine) -> None:
    _record(engine, entry(rank="New", rankPoints=150, apply=True))
    _record(engine, entry(rank="New", rankPoints=150, warnings=4, apply=True))

    assert _statuses(engine) == [("PROMOTE", "superseded"), ("SUSPEND", "pending")]


def test_a_step_nobody_has_begun_is_withdrawn_when_nothing_speaks_for_it_any_more(engine: Engine) -> None:
    _record(engine, entry(rank="New", rankPoints=150, apply=True))
    _record(engine, entry(rank="New", rankPoints=50, apply=True))
    assert _statuses(engine) == [("PROMOTE", "superseded")]

    _record(engine, entry(rank="New", rankPoints=150, apply=True))
    _record(engine, entry(rank="New", rankPoints=50))
    assert _statuses(engine)[1:] == [("PROMOTE", "pending")]


def test_what_cannot_be_dropped_without_a_trace_is_not_withdrawn(engine: Engine) -> None:
    _record(engine, entry(rank="New", rankPoints=150, apply=True))
    _hear(engine, _claim(engine)[0], RetryIn(1.0, "503"))
    _record(engine, entry(rank="New", rankPoints=50, apply=True))
    assert _statuses(engine) == [("PROMOTE", "pending")]

    _record(engine, entry(rank="New", rankPoints=50, warnings=7, apply=True))
    _record(engine, entry(rank="New", rankPoints=50, warnings=0, apply=True))
    assert _statuses(engine) == [("PROMOTE", "superseded"), ("BAN", "pending")]


def test_of_two_different_decisions_in_one_batch_only_the_later_is_stored(engine: Engine) -> None:
    points: dict[str, Any] = {"rank": "New", "rankPoints": 150, "apply": True}
    _record(engine, entry(**points), entry(**points, warnings=7))

    assert _statuses(engine) == [("BAN", "pending")]


def test_a_step_does_not_wait_behind_one_that_roblox_may_have_heard_of(engine: Engine) -> None:
    _record(engine, entry(rank="Known", rankPoints=0, apply=True))
    [job] = _claim(engine)
    _hear(engine, job, RetryIn(1.0, "503"))

    [other] = _record(
        engine, entry(rank="Known", rankPoints=250, apply=True), on=context(now=NOW + timedelta(days=20))
    )

    assert other.decision is not None
    assert (other.decision.verdict.action, other.decision.apply) == (Action.PROMOTE, False)
    assert other.decision.reason == "an earlier decision is being carried out"
    assert _statuses(engine) == [("DEMOTE", "pending")]


def test_a_suspension_takes_back_what_an_unfinished_promotion_may_have_given(engine: Engine) -> None:
    _record(engine, entry(rank="New", rankPoints=150, apply=True))
    [job] = _claim(engine)
    _hear(engine, job, RetryIn(1.0, "no answer"))
    _record(engine, entry(rank="New", rankPoints=150, warnings=4, apply=True))
    [suspension] = _claim(engine)

    assert suspension.steps[:3] == (Assign(10), Unassign(12), Unassign(11))
    assert _statuses(engine) == [("PROMOTE", "superseded"), ("SUSPEND", "pending")]


@pytest.mark.parametrize(("warnings", "taken"), [(4, [Unassign(11), Unassign(12)]), (7, [Unassign(11)])])
def test_a_punishment_finishes_the_role_change_whose_place_it_takes(
    engine: Engine, warnings: int, taken: list[Unassign]
) -> None:
    _record(engine, entry(rank="New", rankPoints=150, apply=True))
    following = _hear(engine, _claim(engine)[0], Done())
    assert following is not None
    _hear(engine, following, RetryIn(1.0, "503"))

    _record(engine, entry(rank="New", rankPoints=150, warnings=warnings, apply=True))
    [punishment] = _claim(engine)

    assert isinstance(punishment.steps[0], Assign | Ban)
    assert [step for step in punishment.steps if isinstance(step, Unassign)] == taken
    assert _statuses(engine)[0] == ("PROMOTE", "superseded")


def test_what_a_superseded_decision_was_to_take_away_is_handed_on_and_on(engine: Engine) -> None:
    _record(engine, entry(rank="New", rankPoints=150, apply=True))
    following = _hear(engine, _claim(engine)[0], Done())
    assert following is not None
    _hear(engine, following, RetryIn(1.0, "503"))

    for warnings in (4, 7):
        _record(engine, entry(rank="New", rankPoints=150, warnings=warnings, apply=True))
    [ban] = _claim(engine)

    # The role of the rank a player is banned in stays.
    assert [step for step in ban.steps if isinstance(step, Unassign)] == [Unassign(11)]


def test_a_ban_takes_back_what_an_unfinished_promotion_may_have_given(engine: Engine) -> None:
    _record(engine, entry(rank="New", rankPoints=150, apply=True))
    _hear(engine, _claim(engine)[0], RetryIn(1.0, "no answer"))
    _record(engine, entry(rank="New", rankPoints=150, warnings=7, apply=True))
    [ban] = _claim(engine)

    assert [step for step in ban.steps if isinstance(step, Unassign)] == [Unassign(12)]


def test_a_ban_leaves_a_promotion_under_way_its_role(engine: Engine) -> None:
    _record(engine, entry(rank="New", rankPoints=150, apply=True))
    [promotion] = _claim(engine)
    for warnings in (4, 7):
        _record(engine, entry(rank="New", rankPoints=150, warnings=warnings, apply=True))
    _carry_out(engine, promotion)
    [ban] = _claim(engine)

    assert not [step for step in ban.steps if isinstance(step, Unassign)]
    assert _statuses(engine) == [("PROMOTE", "done"), ("SUSPEND", "superseded"), ("BAN", "pending")]


def test_a_suspension_waits_for_a_promotion_under_way(engine: Engine) -> None:
    _record(engine, entry(rank="New", rankPoints=150, apply=True))
    [job] = _claim(engine)
    _record(engine, entry(rank="New", rankPoints=150, warnings=4, apply=True))

    assert _claim(engine, "two") == []
    _carry_out(engine, job)
    [suspension] = _claim(engine, "two")
    assert suspension.action == "SUSPEND"


def test_a_suspension_sets_rank_status_and_end_once_roblox_agrees(engine: Engine) -> None:
    _record(engine, entry(rank="New", warnings=4, apply=True))
    _carry_out(engine, _claim(engine)[0])

    row = _row(engine)
    assert (row["rank"], row["punishment_status"]) == ("Cell", "Trial_Punishment")
    assert row["punishment_expires_at"] == NOW + timedelta(days=14)


@pytest.mark.parametrize(
    ("said", "after", "status"),
    [
        ({}, timedelta(days=13), "Trial_Punishment"),
        ({}, timedelta(days=14), None),
        ({"punishmentStatus": None}, timedelta(days=1), None),
        ({"punishmentStatus": "Probation"}, timedelta(days=1), "Probation"),
        ({"punishmentExpiresAt": None}, timedelta(days=1), None),
    ],
)
def test_a_trial_goes_on_while_snapshots_do_not_speak_of_it(
    engine: Engine, said: dict[str, Any], after: timedelta, status: str | None
) -> None:
    _record(engine, entry(rank="New", warnings=4, apply=True))
    _carry_out(engine, _claim(engine)[0])

    _record(engine, entry(rank="New", **said), on=context(now=NOW + after))

    row = _row(engine)
    ends = NOW + timedelta(days=14) if status == "Trial_Punishment" else None
    assert (row["punishment_status"], row["punishment_expires_at"]) == (status, ends)


def test_a_trial_without_an_end_lasts_as_long_as_snapshots_say_so(engine: Engine) -> None:
    _record(engine, entry(punishmentStatus="Trial_Punishment"))
    _record(engine, entry(kos=1))

    assert _row(engine)["punishment_status"] is None


def test_a_ban_is_sent_once_until_a_snapshot_pardons(engine: Engine) -> None:
    def told(**facts: Any) -> Recorded:
        return _record(engine, entry(rank="New", apply=True, **facts))[0]

    told(warnings=7)
    [job] = _claim(engine)
    assert isinstance(job.steps[0], Ban)
    assert job.steps[0].duration_s is None
    _carry_out(engine, job)

    again = told(warnings=8).decision
    assert again is not None
    assert (again.verdict.action, again.apply, again.reason) == (Action.BAN, False, "banned already")
    told(warnings=0)
    assert told(warnings=7).queued


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"inbound_key": False}, "no inbound key configured"),
        ({"capabilities": replace(EVERYTHING, key=False)}, "no Open Cloud key configured"),
        ({"capabilities": replace(EVERYTHING, group=False)}, "no group configured"),
        ({"policy": NO_ROLE_IDS}, "Known has no roleId"),
    ],
)
def test_what_cannot_be_applied_says_why(engine: Engine, change: dict[str, Any], reason: str) -> None:
    [recorded] = _record(engine, entry(rank="New", rankPoints=150, apply=True), on=context(**change))

    assert recorded.decision is not None
    assert (recorded.decision.verdict.action, recorded.decision.verdict.target_rank) == (
        Action.PROMOTE,
        "Known",
    )
    assert (recorded.decision.apply, recorded.decision.reason) == (False, reason)
    assert _statuses(engine) == []


def test_a_decision_by_hand_is_queued_with_its_reason(engine: Engine) -> None:
    _record(engine, entry(rank="New", rankPoints=150))
    request = DecisionRequest(user_id=5, actor_user_id=9, apply=True, reason="a fine season")
    with engine.begin() as connection:
        recorded = transactions.apply_decision(connection, request, request_id="by-hand", context=context())

    assert recorded is not None
    assert recorded.decision is not None
    assert recorded.decision.reason == "a fine season (150 points reach Known (100))"
    assert _statuses(engine) == [("PROMOTE", "pending")]
    with engine.begin() as connection:
        stranger = DecisionRequest(user_id=404, apply=True)
        assert transactions.apply_decision(connection, stranger, request_id="x", context=context()) is None


def test_a_claimed_decision_belongs_to_its_owner_until_the_lease_ends(engine: Engine) -> None:
    _record(engine, entry(rank="New", rankPoints=150, apply=True))
    [job] = _claim(engine, "one")

    assert _claim(engine, "two", seconds=27) == []
    [taken] = _claim(engine, "two", seconds=29)
    with engine.begin() as connection:
        late = progress_after(job, Done(), NOW)
        assert not transactions.advance(connection, job, late, owner="one", policy=policy(), now=NOW)
    assert _row(engine)["rank"] == "New"
    _hear(engine, taken, Done(), owner="two")
    assert _row(engine)["rank"] == "Known"


def test_a_postponed_decision_is_due_when_it_said(engine: Engine) -> None:
    _record(engine, entry(rank="New", rankPoints=150, apply=True))
    assert _hear(engine, _claim(engine)[0], RetryIn(5.0, "503 UNAVAILABLE: m")) is not None

    assert _claim(engine, "two", seconds=4) == []
    [job] = _claim(engine, "two", seconds=5)
    assert job.attempts == 1


@pytest.mark.parametrize("ahead_s", [60, 3 * 3600, 8 * 86_400, 4000 * 86_400])
def test_a_clock_that_was_ahead_delays_no_retry_and_no_lease(engine: Engine, ahead_s: int) -> None:
    _record(engine, entry(rank="New", rankPoints=150, apply=True))
    [job] = _claim(engine, seconds=ahead_s)
    assert _hear(engine, job, RetryIn(5.0, "503 UNAVAILABLE: m"), seconds=ahead_s) is not None

    # The clock is right again: the retry is due, and so is a decision whose node has died meanwhile.
    assert len(_claim(engine, "two")) == 1
    assert len(_claim(engine, "three", seconds=ahead_s + 6)) == 1
    assert len(_claim(engine, "four", seconds=1)) == 1
    assert _claim(engine, "five", seconds=1) == []


@pytest.mark.parametrize("behind_s", [60, 8 * 86_400])
def test_a_clock_that_was_behind_delays_no_retry_and_no_lease(engine: Engine, behind_s: int) -> None:
    _record(engine, entry(rank="New", rankPoints=150, apply=True))
    [job] = _claim(engine)
    _hear(engine, job, RetryIn(5.0, "503 UNAVAILABLE: m"), seconds=-behind_s)

    assert len(_claim(engine, "two")) == 1
    # The clocks of two nodes may differ a little.
    assert _claim(engine, "three", seconds=-4) == []
    assert len(_claim(engine, "four", seconds=5 - behind_s)) == 1


def test_a_crash_between_steps_goes_on_from_the_last_one_recorded(engine: Engine) -> None:
    _record(engine, entry(rank="New", rankPoints=150, apply=True))
    _hear(engine, _claim(engine)[0], Done())

    [job] = _claim(engine, "two", minutes=5)

    assert job.step == Unassign(11)


def test_a_refused_role_changes_nothing_and_a_refused_mirror_ends_well(engine: Engine) -> None:
    _record(engine, entry(rank="New", rankPoints=150, apply=True))
    assert _hear(engine, _claim(engine)[0], Refused("NOT_FOUND", "no such member")) is None
    assert (_statuses(engine), _row(engine)["rank"]) == ([("PROMOTE", "refused")], "New")

    _record(engine, entry(rank="New", rankPoints=151, apply=True))
    job: Claimed | None = _claim(engine)[0]
    for outcome in (Done(), Done(), Refused("INVALID_ARGUMENT", "bad store")):
        assert job is not None
        job = _hear(engine, job, outcome)
    assert job is None
    assert _statuses(engine)[1] == ("PROMOTE", "done")


def test_leases_are_given_back_at_an_orderly_stop(engine: Engine) -> None:
    _record(engine, entry(rank="New", rankPoints=150, apply=True))
    _claim(engine, "one")
    with engine.begin() as connection:
        assert outbox.release_decisions(connection, owner="one") == 1

    assert len(_claim(engine, "two")) == 1


def _slice(before: datetime, limit: int) -> Slice:
    before_ms = round(before.timestamp() * 1000)
    return Slice(after_id=0, before_ms=before_ms, now_ms=before_ms, limit=limit)


def test_the_depth_counts_what_waits_and_old_rows_are_forgotten(engine: Engine) -> None:
    _record(engine, *(entry(userId=user, rank="New", rankPoints=150, apply=True) for user in (5, 6)))
    _carry_out(engine, _claim(engine, limit=1)[0])
    later = NOW + timedelta(days=1)

    with engine.begin() as connection:
        depth = outbox.outbox_depth(connection)
        assert (depth.pending, depth.oldest) == (1, NOW)
        assert outbox.forget_settled(connection, _slice(later, limit=10)) == (1, 0)
        assert transactions.forget_snapshots(connection, _slice(later, limit=1)) == (1, 0)
        assert outbox.forget_settled(connection, _slice(later, limit=10)) == (0, None)
    assert _statuses(engine) == [("PROMOTE", Status.PENDING.value)]


def test_the_tables_other_programs_read_are_as_promised(engine: Engine) -> None:
    found = inspect(engine)

    assert [column["name"] for column in found.get_columns("players")] == PLAYERS.split()
    assert [column["name"] for column in found.get_columns("player_snapshots")] == SNAPSHOTS.split()
    assert ["rank_points", "kos", "wos"] in [index["column_names"] for index in found.get_indexes("players")]
    assert ["user_id"] in [index["column_names"] for index in found.get_indexes("player_snapshots")]
