"""`traceparent` and `X-Request-Id`: taken from requests, logged, answered, and passed on."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from actors.core import read_traceparent
from tests.web.automation_node import ACTIVITY, KEY, body_of, with_roblox
from tests.web.conftest import Serve
from tests.web.serving import Node, eventually
from web.handlers.rooms import RoomHandlers

TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
TRACE = {"traceparent": f"00-{TRACE_ID}-00f067aa0ba902b7-01"}
REQUEST_ID = {"X-Request-Id": "req-1"}


async def test_the_log_of_a_put_has_the_trace_and_the_id_of_its_request(node: Node) -> None:
    await node.put("r", {"n": 1}, **TRACE, **REQUEST_ID)
    await node.put("r", {"n": 2}, **TRACE)
    await node.put("r", {"n": 3})
    node.program.core.features[0].put_log.flush()  # type: ignore[attr-defined]
    lines = [json.loads(line) for line in node.log.getvalue().splitlines()]

    said = [(line.get("trace_id"), line.get("request_id")) for line in lines if line["event"] == "room_put"]
    assert said == [(TRACE_ID, "req-1"), (TRACE_ID, None), (None, None)]


@pytest.mark.parametrize("path", ["/api/rooms/r", "/healthz", "/nowhere"])
async def test_an_answer_has_the_id_of_its_request(node: Node, path: str) -> None:
    await node.put("r", {})
    answer = await node.http.get(path, headers=REQUEST_ID)

    assert answer.headers["x-request-id"] == "req-1"
    assert "x-request-id" not in (await node.http.get(path)).headers


@pytest.mark.parametrize("strange", ["a b", "x" * 129, "", "<script>", 'a"b'])
async def test_an_id_that_could_mean_something_is_not_repeated(node: Node, strange: str) -> None:
    answer = await node.http.get("/healthz", headers={"X-Request-Id": strange})

    assert "x-request-id" not in answer.headers


async def test_a_fault_is_logged_with_both(
    node: Node, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("on purpose")

    monkeypatch.setattr(RoomHandlers, "_put_answer", fail)
    answer = await node.put("r", {}, **TRACE, **REQUEST_ID)
    [record] = [record for record in caplog.records if record.message == "request_failed"]

    assert answer.status_code == 500
    assert (vars(record)["trace_id"], vars(record)["request_id"]) == (TRACE_ID, "req-1")


async def test_open_cloud_is_asked_within_the_trace_of_the_snapshot(
    serve: Serve, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    headers = {"x-grps-api-key": KEY, "x-grps-apply": "true", **TRACE}
    async with with_roblox(serve, tmp_path) as (node, cloud):
        answer = await node.http.post(ACTIVITY, json=body_of(rank="New", rankPoints=150), headers=headers)
        await eventually(lambda: "decision_settled" in caplog.messages)

    assert answer.status_code == 200
    traces = [read_traceparent(call.traceparent) for call in cloud.calls]
    assert traces
    assert {trace.trace_id for trace in traces if trace is not None} == {TRACE_ID}
    [settled] = [record for record in caplog.records if record.message == "decision_settled"]
    assert vars(settled)["trace_id"] == TRACE_ID
