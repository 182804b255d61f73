"""The sync policy of game servers: what is sent, when, and when again."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import httpx
import pytest
import trio
from trio.testing import MockClock

from greenroom_client.on_trio import TrioGameServer, http_post
from greenroom_client.policy import LARGEST_DELTA, Answer, Policy

Told = int | type[OSError] | Answer
# What the server's own answers hold.
BODIES = {200: b'{"applied":true}', 409: b'{"error":"insufficient"}', 422: b'{"error":"invalid_deltas"}'}


class Backend:
    """Answers as told, then with 200; remembers every body."""

    def __init__(self, *answers: Told, delay_s: float = 0.0) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.times: list[float] = []
        self.delay_s = delay_s
        self._answers = list(answers)

    async def post(self, player: str, body: bytes) -> Answer:
        self.bodies.append(json.loads(body) | {"player": player})
        self.times.append(trio.current_time())
        await trio.sleep(self.delay_s)
        answer = self._answers.pop(0) if self._answers else 200
        if isinstance(answer, int):
            return Answer(answer, BODIES.get(answer, b"{}"))
        if isinstance(answer, Answer):
            return answer
        raise answer

    @property
    def deltas(self) -> list[dict[str, int]]:
        return [body["deltas"] for body in self.bodies]

    @property
    def ids(self) -> list[str]:
        return [body["transaction_id"] for body in self.bodies]


def server(backend: Backend, **options: Any) -> TrioGameServer:
    return TrioGameServer(backend.post, server_id="srv7", policy=Policy(jitter=0), **options)


async def during(seconds: float, run: Callable[[], Any]) -> None:
    with trio.move_on_after(seconds):
        await run()


async def test_earnings_are_sent_together_every_thirty_seconds(autojump_clock: MockClock) -> None:
    backend = Backend()
    game = server(backend)
    start = trio.current_time()
    game.earn("alice", {"exp": 5})
    game.earn("alice", {"exp": 2, "cash": 1})

    await during(61, game.run)

    assert backend.deltas == [{"exp": 7, "cash": 1}]
    assert backend.times[0] - start == pytest.approx(30)
    assert backend.bodies[0]["reason"] == "interval"


async def test_a_player_who_leaves_and_a_map_that_ends_are_sent_at_once(autojump_clock: MockClock) -> None:
    backend = Backend()
    game = server(backend)
    game.earn("alice", {"exp": 1})
    game.earn("bob", {"exp": 2})

    await game.disconnect("alice")
    await game.map_end()

    assert [(body["player"], body["reason"]) for body in backend.bodies] == [
        ("alice", "disconnect"),
        ("bob", "map_end"),
    ]


@pytest.mark.parametrize(
    "answer",
    [
        503,
        500,
        404,
        429,
        301,
        204,
        OSError,
        Answer(200, b"<html>log in first</html>"),
        Answer(200, b""),
        Answer(200, b"{}"),
        Answer(200, b'["applied"]'),
        Answer(200, b"[" * 100_000),
        Answer(200, b"\xff"),
        Answer(422, b"<html>blocked</html>"),
        Answer(409, b"{}"),
    ],
)
async def test_a_batch_is_repeated_word_for_word_until_a_200(answer: Told, autojump_clock: MockClock) -> None:
    backend = Backend(answer, answer, answer)
    game = server(backend)
    game.earn("alice", {"exp": 5})
    await game.map_end()
    game.earn("alice", {"exp": 100})

    await during(25, game.run)

    assert backend.bodies[:4] == [backend.bodies[0]] * 4
    assert [
        round(later - first) for first, later in zip(backend.times, backend.times[1:4], strict=False)
    ] == [
        1,
        2,
        4,
    ]
    assert game.repeats == 3


async def test_what_is_earned_meanwhile_makes_the_next_batch(autojump_clock: MockClock) -> None:
    backend = Backend(503)
    game = server(backend)
    game.earn("alice", {"exp": 5})
    await game.map_end()
    game.earn("alice", {"exp": 1})

    await game.settle()

    assert backend.deltas == [{"exp": 5}, {"exp": 5}, {"exp": 1}]
    assert backend.ids[0] == backend.ids[1] != backend.ids[2]
    assert game.unsettled == 0


async def test_nobody_sends_a_batch_that_is_under_way(autojump_clock: MockClock) -> None:
    backend = Backend(delay_s=1)
    game = server(backend)
    game.earn("alice", {"exp": 5})

    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(game.map_end)

    assert len(backend.bodies) == 1


async def test_who_leaves_while_a_batch_is_under_way_is_sent_as_soon_as_that_is_settled(
    autojump_clock: MockClock,
) -> None:
    backend = Backend(delay_s=2)
    game = server(backend)
    game.earn("alice", {"exp": 1})

    async def leave() -> None:
        await trio.sleep(31)
        game.earn("alice", {"exp": 5})
        await game.disconnect("alice")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(leave)
        await during(50, game.run)

    assert backend.deltas == [{"exp": 1}, {"exp": 5}]
    assert [body["reason"] for body in backend.bodies] == ["interval", "disconnect"]
    assert backend.times[1] - backend.times[0] == pytest.approx(2)


async def test_a_reason_waits_for_a_batch_that_is_repeated_past_the_next_round(
    autojump_clock: MockClock,
) -> None:
    backend = Backend(*[503] * 6)
    game = server(backend)
    game.earn("alice", {"exp": 1})
    await game.map_end()
    game.earn("alice", {"exp": 5})
    await game.disconnect("alice")

    await during(100, game.run)

    assert [(body["deltas"], body["reason"]) for body in backend.bodies[-2:]] == [
        ({"exp": 1}, "map_end"),
        ({"exp": 5}, "disconnect"),
    ]
    assert backend.times[-1] == backend.times[-2]


async def test_a_token_that_is_refused_stops_everything_until_the_operator_has_been_there(
    autojump_clock: MockClock,
) -> None:
    told: list[bytes] = []
    backend = Backend(401)
    game = server(backend, on_unauthorized=told.append)
    game.earn("alice", {"exp": 5})
    game.earn("bob", {"exp": 1})

    with trio.fail_after(1):
        await game.disconnect("alice")
        await game.settle()
    await during(100, game.run)
    assert len(backend.bodies) == len(told) == 1
    assert game.unsettled == 2

    game.resume()
    await game.settle()
    assert game.unsettled == 0
    # Which player comes first is nobody's promise; that the batch is the same, is.
    assert backend.bodies.count(backend.bodies[0]) == 2


async def test_of_many_under_way_only_those_that_were_sent_hear_of_a_refused_token(
    autojump_clock: MockClock,
) -> None:
    backend = Backend(*[401] * 100, delay_s=1)
    game = server(backend)
    for number in range(50):
        game.earn(f"player-{number}", {"exp": 1})

    await game.map_end()

    assert len(backend.bodies) == Policy().at_once


async def test_nothing_is_repeated_sooner_than_the_answer_allows(autojump_clock: MockClock) -> None:
    backend = Backend(Answer(503, b"{}", retry_after_s=7))
    game = server(backend)
    game.earn("alice", {"exp": 5})

    await game.settle()

    assert backend.times[1] - backend.times[0] == pytest.approx(7)


@pytest.mark.parametrize("asked_s", [999_999.0, math.inf, math.nan])
async def test_retry_after_is_obeyed_up_to_the_longest_pause(
    asked_s: float, autojump_clock: MockClock
) -> None:
    backend = Backend(Answer(503, b"{}", retry_after_s=asked_s))
    game = server(backend)
    game.earn("alice", {"exp": 5})

    await during(30 + 61, game.run)

    assert len(backend.times) == 2


async def test_a_body_that_cannot_be_decoded_is_no_answer() -> None:
    def garbled(_: httpx.Request) -> httpx.Response:
        raise httpx.DecodingError("not gzip")

    async with httpx.AsyncClient(transport=httpx.MockTransport(garbled)) as client:
        with pytest.raises(OSError, match="not gzip"):
            await http_post(client, "http://node", "t")("76561197960265729", b"{}")


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("7", 7), (None, 0), ("Wed, 21 Oct 2026 07:28:00 GMT", 0), ("-1", 0), ("9" * 400, 999_999_999)],
)
async def test_what_the_answer_allows_is_read_from_its_header(header: str | None, seconds: float) -> None:
    headers = {} if header is None else {"Retry-After": header}
    transport = httpx.MockTransport(lambda _: httpx.Response(503, headers=headers, content=b"{}"))
    async with httpx.AsyncClient(transport=transport) as client:
        answer = await http_post(client, "http://node", "t")("76561197960265729", b"{}")

    assert answer == Answer(503, b"{}", retry_after_s=seconds)


@pytest.mark.parametrize("answer", [409, 422])
async def test_a_refusal_for_good_ends_a_batch_and_is_told(answer: int, autojump_clock: MockClock) -> None:
    refused: list[tuple[str, int]] = []
    backend = Backend(answer)
    game = server(backend, on_refused=lambda player, status, _: refused.append((player, status)))
    game.earn("alice", {"cash": -5})

    await game.settle()

    assert refused == [("alice", answer)]
    assert len(backend.bodies) == 1


async def test_what_does_not_fit_a_request_waits_for_the_next(autojump_clock: MockClock) -> None:
    backend = Backend()
    game = server(backend)
    game.earn("alice", {"exp": LARGEST_DELTA})
    game.earn("alice", {"exp": 10, "cash": 1})

    await game.settle()

    assert backend.deltas == [{"exp": LARGEST_DELTA, "cash": 1}, {"exp": 10}]


async def test_what_adds_up_to_nothing_is_not_sent(autojump_clock: MockClock) -> None:
    backend = Backend()
    game = server(backend)
    game.earn("alice", {"exp": 10})
    game.earn("alice", {"exp": -10})

    await game.map_end()

    assert backend.bodies == []
    assert game.unsettled == 0


def test_pauses_grow_to_a_ceiling_and_are_spread() -> None:
    policy = Policy(first_pause_s=1, longest_pause_s=60, jitter=0.5)

    assert [policy.pause_s(attempts, 0) for attempts in (1, 2, 3, 10, 10_000)] == [1, 2, 4, 60, 60]
    assert policy.pause_s(3, 1) == 2


async def test_a_server_that_starts_again_uses_other_ids(autojump_clock: MockClock) -> None:
    backend = Backend()
    for _ in range(2):
        game = server(backend)
        game.earn("alice", {"exp": 1})
        await game.map_end()

    assert len(set(backend.ids)) == 2
