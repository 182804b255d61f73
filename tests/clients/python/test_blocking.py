"""The client with a thread, over real HTTP: what it takes for an answer, and what it keeps."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

import pytest

from greenroom_client import GameServer, Policy, http_post
from tests.fakes.waiting import until_now

PLAYER = "76561197960265729"
APPLIED = b'{"applied":true}'
QUICK = Policy(every_s=30, first_pause_s=0.01, longest_pause_s=0.05)
WAIT_S = 10.0


class Told(NamedTuple):
    status: int
    body: bytes = b"{}"
    headers: tuple[tuple[str, str], ...] = ()
    is_cut: bool = False


class StatsSite(ThreadingHTTPServer):
    """Answers as told, then with 200; remembers what came."""

    daemon_threads = True

    def __init__(self, *answers: Told) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers = list(answers)
        self.requests: list[tuple[str, str, dict[str, Any]]] = []
        self.url = f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: StatsSite

    def do_PATCH(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.requests.append((self.path, self.headers["Authorization"], body))
        told = self.server.answers.pop(0) if self.server.answers else Told(200, APPLIED)
        self.send_response(told.status)
        for name, value in told.headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(told.body) + told.is_cut))
        self.end_headers()
        self.wfile.write(told.body)

    def log_message(self, *_: object) -> None:
        return


@contextmanager
def site(*answers: Told) -> Iterator[StatsSite]:
    with StatsSite(*answers) as served:
        thread = threading.Thread(target=served.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield served
        finally:
            served.shutdown()
            thread.join()


@pytest.mark.parametrize(
    "told",
    [
        Told(503, b"{}", (("Retry-After", "999999"),)),
        Told(500),
        Told(302, b"", (("Location", "/elsewhere"),)),
        Told(200, b"<html>log in first</html>"),
        Told(200, b"[" * 50_000),
        Told(200, b'{"applied":tr', is_cut=True),
        Told(422, b"<html>blocked</html>"),
    ],
)
def test_a_batch_is_repeated_word_for_word_until_the_server_says_that_it_counts(told: Told) -> None:
    with site(told, told) as served:
        game = GameServer(http_post(served.url, "t"), server_id="srv7", policy=QUICK)
        game.start()
        game.earn(PLAYER, {"exp": 5})
        game.map_end()
        until_now(lambda: bool(served.requests))
        game.earn(PLAYER, {"exp": 1})

        assert game.close(WAIT_S) == 0

    paths, tokens, bodies = zip(*served.requests, strict=True)
    assert set(paths) == {f"/players/{PLAYER}/stats"}
    assert set(tokens) == {"Bearer t"}
    assert bodies[0] == bodies[1] == bodies[2]
    assert [body["deltas"] for body in bodies] == [{"exp": 5}] * 3 + [{"exp": 1}]
    assert bodies[2]["transaction_id"] != bodies[3]["transaction_id"]
    assert game.acknowledged == game.repeats == 2


def test_a_refusal_for_good_ends_a_batch_and_is_told() -> None:
    refused: list[tuple[str, int, bytes]] = []
    answer = b'{"error":"insufficient"}'
    with site(Told(409, answer)) as served:
        game = GameServer(
            http_post(served.url, "t"), server_id="srv7", on_refused=lambda *it: refused.append(it)
        )
        game.start()
        game.earn(PLAYER, {"cash": -5})
        assert game.close(WAIT_S) == 0

    assert refused == [(PLAYER, 409, answer)]
    assert len(served.requests) == 1


def test_a_token_that_is_refused_stops_everything_until_somebody_says_to_go_on() -> None:
    told: list[bytes] = []
    with site(Told(401, b'{"error":"unauthorized"}')) as served:
        game = GameServer(
            http_post(served.url, "t"), server_id="srv7", policy=QUICK, on_unauthorized=told.append
        )
        game.start()
        game.earn(PLAYER, {"exp": 5})
        game.disconnect(PLAYER)
        until_now(lambda: game.is_stopped)
        game.map_end()
        assert len(served.requests) == len(told) == 1
        assert game.unsettled == 1

        game.resume()
        assert game.close(WAIT_S) == 0

    assert served.requests[0] == served.requests[1]


def test_nobody_home_loses_nothing_and_closing_waits_only_so_long() -> None:
    game = GameServer(http_post("http://127.0.0.1:1", "t"), server_id="srv7", policy=QUICK)
    game.start()
    game.earn(PLAYER, {"exp": 5})

    assert game.close(0.1) == 1


def test_a_name_of_a_player_cannot_lead_elsewhere() -> None:
    with site() as served:
        game = GameServer(http_post(served.url, "t"), server_id="srv7", policy=QUICK)
        game.start()
        game.earn("../config?", {"exp": 5})
        assert game.close(WAIT_S) == 0

    assert served.requests[0][0] == "/players/..%2Fconfig%3F/stats"
