"""The queue scenario against a matchmaker's consumer of a few lines."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import redis

from bench.errors import TargetError
from bench.scenarios import queue
from bench.scenarios.queue import QUEUE, QueueOptions
from bench.session import Session
from tests.engines import RedisServer, free_port


class Consumer(threading.Thread):
    """Pops jobs, and calls back: every fifth room has failed."""

    def __init__(self, url: str, port: int, *, deaf: bool = False) -> None:
        super().__init__(daemon=True)
        self._redis = redis.Redis.from_url(url)
        self._port = port
        self._deaf = deaf
        self.stopping = False

    def run(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port)
        nth = 0
        while not self.stopping:
            popped = self._redis.brpop(["room_creation_queue"], 0.1)
            if popped is None or self._deaf:
                continue
            nth += 1
            room = json.loads(popped[1])["room_id"]
            body = {"room_id": room, "node_name": "n", "status": "ready" if nth % 5 else "failed"}
            connection.request("POST", "/internal/rooms", json.dumps(body))
            assert json.load(connection.getresponse()) == {"acknowledged": True}
        connection.close()
        self._redis.close()


@contextmanager
def consuming(url: str, port: int, *, deaf: bool = False) -> Iterator[None]:
    consumer = Consumer(url, port, deaf=deaf)
    consumer.start()
    try:
        yield
    finally:
        consumer.stopping = True
        consumer.join()


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue, "SILENCE_S", 0.3)
    monkeypatch.setattr(queue, "CLEAN_UP_S", 0.1)


@pytest.mark.parametrize("rate", [0.0, 200.0], ids=["all at once", "at a rate"])
def test_jobs_are_timed_from_the_list_to_the_callback(
    session: Session, redis_server: RedisServer, rate: float
) -> None:
    options = QueueOptions(jobs=50, rate=rate, redis_url=redis_server.url, callback_port=free_port())
    with consuming(redis_server.url, options.callback_port):
        outcome = QUEUE.run(session, options)

    assert outcome.figures["confirmed"] == 40
    assert outcome.figures["not_confirmed"] == 10
    assert outcome.figures["jobs_per_s"] > 0
    assert outcome.latencies["ready"]["count"] == 40
    assert outcome.warnings == ["10 callbacks: failed"]


def test_a_server_that_never_calls_back_is_said(session: Session, redis_server: RedisServer) -> None:
    options = QueueOptions(jobs=5, redis_url=redis_server.url, callback_port=free_port())
    with (
        consuming(redis_server.url, options.callback_port, deaf=True),
        pytest.raises(TargetError, match="no job was confirmed"),
    ):
        QUEUE.run(session, options)


def test_a_redis_that_is_not_there_is_said(session: Session) -> None:
    url = f"redis://127.0.0.1:{free_port()}/0"

    with pytest.raises(TargetError, match="no Redis at"):
        QUEUE.run(session, QueueOptions(jobs=1, redis_url=url, callback_port=free_port()))


def test_a_server_started_for_it_is_told_where_everything_is() -> None:
    environment = QUEUE.environment(QueueOptions(callback_port=4242))

    assert environment["API_BASE_URL"] == "http://127.0.0.1:4242/internal"
    assert environment["REDIS_URL"].startswith("redis://")
