"""Trace contexts: https://www.w3.org/TR/trace-context/."""

from __future__ import annotations

import pytest

from actors.core import Trace, Traces, read_traceparent

TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
HEADER = f"00-{TRACE_ID}-00f067aa0ba902b7-01"


@pytest.mark.parametrize(
    ("header", "flags"),
    [
        (HEADER, "01"),
        (HEADER[:-2] + "00", "00"),
        (HEADER[:-2] + "fd", "01"),  # flags without a meaning are not passed on
        ("cc" + HEADER[2:], "01"),
        ("cc" + HEADER[2:] + "-what-comes-later", "01"),
    ],
)
def test_a_header_is_read(header: str, flags: str) -> None:
    assert read_traceparent(header) == Trace(TRACE_ID, flags)


@pytest.mark.parametrize(
    "header",
    [
        None,
        5,
        "",
        HEADER[:-1],
        HEADER + "0",
        HEADER + "-later",
        "ff" + HEADER[2:],
        HEADER.upper(),
        HEADER.replace(TRACE_ID, "0" * 32),
        HEADER.replace("00f067aa0ba902b7", "0" * 16),
        HEADER.replace("-", "_"),
        f"{HEADER}, {HEADER}",
        f" {HEADER}",
        "cc" + HEADER[2:] + "x",
    ],
)
def test_what_is_no_header_is_none(header: object) -> None:
    assert read_traceparent(header) is None


def test_each_request_of_ours_has_a_parent_id_of_its_own() -> None:
    trace = Trace(TRACE_ID, "01")
    headers = {trace.traceparent() for _ in range(10)}

    assert len(headers) == 10
    assert {read_traceparent(header) for header in headers} == {trace}


def test_traces_are_remembered_by_key_and_only_so_many() -> None:
    traces = Traces(most=2)
    for key in ("a", "b", "c"):
        traces.note(key, Trace(TRACE_ID, "01"))
    traces.note("c", None)

    assert [traces.facts(key) for key in ("a", "b", "c")] == [{}, {"trace_id": TRACE_ID}, {}]
    assert read_traceparent(traces.headers("b")["traceparent"]) == Trace(TRACE_ID, "01")
    assert traces.headers("a") == {}
