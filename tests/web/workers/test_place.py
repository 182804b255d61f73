"""What workers are told, and their shares of the node's limits."""

from __future__ import annotations

import pytest

from web.settings import Settings, SettingsError, share
from web.workers.place import ParentPlan, WorkerPlace


def test_a_place_survives_the_environment() -> None:
    place = WorkerPlace(2, 4, (5, 6), 7, "/run/greenroom")

    assert WorkerPlace.from_env(place.to_env()) == place
    assert WorkerPlace.from_env({}) is None


def test_a_plan_survives_the_environment() -> None:
    plan = Settings.from_env({"WORKERS": "1", "HOST": "::1"}).parent_plan()

    assert ParentPlan.from_env(plan.to_env()) == plan
    assert ParentPlan.from_env({}) is None


@pytest.mark.parametrize(
    ("limit", "count", "wanted"), [(0, 4, 0), (1, 4, 1), (10, 4, 8), (10_000, 4, 2650), (10_000, 1, 10_000)]
)
def test_a_limit_is_divided_with_slack(limit: int, count: int, wanted: int) -> None:
    assert share(limit, count) == wanted


def test_limits_of_connections_are_divided_and_others_are_not() -> None:
    shared = {"WORKERS": "4", "ROOM_STORE": "redis", "REDIS_URL": "redis://localhost"}
    node = Settings.from_env(shared)
    mine = node.of_worker(2, 4)

    assert mine.max_connections < node.max_connections / 3
    assert mine.max_streams < node.max_streams / 3
    assert mine.streams_per_room == mine.max_streams
    for name in Settings.model_fields:
        if name.endswith(("_per_ip", "_per_minute")):
            ours = node.model_copy(update={name: 1000})
            assert getattr(ours.of_worker(2, 4), name) == share(1000, 4), name
    assert (mine.max_rooms, mine.max_state_bytes) == (node.max_rooms, node.max_state_bytes)
    assert (node.worker, mine.worker) == (1, 2)


def test_auto_is_a_worker_for_each_core(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 3, 5}, raising=False)
    shared = {"ROOM_STORE": "redis", "REDIS_URL": "redis://localhost"}

    assert Settings.from_env({"WORKERS": "auto", **shared}).workers == 3


@pytest.mark.parametrize("wrong", ["0", "-1", "257", "many", "1.5"])
def test_a_number_of_workers_that_cannot_be_is_refused(wrong: str) -> None:
    with pytest.raises(SettingsError, match="WORKERS"):
        Settings.from_env({"WORKERS": wrong})


def test_several_workers_need_shared_rooms() -> None:
    with pytest.raises(SettingsError, match="ROOM_STORE: must be redis because WORKERS is above 1"):
        Settings.from_env({"WORKERS": "2"})
