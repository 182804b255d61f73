from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from email.utils import format_datetime
from typing import Any

import httpx
import pytest
from trio.testing import MockClock

from actors.automation.open_cloud import OpenCloudSettings, request_for
from actors.automation.outcome import (
    LONGEST_RETRY_S,
    MAX_DENIALS,
    Done,
    Outcome,
    Refused,
    RetryIn,
    backoff,
    judge,
)
from actors.automation.roblox import OpenCloud, http_caller
from actors.automation.steps import Assign, Ban, Mirror, Step, Unassign, from_json, to_json
from dev.open_cloud import OpenCloudStandIn, problem
from tests.actors.automation.people import NOW
from tests.engines import free_port
from tests.fakes import open_cloud

SETTINGS = OpenCloudSettings(
    api_key="k", group_id=1, universe_id=2, datastore="ranks v1", scope="a/b", prefix="p:ü/"
)


MIRROR = "/cloud/v2/universes/777/data-stores/ranks%20v1/scopes/global/entries/player%2F5"


@asynccontextmanager
async def _cloud() -> AsyncIterator[tuple[OpenCloudStandIn, OpenCloud]]:
    """A client talking to a stand-in over HTTP."""
    there = open_cloud.stand_in()
    async with open_cloud.running(there) as url:
        settings = open_cloud.settings_for(url)
        caller = http_caller(settings)
        yield there, OpenCloud(settings, caller, now=lambda: NOW)
        await caller.aclose()


def test_a_role_is_given_and_taken_byte_by_byte() -> None:
    given, taken = request_for(Assign(7), 5, SETTINGS), request_for(Unassign(8), 5, SETTINGS)

    assert (given.method, given.target) == ("POST", "/cloud/v2/groups/1/memberships/5:assignRole")
    assert given.body == b'{"role":"groups/1/roles/7"}'
    assert (taken.method, taken.target) == ("POST", "/cloud/v2/groups/1/memberships/5:unassignRole")
    assert taken.body == b'{"role":"groups/1/roles/8"}'


def test_the_mirror_is_written_to_a_percent_encoded_entry() -> None:
    request = request_for(Mirror({"rank": "Ünder"}), 5, SETTINGS)

    assert request.method == "PATCH"
    assert request.target == (
        "/cloud/v2/universes/2/data-stores/ranks%20v1/scopes/a%2Fb/entries/p%3A%C3%BC%2F5?allowMissing=true"
    )
    assert request.body == '{"value":{"rank":"Ünder"}}'.encode()


@pytest.mark.parametrize(("duration", "said"), [(None, ""), (1_209_600, '"duration":"1209600s",')])
def test_a_ban_is_a_restriction_for_good_or_for_so_many_seconds(duration: int | None, said: str) -> None:
    request = request_for(Ban("why", "shown", duration), 5, SETTINGS)

    assert request.target == "/cloud/v2/universes/2/user-restrictions/5?updateMask=game_join_restriction"
    assert request.body.decode() == (
        '{"gameJoinRestriction":{"active":true,' + said + '"privateReason":"why","displayReason":"shown",'
        '"excludeAltAccounts":false}}'
    )


def test_the_key_is_not_in_the_settings_text() -> None:
    assert "sesame" not in repr(OpenCloudSettings(api_key="sesame"))


def test_steps_survive_being_stored() -> None:
    steps = (Assign(1), Unassign(2), Mirror({"a": [None]}), Ban("x", "y"), Ban("x", "y", 60))

    assert from_json(json.loads(json.dumps(to_json(steps)))) == steps


def _error(code: str) -> bytes:
    return json.dumps({"code": code, "message": "m"}).encode()


@pytest.mark.parametrize(
    ("step", "status", "headers", "body", "outcome"),
    [
        (Assign(1), 200, {}, b"{}", Done()),
        (Ban("a", "b"), 204, {}, b"", Done()),
        (Assign(1), 409, {}, _error("ALREADY_EXISTS"), Done()),
        (Unassign(1), 404, {}, _error("NOT_FOUND"), Done()),
        (Assign(1), 404, {}, _error("NOT_FOUND"), Refused("NOT_FOUND", "m")),
        (Assign(1), 400, {}, b"<html>", Refused("HTTP_400", "")),
        (Assign(1), 400, {}, b"[]", Refused("HTTP_400", "")),
        (Assign(1), 429, {"retry-after": "3"}, b"", RetryIn(3.0, "429 HTTP_429: ")),
        (Assign(1), 429, {"retry-after": "86400"}, b"", RetryIn(LONGEST_RETRY_S, "429 HTTP_429: ")),
        (Assign(1), 429, {"retry-after": "soon"}, b"", RetryIn(1.0, "429 HTTP_429: ")),
        (Assign(1), 429, {"retry-after": "0"}, b"", RetryIn(1.0, "429 HTTP_429: ")),
        (Assign(1), 429, {"retry-after": "-5"}, b"", RetryIn(1.0, "429 HTTP_429: ")),
        (Assign(1), 429, {"retry-after": "nan"}, b"", RetryIn(1.0, "429 HTTP_429: ")),
        (Assign(1), 429, {"retry-after": "inf"}, b"", RetryIn(1.0, "429 HTTP_429: ")),
        (
            Assign(1),
            429,
            {"retry-after": "Thu, 01 Jan 1970 00:00:00 GMT"},
            b"",
            RetryIn(1.0, "429 HTTP_429: "),
        ),
        (
            Assign(1),
            429,
            {"retry-after": "Thu, 99 Foo 1970 00:00:00 GMT"},
            b"",
            RetryIn(1.0, "429 HTTP_429: "),
        ),
        (Assign(1), 429, {}, b"", RetryIn(1.0, "429 HTTP_429: ")),
        (Assign(1), 503, {}, _error("UNAVAILABLE"), RetryIn(1.0, "503 UNAVAILABLE: m")),
        (Assign(1), 409, {}, _error("ABORTED"), RetryIn(1.0, "409 ABORTED: m")),
        (Assign(1), 401, {}, _error("UNAUTHENTICATED"), RetryIn(LONGEST_RETRY_S, "401 UNAUTHENTICATED: m")),
        (Assign(1), 403, {}, _error("DENIED"), RetryIn(LONGEST_RETRY_S, "403 DENIED: m")),
        (Assign(1), 302, {}, b"", Refused("HTTP_302", "")),
    ],
)
def test_an_answer_means_done_again_or_refused(
    step: Step, status: int, headers: dict[str, str], body: bytes, outcome: Outcome
) -> None:
    assert judge(step, status, headers, body, attempts=1, now=NOW) == outcome


def test_a_lack_of_rights_is_not_waited_for_forever() -> None:
    outcome = judge(Assign(1), 403, {}, _error("DENIED"), attempts=MAX_DENIALS, now=NOW)

    assert outcome == Refused("DENIED", "m")


def test_retry_after_may_be_a_date() -> None:
    headers = {"retry-after": format_datetime(NOW + timedelta(seconds=7), usegmt=True)}

    assert judge(Assign(1), 429, headers, b"", attempts=0, now=NOW) == RetryIn(7.0, "429 HTTP_429: ")


def test_waits_double_up_to_their_limit() -> None:
    assert [backoff(attempts) for attempts in (0, 1, 2, 5, 6, 1000)] == [0.5, 1, 2, 16, 28, 28]


async def test_the_stand_in_sees_exactly_the_documented_calls() -> None:
    async with _cloud() as (there, cloud):
        for step in (Assign(7), Unassign(6), Mirror({"rank": "x"}), Ban("why", "shown")):
            assert await cloud.perform(step, 5, attempts=0) == Done()

    assert open_cloud.said(there) == [
        "POST /cloud/v2/groups/4242/memberships/5:assignRole 200",
        "POST /cloud/v2/groups/4242/memberships/5:unassignRole 200",
        f"PATCH {MIRROR}?allowMissing=true 200",
        "PATCH /cloud/v2/universes/777/user-restrictions/5?updateMask=game_join_restriction 200",
    ]
    assert there.roles == {5: {7}}
    assert there.entries == {("ranks v1", "global", "player/5"): {"rank": "x"}}
    assert there.restrictions[5]["privateReason"] == "why"


async def test_a_scripted_429_is_waited_for() -> None:
    async with _cloud() as (there, cloud):
        there.script.append(problem(429, "RESOURCE_EXHAUSTED", "slow down", retry_after_s=9))

        outcome = await cloud.perform(Assign(7), 5, attempts=0)

    assert outcome == RetryIn(9.0, "429 RESOURCE_EXHAUSTED: slow down")


async def test_a_cloud_that_is_not_there_is_tried_again() -> None:
    settings = open_cloud.settings_for(f"http://127.0.0.1:{free_port()}")
    outcome = await OpenCloud(settings, http_caller(settings)).perform(Assign(1), 5, attempts=3)

    assert outcome == RetryIn(4.0, "ConnectError")


async def test_a_cloud_that_does_not_answer_is_given_up_after_a_while(autojump_clock: MockClock) -> None:
    there = open_cloud.stand_in()
    there.delay_s = 3600
    settings = open_cloud.settings_for("http://cloud")
    cloud = OpenCloud(settings, http_caller(settings, httpx.ASGITransport(there)))

    assert await cloud.perform(Assign(1), 5, attempts=0) == RetryIn(0.5, "no answer within 15 s")


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"method": "PUT"}, 404),
        ({"url": "/cloud/v2/groups/1/memberships/5:assignRole"}, 404),
        ({"url": "/cloud/v2/groups/4242/memberships/5:assignRole?x=1"}, 404),
        ({"headers": {"x-api-key": "wrong", "content-type": "application/json"}}, 401),
        ({"headers": {"x-api-key": open_cloud.API_KEY}}, 400),
        ({"content": b"{"}, 400),
        ({"content": b'{"role":"groups/1/roles/7"}'}, 400),
        ({"content": b'{"roleId":"7"}'}, 400),
    ],
)
async def test_the_stand_in_refuses_what_roblox_would(change: dict[str, Any], status: int) -> None:
    there = open_cloud.stand_in()
    good: dict[str, Any] = {
        "method": "POST",
        "url": "/cloud/v2/groups/4242/memberships/5:assignRole",
        "headers": {"x-api-key": open_cloud.API_KEY, "content-type": "application/json"},
        "content": b'{"role":"groups/4242/roles/7"}',
    }
    transport = httpx.ASGITransport(there)
    async with httpx.AsyncClient(transport=transport, base_url="http://cloud") as client:
        assert (await client.request(**good)).status_code == 200
        answer = await client.request(**good | change)

    assert answer.status_code == status
    assert answer.json().keys() == {"code", "message"}
