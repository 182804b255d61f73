from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import pytest

from bench.continuity import Clients, Notes, Promise, judge, most_in_one_second, promised
from bench.load.caller import Caller
from bench.load.engine import Engine
from bench.load.event_source import Lost
from bench.load.sockets import Address

PROMISE = Promise(back_within_s=11, reconnects_per_s=100, ends=10)
STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\nretry: 20\n\n"
DRAIN = b'event: drain\ndata: {"retry_ms":10}\nretry: 10\n\n'
TIMEOUT_S = 20


def good() -> Notes:
    return Notes(
        written=1000,
        first_failures=Counter({503: 3}),
        away_s=[5.0] * 20,
        came_back_at_s=[nth / 50 for nth in range(20)],
        ends=20,
        lost=Counter({Lost.UNANSWERED: 4}),
    )


def test_a_promise_that_was_kept_leaves_nothing_to_say() -> None:
    assert judge(good(), PROMISE) == []


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"written": 0}, "no write"),
        ({"ends": 0}, "nothing is shown"),
        ({"lost_writes": Counter({503: 1})}, "1 writes failed twice: 503"),
        ({"lost_writes": Counter({0: 2})}, "2 writes failed twice: the connection broke"),
        ({"refusals": Counter({503: 1})}, "does not come back"),
        ({"lost": Counter({Lost.REFUSED: 1})}, "could not be made"),
        ({"lost": Counter({Lost.BROKEN: 1})}, "was reset"),
        ({"cut": 1}, "without `drain`"),
        ({"resets": 1}, "heard `reset`"),
        ({"backwards": 1}, "older"),
        ({"missing": 1}, "behind in the end"),
        ({"away_s": [1.0, 11.5]}, "away for 11.5 s"),
        ({"came_back_at_s": [7.0] * 101}, "101 streams came back within a second"),
    ],
)
def test_everything_that_breaks_the_promise_is_said(changed: dict[str, object], said: str) -> None:
    (line,) = judge(replace(good(), **changed), PROMISE)  # type: ignore[arg-type]

    assert said in line


def test_the_most_in_one_second_are_counted_wherever_the_second_begins() -> None:
    assert most_in_one_second([]) == 0
    assert most_in_one_second([3.9, 0.0, 0.95, 1.0, 1.9]) == 3
    assert most_in_one_second([0.0, 1.0, 2.0]) == 1


def test_the_limit_of_the_rate_follows_from_the_spread_of_the_drain() -> None:
    promise = promised(streams=1800, drain_s=10)

    assert promise == Promise(back_within_s=11, reconnects_per_s=200 + 10, ends=900)
    assert promised(streams=1800, drain_s=10, slack_s=3).reconnects_per_s == 3 * 200 + 10


class ScriptedServer:
    """Answers the nth request with the nth of `answers`, and closes its connection where that is said."""

    def __init__(self, engine: Engine, answers: Sequence[tuple[bytes, bool]]) -> None:
        self._engine = engine
        self._answers = iter(answers)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.requests: list[bytes] = []
        self.peers: set[str] = set()
        self.connections = 0
        self.address = Address("127.0.0.1", self._listener.getsockname()[1], source="127.0.0.9")
        # The engine closes what it watches at its end.
        engine.watch(self._listener, self._accept)

    def _accept(self) -> None:
        connection, peer = self._listener.accept()
        self.connections += 1
        self.peers.add(peer[0])
        self._engine.watch(connection, lambda: self._answer(connection))

    def _answer(self, connection: socket.socket) -> None:
        request = connection.recv(65_536)
        closes = True
        if request:
            self.requests.append(request)
            answer, closes = next(self._answers)
            connection.sendall(answer)
        if closes:
            self._engine.forget(connection)
            connection.close()


def event(event_id: str, name: str = "state") -> bytes:
    return f"event: {name}\nid: {event_id}\ndata: {{}}\n\n".encode()


def noted(*answers: tuple[bytes, bool]) -> tuple[Notes, ScriptedServer]:
    """What one stream notes of a server that gives these answers, the last of which stays open."""
    with Engine() as engine:
        server = ScriptedServer(engine, answers)
        clients = Clients(engine, [server.address], [b"r"], 1, 0)
        clients.open()
        assert engine.run(
            TIMEOUT_S,
            lambda: (
                len(server.requests) == len(answers) and (not clients.away or bool(clients.notes.refusals))
            ),
        )
        notes = clients.close()
    return notes, server


def test_a_stream_that_is_told_to_comes_back_with_its_last_id() -> None:
    notes, server = noted((STREAM + event("e-4") + DRAIN, True), (STREAM + event("e-4"), False))

    assert (notes.ends, notes.cut, notes.resets, notes.backwards, notes.missing) == (1, 0, 0, 0, 0)
    assert b"Last-Event-ID" not in server.requests[0]
    assert b"Last-Event-ID: e-4\r\n" in server.requests[1]
    assert server.peers == {"127.0.0.9"}
    assert 0.01 <= notes.away_s[0] < TIMEOUT_S
    assert len(notes.came_back_at_s) == 1


def test_a_stream_that_is_cut_off_or_goes_back_is_noted() -> None:
    notes, _ = noted((STREAM + event("e-4"), True), (STREAM + event("e-3"), False))

    assert (notes.ends, notes.cut, notes.backwards) == (0, 1, 1)


def test_a_reset_is_noted() -> None:
    reset = b'event: reset\ndata: {"room_id":"r"}\n\n'
    notes, _ = noted((STREAM + event("e-4") + DRAIN, True), (STREAM + reset + event("f-1"), False))

    assert (notes.resets, notes.backwards) == (1, 0)


def test_a_connection_that_is_closed_unanswered_is_made_again() -> None:
    first = STREAM + event("e-1") + DRAIN
    notes, _ = noted((first, True), (b"", True), (STREAM, False))

    assert notes.lost == Counter({Lost.UNANSWERED: 1})
    assert len(notes.away_s) == 1


def test_a_stream_that_is_refused_does_not_come_back() -> None:
    notes, _ = noted((b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n", False))

    assert notes.refusals == Counter({503: 1})
    assert notes.missing == 1


def answer(status: int, body: str) -> bytes:
    return f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()


def test_a_connection_that_is_said_to_close_takes_no_other_write() -> None:
    last = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 13\r\n\r\n" + b'{"version":1}'
    statuses: list[int] = []
    with Engine() as engine:
        server = ScriptedServer(engine, [(last, False), (answer(200, "{}"), False)])

        def on_answer(caller: Caller, status: int) -> None:
            assert caller.answer.endswith(b"}")
            statuses.append(status)
            if len(statuses) == 1:
                caller.send(b"again")

        caller = Caller(engine, server.address, on_answer)
        caller.send(b"once")
        assert engine.run(TIMEOUT_S, lambda: len(statuses) == 2)
        assert (caller.reconnects, server.connections) == (1, 2)
        caller.close()
    assert statuses == [200, 200]


def written(*answers: tuple[bytes, bool]) -> tuple[Notes, ScriptedServer]:
    """What a writer of one connection notes of its first write."""
    with Engine() as engine:
        server = ScriptedServer(engine, answers)
        clients = Clients(engine, [server.address], [b"r"], 0, 1)
        clients.write(1e-3)
        clients.stop()
        assert engine.run(TIMEOUT_S, lambda: clients.is_settled)
        notes = clients.close()
    return notes, server


def test_a_write_whose_connection_breaks_is_repeated_with_its_key() -> None:
    notes, server = written((b"", True), (answer(200, '{"version":1}'), False))

    assert (notes.written, notes.first_failures, notes.lost_writes) == (1, Counter({0: 1}), Counter())
    assert server.requests[0] == server.requests[1]
    assert b"Idempotency-Key: 1\r\n" in server.requests[0]


def test_a_write_that_fails_again_is_lost() -> None:
    notes, _ = written((b"", True), (answer(503, "{}"), False))

    assert (notes.written, notes.lost_writes) == (0, Counter({503: 1}))


def test_a_write_whose_repeat_was_superseded_had_happened() -> None:
    notes, _ = written((b"", True), (answer(409, '{"error":"superseded"}'), False))

    assert (notes.written, notes.lost_writes) == (1, Counter())
