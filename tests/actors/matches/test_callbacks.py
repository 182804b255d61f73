"""The client alone: an API server that exists only as a function, and a clock that jumps."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from actors.matches import Callbacks, Patience, Verdict, callback
from actors.matches.callback import Callback
from actors.matches.callbacks import CallbackOutcome, Delivery
from tests.fakes.http import Network
from tests.fakes.life import LoneLife

YES = httpx.Response(200, json={"acknowledged": True})
Handler = Callable[[httpx.Request], Coroutine[None, None, httpx.Response]]


def ready(room: str = "room-1") -> Callback:
    return callback.ready(room, node_name="node-a")


def aborted(room: str = "room-1") -> Callback:
    return callback.aborted(room, reason="join_timeout", at_s=0.0)


class Api:
    """Answers from a list, the last one for ever, and remembers what came when."""

    def __init__(self, *answers: httpx.Response | Exception | None, takes_s: float = 0.0) -> None:
        self.answers = list(answers) or [YES]
        self.takes_s = takes_s
        self.requests: list[httpx.Request] = []
        self.times: list[float] = []
        self.busy = self.busiest = 0

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        self.times.append(trio.current_time())
        self.busy += 1
        self.busiest = max(self.busiest, self.busy)
        try:
            await trio.sleep(self.takes_s)
            answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
            if answer is None:
                await trio.sleep_forever()
        finally:
            self.busy -= 1
        if isinstance(answer, httpx.Response):
            return httpx.Response(answer.status_code, headers=answer.headers, content=answer.content)
        assert answer is not None
        raise answer

    @property
    def paths(self) -> list[str]:
        return [f"{request.method} {request.url.path}" for request in self.requests]

    @property
    def keys(self) -> list[str]:
        return [request.headers["x-internal-api-key"] for request in self.requests]


def client(api: Handler, **options: Any) -> Callbacks:
    options.setdefault("keys", ["key-1"])
    return Callbacks("http://api:3001/internal/", transport=Network(api), **options)


@asynccontextmanager
async def running(callbacks: Callbacks) -> AsyncIterator[LoneLife]:
    life = LoneLife()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(callbacks.run, life)
        await wait_all_tasks_blocked()
        yield life
        nursery.cancel_scope.cancel()


async def outcome_of(api: Api, **options: Any) -> CallbackOutcome:
    callbacks = client(api, **options)
    async with running(callbacks):
        return await callbacks.submit(ready()).wait()
    raise AssertionError


async def test_a_call_is_made_as_agreed(autojump_clock: MockClock) -> None:
    api = Api()
    outcome = await outcome_of(api)
    [request] = api.requests
    assert api.paths == ["POST /internal/rooms"]
    assert request.content == b'{"room_id":"room-1","node_name":"node-a","status":"ready"}'
    assert request.headers["content-type"] == "application/json"
    assert api.keys == ["key-1"]
    assert outcome == CallbackOutcome(Verdict.ACKNOWLEDGED, 200, outcome.body, 1)


TABLE = [
    ((YES,), Verdict.ACKNOWLEDGED, 1),
    ((httpx.Response(500), httpx.Response(503), YES), Verdict.ACKNOWLEDGED, 3),
    ((httpx.ConnectError("refused"), httpx.ReadError("reset"), YES), Verdict.ACKNOWLEDGED, 3),
    ((None, YES), Verdict.ACKNOWLEDGED, 2),
    ((httpx.Response(429), YES), Verdict.ACKNOWLEDGED, 2),
    ((httpx.Response(500),), Verdict.UNDELIVERABLE, 3),
    ((None,), Verdict.UNDELIVERABLE, 3),
    ((httpx.ConnectError("refused"),), Verdict.UNDELIVERABLE, 3),
    ((httpx.Response(401),), Verdict.UNAUTHORIZED, 1),
    ((httpx.Response(404),), Verdict.UNKNOWN_ROOM, 1),
    ((httpx.Response(422),), Verdict.REFUSED, 1),
    ((httpx.Response(302, headers={"Location": "http://elsewhere/"}),), Verdict.REFUSED, 1),
    ((httpx.Response(200, json={"acknowledged": False}),), Verdict.NOT_ACKNOWLEDGED, 1),
    ((httpx.Response(500), httpx.Response(404)), Verdict.UNKNOWN_ROOM, 2),
    ((httpx.Response(500), httpx.Response(401)), Verdict.UNAUTHORIZED, 2),
]


@pytest.mark.parametrize(("answers", "verdict", "requests"), TABLE)
async def test_every_row_of_the_table(
    answers: tuple[httpx.Response | Exception | None, ...],
    verdict: Verdict,
    requests: int,
    autojump_clock: MockClock,
) -> None:
    api = Api(*answers)
    outcome = await outcome_of(api)
    assert (outcome.verdict, outcome.requests, len(api.requests)) == (verdict, requests, requests)


async def test_pauses_are_half_a_second_and_a_second_give_or_take_a_fifth(autojump_clock: MockClock) -> None:
    api = Api(httpx.Response(500))
    await outcome_of(api)
    first, second, third = api.times
    assert 0.4 <= second - first <= 0.6
    assert 0.8 <= third - second <= 1.2


async def test_a_request_is_given_five_seconds(autojump_clock: MockClock) -> None:
    api = Api(None, YES)
    await outcome_of(api)
    assert 5.4 <= api.times[1] - api.times[0] <= 5.6


async def test_a_429_is_obeyed_up_to_half_a_minute(autojump_clock: MockClock) -> None:
    polite = httpx.Response(429, headers={"Retry-After": "7"})
    greedy = httpx.Response(429, headers={"Retry-After": "86400"})
    api = Api(polite, greedy, YES)
    await outcome_of(api)
    assert api.times[1] - api.times[0] == pytest.approx(7)
    assert api.times[2] - api.times[1] == pytest.approx(30)


async def test_retries_carry_the_same_idempotency_key_and_other_calls_another(
    autojump_clock: MockClock,
) -> None:
    api = Api(httpx.Response(500), httpx.Response(500), YES)
    callbacks = client(api)
    async with running(callbacks):
        await callbacks.submit(ready()).wait()
        await callbacks.submit(ready()).wait()
        await callbacks.submit(ready("room-2")).wait()
        await callbacks.submit(aborted()).wait()
    keys = [request.headers["idempotency-key"] for request in api.requests]
    assert len(set(keys[:4])) == 1
    assert len(set(keys)) == 3


async def test_after_a_401_the_next_key_is_tried_once(autojump_clock: MockClock) -> None:
    api = Api(httpx.Response(401), YES)
    outcome = await outcome_of(api, keys=["old", "new", "spare"])
    assert api.keys == ["old", "new"]
    assert outcome.verdict is Verdict.ACKNOWLEDGED


async def test_a_401_for_both_keys_is_a_security_event_without_the_keys(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    api = Api(httpx.Response(401))
    outcome = await outcome_of(api, keys=["old", "new", "spare"])
    assert api.keys == ["old", "new"]
    assert outcome.verdict is Verdict.UNAUTHORIZED
    assert "security_callback_unauthorized" in caplog.messages
    assert not any(key in caplog.text for key in ("old", "new", "spare"))


async def test_the_key_that_worked_goes_on_through_retries(autojump_clock: MockClock) -> None:
    api = Api(httpx.Response(401), httpx.Response(500), YES)
    outcome = await outcome_of(api, keys=["old", "new"])
    assert api.keys == ["old", "new", "new"]
    assert outcome.verdict is Verdict.ACKNOWLEDGED


async def test_a_refusal_is_logged_with_its_body(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    await outcome_of(Api(httpx.Response(422, content=b'{"error":"no_such_node"}' + b"x" * 100_000)))
    [record] = [record for record in caplog.records if record.message == "callback_refused"]
    assert record.levelno == logging.ERROR
    assert str(record.__dict__["answer"]).startswith('{"error":"no_such_node"}')
    assert len(str(record.__dict__["answer"])) == 500


async def test_a_result_that_is_not_acknowledged_is_an_error_and_logged_with_the_answer(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    no = httpx.Response(200, json={"acknowledged": False, "error": "archived"})
    callbacks = client(Api(no))
    async with running(callbacks):
        await callbacks.submit(ready()).wait()
        result = callback.finished("room-1", winner_id=None, result_data={}, at_s=0.0)
        await callbacks.submit(result).wait()
    quiet, loud = (record for record in caplog.records if record.message == "callback_not_acknowledged")
    assert (quiet.levelno, loud.levelno) == (logging.INFO, logging.ERROR)
    assert "answer" not in quiet.__dict__
    assert loud.__dict__["answer"] == '{"acknowledged":false,"error":"archived"}'


async def test_an_endless_answer_is_cut_off(autojump_clock: MockClock) -> None:
    outcome = await outcome_of(Api(httpx.Response(200, content=b" " * 10_000_000)))
    assert outcome.verdict is Verdict.NOT_ACKNOWLEDGED
    assert len(outcome.body) == 16_384


async def test_calls_of_one_room_are_made_one_after_the_other_in_order(autojump_clock: MockClock) -> None:
    api = Api(httpx.Response(500), httpx.Response(500), YES, takes_s=1)
    callbacks = client(api)
    async with running(callbacks):
        callbacks.submit(ready())
        await callbacks.submit(aborted()).wait()
    assert api.paths == ["POST /internal/rooms"] * 3 + ["PUT /internal/rooms/room-1/aborted"]
    assert api.busiest == 1


async def test_a_call_that_is_given_up_lets_the_next_one_of_its_room_go(autojump_clock: MockClock) -> None:
    api = Api(httpx.Response(500), httpx.Response(500), httpx.Response(500), YES)
    callbacks = client(api)
    async with running(callbacks):
        first = callbacks.submit(ready())
        second = callbacks.submit(aborted())
        assert (await first.wait()).verdict is Verdict.UNDELIVERABLE
        assert (await second.wait()).verdict is Verdict.ACKNOWLEDGED


async def test_rooms_are_served_side_by_side_up_to_a_limit(autojump_clock: MockClock) -> None:
    api = Api(takes_s=1)
    callbacks = client(api, parallel=10)
    async with running(callbacks):
        deliveries = [callbacks.submit(ready(f"room-{number}")) for number in range(30)]
        for delivery in deliveries:
            await delivery.wait()
        assert trio.current_time() == pytest.approx(3, abs=0.01)
    assert api.busiest == 10


async def test_a_room_in_trouble_does_not_hold_up_the_others(autojump_clock: MockClock) -> None:
    async def handler(request: httpx.Request) -> httpx.Response:
        if b"sick" in request.content:
            return httpx.Response(500)
        return httpx.Response(200, json={"acknowledged": True})

    callbacks = client(handler, parallel=1)
    async with running(callbacks):
        sick = callbacks.submit(ready("sick"))
        well = callbacks.submit(ready("well"))
        await well.wait()
        assert trio.current_time() == 0
        assert sick.outcome is None


async def test_a_full_queue_takes_no_more_and_says_so(autojump_clock: MockClock) -> None:
    callbacks = client(Api(takes_s=1), max_waiting=2)
    async with running(callbacks):
        callbacks.submit(ready("a"))
        callbacks.submit(ready("b"))
        heard: list[CallbackOutcome] = []
        refused = callbacks.submit(ready("c"), heard.append)
        assert heard == [CallbackOutcome(Verdict.OVERLOADED)] == [refused.outcome]
        assert callbacks.statistics().waiting == 2


async def test_a_crash_loses_nothing_and_changes_no_order(autojump_clock: MockClock) -> None:
    api = Api(takes_s=1)
    callbacks = client(api)
    deliveries: list[Delivery] = []
    with pytest.RaisesGroup(RuntimeError, allow_unwrapped=True, flatten_subgroups=True):
        async with running(callbacks):
            deliveries += [callbacks.submit(ready()), callbacks.submit(aborted())]
            await trio.sleep(0.5)
            raise RuntimeError("a bug")
    assert callbacks.statistics().waiting == 2
    async with running(callbacks):
        for delivery in deliveries:
            assert (await delivery.wait()).verdict is Verdict.ACKNOWLEDGED
    assert api.paths == ["POST /internal/rooms"] * 2 + ["PUT /internal/rooms/room-1/aborted"]


async def test_what_is_submitted_before_the_start_is_sent_after_it(autojump_clock: MockClock) -> None:
    callbacks = client(Api())
    delivery = callbacks.submit(ready())
    async with running(callbacks):
        assert (await delivery.wait()).verdict is Verdict.ACKNOWLEDGED


async def test_an_orderly_stop_sends_what_is_waiting(autojump_clock: MockClock) -> None:
    callbacks = client(Api(takes_s=1), drain_s=4)
    life = LoneLife()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(callbacks.run, life)
        await wait_all_tasks_blocked()
        delivery = callbacks.submit(ready())
        life.exit_asked.set()
    assert delivery.outcome is not None
    assert delivery.outcome.verdict is Verdict.ACKNOWLEDGED
    assert trio.current_time() == pytest.approx(1)


async def test_an_orderly_stop_ends_in_time_and_tells_the_rest(autojump_clock: MockClock) -> None:
    callbacks = client(Api(None), drain_s=4)
    life = LoneLife()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(callbacks.run, life)
        await wait_all_tasks_blocked()
        delivery = callbacks.submit(ready())
        life.exit_asked.set()
    assert delivery.outcome == CallbackOutcome(Verdict.STOPPED)
    assert trio.current_time() == pytest.approx(4)


async def test_patience_is_a_parameter(autojump_clock: MockClock) -> None:
    api = Api(None)
    outcome = await outcome_of(api, patience=Patience(request_s=0.1, pauses_s=(0.01,), jitter=0))
    assert outcome.requests == 2
    assert trio.current_time() == pytest.approx(0.21)


def test_the_five_calls() -> None:
    calls = [
        callback.ready("r", node_name="n"),
        callback.failed("r", node_name="n", reason="max_matches"),
        callback.started("r", player_ids=["u1", "u2"], at_s=1770685200.0),
        callback.finished("r", winner_id=None, result_data={"turns_played": 3}, at_s=1770685200.5),
        callback.aborted("r", reason="join_timeout", at_s=1770685200.0),
    ]
    assert [(call.method, call.path, call.body.decode()) for call in calls] == [
        ("POST", "/rooms", '{"room_id":"r","node_name":"n","status":"ready"}'),
        ("POST", "/rooms", '{"room_id":"r","node_name":"n","status":"failed","reason":"max_matches"}'),
        (
            "PUT",
            "/rooms/r/started",
            '{"room_id":"r","started_at":"2026-02-10T01:00:00.000Z","player_ids":["u1","u2"]}',
        ),
        (
            "PUT",
            "/rooms/r/finished",
            (
                '{"room_id":"r","winner_id":null,"result_data":{"turns_played":3},'
                '"finished_at":"2026-02-10T01:00:00.500Z"}'
            ),
        ),
        (
            "PUT",
            "/rooms/r/aborted",
            '{"room_id":"r","reason":"join_timeout","aborted_at":"2026-02-10T01:00:00.000Z"}',
        ),
    ]
