from __future__ import annotations

import base64
import json
import time
from collections.abc import Mapping
from typing import Any

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.matches import CreationJob, read_job
from tests.fakes.node import RULES
from tests.fakes.node import job as job_of
from web.channels.identity import User, user_from
from web.channels.tokens import LocalTokens

SECRET = "a secret of sixty-four bytes or more, because SHA-512 wants as many to be safe"
OTHER = "another secret of thirty-two bytes or so"
TOKENS = LocalTokens([SECRET])


def token(secret: str = SECRET, *, algorithm: str = "HS256", **claims: object) -> str:
    return signed(claims, secret, algorithm)


def signed(claims: Mapping[str, object], secret: str = SECRET, algorithm: str = "HS256") -> str:
    now = int(time.time())
    facts = {"user_id": "u1", "iat": now, "exp": now + 60} | dict(claims)
    return jwt.encode({name: value for name, value in facts.items() if value is not ...}, secret, algorithm)


def part(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


def test_a_good_token_names_its_user() -> None:
    assert TOKENS.check(token(display_name="Ann")) == User("u1", "Ann")
    assert TOKENS.check(token()) == User("u1", "u1")


def test_the_user_may_be_called_sub_and_may_be_a_number() -> None:
    assert TOKENS.check(token(user_id=..., sub="u2")) == User("u2", "u2")
    assert TOKENS.check(token(user_id=..., sub=7)) == User("7", "7")
    assert TOKENS.check(token(user_id=9)) == User("9", "9")
    assert TOKENS.check(token(user_id="u1", sub="u2")) == User("u1", "u1")


@pytest.mark.parametrize("claims", [{"exp": 1}, {"exp": ...}, {"exp": "soon"}, {"exp": None}])
def test_a_token_without_a_future_end_is_refused(claims: dict[str, Any]) -> None:
    assert TOKENS.check(token(**claims)) is None


@pytest.mark.parametrize(
    ("claims", "good"),
    [
        ({"exp": -4.9}, True),
        ({"exp": -5}, False),
        ({"iat": 5}, True),
        ({"iat": 5.1}, False),
        ({"nbf": 5}, True),
        ({"nbf": 5.1}, False),
        ({"nbf": -1000, "iat": -1000}, True),
    ],
)
def test_clocks_may_differ_by_five_seconds_whatever_the_claim(
    claims: dict[str, float], *, good: bool
) -> None:
    now = 1_900_000_000.0
    tokens = LocalTokens([SECRET], clock=lambda: now)
    times = {"iat": now, "exp": now + 60} | {name: now + offset for name, offset in claims.items()}

    assert (tokens.check(signed(times)) is not None) is good


@pytest.mark.parametrize("name", ["exp", "nbf", "iat"])
@pytest.mark.parametrize(
    "value",
    [float("nan"), float("inf"), float("-inf"), 10**400, -(10**400), True, "1", "9999999999", [], {}, None],
)
def test_a_time_that_is_no_finite_number_refuses_the_token(name: str, value: object) -> None:
    assert TOKENS.check(signed({name: value})) is None


@pytest.mark.parametrize("name", ["exp", "nbf", "iat"])
def test_times_before_1970_and_far_ahead_mean_what_they_say(name: str) -> None:
    assert (TOKENS.check(signed({name: -1})) is not None) is (name != "exp")
    assert (TOKENS.check(signed({name: 10**18})) is not None) is (name == "exp")


@pytest.mark.parametrize(
    "head",
    [
        "[" * 3000,
        {"alg": ["HS256"]},
        {"alg": {}},
        {"alg": "HS256", "crit": 1},
        {"alg": "HS256", "b64": False},
        [],
        5,
    ],
)
def test_an_odd_header_refuses_the_token(head: object) -> None:
    raw = base64.urlsafe_b64encode(head.encode()).decode() if isinstance(head, str) else part(head)
    claims = part({"user_id": "u1", "exp": int(time.time()) + 60})

    assert TOKENS.check(f"{raw}.{claims}.AAAA") is None


@pytest.mark.parametrize("claims", ["[" * 3000, "[]", "5", "null", '"x"', '{"exp":' + "9" * 5000 + "}"])
def test_odd_claims_with_a_good_signature_refuse_the_token(claims: str) -> None:
    shown = jwt.api_jws.encode(claims.encode(), SECRET, "HS256")

    assert TOKENS.check(shown) is None


@pytest.mark.parametrize("algorithm", ["HS384", "HS512"])
def test_another_algorithm_is_refused_even_with_the_right_secret(algorithm: str) -> None:
    assert TOKENS.check(token(algorithm=algorithm)) is None


@pytest.mark.parametrize("name", ["none", "None", "NONE", "", "RS256", "HS256 ", 5, None])
def test_a_token_without_a_signature_is_refused(name: object) -> None:
    claims = {"user_id": "u1", "exp": int(time.time()) + 60}
    unsigned = f"{part({'alg': name, 'typ': 'JWT'})}.{part(claims)}."

    assert TOKENS.check(unsigned) is None
    assert TOKENS.check(unsigned + "AAAA") is None


def test_a_changed_token_is_refused() -> None:
    head, _, signature = token().split(".")

    assert TOKENS.check(f"{head}.{part({'user_id': 'admin', 'exp': 9999999999})}.{signature}") is None


def test_any_secret_of_the_list_will_do() -> None:
    both = LocalTokens([OTHER, SECRET])

    assert both.check(token(SECRET)) == User("u1", "u1")
    assert both.check(token(OTHER)) == User("u1", "u1")
    assert LocalTokens([OTHER]).check(token(SECRET)) is None
    assert LocalTokens([]).check(token(SECRET)) is None


@pytest.mark.parametrize(
    "claims",
    [
        {"user_id": ...},
        {"user_id": ""},
        {"user_id": None},
        {"user_id": ["u1"]},
        {"user_id": True},
        {"user_id": "x" * 129},
    ],
)
def test_a_token_of_nobody_is_refused(claims: dict[str, Any]) -> None:
    assert TOKENS.check(token(**claims)) is None


def test_names_that_no_frame_could_carry_are_not_taken() -> None:
    assert user_from({"user_id": "u\ud800"}) is None
    assert user_from({"user_id": "u1", "display_name": "\udfff"}) == User("u1", "u1")
    assert user_from({"user_id": "u1", "display_name": "A" * 500}) == User("u1", "A" * 100)


def test_an_audience_of_others_is_no_business_of_ours() -> None:
    assert TOKENS.check(token(aud="web")) == User("u1", "u1")


@given(st.text())
def test_whatever_is_shown_is_judged(text: str) -> None:
    assert TOKENS.check(text) is None


def test_who_may_connect_may_be_in_a_match_and_the_other_way_round() -> None:
    for length in (127, 128, 129, 200):
        user_id = "u" * length
        job = read_job(job_of("room-1", players=(user_id, "bob")), RULES)

        assert isinstance(job, CreationJob) == (user_from({"user_id": user_id}) is not None)
        assert isinstance(job, CreationJob) == (length <= 128)
