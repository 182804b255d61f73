"""Which other origins may read our answers."""

from __future__ import annotations

import pytest

from tests.web.conftest import Serve
from tests.web.serving import Node

LISTED = "https://game.example"
STRANGER = "https://evil.example"


def cors_headers(headers: object) -> set[str]:
    return {name for name in headers if name.startswith("access-control-")}  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("origins", "origin", "allowed"),
    [
        (LISTED, LISTED, True),
        (LISTED, STRANGER, False),
        (LISTED, LISTED + ":8443", False),
        (LISTED, "http://game.example", False),
        (LISTED, LISTED + ".evil.example", False),
        (LISTED, "https://sub.game.example", False),
        (LISTED, "null", False),
        (f"https://other.example,{LISTED}", LISTED, True),
        ("*", STRANGER, True),
        ("https://*.game.example", "https://eu.game.example", True),
        ("https://*.game.example", "https://EU.game.example", True),
        ("https://*.game.example", LISTED, False),
        ("https://*.game.example", "https://a.b.game.example", False),
        ("https://*.game.example", "http://eu.game.example", False),
        ("https://*.game.example", "https://eu.game.example:8443", False),
        ("https://*.game.example:8443", "https://eu.game.example:8443", True),
        ("https://*.game.example", "https://eu.game.example.evil.example", False),
        ("https://*.game.example", "https://.game.example", False),
        ("https://*.game.example", "https://*.game.example.evil.example", False),
        ("*", "null", True),
        ("", STRANGER, False),
    ],
)
async def test_an_answer_is_for_the_origins_on_the_list(
    serve: Serve, origins: str, origin: str, allowed: bool
) -> None:
    async with serve(CORS_ORIGINS=origins) as node:
        await node.put("r", {})
        for path in ("/api/rooms/r", "/api/rooms/nobody", "/nope", "/api/rooms/a.b"):
            answer = await node.http.get(path, headers={"Origin": origin})

            if allowed:
                assert answer.headers["access-control-allow-origin"] == origin, path
                assert answer.headers["vary"] == "Origin", path
                assert answer.headers["access-control-expose-headers"] == "ETag, Retry-After, Link", path
            else:
                assert not cors_headers(answer.headers), path


async def test_without_an_origin_there_are_no_cors_headers(serve: Serve) -> None:
    async with serve(CORS_ORIGINS="*") as node:
        answer = await node.get("r")

    assert not cors_headers(answer.headers)


async def test_a_write_of_a_page_on_the_same_origin_is_served_whatever_the_list(node: Node) -> None:
    answer = await node.put("r", {}, origin=f"http://127.0.0.1:{node.port}")

    assert answer.status_code == 200


async def test_a_stream_is_for_the_origins_on_the_list(serve: Serve) -> None:
    async with serve(CORS_ORIGINS=LISTED) as node:
        async with node.watch("r", origin=LISTED) as watcher:
            assert watcher.headers["access-control-allow-origin"] == LISTED
        async with node.watch("r", origin=STRANGER) as watcher:
            assert watcher.status == 200
            assert not cors_headers(watcher.headers)


@pytest.mark.parametrize(
    ("path", "methods"),
    [
        ("/api/rooms/r", "GET, HEAD, PUT, PATCH, DELETE, OPTIONS"),
        ("/api/rooms/r/stream", "GET, HEAD, OPTIONS"),
    ],
)
async def test_a_preflight_is_204_and_allows_the_methods_of_the_path(
    serve: Serve, path: str, methods: str
) -> None:
    asks = {"Origin": LISTED, "Access-Control-Request-Method": "PUT"}
    async with serve(CORS_ORIGINS=LISTED) as node:
        answer = await node.http.options(path, headers=asks)

    assert answer.status_code == 204
    assert answer.content == b""
    assert answer.headers["access-control-allow-origin"] == LISTED
    assert answer.headers["vary"] == "Origin"
    assert answer.headers["access-control-allow-methods"] == methods
    allowed = {name.strip().lower() for name in answer.headers["access-control-allow-headers"].split(",")}
    assert allowed >= {"content-type", "authorization", "if-match", "if-none-match"}
    assert allowed >= {"last-event-id", "x-room-secret"}


async def test_a_preflight_of_a_stranger_gets_no_cors_headers(serve: Serve) -> None:
    asks = {"Origin": STRANGER, "Access-Control-Request-Method": "PUT"}
    async with serve(CORS_ORIGINS=LISTED) as node:
        answer = await node.http.options("/api/rooms/r", headers=asks)

    assert answer.status_code == 204
    assert not cors_headers(answer.headers)


async def test_a_preflight_of_an_unknown_path_is_404(serve: Serve) -> None:
    asks = {"Origin": LISTED, "Access-Control-Request-Method": "PUT"}
    async with serve(CORS_ORIGINS=LISTED) as node:
        answer = await node.http.options("/nope", headers=asks)

    assert answer.status_code == 404


LONGPOLL = "/socket/longpoll"


async def test_a_preflight_of_a_long_poll_allows_the_headers_it_asks_for(serve: Serve) -> None:
    asks = {
        "Origin": LISTED,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "content-type,x-phoenix-authtoken, X-Phoenix-Longpoll-Token",
    }
    async with serve(CORS_ORIGINS=LISTED) as node:
        answer = await node.http.options(LONGPOLL, headers=asks)

    assert answer.status_code == 204
    assert answer.headers["access-control-allow-origin"] == LISTED
    named = answer.headers["access-control-allow-headers"]
    assert named == "content-type, x-phoenix-authtoken, X-Phoenix-Longpoll-Token"
    assert {"GET", "POST", "OPTIONS"} <= set(answer.headers["access-control-allow-methods"].split(", "))
    assert answer.headers["access-control-max-age"] == "3600"


async def test_a_long_poll_repeats_no_more_than_names_of_headers(serve: Serve) -> None:
    asks = {
        "Origin": LISTED,
        "Access-Control-Request-Method": "GET",
        "Access-Control-Request-Headers": "x-one, <b>, , x two, x-three",
    }
    async with serve(CORS_ORIGINS=LISTED) as node:
        answer = await node.http.options(LONGPOLL, headers=asks)
        without = await node.http.options(LONGPOLL, headers=asks | {"Access-Control-Request-Headers": ""})

    assert answer.headers["access-control-allow-headers"] == "x-one, x-three"
    assert without.headers["access-control-allow-headers"] == ""


async def test_a_preflight_of_a_long_poll_of_a_stranger_allows_nothing(serve: Serve) -> None:
    asks = {
        "Origin": STRANGER,
        "Access-Control-Request-Method": "GET",
        "Access-Control-Request-Headers": "x-phoenix-authtoken",
    }
    async with serve(CORS_ORIGINS=LISTED) as node:
        answer = await node.http.options(LONGPOLL, headers=asks)

    assert answer.status_code == 204
    assert not cors_headers(answer.headers)


async def test_pages_may_send_cookies_only_where_that_is_configured(serve: Serve) -> None:
    for switch, allowed in (("on", "true"), ("off", None)):
        async with serve(CORS_ORIGINS=LISTED, CORS_CREDENTIALS=switch) as node:
            answer = await node.get("r", Origin=LISTED)
            stranger = await node.get("r", Origin=STRANGER)
            asked = {"Origin": LISTED, "Access-Control-Request-Method": "PUT"}
            preflight = await node.http.options("/api/rooms/r", headers=asked)

        assert answer.headers.get("access-control-allow-credentials") == allowed
        assert preflight.headers.get("access-control-allow-credentials") == allowed
        assert not cors_headers(stranger.headers)
