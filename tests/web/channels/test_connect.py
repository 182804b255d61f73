from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from web.channels.connect import ConnectRefused, ConnectRequest, decide, origin_allowed
from web.channels.handshake import upgrade
from web.channels.serializer import V1, V2
from web.handlers.cors import Cors
from web.handlers.http import Answer

HERE = {"host": "play.example:4000"}
LISTED = Cors(frozenset({"https://game.example"}))
OFFER = "base64url.bearer.phx."


def bearer(token: str, *, alphabet: bytes = b"+/") -> str:
    return OFFER + base64.b64encode(token.encode(), altchars=alphabet).decode().rstrip("=")


# -- version -------------------------------------------------------------------------


@pytest.mark.parametrize("query", ["", "token=x", "vsn=1.0.0", "vsn=1.0.7", "vsn=1.0.12%2Bbuild"])
def test_no_version_or_1_0_means_objects(query: str) -> None:
    candidate = decide(query, HERE, Cors())

    assert isinstance(candidate, ConnectRequest)
    assert candidate.serializer is V1


@pytest.mark.parametrize("query", ["vsn=2.0.0", "vsn=2.0.3&token=x", "token=x&vsn=2%2E0%2E0"])
def test_2_0_means_arrays(query: str) -> None:
    candidate = decide(query, HERE, Cors())

    assert isinstance(candidate, ConnectRequest)
    assert candidate.serializer is V2


@pytest.mark.parametrize(
    "query",
    [
        "vsn=3.0.0",
        "vsn=2.1.0",
        "vsn=1.1.0",
        "vsn=2",
        "vsn=2.0",
        "vsn=v2.0.0",
        "vsn=2.0.00",
        "vsn=2.0.0-rc",
        "vsn=x",
        "vsn[]=2.0.0",
        "vsn[a]=2.0.0",
        "vsn%5Ba%5D%5Bb%5D=2.0.0",
        "vsn=2.0.0&vsn[a]=2.0.0",
    ],
)
def test_any_other_version_is_refused(query: str) -> None:
    assert decide(query, HERE, Cors()) == ConnectRefused("vsn")


def test_far_too_many_parameters_are_refused() -> None:
    assert decide("&".join(f"p{n}=1" for n in range(1000)), HERE, Cors()) == ConnectRefused("vsn")


# -- token ---------------------------------------------------------------------------


def token_of(query: str = "vsn=2.0.0", **headers: str) -> str | None:
    candidate = decide(
        query, HERE | {name.replace("_", "-"): value for name, value in headers.items()}, Cors()
    )
    assert isinstance(candidate, ConnectRequest)
    return candidate.token


def test_a_token_may_stand_in_the_query() -> None:
    assert token_of("vsn=2.0.0&token=a.b.c") == "a.b.c"
    assert token_of("vsn=2.0.0") is None
    assert token_of("vsn=2.0.0&token=") is None


@pytest.mark.parametrize("alphabet", [b"+/", b"-_"])
@pytest.mark.parametrize("token", ["a.b.c", "a>>>b???c", "x", "xy", "xyz"])
def test_a_token_may_hide_in_a_subprotocol_in_either_alphabet(token: str, alphabet: bytes) -> None:
    assert token_of(sec_websocket_protocol=f"phoenix, {bearer(token, alphabet=alphabet)}") == token


def test_padding_in_a_subprotocol_is_fine() -> None:
    assert token_of(sec_websocket_protocol=f"phoenix, {bearer('x')}==") == "x"


def test_a_hidden_token_goes_before_one_in_the_query() -> None:
    assert token_of("vsn=2.0.0&token=open", sec_websocket_protocol=f"phoenix,{bearer('hidden')}") == "hidden"


def test_a_client_that_polls_may_put_the_token_in_a_header() -> None:
    assert token_of("vsn=2.0.0", x_phoenix_authtoken="a.b.c") == "a.b.c"


def test_of_two_tokens_in_the_query_the_user_s_comes_first() -> None:
    assert token_of("vsn=2.0.0&token=user&token=session") == "user"


@pytest.mark.parametrize("encoded", ["*", "a", "////=/", "gICA"])
def test_a_hidden_token_that_is_not_base64_of_text_is_refused(encoded: str) -> None:
    assert decide("vsn=2.0.0", HERE | {"sec-websocket-protocol": OFFER + encoded}, Cors()) == ConnectRefused(
        "token"
    )


def test_a_token_that_is_far_too_long_is_none() -> None:
    assert token_of("vsn=2.0.0&token=" + "x" * 10_000) is None


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [(None, None), ("phoenix", "phoenix"), ("chat, phoenix", "phoenix"), ("chat", None), (bearer("x"), None)],
)
def test_phoenix_is_chosen_where_it_is_offered(offered: str | None, chosen: str | None) -> None:
    headers = HERE if offered is None else HERE | {"sec-websocket-protocol": offered}
    candidate = decide("vsn=2.0.0", headers, Cors())

    assert isinstance(candidate, ConnectRequest)
    assert candidate.subprotocol == chosen


# -- origin --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("origin", "cors", "allowed"),
    [
        (None, LISTED, True),
        ("https://game.example", LISTED, True),
        ("https://GAME.example", LISTED, True),
        ("http://game.example", LISTED, False),
        ("https://game.example:8443", LISTED, False),
        ("https://evil.example", LISTED, False),
        ("https://game.example.evil.example", LISTED, False),
        ("http://play.example:4000", LISTED, True),
        ("http://play.example:4001", LISTED, False),
        ("null", LISTED, False),
        ("", LISTED, False),
        ("https://evil.example", Cors(frozenset({"*"})), True),
        ("https://evil.example", Cors(), False),
        ("http://play.example:4000", Cors(), True),
        ("HTTP://PLAY.EXAMPLE:4000", Cors(), True),
        ("https://play.example", Cors(), False),
    ],
)
def test_a_page_may_connect_from_here_or_from_the_list(
    origin: str | None, cors: Cors, *, allowed: bool
) -> None:
    headers = HERE if origin is None else HERE | {"origin": origin}

    assert (decide("vsn=2.0.0", headers, cors) != ConnectRefused("origin")) is allowed


@pytest.mark.parametrize(
    ("host", "origin", "allowed"),
    [
        ("game.example", "http://game.example:8080", True),
        ("game.example:443", "https://game.example", True),
        ("game.example:80", "http://game.example", True),
        ("Game.Example", "https://GAME.example:443", True),
        ("[::1]", "http://[::1]:4000", True),
        ("[::1]:4000", "http://[::1]:4000", True),
        ("[::1]:4000", "http://[::1]:4001", False),
        ("game.example:443", "http://game.example", False),
        ("game.example:80", "https://game.example", False),
        ("game.example:8080", "http://game.example", False),
        ("game.example", "https://evil.example", False),
        ("game.example", "https://game.example.evil.example", False),
        ("game.example", "https://evil-game.example", False),
        ("game.example", "null", False),
        ("", "https://", False),
        ("", "", False),
    ],
)
def test_a_host_without_its_port_or_with_the_default_one_is_still_ours(
    host: str, origin: str, *, allowed: bool
) -> None:
    verdict = decide("vsn=2.0.0", {"host": host, "origin": origin}, Cors())

    assert (verdict != ConnectRefused("origin")) is allowed


@pytest.mark.parametrize(
    ("forwarded", "allowed"),
    [
        ("game.example", True),
        ("evil.example, game.example", True),
        ("game.example, other.example", False),
        ("", False),
    ],
)
def test_what_a_trusted_proxy_says_of_the_host_counts(forwarded: str, *, allowed: bool) -> None:
    headers = {"host": "upstream:4000", "origin": "https://game.example", "x-forwarded-host": forwarded}

    assert origin_allowed(headers, Cors(), via_proxy=True) is allowed
    assert not origin_allowed(headers, Cors())


@given(st.text(), st.dictionaries(st.sampled_from(["origin", "host", "sec-websocket-protocol"]), st.text()))
def test_whatever_is_asked_gets_a_verdict(query: str, headers: dict[str, str]) -> None:
    assert isinstance(decide(query, headers, LISTED), ConnectRequest | ConnectRefused)


# -- handshake -----------------------------------------------------------------------

UPGRADE = {
    "host": "play.example",
    "connection": "keep-alive, Upgrade",
    "upgrade": "websocket",
    "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
    "sec-websocket-version": "13",
}


def head_of(response: bytes | Answer) -> tuple[str, dict[str, str]]:
    assert isinstance(response, bytes)
    assert response.endswith(b"\r\n\r\n")
    status, *lines = response.decode().split("\r\n")[:-2]
    return status, {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}


def test_a_handshake_is_accepted() -> None:
    status, headers = head_of(upgrade(UPGRADE, "phoenix"))

    assert status == "HTTP/1.1 101 Switching Protocols"
    assert headers["sec-websocket-accept"] == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
    assert headers["sec-websocket-protocol"] == "phoenix"
    assert (headers["upgrade"], headers["connection"]) == ("websocket", "Upgrade")


def test_no_extension_is_ever_accepted_and_no_subprotocol_made_up() -> None:
    offers = {
        "sec-websocket-extensions": "permessage-deflate; client_max_window_bits",
        "sec-websocket-protocol": "x",
    }

    _, headers = head_of(upgrade(UPGRADE | offers, None))

    assert "sec-websocket-extensions" not in headers
    assert "sec-websocket-protocol" not in headers


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"upgrade": "h2c"}, 426),
        ({"connection": "close"}, 426),
        ({"sec-websocket-version": "8"}, 400),
        ({"sec-websocket-key": "short"}, 400),
        ({"sec-websocket-key": "bm90IHNpeHRlZW4="}, 400),
    ],
)
def test_a_request_that_is_no_handshake_is_answered(change: dict[str, str], status: int) -> None:
    answer = upgrade(UPGRADE | change, None)

    assert isinstance(answer, Answer)
    assert answer.status == status
    assert json.loads(answer.body) == {"error": "not_a_websocket_handshake"}
    told = dict(answer.headers).get("Sec-WebSocket-Version")
    assert told == ("13" if "sec-websocket-version" in change else None)
