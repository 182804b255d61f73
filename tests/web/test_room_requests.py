"""Rooms over HTTP: what GET, PUT, DELETE and the list answer."""

from __future__ import annotations

import json
import re
from typing import Any, Final

import pytest
import trio

from tests.web.conftest import ALL_STORES, Serve
from tests.web.serving import ADMIN, PATIENCE_S, Node, eventually
from web.handlers.rooms import BAD_BODIES, REFUSALS

STORES = ALL_STORES

ETAG = re.compile(r'"[a-z0-9]{1,16}-[0-9]+"\Z')


async def test_a_first_put_makes_version_1_and_get_gives_the_same_record(node: Node) -> None:
    put = await node.put("abc123", {"turn": 1})
    got = await node.get("abc123")

    assert put.status_code == got.status_code == 200
    assert put.json() == got.json()
    assert put.headers["content-type"] == "application/json"
    record = got.json()
    assert record["room_id"] == "abc123"
    assert record["version"] == 1
    assert record["state"] == {"turn": 1}
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", record["updated_at"])


async def test_every_put_adds_exactly_one_to_the_version(node: Node) -> None:
    versions = [(await node.put("r", {"n": number})).json()["version"] for number in range(5)]

    assert versions == [1, 2, 3, 4, 5]


async def test_many_writers_at_once_get_a_version_each(node: Node) -> None:
    versions: list[int] = []

    async def write() -> None:
        versions.append((await node.put("r", [])).json()["version"])

    async with trio.open_nursery() as writers:
        for _ in range(30):
            writers.start_soon(write)

    assert sorted(versions) == list(range(1, 31))


def refusal(code: str, **facts: object) -> dict[str, object]:
    """The body of a refusal, with its message."""
    return {"error": code, "message": REFUSALS[code][1], **facts}


async def test_a_room_that_nobody_wrote_is_not_found(node: Node) -> None:
    answer = await node.get("nobody")

    assert answer.status_code == 404
    assert answer.json() == refusal("room_not_found")


@pytest.mark.parametrize(
    "state",
    [
        {},
        [],
        [None, True, 1.5, "ü", {"deep": [[[]]]}],
        {"small": -9223372036854775809, "large": 18446744073709551616, "huge": 10**400},
        {"longest": 10**4299},
        {"": "\u0000", "😀": "\ud7ff"},
        {"exact": 12345678901234567890, "float": 0.1},
    ],
)
async def test_a_state_comes_back_as_the_same_json_value(node: Node, state: Any) -> None:
    body = json.dumps({"state": state})
    put = await node.http.put("/api/rooms/r", content=body)
    got = await node.get("r")

    assert put.status_code == 200
    assert json.loads(got.content)["state"] == state


NO_STATES: Final[tuple[str | bytes, ...]] = (
    "",
    "nonsense",
    "[]",
    "1",
    "null",
    "{}",
    '{"state":null}',
    '{"state":1}',
    '{"state":"text"}',
    '{"state":{},}',
    '{"state":{"a":NaN}}',
    '{"state":{"a":Infinity}}',
    '{"state":{"a":-Infinity}}',
    '{"state":{"a":1e999}}',
    '{"state":{"a":"\\ud800"}}',
    '{"state":{"\\udfff":1}}',
    '{"state":[' + "1" * 4301 + "]}",
    '{"state":' + "[" * 3000 + "]" * 3000 + "}",
    '{"state":' + "[" * 300 + "]" * 300 + "}",
    '{"state":{}} trailing',
    b'{"state":{"a":"\xff"}}',
    b'\xef\xbb\xbf{"state":{}}',
)


async def test_a_body_that_is_no_state_is_refused_with_422(node: Node) -> None:
    for body in NO_STATES:
        answer = await node.http.put("/api/rooms/r", content=body)

        assert answer.status_code == 422, body
        assert answer.json()["error"] == "invalid_state", body
    assert (await node.get("r")).status_code == 404


@pytest.mark.parametrize(
    "field", ['"client_id":1', '"client_id":null', '"client_ts":5', '"client_ts":"soon"']
)
async def test_client_fields_of_the_wrong_type_are_refused_with_422(node: Node, field: str) -> None:
    answer = await node.http.put("/api/rooms/r", content=f'{{"state":{{}},{field}}}')

    assert answer.status_code == 422


async def test_unknown_keys_are_ignored_and_of_a_key_given_twice_the_last_counts(node: Node) -> None:
    body = '{"state":{"a":1},"other":[1],"client_id":"c","client_ts":"2026-02-10T01:00:00Z","state":{"a":2}}'
    answer = await node.http.put("/api/rooms/r", content=body)

    assert answer.json()["state"] == {"a": 2}


@pytest.mark.parametrize(("method", "suffix"), [("PUT", ""), ("GET", "/stream")])
async def test_a_bad_room_id_is_refused_with_422(node: Node, method: str, suffix: str) -> None:
    for room_id in ("a.b", "a%20b", "a%2Fb", "x" * 65, "%C3%BC", "a:b"):
        answer = await node.http.request(method, f"/api/rooms/{room_id}{suffix}", content='{"state":{}}')

        assert answer.status_code == 422, room_id
        assert answer.json()["error"] == "invalid_room_id", room_id


@pytest.mark.parametrize("room_id", ["a", "A-Z_09", "x" * 64, "-", "%61bc"])
async def test_a_good_room_id_is_taken(node: Node, room_id: str) -> None:
    answer = await node.http.put(f"/api/rooms/{room_id}", content='{"state":{}}')

    assert answer.status_code == 200


class TestTooLarge:
    async def test_a_body_of_exactly_the_limit_is_taken(self, serve: Serve) -> None:
        body = b'{"state":{"a":"' + b"x" * 83 + b'"}}'
        async with serve(MAX_STATE_BYTES=len(body)) as node:
            answer = await node.http.put("/api/rooms/r", content=body)

        assert answer.status_code == 200

    async def test_one_byte_more_is_refused_with_413(self, serve: Serve) -> None:
        async with serve(MAX_STATE_BYTES=100) as node:
            answer = await node.http.put("/api/rooms/r", content=b" " * 101)

        assert answer.status_code == 413
        assert answer.json() == {
            "error": "payload_too_large",
            "message": "the body is larger than this route takes",
        }

    async def test_it_is_refused_before_the_body_is_sent(self, node: Node) -> None:
        answer = await node.raw(b"PUT /api/rooms/r HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\n")

        assert answer.startswith(b"HTTP/1.1 413 ")

    async def test_a_chunked_body_is_refused_when_it_gets_too_long(self, node: Node) -> None:
        chunk = b"1000\r\n" + b" " * 4096 + b"\r\n"
        head = b"PUT /api/rooms/r HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        answer = await node.raw(head + chunk * 9)

        assert answer.startswith(b"HTTP/1.1 413 ")

    async def test_a_client_that_sends_it_all_the_same_still_hears_why(self, node: Node) -> None:
        head = b"PUT /api/rooms/r HTTP/1.1\r\nHost: x\r\nContent-Length: 800000\r\n\r\n"
        answer = await node.raw(head + b" " * 800_000)

        assert answer.startswith(b"HTTP/1.1 413 ")
        assert answer.endswith(
            b'{"error":"payload_too_large","message":"the body is larger than this route takes"}'
        )


class TestConditions:
    async def test_get_and_put_carry_the_same_tag(self, node: Node) -> None:
        put = await node.put("r", {})
        got = await node.get("r")

        assert ETAG.match(put.headers["etag"])
        assert put.headers["etag"] == got.headers["etag"]

    async def test_get_with_the_current_tag_is_304(self, node: Node) -> None:
        etag = (await node.put("r", {})).headers["etag"]
        unchanged = await node.get("r", if_none_match=f'"other-1", W/{etag}')
        await node.put("r", {})
        changed = await node.get("r", if_none_match=etag)

        assert unchanged.status_code == 304
        assert unchanged.content == b""
        assert unchanged.headers["etag"] == etag
        assert changed.status_code == 200

    async def test_if_match_takes_the_tag_or_the_bare_version(self, node: Node) -> None:
        etag = (await node.put("r", {})).headers["etag"]

        assert (await node.put("r", {}, if_match=etag)).json()["version"] == 2
        assert (await node.put("r", {}, if_match='"2"')).json()["version"] == 3
        assert (await node.put("r", {}, if_match=f'{etag}, "3"')).json()["version"] == 4
        assert (await node.put("r", {}, if_match="*")).json()["version"] == 5

    @pytest.mark.parametrize("tag", ['"1"', '"zzzz-2"', 'W/"2"', '""', "nonsense", ""])
    async def test_any_other_tag_is_412_and_says_the_version(self, node: Node, tag: str) -> None:
        await node.put("r", {"n": 1})
        await node.put("r", {"n": 2})
        answer = await node.put("r", {"n": 3}, if_match=tag)

        assert answer.status_code == 412
        assert answer.json() == refusal("version_mismatch", version=2)
        assert (await node.get("r")).json()["state"] == {"n": 2}

    @pytest.mark.parametrize("tag", ["*", '"1"'])
    async def test_if_match_never_creates(self, node: Node, tag: str) -> None:
        answer = await node.put("r", {}, if_match=tag)

        assert answer.status_code == 412
        assert answer.json() == refusal("version_mismatch", version=0)

    async def test_if_none_match_star_only_creates(self, node: Node) -> None:
        first = await node.put("r", {}, if_none_match="*")
        second = await node.put("r", {}, if_none_match="*")

        assert first.status_code == 200
        assert second.status_code == 412
        assert second.json() == refusal("version_mismatch", version=1)


class TestWords:
    """Every refusal says in words what is wrong."""

    @pytest.mark.parametrize(
        ("body", "code"),
        [
            (b"{", "invalid_state"),
            (b'{"state":1}', "invalid_state"),
            (b'{"state":{},"client_id":7}', "invalid_client_id"),
            (b'{"state":{},"client_ts":"yesterday"}', "invalid_client_ts"),
        ],
    )
    async def test_of_a_body(self, node: Node, body: bytes, code: str) -> None:
        answer = await node.http.put("/api/rooms/r", content=body)

        assert answer.json() == {"error": code, "message": BAD_BODIES[code]}

    async def test_of_an_id_a_secret_and_a_cursor(self, node: Node) -> None:
        for answer in (
            await node.put("a.b", {}),
            await node.get("a.b"),
            await node.http.get("/api/rooms/a.b/stream"),
            await node.put("r", {}, x_room_secret="s" * 300),
            await node.http.get("/api/rooms?cursor=a.b", headers=ADMIN),
            await node.http.get("/api/rooms?limit=no", headers=ADMIN),
        ):
            assert answer.status_code == 422
            assert set(answer.json()) == {"error", "message"}

    async def test_every_answer_about_a_room_is_to_be_asked_for_again(self, node: Node) -> None:
        written = await node.put("r", {})
        tag = written.headers["etag"]
        for answer in (
            written,
            await node.get("r"),
            await node.get("r", if_none_match=tag),
            await node.get("nobody"),
            await node.get("a.b"),
            await node.put("r", {}, if_match='"9"'),
            await node.http.put("/api/rooms/r", content=b"{"),
            await node.http.get("/api/rooms", headers=ADMIN),
            await node.http.delete("/api/rooms/r", headers=ADMIN),
            await node.http.delete("/api/rooms/r", headers=ADMIN),
        ):
            assert answer.headers["cache-control"] == "no-cache"


class TestSecrets:
    async def test_a_room_made_with_a_secret_wants_it_from_then_on(self, node: Node) -> None:
        await node.put("r", {"n": 1}, x_room_secret="open sesame")

        without = await node.put("r", {"n": 2})
        wrong = await node.put("r", {"n": 2}, x_room_secret="open barley")
        right = await node.put("r", {"n": 2}, x_room_secret="open sesame")

        assert [without.status_code, wrong.status_code, right.status_code] == [403, 403, 200]
        assert without.json() == refusal("forbidden")
        assert (await node.get("r")).json()["state"] == {"n": 2}

    @pytest.mark.parametrize("condition", [{}, {"if_match": "*"}, {"if_none_match": "*"}])
    async def test_a_secret_that_comes_later_is_refused_and_writes_nothing(
        self, node: Node, condition: dict[str, str]
    ) -> None:
        await node.put("r", {"n": 1})
        late = await node.put("r", {"n": 2}, x_room_secret="late", **condition)

        assert (late.status_code, late.json()) == (409, refusal("room_exists"))
        assert (await node.get("r")).json()["state"] == {"n": 1}
        assert (await node.put("r", {})).status_code == 200

    async def test_an_empty_secret_is_none(self, node: Node) -> None:
        await node.put("r", {}, x_room_secret="")

        assert (await node.put("r", {}, x_room_secret="")).status_code == 200
        assert (await node.put("r", {})).status_code == 200

    async def test_a_room_made_again_may_have_another_secret_or_none(self, node: Node) -> None:
        await node.put("r", {}, x_room_secret="s")
        removed = await node.http.delete("/api/rooms/r", headers=ADMIN)

        assert removed.status_code == 204
        assert (await node.put("r", {})).json()["version"] == 1

    @pytest.mark.parametrize("secret", [{}, {"X-Room-Secret": "s"}, {"X-Room-Secret": "wrong"}])
    async def test_an_admin_needs_no_secret(self, node: Node, secret: dict[str, str]) -> None:
        await node.put("r", {"n": 1}, x_room_secret="s")
        headers = {name.lower().replace("-", "_"): value for name, value in (ADMIN | secret).items()}
        written = await node.put("r", {"n": 2}, **headers)
        still = await node.put("r", {"n": 3})
        removed = await node.http.delete("/api/rooms/r", headers=ADMIN | secret)

        assert (written.status_code, written.json()["version"]) == (200, 2)
        assert still.status_code == 403
        assert removed.status_code == 204

    @pytest.mark.parametrize("authorization", ["Bearer wrong", "Bearer", "Basic let-me-in", "let-me-in", ""])
    async def test_another_token_opens_nothing(self, node: Node, authorization: str) -> None:
        await node.put("r", {"n": 1}, x_room_secret="s")

        assert (await node.put("r", {}, authorization=authorization)).status_code == 403
        assert (await node.put("s", {}, authorization=authorization)).status_code == 200

    async def test_without_an_admin_token_none_opens_anything(self, serve: Serve) -> None:
        async with serve(ADMIN_TOKEN="") as node:
            await node.put("r", {"n": 1}, x_room_secret="s")
            for token in ("s", "let-me-in"):
                assert (await node.put("r", {}, authorization=f"Bearer {token}")).status_code == 403

    async def test_an_admin_too_must_not_write_a_match_room(self, node: Node) -> None:
        node.program.core.rooms.publish("match-1", b"{}")

        assert (await node.put("match-1", {}, authorization=ADMIN["Authorization"])).status_code == 409
        assert (await node.http.delete("/api/rooms/match-1", headers=ADMIN)).status_code == 409


async def pages(node: Node) -> list[list[str]]:
    """The ids of all rooms, two to a page."""
    found, cursor = [], ""
    while cursor is not None:
        page = (await node.http.get(f"/api/rooms?limit=2&cursor={cursor}", headers=ADMIN)).json()
        found.append([row["room_id"] for row in page["rooms"]])
        cursor = page["next_cursor"]
    return found


class TestAdminCalls:
    async def test_delete_removes_the_room(self, node: Node) -> None:
        before = (await node.put("r", {})).headers["etag"]
        removed = await node.http.delete("/api/rooms/r", headers=ADMIN)
        again = await node.http.delete("/api/rooms/r", headers=ADMIN)

        assert removed.status_code == 204
        assert removed.content == b""
        assert again.status_code == 404
        assert again.json() == refusal("room_not_found")
        after = await node.put("r", {})
        assert after.json()["version"] == 1
        assert after.headers["etag"] != before

    @pytest.mark.parametrize("authorization", ["", "Bearer", "Bearer wrong", "Basic let-me-in", "let-me-in"])
    async def test_a_wrong_or_missing_token_is_401(self, node: Node, authorization: str) -> None:
        await node.put("r", {})
        headers = {"Authorization": authorization}

        for answer in (
            await node.http.delete("/api/rooms/r", headers=headers),
            await node.http.get("/api/rooms", headers=headers),
        ):
            assert answer.status_code == 401
            assert answer.json() == {"error": "unauthorized"}
        assert (await node.get("r")).status_code == 200

    async def test_without_a_configured_token_they_do_not_exist(self, serve: Serve) -> None:
        async with serve(ADMIN_TOKEN="") as node:
            await node.put("r", {})
            for headers in ({}, ADMIN):
                removal = await node.http.delete("/api/rooms/r", headers=headers)
                listing = await node.http.get("/api/rooms", headers=headers)
                assert removal.status_code == listing.status_code == 404
                assert removal.json() == listing.json() == {"error": "not_found"}

    @pytest.mark.memory_store
    async def test_the_list_goes_through_all_rooms_in_pages(self, node: Node) -> None:
        for number in range(5):
            await node.put(f"room-{number}", {})

        assert await pages(node) == [["room-0", "room-1"], ["room-2", "room-3"], ["room-4"]]

    async def test_the_pages_of_the_list_have_every_room(self, node: Node) -> None:
        for number in range(5):
            await node.put(f"room-{number}", {})
        found = await pages(node)

        assert {room_id for page in found for room_id in page} == {f"room-{number}" for number in range(5)}
        assert max(map(len, found)) == 2

    async def test_a_row_of_the_list_says_how_the_room_stands(self, node: Node) -> None:
        record = (await node.put("r", {})).json()
        async with node.watch("r") as watcher:
            await watcher.event()
            rows = (await node.http.get("/api/rooms", headers=ADMIN)).json()["rooms"]

        assert rows == [
            {
                "room_id": "r",
                "version": 1,
                "updated_at": record["updated_at"],
                "streams": 1,
                "kind": "plain",
            }
        ]

    @pytest.mark.parametrize("query", ["limit=0", "limit=1001", "limit=x", "limit=-1", "cursor=a.b"])
    async def test_a_bad_page_is_422(self, node: Node, query: str) -> None:
        assert (await node.http.get(f"/api/rooms?{query}", headers=ADMIN)).status_code == 422


class TestLimits:
    @pytest.mark.memory_store
    async def test_a_room_too_many_is_503_with_retry_after(self, serve: Serve) -> None:
        async with serve(MAX_ROOMS=2) as node:
            await node.put("a", {})
            await node.put("b", {})
            refused = await node.put("c", {})

            assert refused.status_code == 503
            assert int(refused.headers["retry-after"]) >= 1
            assert (await node.put("a", {})).status_code == 200

    @pytest.mark.memory_store
    async def test_too_much_state_is_503_with_retry_after(self, serve: Serve) -> None:
        async with serve(MAX_TOTAL_STATE_BYTES=400) as node:
            await node.put("a", {})
            refused = await node.put("b", {"x": "y" * 400})

        assert refused.status_code == 503
        assert "retry-after" in refused.headers

    async def test_creating_too_often_is_429_and_writing_is_not_creating(self, serve: Serve) -> None:
        async with serve(MAX_ROOM_CREATES_PER_IP_PER_MINUTE=2) as node:
            statuses = [(await node.put(room_id, {})).status_code for room_id in "abcab"]
            refused = await node.put("d", {})

        assert statuses == [200, 200, 429, 200, 200]
        assert refused.json()["error"] == "rate_limited"
        assert 1 <= int(refused.headers["retry-after"]) <= 60

    async def test_addresses_are_believed_from_trusted_proxies_only(self, serve: Serve) -> None:
        strangers = [{"x_forwarded_for": f"203.0.113.{number}"} for number in range(3)]
        async with serve(MAX_ROOM_CREATES_PER_IP_PER_MINUTE=1) as node:
            direct = [(await node.put(f"r{n}", {}, **who)).status_code for n, who in enumerate(strangers)]
        async with serve(MAX_ROOM_CREATES_PER_IP_PER_MINUTE=1, TRUSTED_PROXIES="127.0.0.0/8") as node:
            behind_proxy = [
                (await node.put(f"r{n}", {}, **who)).status_code for n, who in enumerate(strangers)
            ]

        assert direct == [200, 429, 429]
        assert behind_proxy == [200, 200, 200]


async def test_a_room_nobody_writes_any_more_is_removed(serve: Serve) -> None:
    async with serve(ROOM_TTL_SECONDS=0.2) as node:
        old = (await node.put("r", {})).headers["etag"]
        with trio.fail_after(PATIENCE_S):
            while (await node.get("r")).status_code != 404:  # noqa: ASYNC110
                await trio.sleep(0.01)  # real time: Redis' and the sweeper's
        fresh = await node.put("r", {})

    assert fresh.json()["version"] == 1
    assert fresh.headers["etag"] != old


async def test_each_accepted_put_is_logged_with_room_bytes_and_version(node: Node) -> None:
    await node.http.put("/api/rooms/r", content=b'{"state":{}}')
    await node.http.put("/api/rooms/r", content=b"nonsense")
    await eventually(node.log.getvalue)
    lines = [json.loads(line) for line in node.log.getvalue().splitlines()]

    assert [(line["event"], line["room_id"], line["bytes"], line["version"]) for line in lines] == [
        ("room_put", "r", 12, 1)
    ]


async def test_a_match_room_cannot_be_put(node: Node) -> None:
    node.program.core.rooms.publish("match-1", b'{"status":"ready"}')
    answer = await node.put("match-1", {})

    assert answer.status_code == 409
    assert answer.json() == refusal("room_is_authoritative")
    assert (await node.get("match-1")).json()["state"] == {"status": "ready"}
