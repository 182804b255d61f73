from __future__ import annotations

import base64
import json
import time
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
    now = int(time.time())
    facts = {"user_id": "u1", "iat": now, "exp": now + 60} | claims
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


def test_a_token_ends_to_the_second() -> None:
    assert TOKENS.check(token(exp=int(time.time()) - 1)) is None


@pytest.mark.parametrize(("ahead_s", "good"), [(3, True), (60, False)])
def test_a_token_from_the_future_is_refused_past_what_clocks_may_differ_by(
    ahead_s: int, *, good: bool
) -> None:
    made = int(time.time()) + ahead_s

    assert (TOKENS.check(token(iat=made, exp=made + 60)) is not None) is good


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
