"""Faulty specs are refused before anything starts (OTP: child_specs, sup_flags, bad combinations)."""

from dataclasses import FrozenInstanceError

import pytest

from supervision import (
    BRUTAL_KILL,
    INFINITY,
    AutoShutdown,
    Backoff,
    ChildSpec,
    ChildType,
    DynamicSupervisor,
    InvalidSpec,
    Restart,
    Supervisor,
)
from tests.supervision.children import returning


def test_a_child_is_a_permanent_worker_with_five_seconds_to_stop_unless_said_otherwise() -> None:
    child = ChildSpec(id="a", start=returning)

    assert (child.restart, child.type, child.shutdown_s) == (Restart.PERMANENT, ChildType.WORKER, 5.0)
    assert not child.significant


def test_a_supervisor_has_all_the_time_to_stop_unless_said_otherwise() -> None:
    assert ChildSpec(id="a", start=returning, type=ChildType.SUPERVISOR).shutdown_s == INFINITY
    assert ChildSpec(id="a", start=returning, type=ChildType.SUPERVISOR, shutdown_s=7).shutdown_s == 7


def test_a_spec_cannot_be_changed() -> None:
    child = ChildSpec(id="a", start=returning)

    with pytest.raises(FrozenInstanceError):
        child.id = "b"  # type: ignore[misc]


@pytest.mark.parametrize("shutdown_s", [BRUTAL_KILL, 0.001, 5, INFINITY])
def test_every_non_negative_shutdown_is_accepted(shutdown_s: float) -> None:
    assert ChildSpec(id="a", start=returning, shutdown_s=shutdown_s).shutdown_s == shutdown_s


@pytest.mark.parametrize("shutdown_s", [-0.5, -100.0, float("nan")])
def test_a_shutdown_that_is_no_duration_is_refused(shutdown_s: float) -> None:
    with pytest.raises(InvalidSpec, match="shutdown_s"):
        ChildSpec(id="a", start=returning, shutdown_s=shutdown_s)


def test_a_start_that_cannot_be_called_is_refused() -> None:
    with pytest.raises(InvalidSpec, match="not callable"):
        ChildSpec(id="a", start="returning")  # type: ignore[arg-type]


def test_a_permanent_child_cannot_be_significant() -> None:
    with pytest.raises(InvalidSpec, match="cannot be significant"):
        ChildSpec(id="a", start=returning, significant=True)


def test_a_significant_child_needs_a_supervisor_that_shuts_down_automatically() -> None:
    child = ChildSpec(id="a", start=returning, restart=Restart.TRANSIENT, significant=True)

    with pytest.raises(InvalidSpec, match="auto_shutdown is never"):
        Supervisor([child])
    Supervisor([child], auto_shutdown=AutoShutdown.ANY_SIGNIFICANT)


def test_two_children_cannot_share_an_id() -> None:
    child = ChildSpec(id="a", start=returning)

    with pytest.raises(InvalidSpec, match="two children called 'a'"):
        Supervisor([child, child])


@pytest.mark.parametrize(("max_restarts", "max_seconds"), [(-1, 5.0), (3, 0.0), (3, -1.0), (3, float("nan"))])
def test_impossible_restart_limits_are_refused(max_restarts: int, max_seconds: float) -> None:
    with pytest.raises(InvalidSpec):
        Supervisor([], max_restarts=max_restarts, max_seconds=max_seconds)
    with pytest.raises(InvalidSpec):
        DynamicSupervisor(max_children=1, max_restarts=max_restarts, max_seconds=max_seconds)


def test_restarting_for_ever_needs_delays() -> None:
    with pytest.raises(InvalidSpec, match="needs a backoff"):
        Supervisor([], max_restarts=None)
    Supervisor([], max_restarts=None, backoff=Backoff())


def test_a_dynamic_supervisor_without_places_is_refused() -> None:
    with pytest.raises(InvalidSpec, match="max_children"):
        DynamicSupervisor(max_children=0)
