"""What holds for every answer: errors as JSON, methods, slashes, faults."""

from __future__ import annotations

import json
import logging

import pytest

from actors.core import ActorCrashed
from actors.rooms import MemoryRooms
from tests.web.serving import Node, serving


@pytest.mark.parametrize(
    "path", ["/nope", "/", "/api", "/api/room/x", "/api/rooms/a/b", "/api/rooms/a/stream/b"]
)
async def test_an_unknown_path_is_404(node: Node, path: str) -> None:
    answer = await node.http.get(path)

    assert answer.status_code == 404
    assert answer.json() == {"error": "not_found"}
    assert answer.headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("POST", "/api/rooms/a", "GET, HEAD, PUT, PATCH, DELETE, OPTIONS"),
        ("PATCH", "/api/rooms/a/stream", "GET, HEAD, OPTIONS"),
        ("PUT", "/api/rooms/a/stream", "GET, HEAD, OPTIONS"),
        ("DELETE", "/healthz", "GET, HEAD, OPTIONS"),
        ("FOO", "/healthz", "GET, HEAD, OPTIONS"),
    ],
)
async def test_a_known_path_with_another_method_is_405_with_allow(
    node: Node, method: str, path: str, allow: str
) -> None:
    answer = await node.http.request(method, path)

    assert answer.status_code == 405
    assert answer.json()["error"] == "method_not_allowed"
    assert answer.headers["allow"] == allow


@pytest.mark.parametrize("path", ["//api///rooms//r", "/api/rooms/r/", "/api/rooms/r//", "/api/%72ooms/r"])
async def test_slashes_too_many_mean_the_same_and_nobody_is_redirected(node: Node, path: str) -> None:
    await node.put("r", {"n": 1})
    answer = await node.raw(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())

    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b'"n":1' in answer


@pytest.mark.parametrize("path", ["/api/rooms/a%2", "/api/rooms/%zz", "/%ff", "/nope/%"])
async def test_a_broken_escape_is_400(node: Node, path: str) -> None:
    answer = await node.raw(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    head, _, body = answer.partition(b"\r\n\r\n")

    assert head.startswith(b"HTTP/1.1 400 ")
    assert json.loads(body)["error"] == "bad_request"


async def test_head_is_get_without_the_body(node: Node) -> None:
    await node.put("r", {"n": 1})
    get, head = await node.get("r"), await node.http.head("/api/rooms/r")

    assert head.status_code == 200
    assert head.content == b""
    assert head.headers["etag"] == get.headers["etag"]
    assert head.headers["content-length"] == str(len(get.content))


async def test_options_without_a_preflight_says_what_is_allowed(node: Node) -> None:
    answer = await node.http.options("/api/rooms/r")

    assert answer.status_code == 204
    assert answer.headers["allow"] == "GET, HEAD, PUT, PATCH, DELETE, OPTIONS"


async def test_the_absolute_form_of_a_target_means_the_same(node: Node) -> None:
    await node.put("r", {"n": 1})
    request = b"GET http://elsewhere:99/api/rooms/r HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"

    assert (await node.raw(request)).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("host", ["", "a b", "[::1", "x" * 300, "ü".encode().decode("latin-1"), "a:b:c"])
async def test_an_odd_host_header_is_nobodys_business(node: Node, host: str) -> None:
    request = f"GET /healthz HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
    answer = await node.raw(request.encode("latin-1"))

    assert answer.split(b" ")[1] in {b"200", b"400"}


async def test_http_1_0_gets_an_answer_and_a_closed_connection(node: Node) -> None:
    answer = await node.raw(b"GET /healthz HTTP/1.0\r\n\r\n")

    assert answer.split(b" ")[1] == b"200"
    assert answer.endswith(b'{"ok":true}')


@pytest.mark.parametrize(
    "request_head",
    [
        b"NONSENSE\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: x\r\nno colon\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\nHost: x\r\n\r\n",
        b"PUT /api/rooms/r HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n{}",
    ],
)
async def test_what_is_no_http_is_400_in_json(node: Node, request_head: bytes) -> None:
    head, _, body = (await node.raw(request_head)).partition(b"\r\n\r\n")

    assert head.startswith(b"HTTP/1.1 400 ")
    assert b"connection: close" in head.lower()
    assert json.loads(body)["error"] == "bad_request"


async def test_pipelined_requests_are_answered_in_order(node: Node) -> None:
    put = b'PUT /api/rooms/r HTTP/1.1\r\nHost: x\r\nContent-Length: 12\r\n\r\n{"state":{}}'
    get = b"GET /api/rooms/r HTTP/1.1\r\nHost: x\r\n\r\n"
    answer = await node.raw(put + put + get + get.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))

    versions = [part.partition(b",")[0] for part in answer.split(b'"version":')[1:]]
    assert versions == [b"1", b"2", b"2", b"2"]


async def test_a_fault_is_500_with_an_id_that_is_in_the_log_and_no_trace(
    node: Node, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def crash(*_: object, **__: object) -> None:
        raise ActorCrashed("room", "put", RuntimeError("a secret of the inside"))

    monkeypatch.setattr(MemoryRooms, "put", crash)
    with caplog.at_level(logging.ERROR):
        answer = await node.put("r", {})

    assert answer.status_code == 500
    assert answer.json()["error"] == "internal_error"
    assert "inside" not in answer.text
    assert "Traceback" not in answer.text
    faults = [record for record in caplog.records if record.message == "request_failed"]
    assert [vars(record)["fault_id"] for record in faults] == [answer.json()["id"]]


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/api/rooms/none", b""),
        ("PUT", "/api/rooms/r", b'{"state":{}}'),
        ("GET", "/api/rooms/r", b""),
        ("PUT", "/api/rooms/r", b"{"),
        ("GET", "/api/rooms/a.b", b""),
        ("POST", "/api/rooms/r", b"{}"),
    ],
)
async def test_no_cache_keeps_an_answer_about_a_room(node: Node, method: str, path: str, body: bytes) -> None:
    answer = await node.http.request(method, path, content=body)

    assert answer.headers["cache-control"] == "no-cache"


async def test_a_body_that_is_encoded_is_not_taken(node: Node) -> None:
    encoded = await node.http.put("/api/rooms/r", content=b"x", headers={"Content-Encoding": "gzip"})
    assert encoded.status_code == 415
    for none in ("identity", ""):
        plain = await node.http.put("/api/rooms/r", json={"state": {}}, headers={"Content-Encoding": none})
        assert plain.status_code == 200


async def test_who_may_not_post_is_told_so_before_the_body() -> None:
    head = "POST {} HTTP/1.1\r\nHost: x\r\nContent-Length: 900000\r\n\r\n"
    async with serving("fast", GAME_SERVER_TOKENS="t") as node:
        stats = await node.raw(head.format("/players/stats:batch").encode())
        poll = await node.raw(head.format("/socket/longpoll?token=no").encode())

    assert stats.startswith(b"HTTP/1.1 401 ")
    assert poll.endswith(b'{"status":410}')
