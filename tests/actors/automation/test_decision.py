from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.automation.decision import Action, Verdict, decide, why_forbidden
from actors.automation.player import Player
from tests.actors.automation.people import NOW, RANKS, player, policy

LATER = NOW + timedelta(days=1)
LONG_AGO = NOW - timedelta(days=100)

CASES: list[tuple[str, dict[str, Any], Action, str | None]] = [
    ("severe warnings ban", {"warnings": 7}, Action.BAN, None),
    ("a severe status bans", {"punishment_status": "Punishment_Severe"}, Action.BAN, None),
    ("a ban comes before the exemption", {"rank": "Owner", "warnings": 9}, Action.BAN, None),
    (
        "a ban comes before a trial",
        {"punishment_status": "Trial_Punishment", "warnings": 7},
        Action.BAN,
        None,
    ),
    ("trial warnings suspend", {"warnings": 4}, Action.SUSPEND, "Cell"),
    ("a trial suspends", {"punishment_status": "Trial_Punishment"}, Action.SUSPEND, "Cell"),
    ("its other spelling too", {"punishment_status": "Punishment_Trial"}, Action.SUSPEND, "Cell"),
    (
        "a trial that goes on suspends",
        {"punishment_status": "Trial_Punishment", "punishment_expires_at": LATER},
        Action.SUSPEND,
        "Cell",
    ),
    (
        "a trial that is over does not",
        {"punishment_status": "Trial_Punishment", "punishment_expires_at": NOW},
        Action.NONE,
        None,
    ),
    (
        "warnings suspend whatever the trial's end",
        {"warnings": 5, "punishment_status": "Trial_Punishment", "punishment_expires_at": LONG_AGO},
        Action.SUSPEND,
        "Cell",
    ),
    ("an unknown status is no punishment", {"punishment_status": "Probation"}, Action.NONE, None),
    ("a suspended player is not suspended again", {"rank": "Cell", "warnings": 5}, Action.NONE, None),
    ("a suspension comes before the exemption", {"rank": "Owner", "warnings": 4}, Action.SUSPEND, "Cell"),
    ("a punishment rank is not left by points", {"rank": "Cell", "rank_points": 999}, Action.NONE, None),
    ("a locked rank is left alone, upwards", {"rank": "Kept", "rank_points": 999}, Action.NONE, None),
    ("a locked rank is left alone, downwards", {"rank": "Kept", "rank_points": 0}, Action.NONE, None),
    ("enough points promote", {"rank_points": 100}, Action.PROMOTE, "Known"),
    ("one step at a time", {"rank_points": 350}, Action.PROMOTE, "Known"),
    ("one point too few does not", {"rank_points": 99}, Action.NONE, None),
    (
        "time served promotes",
        {"rank": "Known", "rank_points": 200, "created_at": NOW - timedelta(days=10)},
        Action.PROMOTE,
        "Tried",
    ),
    (
        "too short a time does not",
        {"rank": "Known", "rank_points": 200, "created_at": NOW - timedelta(days=9, hours=23)},
        Action.NONE,
        None,
    ),
    ("too few points demote one step", {"rank": "Tried", "rank_points": 0}, Action.DEMOTE, "Known"),
    ("nobody falls below the lowest rank", {"rank": "New", "rank_points": 0}, Action.NONE, None),
    ("the lowest rank is above the punishment", {"rank": "Known", "rank_points": 5}, Action.DEMOTE, "New"),
    ("a rank the table has forgotten stays", {"rank": "Gone", "rank_points": 500}, Action.NONE, None),
]


def test_nobody_is_demoted_to_a_rank_that_is_given_by_hand() -> None:
    low, high = {"name": "Low", "minPoints": 0, "level": 1}, {"name": "High", "minPoints": 10, "level": 1}
    rules = policy([low, {"name": "Owner", "minPoints": 0, "level": "x", "privileged": True}, high], {})

    verdict = decide(player(rank="High", rank_points=5), rules, NOW)

    assert (verdict.action, verdict.reason) == (Action.NONE, "Owner is given by hand")


@pytest.mark.parametrize(
    ("facts", "action", "target"), [case[1:] for case in CASES], ids=[c[0] for c in CASES]
)
def test_the_first_rule_that_speaks_wins(facts: dict[str, Any], action: Action, target: str | None) -> None:
    verdict = decide(player(**facts), policy(), NOW)

    assert (verdict.action, verdict.target_rank) == (action, target)
    assert verdict.reason


def test_a_privileged_rank_is_given_by_hand() -> None:
    unlocked = policy(roles={})

    assert decide(player(rank="Kept", rank_points=500), unlocked, NOW).action is Action.NONE


def test_points_below_the_own_rank_demote_although_the_next_rank_is_cheap_and_privileged() -> None:
    ranks = [rank for rank in RANKS if rank["name"] != "Chosen"]

    verdict = decide(player(rank="Kept", rank_points=50), policy(ranks, {}), NOW)

    assert (verdict.action, verdict.target_rank) == (Action.DEMOTE, "Tried")


def test_without_a_punishment_rank_nobody_is_suspended() -> None:
    ranks = [rank for rank in RANKS if not rank.get("isPunishment")]

    assert decide(player(warnings=5), policy(ranks, {}), NOW).action is Action.NONE


@st.composite
def _tables(draw: st.DrawFn) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    size = draw(st.integers(1, 8))
    points = sorted(draw(st.lists(st.integers(0, 500), min_size=size, max_size=size)))
    marks: st.SearchStrategy[dict[str, Any]] = st.sampled_from(
        [{}, {}, {"isPunishment": True}, {"privileged": True}, {"minTimeDays": 5}]
    )
    exempt: st.SearchStrategy[dict[str, Any]] = st.sampled_from([{}, {}, {"locked": True}, {"ignored": True}])
    ranks: list[dict[str, Any]] = [
        {"name": f"r{level}", "minPoints": least, "level": level, **(draw(marks) if level else {})}
        for level, least in enumerate(points)
    ]
    return ranks, {rank["name"]: {"level": 1, **draw(exempt)} for rank in ranks}


_PLAYERS = st.builds(
    player,
    rank=st.sampled_from([f"r{level}" for level in range(8)]),
    rank_points=st.integers(0, 600),
    warnings=st.integers(0, 9),
    punishment_status=st.sampled_from([None, "Trial_Punishment", "Punishment_Severe", "x"]),
    punishment_expires_at=st.sampled_from([None, LATER, LONG_AGO]),
    created_at=st.sampled_from([NOW, LONG_AGO]),
)


@given(tables=_tables(), somebody=_PLAYERS)
def test_automation_moves_one_step_and_never_into_or_out_of_punishment(
    tables: tuple[list[dict[str, Any]], dict[str, Any]], somebody: Player
) -> None:
    rules = policy(*tables)
    names = [rank.name for rank in rules.ladder]

    verdict = decide(somebody, rules, NOW)

    if verdict.action in {Action.PROMOTE, Action.DEMOTE}:
        step = 1 if verdict.action is Action.PROMOTE else -1
        assert verdict.target_rank is not None
        assert names.index(verdict.target_rank) == names.index(somebody.rank) + step
        assert not rules.blocks_decisions(somebody.rank)
    if verdict.action is Action.SUSPEND:
        target = rules.rank(verdict.target_rank or "")
        assert target is not None
        assert target.is_punishment
    if verdict.action in {Action.BAN, Action.NONE}:
        assert verdict.target_rank is None
    assert decide(somebody, rules, NOW) == verdict


@pytest.mark.parametrize(
    ("level", "below", "is_above"),
    [
        (2, 1, True),
        (1, 1, False),
        (1, 2, False),
        ("a", "a", False),
        ("a", "b", True),
        ("b", "a", False),
        (1, "a", True),
        ("a", 9, True),
        ("1", 1, True),
    ],
)
def test_levels_are_compared_as_numbers_and_words_by_the_points_of_their_ranks(
    level: int | str, below: int | str, is_above: bool
) -> None:
    roles: dict[str, Any] = {"Kept": {"level": level, "canWarn": True}, "New": {"level": below}}
    ranks = ("Kept", "New")
    if (level, below) == ("b", "a"):
        roles, ranks = {"New": {"level": level, "canWarn": True}, "Kept": {"level": below}}, ("New", "Kept")
    verdict = Verdict(Action.SUSPEND, "Cell", "why")

    assert (why_forbidden(verdict, *ranks, policy(roles=roles)) is None) == is_above


@pytest.mark.parametrize("action", [Action.NONE, Action.PROMOTE, Action.DEMOTE])
def test_only_punishments_need_a_permission(action: Action) -> None:
    assert why_forbidden(Verdict(action, None, "why"), "Cell", "Owner", policy()) is None
