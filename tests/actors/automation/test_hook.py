"""The decision hook: what an answer means, and how a request is signed."""

from __future__ import annotations

import base64
from datetime import timedelta

import pytest

from actors.automation.hook import (
    LONGEST_RETRY_S,
    MAX_ATTEMPTS,
    HookSettings,
    headers_of,
    judge,
    key_of,
)
from actors.automation.outcome import Done, Refused, RetryIn
from actors.links import HttpAnswer
from tests.actors.automation.people import NOW


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_any_2xx_settles_a_decision(status: int) -> None:
    assert judge(HttpAnswer(status), attempts=0, now=NOW) == Done()


@pytest.mark.parametrize("status", [400, 410, 413, 415, 422])
def test_what_would_be_answered_the_same_again_is_given_up(status: int) -> None:
    assert judge(HttpAnswer(status), attempts=0, now=NOW) == Refused(str(status), "")


@pytest.mark.parametrize("status", [100, 199, 300, 301, 307, 401, 403, 404, 408, 429, 500, 503, 599, 999])
def test_everything_else_is_told_again(status: int) -> None:
    assert judge(HttpAnswer(status), attempts=3, now=NOW) == RetryIn(8.0, str(status))


def test_silence_is_told_again() -> None:
    answer = HttpAnswer(None, problem="no answer within 10 s")

    assert judge(answer, attempts=0, now=NOW) == RetryIn(1.0, "no answer within 10 s")


@pytest.mark.parametrize(
    ("retry_after", "delay_s"),
    [("0", 1.0), ("-5", 1.0), ("7", 7.0), ("86400", 300.0), ("inf", 1.0), ("nonsense", 1.0), ("", 1.0)],
)
def test_retry_after_makes_neither_a_hot_loop_nor_a_frozen_queue(retry_after: str, delay_s: float) -> None:
    answer = HttpAnswer(503, headers={"retry-after": retry_after})

    assert judge(answer, attempts=0, now=NOW) == RetryIn(delay_s, "503")


def test_a_hook_that_fails_for_a_day_is_given_up() -> None:
    attempts, waited_s = 0, 0.0
    while isinstance(outcome := judge(HttpAnswer(500), attempts=attempts, now=NOW), RetryIn):
        attempts, waited_s = attempts + 1, waited_s + outcome.delay_s
        assert outcome.delay_s <= LONGEST_RETRY_S

    assert attempts == MAX_ATTEMPTS - 1
    assert 0.9 < timedelta(seconds=waited_s) / timedelta(days=1) < 1.1


def test_requests_are_signed_as_standard_webhooks_are() -> None:
    # The example of the specification's reference implementations.
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    now = NOW.fromtimestamp(1614265330, NOW.tzinfo)
    headers = headers_of("msg_p5jXN8AQM9LWM0D4loKWxJek", b'{"test": 2432232314}', secret=secret, now=now)

    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@pytest.mark.parametrize("secret", ["plain", "whsec_not base64!", "whsec"])
def test_a_secret_that_is_not_base64_is_taken_as_it_is(secret: str) -> None:
    assert key_of(secret) == secret.encode()
    assert key_of("whsec_" + base64.b64encode(b"key").decode()) == b"key"


@pytest.mark.parametrize(
    ("url", "base_url", "target"),
    [
        ("https://hooks.example", "https://hooks.example", "/"),
        ("https://hooks.example/", "https://hooks.example", "/"),
        ("http://a:b@h:81/x/y/?t=1&u=%20", "http://a:b@h:81", "/x/y/?t=1&u=%20"),
    ],
)
def test_the_url_is_taken_as_it_is(url: str, base_url: str, target: str) -> None:
    settings = HookSettings(url=url, secret="s")
    assert (settings.base_url, settings.target) == (base_url, target)
    assert url not in repr(settings)
