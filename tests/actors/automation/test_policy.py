from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
import trio

from actors.automation import schemas
from actors.automation.policy_files import (
    CHECK_EVERY_S,
    PERMISSIONS,
    PUNISHMENTS,
    RANKS,
    PolicyError,
    PolicyFiles,
    check_policy,
    packaged,
    packaged_policy,
)
from tests.actors.automation.people import policy
from tests.fakes.life import LoneLife
from tests.fakes.waiting import until


def _write(directory: Path, name: str, content: object) -> None:
    (directory / name).write_text(content if isinstance(content, str) else json.dumps(content))


def _ranks(*ranks: dict[str, Any]) -> dict[str, Any]:
    return {"ranks": list(ranks)}


LOW: dict[str, Any] = {"name": "low", "minPoints": 0, "level": 1}
HIGH: dict[str, Any] = {"name": "high", "minPoints": 10, "level": 2}


def test_what_ships_is_in_order(tmp_path: Path) -> None:
    assert check_policy(None) == []
    assert check_policy(tmp_path) == []
    assert packaged_policy().unknown_roles() == []
    assert packaged_policy().punishment_rank is not None


def test_the_example_of_an_override_is_sound() -> None:
    directory = Path(__file__).parents[3] / "config"

    assert check_policy(directory) == []
    examples = {path.name for path in directory.glob("*.json")} - {"grafana-dashboard.json"}
    assert examples == {RANKS, PUNISHMENTS, PERMISSIONS}


def test_a_directory_that_is_not_there_is_found_by_the_check(tmp_path: Path) -> None:
    assert check_policy(tmp_path / "none") == [f"{tmp_path / 'none'}: is not a directory"]


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("{", "policy.ranks.json: Invalid JSON"),
        (_ranks(), "at least one rank must be neither a punishment nor privileged"),
        (_ranks(LOW, LOW), "rank 'low' is listed more than once"),
        (_ranks(LOW | {"roleId": 1}, HIGH | {"roleId": 1}), "roleId 1 belongs to more than one rank"),
        (_ranks(LOW | {"minPoints": -1}), "policy.ranks.json: ranks.0.minPoints: "),
        (_ranks(LOW | {"minPoints": "5"}), "policy.ranks.json: ranks.0.minPoints: "),
        (_ranks(LOW | {"minTimeDays": -0.5}), "policy.ranks.json: ranks.0.minTimeDays: "),
        (_ranks(LOW | {"level": True}), "policy.ranks.json: ranks.0.level"),
        (_ranks(LOW | {"level": None}), "policy.ranks.json: ranks.0.level"),
        (_ranks(LOW | {"roleId": "12a"}), "policy.ranks.json: ranks.0.roleId"),
        (_ranks(LOW | {"roleId": "9" * 19}), "policy.ranks.json: ranks.0.roleId"),
        ({}, "policy.ranks.json: ranks: Field required"),
    ],
)
def test_a_broken_rank_table_is_refused_with_its_place(
    tmp_path: Path, content: object, complaint: str
) -> None:
    _write(tmp_path, RANKS, content)

    assert any(complaint in problem for problem in check_policy(tmp_path))
    with pytest.raises(PolicyError):
        PolicyFiles(tmp_path)


def test_every_broken_file_is_named_at_once(tmp_path: Path) -> None:
    _write(tmp_path, PUNISHMENTS, {"trial_threshold": 5, "severe_threshold": 4})
    _write(tmp_path, PERMISSIONS, {"roles": {"Newcomer": {"level": "1", "canBan": "yes"}}})

    problems = check_policy(tmp_path)

    assert [problem.partition(":")[0] for problem in problems] == [PUNISHMENTS, PERMISSIONS]


def test_a_file_too_large_to_be_policy_is_refused(tmp_path: Path) -> None:
    _write(tmp_path, RANKS, " " * 2_000_000)

    assert check_policy(tmp_path) == ["policy.ranks.json: is larger than 1048576 bytes"]


def test_permissions_for_ranks_that_do_not_exist_are_found_by_the_check_only(tmp_path: Path) -> None:
    _write(tmp_path, PERMISSIONS, {"roles": {"Nobody": {"level": 1}}})

    assert check_policy(tmp_path) == ["permissions.json: roles.Nobody: policy.ranks.json has no such rank"]
    assert PolicyFiles(tmp_path).current.unknown_roles() == ["Nobody"]


def test_one_file_may_be_overridden_alone(tmp_path: Path) -> None:
    _write(tmp_path, RANKS, _ranks(HIGH, LOW))

    current = PolicyFiles(tmp_path).current

    assert [rank.name for rank in current.ladder] == ["low", "high"]
    assert current.punishments.trial_days == 14
    assert check_policy(tmp_path) == []


def test_a_rank_follows_from_points_but_never_a_punishment_or_a_privileged_one() -> None:
    rules = policy()

    names = [rules.rank_for_points(points).name for points in (0, 99, 100, 299, 300, 10**6)]

    assert names == ["New", "New", "Known", "Tried", "Kept", "Kept"]


async def test_a_changed_file_is_in_force_at_the_next_look(tmp_path: Path) -> None:
    files = PolicyFiles(tmp_path, check_every_s=0.001)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(files.run, LoneLife())
        _write(tmp_path, PUNISHMENTS, {"trial_days": 3})
        await until(lambda: files.current.punishments.trial_days == 3)
        nursery.cancel_scope.cancel()

    assert files.statistics().reloads == 1
    assert 2 * CHECK_EVERY_S < 2


@pytest.mark.parametrize("there_at_the_start", [True, False])
@pytest.mark.parametrize("name", [RANKS, PUNISHMENTS, PERMISSIONS])
def test_a_file_that_vanishes_leaves_its_policy_in_force(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str, there_at_the_start: bool
) -> None:
    own = {RANKS: _ranks(LOW), PUNISHMENTS: {"trial_days": 3}, PERMISSIONS: {"roles": {}}}[name]
    if there_at_the_start:
        _write(tmp_path, name, own)
    files = PolicyFiles(tmp_path)
    _write(tmp_path, name, own)
    files.refresh()
    in_force = files.current

    (tmp_path / name).unlink()
    with caplog.at_level(logging.ERROR):
        for _ in range(5):
            files.refresh()

    assert files.current == in_force != packaged_policy()
    assert [vars(each)["problems"] for each in caplog.records if each.msg == "policy_refused"] == [
        [f"{name}: has vanished"]
    ]

    before = files.statistics().reloads
    _write(tmp_path, name, own)
    files.refresh()
    assert files.statistics().reloads == before


def test_files_in_the_public_shape_load(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    trial = {"name": "Initiate", "minPoints": 0, "minTimeDays": 0, "level": "Trial", "roleId": 2}
    private = {"name": "Private", "minPoints": 50, "minTimeDays": 1.5, "level": "LR", "roleId": "3"}
    special = {"name": "Specialist", "minPoints": 100, "level": "LR", "role": "x"}
    punished = {"name": "Suspended", "minPoints": 0, "level": "Trial", "isPunishment": True}
    ranks = {"version": 3, "ranks": [special, punished, private, trial]}
    (tmp_path / RANKS).write_text(json.dumps(ranks), encoding="utf-8-sig")
    _write(tmp_path, PUNISHMENTS, {"trial_days": 0.5, "trial_lock_promotion": True})
    _write(tmp_path, PERMISSIONS, {"roles": {"Guest": {"level": "Guest", "ignored": True, "may": 1}}})

    current = PolicyFiles(tmp_path).current

    assert [rank.name for rank in current.ladder] == ["Initiate", "Private", "Specialist"]
    assert [rank.role_id for rank in current.ladder] == [2, 3, None]
    assert (current.ladder[1].min_time_days, current.punishments.trial_days) == (1.5, 0.5)
    assert check_policy(tmp_path) == []
    assert [vars(record)["keys"] for record in caplog.records if record.msg == "policy_keys_unknown"][:3] == [
        ["version", "ranks.0.role"],
        ["trial_lock_promotion"],
        ["roles.Guest.may"],
    ]


SOUND: list[tuple[str, object, object]] = [
    (RANKS, _ranks(LOW | {"level": 1.0}), "level: 1"),
    (RANKS, _ranks(LOW | {"level": -1}), "level: -1"),
    (RANKS, _ranks(LOW | {"level": 2.5}), "level: 2.5"),
    (RANKS, _ranks(LOW | {"minPoints": 0.0}), "min_points: 0"),
    (RANKS, _ranks(LOW | {"roleId": 12.0}), "role_id: 12"),
    (RANKS, _ranks(LOW | {"roleId": "9007199254740993"}), "role_id: 9007199254740993"),
    (RANKS, _ranks(LOW | {"isPunishment": None, "privileged": None}), "is_punishment: False"),
    (RANKS, {"ranks": [{"name": "low", "min_points": 0, "level": 1, "role_id": 5}]}, "role_id: 5"),
    (RANKS, json.dumps(_ranks(LOW), indent=1).replace("\n", "\r\n"), "name: low"),
    (RANKS, "\ufeff" + json.dumps(_ranks(LOW)), "name: low"),
    (RANKS, _ranks(LOW | {"name": "Guest"}), "name: Guest"),
    (PUNISHMENTS, {"trialThreshold": 5, "severeThreshold": 9, "trialDays": 0.25}, "severe_threshold: 9"),
    (PUNISHMENTS, {"trial_threshold": 5, "trialThreshold": 6}, "trial_threshold: 5"),
    (PUNISHMENTS, {"trial_threshold": 4.0}, "trial_threshold: 4"),
    (PERMISSIONS, {"roles": {"low": {"level": "staff", "canBan": None}}}, "can_ban: False"),
    (PERMISSIONS, {"roles": {"low": {"level": 1, "can_warn": True, "canEarn": None}}}, "can_earn: True"),
]


@pytest.mark.parametrize(("name", "content", "wanted"), SOUND)
def test_what_other_tools_write_is_taken(tmp_path: Path, name: str, content: object, wanted: str) -> None:
    (tmp_path / RANKS).write_text(json.dumps(_ranks(LOW)))
    text = content if isinstance(content, str) else json.dumps(content)
    (tmp_path / name).write_bytes(text.encode())

    current = PolicyFiles(tmp_path).current
    model: Any = {
        RANKS: current.table.ranks[0],
        PUNISHMENTS: current.punishments,
        PERMISSIONS: current.permissions.roles.get("low"),
    }[name]

    assert wanted in [f"{key}: {value}" for key, value in model]
    assert check_policy(tmp_path) == []


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        (RANKS, _ranks(LOW | {"roleId": 9007199254740994.0}), "ranks.0.roleId: "),
        (RANKS, _ranks(LOW | {"roleId": " 12"}), "ranks.0.roleId: "),
        (RANKS, _ranks(LOW | {"roleId": "\u0663"}), "ranks.0.roleId: "),
        (
            RANKS,
            _ranks(LOW | {"level": ""}),
            "ranks.0.level: must be a number, or a word of 1 to 64 characters",
        ),
        (RANKS, _ranks(LOW | {"level": float("nan")}), "ranks.0.level: must be a number"),
        (RANKS, _ranks(LOW | {"minPoints": 0.5}), "ranks.0.minPoints: "),
        (RANKS, _ranks(LOW | {"isPunishment": "yes"}), "ranks.0.isPunishment: "),
        (RANKS, "[" * 10_000, "Invalid JSON"),
        (RANKS, "", "Invalid JSON"),
        (PUNISHMENTS, {"trialThreshold": 9, "severe_threshold": 5}, "severe_threshold (5)"),
        (PUNISHMENTS, [], "policy.punishments.json: "),
        (PERMISSIONS, {"roles": {"low": {"level": 1, "canBan": "true"}}}, "roles.low.canBan: "),
        (PERMISSIONS, {"roles": [{"name": "low", "level": 1}]}, "permissions.json: roles: "),
    ],
)
def test_what_cannot_be_meant_is_refused_in_one_line(
    tmp_path: Path, name: str, content: object, complaint: str
) -> None:
    _write(tmp_path, name, content)

    [problem] = check_policy(tmp_path)
    assert complaint in problem


def test_utf_16_is_refused_by_its_name(tmp_path: Path) -> None:
    (tmp_path / RANKS).write_bytes(json.dumps(_ranks(LOW)).encode("utf-16"))

    assert check_policy(tmp_path) == ["policy.ranks.json: is UTF-16: save it as UTF-8"]


def test_keys_that_are_given_twice_are_warned_about_and_the_last_counts(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    role = '{"level": 1, "canBan": true}'
    _write(tmp_path, RANKS, _ranks(LOW))
    _write(tmp_path, PERMISSIONS, f'{{"roles": {{"low": {role}, "low": {{"level": 2}}}}}}')

    [role_in_force] = PolicyFiles(tmp_path).current.permissions.roles.values()

    assert (role_in_force.level, role_in_force.can_ban) == (2, False)
    [record] = [record for record in caplog.records if record.msg == "policy_keys_repeated"]
    assert vars(record)["keys"] == ["low"]


def test_ranks_of_equal_points_keep_their_places(tmp_path: Path) -> None:
    _write(tmp_path, RANKS, _ranks(HIGH | {"minPoints": 0, "level": 1}, LOW))

    assert [rank.name for rank in PolicyFiles(tmp_path).current.ladder] == ["high", "low"]


def test_a_broken_file_is_refused_once_in_the_log_and_the_old_policy_stays(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    _write(tmp_path, PUNISHMENTS, {"trial_days": 3})
    files = PolicyFiles(tmp_path)
    _write(tmp_path, PUNISHMENTS, "{nonsense")
    _write(tmp_path, RANKS, _ranks(LOW))

    with caplog.at_level(logging.ERROR):
        files.refresh()
        files.refresh()

    assert [record.getMessage() for record in caplog.records] == ["policy_refused"]
    assert "policy.punishments.json: Invalid JSON" in str(vars(caplog.records[0])["problems"])
    assert files.current.punishments.trial_days == 3
    # Its neighbour, changed at the same time and sound, is taken.
    assert [rank.name for rank in files.current.ladder] == ["low"]
    assert files.statistics().refusals == 1

    _write(tmp_path, PUNISHMENTS, {"trial_days": 4})
    files.refresh()

    assert files.current.punishments.trial_days == 4


def test_a_file_that_becomes_unreadable_leaves_the_old_policy(tmp_path: Path) -> None:
    _write(tmp_path, PUNISHMENTS, {"trial_days": 3})
    files = PolicyFiles(tmp_path)
    (tmp_path / PUNISHMENTS).unlink()
    (tmp_path / PUNISHMENTS).mkdir()

    files.refresh()

    assert files.current.punishments.trial_days == 3
    assert files.statistics().refusals == 1


def test_a_directory_that_vanishes_leaves_the_old_policy(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    directory = tmp_path / "config"
    directory.mkdir()
    _write(directory, PUNISHMENTS, {"trial_days": 3})
    files = PolicyFiles(directory)
    directory.rename(tmp_path / "elsewhere")

    with caplog.at_level(logging.ERROR):
        for _ in range(3):
            files.refresh()

    assert files.current.punishments.trial_days == 3
    assert {record.getMessage() for record in caplog.records} == {"policy_refused"}
    assert len(caplog.records) == files.statistics().refusals == 3
    assert f"policy.punishments.json: there is no directory {directory}" in str(
        [vars(record)["problems"] for record in caplog.records]
    )

    (tmp_path / "elsewhere").rename(directory)
    _write(directory, PUNISHMENTS, {"trial_days": 4})
    files.refresh()

    assert files.current.punishments.trial_days == 4


def test_a_file_missing_for_a_moment_while_it_is_replaced_changes_nothing(tmp_path: Path) -> None:
    _write(tmp_path, PUNISHMENTS, {"trial_days": 3})
    files = PolicyFiles(tmp_path)
    (tmp_path / PUNISHMENTS).unlink()

    files.refresh()
    _write(tmp_path, PUNISHMENTS, {"trial_days": 3})
    files.refresh()

    assert files.current.punishments.trial_days == 3
    assert files.statistics().reloads == 0


@pytest.mark.parametrize("name", sorted(schemas.schemas()))
def test_the_schemas_that_ship_are_those_of_the_models(name: str) -> None:
    assert packaged(f"schemas/{name}").decode() == schemas.schemas()[name]
