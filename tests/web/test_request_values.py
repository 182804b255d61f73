"""Conditions, addresses, tokens and limits: pure decisions about one request."""

from __future__ import annotations

import itertools
import uuid

import pytest
from pydantic import SecretStr

from actors.automation.batch import IDS_AT_ONCE, request_ids
from actors.rooms import ALWAYS, Condition
from web.handlers.addresses import client_address
from web.handlers.conditions import is_unchanged, write_condition
from web.handlers.limits import MAX_CLIENTS, ConcurrentPerClient, PerMinute, client_key
from web.handlers.tokens import bearer, matches_any
from web.settings import Settings

TRUSTED = Settings.from_env({"TRUSTED_PROXIES": "10.0.0.0/8,2001:db8::/32"}).trusted_proxies


@pytest.mark.parametrize(
    ("headers", "condition"),
    [
        ({}, ALWAYS),
        ({"if-match": "*"}, Condition(must_exist=True)),
        ({"if-match": '"e-1"'}, Condition(any_of=("e-1",))),
        ({"if-match": '"e-1", "7"'}, Condition(any_of=("e-1", "7"))),
        ({"if-match": "e-1"}, Condition(any_of=("e-1",))),
        ({"if-match": 'W/"e-1"'}, Condition(any_of=("",))),
        ({"if-match": 'W/"e-1", "2"'}, Condition(any_of=("2",))),
        ({"if-match": ""}, Condition(any_of=("",))),
        ({"if-none-match": "*"}, Condition(must_not_exist=True)),
        ({"if-none-match": '"e-1"'}, Condition()),
        ({"if-match": '"3"', "if-none-match": " * "}, Condition(any_of=("3",), must_not_exist=True)),
    ],
)
def test_headers_become_a_condition(headers: dict[str, str], condition: Condition) -> None:
    assert write_condition(headers) == condition


@pytest.mark.parametrize(
    ("field", "unchanged"),
    [
        (None, False),
        ("*", True),
        ('"e-1"', True),
        ('W/"e-1"', True),
        ('"x", "e-1"', True),
        ("e-1", True),
        ('"e-2"', False),
        ('"e-1', False),
        ("", False),
        (",,,", False),
    ],
)
def test_if_none_match_compares_weakly(field: str | None, unchanged: bool) -> None:
    assert is_unchanged({} if field is None else {"if-none-match": field}, "e-1") is unchanged


@pytest.mark.parametrize(
    ("peer", "forwarded_for", "client"),
    [
        ("203.0.113.1", None, "203.0.113.1"),
        ("203.0.113.1", "198.51.100.1", "203.0.113.1"),
        ("10.0.0.1", None, "10.0.0.1"),
        ("10.0.0.1", "198.51.100.1", "198.51.100.1"),
        ("10.0.0.1", "1.1.1.1, 198.51.100.1", "198.51.100.1"),
        ("10.0.0.1", "198.51.100.1, 10.9.9.9", "198.51.100.1"),
        ("10.0.0.1", "10.9.9.9, 10.8.8.8", "10.9.9.9"),
        ("10.0.0.1", "198.51.100.1:4711", "198.51.100.1"),
        ("10.0.0.1", "[2001:db9::1]:4711", "2001:db9::1"),
        ("10.0.0.1", "198.51.100.1, 2001:db8::7", "198.51.100.1"),
        ("::ffff:10.0.0.1", "198.51.100.1", "198.51.100.1"),
        ("10.0.0.1", "unknown", "10.0.0.1"),
        ("10.0.0.1", "", "10.0.0.1"),
    ],
)
def test_only_trusted_proxies_say_who_asks(peer: str, forwarded_for: str | None, client: str) -> None:
    assert client_address(peer, forwarded_for, TRUSTED) == client


def test_without_trusted_proxies_the_peer_asks() -> None:
    assert client_address("10.0.0.1", "198.51.100.1", ()) == "10.0.0.1"


@pytest.mark.parametrize(
    ("field", "token"),
    [
        ("Bearer abc", "abc"),
        ("bearer  abc ", "abc"),
        ("Bearer ", None),
        ("Basic abc", None),
        ("abc", None),
        ("", None),
    ],
)
def test_a_bearer_token_is_read(field: str, token: str | None) -> None:
    assert bearer({"authorization": field}) == token


def test_no_token_never_matches_even_an_empty_one() -> None:
    assert matches_any("new", [SecretStr("old"), SecretStr("new")])
    assert not matches_any("other", [SecretStr("old"), SecretStr("new")])
    assert not matches_any(None, [SecretStr("")])
    assert not matches_any("ü", [SecretStr("u")])


class TestPerMinute:
    def test_a_client_has_so_many_a_minute(self) -> None:
        now = 0.0
        creations = PerMinute(2, lambda: now)

        assert [creations.take("a"), creations.take("a")] == [0, 0]
        now = 20.5
        assert creations.take("a") == 40
        assert creations.take("b") == 0
        now = 60.0
        assert creations.take("a") == 0
        assert creations.refused == 1

    def test_no_limit_is_no_limit(self) -> None:
        creations = PerMinute(0, lambda: 0.0)

        assert not any(creations.take("a") for _ in range(1000))

    def test_the_table_stays_small_and_forgets_the_oldest(self) -> None:
        creations = PerMinute(1, lambda: 0.0)
        for number in range(MAX_CLIENTS + 1):
            creations.take(str(number))

        assert creations.take(str(MAX_CLIENTS)) > 0
        assert creations.take("0") == 0


def test_a_client_has_so_many_at_once() -> None:
    streams = ConcurrentPerClient(2)

    assert [streams.enter("a"), streams.enter("a"), streams.enter("a")] == [True, True, False]
    streams.leave("a")
    assert streams.enter("a")
    assert streams.enter("b")
    assert streams.refused == 1


def test_request_ids_are_random_uuids_and_none_comes_twice() -> None:
    ids = list(itertools.islice(request_ids(), 3 * IDS_AT_ONCE))

    assert len(set(ids)) == len(ids)
    assert {uuid.UUID(each).version for each in ids} == {4}


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8::1", "2001:db8::ffff:2", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("fe80::1%eth0", "fe80::2", True),
        ("", "", True),
    ],
)
def test_a_limit_counts_a_64_of_ipv6_as_one_client(one: str, other: str, *, same: bool) -> None:
    assert (client_key(one) == client_key(other)) is same
