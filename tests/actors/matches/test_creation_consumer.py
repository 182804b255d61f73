"""The queue, end to end: a real Redis, a real HTTP server, a node under real supervisors."""

from __future__ import annotations

import json
import logging
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import trio

from actors.core import read_traceparent
from actors.matches import DEAD, QUEUE, CreationPolicy, Patience, QueueDelivery, Status
from actors.matches.outcomes import CLAIM
from tests.engines import RedisServer
from tests.fakes.api_server import Fault, Reply, api_server
from tests.fakes.node import BRISK, MatchNode, client_of, dead_letters, job, job_fields, running
from tests.fakes.waiting import until

AT_MOST_ONCE = replace(BRISK, delivery=QueueDelivery.AT_MOST_ONCE)
BOTH = pytest.mark.parametrize("policy", [BRISK, AT_MOST_ONCE], ids=["at_least_once", "at_most_once"])


def settled(node: MatchNode) -> int:
    return sum(node.consumer.statistics().fates.values())


@BOTH
async def test_a_job_becomes_a_confirmed_room(redis_server: RedisServer, policy: CreationPolicy) -> None:
    async with api_server() as api, client_of(redis_server.url) as producer:
        node = MatchNode(redis_server.url, api.base_url, policy=policy)
        async with running(node):
            producer.lpush(QUEUE, job("room-1"))
            with trio.fail_after(5):
                await api.until_acknowledged("room-1", "ready")
            await until(lambda: settled(node) == 1)

            assert api.received[0].method == "POST"
            assert api.received[0].path == "/internal/rooms"
            assert api.received[0].body == {"room_id": "room-1", "node_name": "node-a", "status": "ready"}
            assert api.received[0].headers["x-internal-api-key"] == "key-1"
            state = node.matches.state("room-1")
            assert state is not None
            assert state.status is Status.READY
            assert node.stage.rooms["room-1"]["status"] == "ready"
            await until(lambda: producer.llen(node.processing) == 0)
            assert producer.llen(QUEUE) == 0
            assert producer.llen(DEAD) == 0


@BOTH
async def test_a_thousand_jobs_pushed_at_once_are_each_confirmed_once_and_in_time(
    redis_server: RedisServer, policy: CreationPolicy, record_property: Callable[[str, object], None]
) -> None:
    rooms = [f"room-{number}" for number in range(1000)]
    async with api_server() as api, client_of(redis_server.url) as producer:
        node = MatchNode(redis_server.url, api.base_url, policy=policy, patience=Patience())
        async with running(node):
            began = time.perf_counter()
            producer.lpush(QUEUE, *[job(room) for room in rooms])
            with trio.fail_after(15):
                await api.until(lambda: len(api.acknowledged) == 1000)
            took_s = time.perf_counter() - began
            record_property("seconds_for_1000_jobs", took_s)
            await until(lambda: settled(node) == 1000)

            assert Counter(request.room_id for request in api.received) == dict.fromkeys(rooms, 1)
            assert node.consumer.statistics().late == 0
            assert node.matches.active == 1000
            await until(lambda: producer.llen(node.processing) == 0)


async def test_no_more_jobs_are_taken_than_may_be_in_flight(redis_server: RedisServer) -> None:
    async with api_server() as api, client_of(redis_server.url) as producer:
        api.delay_s = 0.2
        node = MatchNode(redis_server.url, api.base_url, policy=replace(BRISK, max_in_flight=5))
        async with running(node):
            producer.lpush(QUEUE, *[job(f"room-{number}") for number in range(20)])
            await api.until(lambda: len(api.received) == 5)
            assert producer.llen(node.processing) <= 5
            assert producer.llen(QUEUE) >= 10
            await until(lambda: settled(node) == 20)
            assert api.busiest <= 5


def without(field: str) -> bytes:
    fields = job_fields("room-1")
    del fields[field]
    return json.dumps(fields).encode()


MALFORMED = [
    (b"{", "bad_json"),
    (b"\xff\xfe", "bad_json"),
    (without("player_ids"), "missing_field"),
    (without("config"), "missing_field"),
    (job("no/such/id"), "bad_room_id"),
    (job("room-1", players=["alone"]), "bad_player_count"),
    (job("room-1", players=["a", "b", "c"]), "bad_player_count"),
    (job("room-1", player_count=3), "bad_player_count"),
    (job("room-1", game_rules="chess"), "unknown_game_rules"),
]


@BOTH
async def test_malformed_jobs_go_to_the_dead_letters_with_their_reasons(
    redis_server: RedisServer, policy: CreationPolicy
) -> None:
    async with api_server() as api, client_of(redis_server.url) as producer:
        node = MatchNode(redis_server.url, api.base_url, policy=policy)
        async with running(node):
            for payload, _ in MALFORMED:
                producer.lpush(QUEUE, payload)
            producer.lpush(QUEUE, job("good"))
            with trio.fail_after(5):
                await api.until_acknowledged("good", "ready")
            await until(lambda: producer.llen(DEAD) == len(MALFORMED))

            letters = dead_letters(producer)
            assert Counter(letter["reason"] for letter in letters) == Counter(why for _, why in MALFORMED)
            texts = {letter.get("job") for letter in letters}
            assert {payload.decode() for payload, _ in MALFORMED if payload != b"\xff\xfe"} <= texts
            assert [letter["job_base64"] for letter in letters if "job_base64" in letter] == ["//4="]
            told = {(request.call, request.room_id, request.body.get("reason")) for request in api.received}
            readable = {why for _, why in MALFORMED} - {"bad_json", "bad_room_id"}
            assert told == {("ready", "good", None), *(("failed", "room-1", why) for why in readable)}
            assert node.consumer.statistics().dead_letters == Counter(why for _, why in MALFORMED)
            await until(lambda: producer.llen(node.processing) == 0)


async def test_a_missing_game_rules_means_simple_card_battle(redis_server: RedisServer) -> None:
    async with api_server() as api, client_of(redis_server.url) as producer:
        node = MatchNode(redis_server.url, api.base_url)
        async with running(node):
            producer.lpush(QUEUE, job("room-1"))
            await api.until_acknowledged("room-1", "ready")
            state = node.matches.state("room-1")
            assert state is not None
            assert state.job.game_rules == "simple_card_battle"


async def test_a_room_the_api_server_does_not_know_is_discarded_quietly(redis_server: RedisServer) -> None:
    async with api_server() as api, client_of(redis_server.url) as producer:
        node = MatchNode(redis_server.url, api.base_url)
        api.then("room-1", Reply(404))
        async with running(node):
            producer.lpush(QUEUE, job("room-1"))
            await until(lambda: settled(node) == 1)
            await until(lambda: producer.llen(node.processing) == 0)

            assert node.matches.state("room-1") is None
            assert node.stage.rooms == {}
            assert api.calls() == ["ready"]
            assert producer.llen(DEAD) == 0
            assert node.consumer.statistics().fates == {"discarded": 1}


@pytest.mark.parametrize(
    "answer",
    [
        Reply(200, b'{"acknowledged":false}'),
        Reply(200, b'{"acknowledged":true,"room_status":"failed"}'),
        Reply(200, b'{"acknowledged":true,"room_status":"aborted"}'),
        Reply(200, b"[]"),
        Reply(204, b""),
        Reply(302, b"elsewhere", (("Location", "/elsewhere"),)),
        Reply(422, b"no such game"),
        Reply(401),
    ],
    ids=["no", "failed", "aborted", "nonsense", "empty", "redirect", "refused", "unauthorized"],
)
async def test_the_job_of_a_room_that_is_not_acknowledged_is_kept_with_the_answer(
    redis_server: RedisServer, answer: Reply
) -> None:
    async with api_server() as api, client_of(redis_server.url) as producer:
        node = MatchNode(redis_server.url, api.base_url)
        api.then("room-1", answer)
        async with running(node):
            producer.lpush(QUEUE, job("room-1"))
            await until(lambda: producer.llen(DEAD) == 1)
            await until(lambda: producer.llen(node.processing) == 0)

            assert node.matches.state("room-1") is None
            assert node.stage.rooms == {}
            assert api.calls() == ["ready"]
            [letter] = dead_letters(producer)
            assert letter["reason"] == "refused"
            assert letter["detail"] == f"{answer.status} {answer.body.decode()}".strip()
            assert node.consumer.statistics().fates == {"refused": 1}


async def test_a_wrong_key_is_not_tried_again_and_the_job_is_kept_among_the_dead_letters(
    redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    async with api_server() as api, client_of(redis_server.url) as producer:
        api.keys = frozenset({"the right one"})
        node = MatchNode(redis_server.url, api.base_url)
        async with running(node):
            producer.lpush(QUEUE, job("room-1"))
            await until(lambda: producer.llen(DEAD) == 1)

            assert api.calls() == ["ready"]
            assert "security_callback_unauthorized" in caplog.messages
            assert "key-1" not in caplog.text
            [letter] = dead_letters(producer)
            assert letter["reason"] == "refused"
            assert letter["detail"].startswith("401 ")
            assert node.matches.state("room-1") is None


async def test_a_server_error_twice_and_then_a_yes_is_a_yes(redis_server: RedisServer) -> None:
    async with api_server() as api, client_of(redis_server.url) as producer:
        node = MatchNode(redis_server.url, api.base_url)
        api.then("room-1", Reply(500), Reply(503))
        async with running(node):
            producer.lpush(QUEUE, job("room-1"))
            await api.until_acknowledged("room-1", "ready")
            await until(lambda: settled(node) == 1)

            assert api.calls() == ["ready"] * 3
            assert len({request.headers["idempotency-key"] for request in api.received}) == 1
            assert node.consumer.statistics().fates == {"confirmed": 1}


@pytest.mark.parametrize("fault", [Fault.HANG, Fault.DROP, Reply(500)], ids=["hang", "drop", "500"])
async def test_an_api_server_that_never_answers_costs_the_room_but_not_the_job(
    redis_server: RedisServer, fault: Fault | Reply
) -> None:
    async with api_server() as api, client_of(redis_server.url) as producer:
        node = MatchNode(redis_server.url, api.base_url)
        api.always(fault)
        async with running(node):
            producer.lpush(QUEUE, job("room-1"))
            await until(lambda: producer.llen(DEAD) == 1)

            assert api.calls()[:3] == ["ready"] * 3
            # What was not answered may have been taken all the same.
            await until(lambda: api.calls()[3:4] == ["aborted"])
            [letter] = dead_letters(producer)
            assert (letter["reason"], letter["detail"]) == ("unconfirmed", "undeliverable")
            assert json.loads(letter["job"])["room_id"] == "room-1"
            assert node.matches.state("room-1") is None
            assert node.stage.rooms == {}


async def test_a_hanging_api_server_is_given_up_on_time_and_asked_again(redis_server: RedisServer) -> None:
    async with api_server() as api, client_of(redis_server.url) as producer:
        node = MatchNode(redis_server.url, api.base_url)
        api.then("room-1", Fault.HANG)
        async with running(node):
            producer.lpush(QUEUE, job("room-1"))
            with trio.fail_after(5):
                await api.until_acknowledged("room-1", "ready")
            first, second = api.received
            assert 0.25 < second.at - first.at < 2


async def test_a_late_job_is_tried_all_the_same(redis_server: RedisServer) -> None:
    async with api_server() as api, client_of(redis_server.url) as producer:
        node = MatchNode(redis_server.url, api.base_url)
        async with running(node):
            producer.lpush(QUEUE, job("room-1", age_s=60))
            await api.until_acknowledged("room-1", "ready")
            assert node.consumer.statistics().late == 1


async def test_with_expiry_a_late_job_is_reported_failed_and_dead_lettered(redis_server: RedisServer) -> None:
    async with api_server() as api, client_of(redis_server.url) as producer:
        node = MatchNode(redis_server.url, api.base_url, policy=replace(BRISK, expire=True))
        async with running(node):
            producer.lpush(QUEUE, job("late", age_s=60), job("early"))
            await api.until_acknowledged("early", "ready")
            await until(lambda: producer.llen(DEAD) == 1)

            assert dead_letters(producer)[0]["reason"] == "expired"
            [report] = [request for request in api.received if request.room_id == "late"]
            assert report.body == {
                "room_id": "late",
                "node_name": "node-a",
                "status": "failed",
                "reason": "expired",
            }


async def test_a_job_without_a_place_is_reported_failed(redis_server: RedisServer) -> None:
    async with api_server() as api, client_of(redis_server.url) as producer:
        node = MatchNode(redis_server.url, api.base_url, max_matches=1)
        async with running(node):
            producer.lpush(QUEUE, job("room-1"))
            await api.until_acknowledged("room-1", "ready")
            producer.lpush(QUEUE, job("room-2"))
            await api.until_acknowledged("room-2", "failed")
            await until(lambda: settled(node) == 2)

            assert api.received[-1].body["reason"] == "max_matches"
            assert producer.llen(DEAD) == 0


async def test_a_room_that_cannot_come_up_is_reported_failed(redis_server: RedisServer) -> None:
    async with api_server() as api, client_of(redis_server.url) as producer:
        node = MatchNode(redis_server.url, api.base_url)
        node.stage.broken = True
        async with running(node):
            producer.lpush(QUEUE, job("room-1"))
            await api.until_acknowledged("room-1", "failed")
            assert api.received[-1].body["reason"] == "process_error"
            assert "aborted" not in api.calls()


async def test_a_duplicate_of_a_live_match_is_confirmed_again_and_not_begun_twice(
    redis_server: RedisServer,
) -> None:
    async with api_server() as api, client_of(redis_server.url) as producer:
        node = MatchNode(redis_server.url, api.base_url)
        async with running(node):
            producer.lpush(QUEUE, job("room-1"))
            await until(lambda: settled(node) == 1)
            actor = node.matches.whereis("room-1")
            producer.lpush(QUEUE, job("room-1", turn_time_limit=5))
            await until(lambda: settled(node) == 2)

            assert api.calls() == ["ready", "ready"]
            assert node.matches.whereis("room-1") is actor
            statistics = node.matches.statistics()
            assert (statistics.created, statistics.repeats) == (1, 1)


async def test_duplicates_that_come_together_share_one_match(redis_server: RedisServer) -> None:
    async with api_server() as api, client_of(redis_server.url) as producer:
        api.delay_s = 0.1
        node = MatchNode(redis_server.url, api.base_url)
        async with running(node):
            producer.lpush(QUEUE, *[job("room-1")] * 5)
            await until(lambda: settled(node) == 5)
            await until(lambda: producer.llen(node.processing) == 0)

            assert node.matches.statistics().created == 1
            assert set(api.calls()) == {"ready"}
            assert node.matches.active == 1


async def test_a_match_whose_repeat_the_api_server_no_longer_knows_ends_quietly(
    redis_server: RedisServer,
) -> None:
    async with api_server() as api, client_of(redis_server.url) as producer:
        node = MatchNode(redis_server.url, api.base_url)
        async with running(node):
            producer.lpush(QUEUE, job("room-1"))
            await until(lambda: settled(node) == 1)
            api.rooms = set()
            producer.lpush(QUEUE, job("room-1"))
            await until(lambda: settled(node) == 2)

            assert api.calls() == ["ready", "ready"]
            match = node.matches.state("room-1")
            assert match is not None
            assert match.reason == "room_unknown"
            assert node.matches.active == 0


async def test_nobody_who_pops_from_the_queue_himself_gets_in_the_way(redis_server: RedisServer) -> None:
    rooms = {f"room-{number}" for number in range(200)}
    async with api_server() as api, client_of(redis_server.url) as producer:
        node = MatchNode(redis_server.url, api.base_url)
        async with running(node):
            producer.lpush(QUEUE, *[job(room) for room in rooms])
            others: set[str] = set()
            for _ in range(50):
                popped = producer.rpop(QUEUE)
                if isinstance(popped, bytes):
                    others.add(json.loads(popped)["room_id"])
            await until(lambda: settled(node) == 200 - len(others))
            assert {request.room_id for request in api.acknowledged} == rooms - others


async def test_a_job_for_a_room_that_has_just_ended_is_reported_failed_and_kept(
    redis_server: RedisServer,
) -> None:
    async with api_server() as api, client_of(redis_server.url) as producer:
        node = MatchNode(redis_server.url, api.base_url)
        async with running(node):
            producer.lpush(QUEUE, job("room-1"))
            await until(lambda: settled(node) == 1)
            node.matches.terminate("room-1")
            await api.until_acknowledged("room-1", "aborted")
            producer.lpush(QUEUE, job("room-1"))
            await until(lambda: producer.llen(DEAD) == 1)

            [letter] = dead_letters(producer)
            assert letter["reason"] == "over"
            assert api.calls() == ["ready", "aborted", "failed"]
            assert api.received[-1].body["reason"] == "room_over"


@pytest.mark.parametrize("other", [{"players": ("u1", "u3")}, {"game_rules": "simple_card_battle"}])
async def test_a_job_with_other_players_or_rules_than_the_living_match_is_reported_failed_and_kept(
    redis_server: RedisServer, other: dict[str, Any]
) -> None:
    async with api_server() as api, client_of(redis_server.url) as producer:
        node = MatchNode(redis_server.url, api.base_url)
        async with running(node):
            producer.lpush(QUEUE, job("room-1", game_rules="rock_paper_scissors"))
            await until(lambda: settled(node) == 1)
            producer.lpush(QUEUE, job("room-1", **{"game_rules": "rock_paper_scissors", **other}))
            await until(lambda: producer.llen(DEAD) == 1)

            [letter] = dead_letters(producer)
            assert letter["reason"] == "conflict"
            assert api.calls() == ["ready", "failed"]
            assert api.received[-1].body["reason"] == "room_taken"
            state = node.matches.state("room-1")
            assert state is not None
            assert (state.status, state.job.player_ids) == (Status.READY, ("u1", "u2"))


async def test_two_lives_of_a_room_are_announced_under_different_keys(
    redis_server: RedisServer,
) -> None:
    async with api_server() as api, client_of(redis_server.url) as producer:
        node = MatchNode(redis_server.url, api.base_url, linger_s=0.05)
        async with running(node):
            for number in (1, 2):
                producer.lpush(QUEUE, job("room-1"))
                await until(lambda number=number: settled(node) == number)  # type: ignore[misc]
                node.matches.terminate("room-1")
                await until(lambda: node.matches.state("room-1") is None)
                # Until the claim of the first has lapsed, a job for the same room is refused as over.
                await until(lambda: str(producer.get(CLAIM + "room-1")).startswith(("None", "b'over ")))
                producer.delete(CLAIM + "room-1")

            first, second = (request for request in api.received if request.call == "ready")
            assert first.body == second.body
            assert first.headers["idempotency-key"] != second.headers["idempotency-key"]


async def test_callbacks_are_made_within_the_trace_of_the_job(
    redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "actors.matches")
    traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    async with api_server() as api, client_of(redis_server.url) as producer:
        node = MatchNode(redis_server.url, api.base_url)
        async with running(node):
            producer.lpush(QUEUE, json.dumps(job_fields("room-1") | {"traceparent": traceparent}))
            producer.lpush(QUEUE, json.dumps(job_fields("room-2") | {"traceparent": "no such thing"}))
            with trio.fail_after(5):
                await api.until_acknowledged("room-1", "ready")
                await api.until_acknowledged("room-2", "ready")

    traced, untraced = sorted(api.received, key=lambda received: received.room_id)
    trace = read_traceparent(traceparent)
    assert read_traceparent(traced.headers["traceparent"]) == trace
    assert traced.headers["traceparent"] != traceparent
    assert "traceparent" not in untraced.headers
    said = {
        vars(record)["room_id"]: vars(record).get("trace_id")
        for record in caplog.records
        if "callback" in vars(record)
    }
    assert trace is not None
    assert said == {"room-1": trace.trace_id, "room-2": None}
