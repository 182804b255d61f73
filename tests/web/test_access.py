"""`ROOM_AUTH=token`: who may read and write which room, and what happens when a token expires."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from dev.phoenix import JoinRefused, phoenix
from tests.web.conftest import BOTH_STORES, Serve
from tests.web.serving import ADMIN, Node, Watcher, eventually
from web.handlers.access import Access
from web.handlers.jwt_keys import LEEWAY_S, JwtKeys

STORES = BOTH_STORES
SECRET = "a secret that is long enough for every algorithm with a secret and HS512 too"
ROOMS = {"abc": "r", "team-*": "rw", "team-red": "r", "x*": "w"}
MERGE = {"Content-Type": "application/merge-patch+json"}
PRIVATE_KEYS: dict[str, Any] = {
    "RS256": rsa.generate_private_key(65537, 2048),
    "ES256": ec.generate_private_key(ec.SECP256R1()),
    "EdDSA": ed25519.Ed25519PrivateKey.generate(),
}
JWK: dict[str, Any] = {
    "RS256": jwt.algorithms.RSAAlgorithm.to_jwk,
    "ES256": jwt.algorithms.ECAlgorithm.to_jwk,
    "EdDSA": jwt.algorithms.OKPAlgorithm.to_jwk,
}


def token(rooms: object = ROOMS, *, lives_s: float = 3600, secret: Any = SECRET, **how: Any) -> str:
    claims = {"sub": "ada", "exp": time.time() + lives_s, "rooms": rooms, **how.pop("claims", {})}
    return jwt.encode(claims, secret, algorithm=how.pop("algorithm", "HS256"), headers=how or None)


def bearer(text: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {text}"}


def jwks(*keys: tuple[str, str | None], **more: Any) -> bytes:
    """A set of the public keys for these algorithms, by name."""
    found = []
    for algorithm, kid in keys:
        member = JWK[algorithm](PRIVATE_KEYS[algorithm].public_key(), as_dict=True)
        found.append({**member, **({} if kid is None else {"kid": kid}), **more})
    return json.dumps({"keys": found}).encode()


def code(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]


@pytest.fixture
async def guarded(serve: Serve) -> AsyncIterator[Node]:
    async with serve(ROOM_AUTH="token", JWT_SECRET=SECRET, ADMIN_TOKEN="let-me-in") as node:
        yield node


async def call(
    node: Node, method: str, room_id: str, headers: dict[str, str], query: str = ""
) -> httpx.Response:
    path = f"/api/rooms/{room_id}{query}"
    match method:
        case "PUT":
            return await node.http.put(path, json={"state": {"n": 1}}, headers=headers)
        case "PATCH":
            return await node.http.patch(path, json={"n": 2}, headers=headers | MERGE)
        case "POST":
            path = f"/api/rooms/{room_id}/increment{query}"
            return await node.http.post(path, json={"path": "/n"}, headers=headers)
        case _:
            return await node.http.get(path, headers=headers)


METHODS = ["GET", "PUT", "PATCH", "POST"]


@pytest.mark.parametrize("method", METHODS)
async def test_without_a_good_token_every_call_is_401(guarded: Node, method: str) -> None:
    await call(guarded, "PUT", "team-a", ADMIN)
    none = jwt.encode({"exp": time.time() + 60, "rooms": ROOMS}, "", algorithm="none")
    for bad in (
        None,
        "rubbish",
        "let-me-inn",
        none,
        token(lives_s=-LEEWAY_S - 1),
        token(secret=SECRET + "x"),
        token(algorithm="HS512"),
        token(claims={"nbf": time.time() + 60}),
        token(claims={"exp": "soon"}),
        token(claims={"exp": 1e999}),
        "a" * 9000,
    ):
        answer = await call(guarded, method, "team-a", {} if bad is None else bearer(bad))
        assert code(answer) == (401, "unauthorized"), bad
        assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize(
    ("room_id", "right"),
    [
        ("abc", "r"), ("abcd", ""), ("team-", "rw"), ("team-blue", "rw"), ("team-red", "r"), ("team", ""),
        ("xyz", ""), ("other", ""),
    ],
)  # fmt: skip
async def test_the_claim_rooms_says_what_is_allowed(guarded: Node, room_id: str, right: str) -> None:
    await call(guarded, "PUT", room_id, ADMIN)
    for method in METHODS:
        for _ in range(2):  # the first asks, the second is answered at once
            answer = await call(guarded, method, room_id, bearer(token()))
            allowed = right == "rw" or (right == "r" and method == "GET")
            assert answer.status_code == (200 if allowed else 403), method
            if not allowed:
                assert code(answer) == (403, "forbidden")


@pytest.mark.parametrize("rooms", [None, [], "rw", {"abc": ["r"]}, {"abc": "R"}, {"": "rw"}, {"abc": ""}, 7])
async def test_a_claim_of_another_form_grants_nothing(guarded: Node, rooms: object) -> None:
    await call(guarded, "PUT", "abc", ADMIN)

    assert (await call(guarded, "GET", "abc", bearer(token(rooms)))).status_code == 403


async def test_a_star_alone_is_every_room(guarded: Node) -> None:
    assert (await call(guarded, "PUT", "any", bearer(token({"*": "rw"})))).status_code == 200


async def test_a_token_may_come_in_the_query_or_in_a_cookie(guarded: Node) -> None:
    text = token()
    for method in ("PUT", *METHODS):
        assert (await call(guarded, method, "team-a", {}, f"?token={text}")).status_code == 200
        cookie = {"Cookie": f"a=b; greenroom_token={text}; c=d"}
        assert (await call(guarded, method, "team-a", cookie)).status_code == 200
        basic = {"Authorization": "Basic YTpi", **cookie}
        assert (await call(guarded, method, "team-a", basic)).status_code == 200
        assert (await call(guarded, method, "team-a", bearer("bad") | cookie)).status_code == 401


async def test_a_cookie_counts_only_for_pages_that_may_read_the_answer(serve: Serve) -> None:
    origins = "https://*.good.example"
    async with serve(
        ROOM_AUTH="token", JWT_SECRET=SECRET, CORS_ORIGINS=origins, CORS_CREDENTIALS="on"
    ) as node:
        cookie = {"Cookie": f"greenroom_token={token()}"}
        foreign = await call(node, "PUT", "team-a", cookie | {"Origin": "https://bad.example"})
        known = await call(node, "PUT", "team-a", cookie | {"Origin": "https://app.good.example"})

        assert code(foreign) == (403, "forbidden")
        assert known.status_code == 200
        assert known.headers["access-control-allow-credentials"] == "true"
        assert known.headers["access-control-allow-origin"] == "https://app.good.example"


async def test_the_admin_token_opens_everything(guarded: Node) -> None:
    for method in ("PUT", *METHODS):
        assert (await call(guarded, method, "anything", ADMIN)).status_code == 200
    assert (await guarded.http.delete("/api/rooms/anything", headers=ADMIN)).status_code == 204


async def test_bad_ids_and_rooms_that_are_not_there_are_told_as_ever(guarded: Node) -> None:
    assert code(await call(guarded, "GET", "r%20r", {})) == (422, "invalid_room_id")
    assert code(await call(guarded, "PUT", "r%20r", {})) == (422, "invalid_room_id")
    assert code(await call(guarded, "GET", "team-a", bearer(token()))) == (404, "room_not_found")
    assert code(await call(guarded, "GET", "team-a", {})) == (401, "unauthorized")


async def test_a_stream_needs_the_right_to_read(guarded: Node) -> None:
    for query, status in (("", 401), (f"?token={token({'b': 'rw'})}", 403)):
        async with await guarded.connect() as stream:
            await stream.send_all(f"GET /api/rooms/abc/stream{query} HTTP/1.1\r\nHost: h\r\n\r\n".encode())
            assert (await stream.receive_some(100)).startswith(b"HTTP/1.1 %d " % status)
    async with guarded.watch("abc", f"?token={token()}") as watcher:
        assert await watcher.version() == 0


async def test_a_stream_hears_that_its_token_has_expired_and_a_fresh_one_resumes(guarded: Node) -> None:
    await call(guarded, "PUT", "team-a", ADMIN)
    short = token(lives_s=-LEEWAY_S + 1)
    async with guarded.watch("team-a", f"?token={short}") as watcher:
        first = await watcher.event()
        last = await watcher.event()
        assert (last.event, last.data) == ("expired", {"room_id": "team-a"})
        assert await watcher.frame() is None
    await eventually(lambda: len(guarded.program.core.access.expiries) == 0)

    async with guarded.watch("team-a", f"?token={token()}&last_event_id={first.id}") as watcher:
        await call(guarded, "PUT", "team-a", ADMIN)
        assert await watcher.version() == 2


async def test_who_leaves_before_the_token_expires_leaves_nothing_behind(guarded: Node) -> None:
    expiries = guarded.program.core.access.expiries
    async with guarded.watch("team-a", f"?token={token()}") as watcher:
        await watcher.version()
        assert len(expiries) == 1
    await eventually(lambda: len(expiries) == 0)


@pytest.mark.parametrize("algorithm", list(PRIVATE_KEYS))
async def test_public_keys_of_a_file_verify_tokens(serve: Serve, tmp_path: Path, algorithm: str) -> None:
    file = tmp_path / "jwks.json"
    file.write_bytes(jwks((algorithm, "k1")))
    async with serve(ROOM_AUTH="token", JWT_JWKS_FILE=str(file)) as node:
        private = PRIVATE_KEYS[algorithm]
        public = private.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        good = token(secret=private, algorithm=algorithm, kid="k1")
        assert (await call(node, "PUT", "team-a", bearer(good))).status_code == 200
        no_kid = token(secret=private, algorithm=algorithm)
        assert (await call(node, "PUT", "team-a", bearer(no_kid))).status_code == 200
        other = token(secret=private, algorithm=algorithm, kid="k2")
        assert (await call(node, "PUT", "team-a", bearer(other))).status_code == 401
        assert (await call(node, "PUT", "team-a", bearer(token()))).status_code == 401
        with pytest.MonkeyPatch.context() as patched:
            # The attack that the library refuses to help with: the public key as a secret.
            patched.setattr(jwt.algorithms.HMACAlgorithm, "prepare_key", lambda _self, key: key)
            confused = token(secret=public, kid="k1")
        assert (await call(node, "PUT", "team-a", bearer(confused))).status_code == 401


async def test_a_changed_file_takes_its_old_tokens_along(serve: Serve, tmp_path: Path) -> None:
    file = tmp_path / "jwks.json"
    file.write_bytes(jwks(("ES256", "k1")))
    old = bearer(token(secret=PRIVATE_KEYS["ES256"], algorithm="ES256", kid="k1"))
    new = bearer(token(secret=PRIVATE_KEYS["EdDSA"], algorithm="EdDSA", kid="k2"))
    async with serve(ROOM_AUTH="token", JWT_JWKS_FILE=str(file)) as node:
        assert (await call(node, "PUT", "team-a", old)).status_code == 200
        file.write_bytes(b"{broken")
        node.program.reload()
        await eventually(lambda: node.program.core.access.away() == ("jwks",))
        assert (await call(node, "PUT", "team-a", old)).status_code == 200
        file.write_bytes(jwks(("EdDSA", "k2")))
        node.program.reload()
        await eventually(lambda: node.program.core.access.away() == ())

        assert (await call(node, "PUT", "team-a", old)).status_code == 401
        assert (await call(node, "PUT", "team-a", new)).status_code == 200


@contextmanager
def key_server(answer: Callable[[], tuple[int, bytes]]) -> Iterator[str]:
    class Site(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = answer()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Site) as site:
        thread = threading.Thread(target=site.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{site.server_port}/jwks.json"
        finally:
            site.shutdown()
            thread.join()


@pytest.mark.memory_store
async def test_public_keys_of_a_url_are_fetched_again_after_failures(serve: Serve) -> None:
    answers = [(503, b"{}"), (200, b"<html>"), (200, b"[" * 200_000)]

    def answer() -> tuple[int, bytes]:
        return answers.pop(0) if answers else (200, jwks(("ES256", "k1")))

    good = bearer(token(secret=PRIVATE_KEYS["ES256"], algorithm="ES256", kid="k1"))
    with key_server(answer) as url, pytest.MonkeyPatch.context() as patched:
        patched.setattr("web.handlers.jwks.FIRST_PAUSE_S", 0.05)
        async with serve(ROOM_AUTH="token", JWT_JWKS_URL=url) as node:
            assert (await call(node, "PUT", "team-a", good)).status_code == 401
            await eventually(lambda: node.program.core.access.away() == ())
            assert (await call(node, "PUT", "team-a", good)).status_code == 200
            assert (await node.http.get("/internal/health")).status_code == 200
            assert "greenroom_jwks_keys 1" in (await node.http.get("/metrics")).text


@pytest.mark.memory_store
async def test_a_url_that_answers_nothing_is_told_by_health(serve: Serve) -> None:
    async with serve(ROOM_AUTH="token", JWT_JWKS_URL="http://127.0.0.1:1/jwks.json") as node:
        answer = await node.http.get("/internal/health")
        assert answer.status_code == 503
        assert (await call(node, "GET", "team-a", bearer(token()))).status_code == 401


async def test_a_topic_needs_the_right_to_read_and_ends_with_its_token(guarded: Node) -> None:
    if guarded.tls is not None:
        pytest.skip("the test's socket client speaks no TLS")
    await call(guarded, "PUT", "team-a", ADMIN)
    short = token(lives_s=-LEEWAY_S + 2)
    async with phoenix(guarded.url, token=short) as socket:
        topic = socket.channel("state:team-a")
        assert (await topic.join())["version"] == 1
        with pytest.raises(JoinRefused) as refused:
            await socket.channel("state:other").join()
        assert refused.value.response == {"reason": "forbidden"}
        assert await topic.until("expired") == {"room_id": "team-a"}


@pytest.mark.memory_store
async def test_stats_that_need_a_token_open_to_browsers_with_one(serve: Serve, tmp_path: Path) -> None:
    player = "76561197960265729"
    settings = {"GAME_SERVER_TOKENS": "t", "STATS_READ": "token", "DATA_DIR": str(tmp_path)}
    async with serve(JWT_SECRET=SECRET, **settings) as node:
        posted = {"deltas": {"exp": 5}}
        path = f"/players/{player}/stats"
        assert (await node.http.patch(path, json=posted, headers=bearer("t"))).status_code == 200
        assert (await node.http.get(path)).status_code == 401
        assert (await node.http.get(path, params={"token": token(lives_s=-60)})).status_code == 401
        assert (await node.http.get(path, params={"token": token()})).json()["stats"]["exp"] == 5
        assert (await node.http.patch(path, json=posted, headers=bearer(token()))).status_code == 401
        short = token(lives_s=-LEEWAY_S + 1)
        async with await node.connect() as stream:
            watcher = Watcher(stream)
            await watcher.ask(f"{path}/stream?token={short}", {})
            assert (await watcher.event()).event == "stats"
            last = await watcher.event()
            assert (last.event, last.data) == ("expired", {"steamid": player})


def test_a_remembered_token_costs_less_than_three_microseconds() -> None:
    access = Access(JwtKeys([SECRET]))
    headers = {"host": "h", **{name.lower(): value for name, value in bearer(token()).items()}}
    assert access.allows(headers, "team-a", "rw")
    best = min(_once(access, headers) for _ in range(50))

    assert best < 3e-6
    assert access.verified == 1


def _once(access: Access, headers: dict[str, str]) -> float:
    begun = time.perf_counter()
    for _ in range(200):
        access.allows(headers, "team-a", "rw")
    return (time.perf_counter() - begun) / 200


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("web.handlers.access.MAX_REMEMBERED", 10)
    access = Access(JwtKeys([SECRET]))
    for number in range(25):
        assert access.grant(token({f"r{number}": "r"})) is not None
    long = token({f"room-{number}": "r" for number in range(200)})
    assert access.grant(long) is not None

    assert len(access) == 10
