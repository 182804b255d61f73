"""Keeping results, and telling them later, with a real Redis and an API server that is a function."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import orjson
import pytest
import redis
import trio
import trio.testing

from actors.links import RedisLink
from actors.matches import CallbackOutcome, Callbacks, Patience, Recovery, Results, ResultSpool, callback
from actors.matches.callback import Callback
from actors.matches.delivery import Verdict
from actors.matches.persist_failed import age_s, callback_of
from supervision import Backoff
from tests.engines import RedisServer
from tests.fakes.http import Network
from tests.fakes.life import LoneLife
from tests.fakes.waiting import until


class Api:
    """Answers with one status; remembers what was told of whom."""

    def __init__(self) -> None:
        self.status = 503
        self.acknowledges = True
        self.refuses = ""
        self.hangs = False
        self.told: list[str] = []

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        self.told.append(request.url.path)
        if self.hangs:
            await trio.sleep_forever()
        status = 422 if request.url.path == self.refuses else self.status
        return httpx.Response(status, json={"acknowledged": self.acknowledges})


class Around:
    """What keeps and what tells, with the way to both."""

    def __init__(self, redis_url: str, directory: Path, request_s: float = 0.5) -> None:
        self.api = Api()
        self.link = RedisLink(redis_url, ping_every_s=0.1, backoff=Backoff(first_s=0.02, ceiling_s=0.1))
        patience = Patience(request_s=request_s, pauses_s=())
        transport = Network(self.api)
        self.callbacks = Callbacks("http://api", keys=["k"], patience=patience, transport=transport)
        self.spool = ResultSpool(directory / "spool")
        self.results = Results(link=self.link, callbacks=self.callbacks, spool=self.spool, retry_s=0.05)
        self.recovery = Recovery(link=self.link, callbacks=self.callbacks)


@asynccontextmanager
async def around(redis_url: str, directory: Path, request_s: float = 0.5) -> AsyncIterator[Around]:
    a = Around(redis_url, directory, request_s)
    async with trio.open_nursery() as nursery:
        for child in (a.link, a.callbacks, a.results):
            nursery.start_soon(child.run, LoneLife())
        yield a
        nursery.cancel_scope.cancel()


def nowhere() -> str:
    # Not a free port: another test may start a server there.
    return "unix:///nowhere/redis.sock"


def finished(room_id: str = "r1") -> Callback:
    return callback.finished(room_id, winner_id="ann", result_data={"players": {}}, at_s=0.0)


def ignore(outcome: CallbackOutcome) -> None:
    """Nobody asked."""


class FenceAgainst:
    """Another node has these rooms."""

    def __init__(self, *rooms: str) -> None:
        self._rooms = set(rooms)
        self.forgotten: list[str] = []

    async def win(self, callbacks: Sequence[Callback], *, is_left: bool = False) -> set[str]:
        await trio.lowlevel.checkpoint()
        return self._rooms & {made.room_id for made in callbacks}

    async def forget(self, room_ids: Sequence[str]) -> None:
        await trio.lowlevel.checkpoint()
        self.forgotten += room_ids


# -- the spool -----------------------------------------------------------------------


def test_the_spool_gives_back_what_it_was_given(tmp_path: Path) -> None:
    spool = ResultSpool(tmp_path / "a" / "b")
    assert spool.names() == []
    spool.put("r1", b"one")
    spool.put("r2", b"two")
    spool.put("r1", b"one again")

    assert ResultSpool(tmp_path / "a" / "b").names() == ["r1", "r2"]
    assert spool.get("r1") == b"one again"
    spool.drop("r1")
    spool.drop("r1")
    assert spool.get("r1") is None
    assert spool.names() == ["r2"]


def test_half_a_result_is_none(tmp_path: Path) -> None:
    (tmp_path / "r1.new").write_bytes(b'{"room_')

    assert ResultSpool(tmp_path).names() == []


def test_results_that_had_not_reached_the_disk_come_back_from_the_log(tmp_path: Path) -> None:
    spool = ResultSpool(tmp_path)
    spool.put_all({f"r{number}": b"body %d" % number for number in range(10)})
    spool.drop("r0")
    # As a power cut may leave it: names without content, no names, and half a line.
    (tmp_path / "r1.json").write_bytes(b"")
    (tmp_path / "r2.json").unlink()
    with (tmp_path / "journal").open("ab") as journal:
        journal.write(b'{"name":"r3","bo')

    again = ResultSpool(tmp_path)
    assert again.recover() == [f"r{number}" for number in range(1, 10)]
    assert [again.get(f"r{number}") for number in range(1, 4)] == [b"body 1", b"body 2", b"body 3"]


def test_the_log_does_not_outgrow_what_is_kept(tmp_path: Path) -> None:
    spool = ResultSpool(tmp_path)
    body = b"x" * 100_000
    for number in range(100):
        spool.put(f"r{number}", body)
        spool.drop(f"r{number - 1}")
        assert (tmp_path / "journal").stat().st_size < 5_000_000
    spool.drop("r99")
    assert list(tmp_path.iterdir()) == []
    assert spool.recover() == []


def test_a_successor_has_a_directory_of_its_own_while_its_predecessor_lives(tmp_path: Path) -> None:
    old, new = (ResultSpool(tmp_path / "persist_failed-2") for _ in range(2))
    old.hold()
    old.put("r1", b"one")
    new.hold()
    new.put("r2", b"two")
    assert new.names() == ["r2"]
    assert new.adopt() == []

    old.release()
    assert new.adopt() == ["r1"]
    assert new.names() == ["r1", "r2"]
    assert not (tmp_path / "persist_failed-2").exists()


# -- the keeper -----------------------------------------------------------------------


async def test_results_of_workers_that_are_no_more_are_told_by_those_that_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("actors.matches.results.ADOPT_EVERY_S", 0.02)
    for name in ("", "-2", "-3", "-3.2"):
        ResultSpool(tmp_path / f"persist_failed{name}").put(f"r{name[1:2]}", finished(f"r{name[1:2]}").body)
    (tmp_path / "persist_failed-of-somebody").mkdir()
    living = ResultSpool(tmp_path / "persist_failed-4")
    living.hold()
    living.put("theirs", finished("theirs").body)
    a = Around(nowhere(), tmp_path)
    a.results._spool = ResultSpool(tmp_path / "persist_failed")  # noqa: SLF001
    a.api.status = 200
    async with trio.open_nursery() as nursery:
        nursery.start_soon(a.callbacks.run, LoneLife())
        nursery.start_soon(a.results.run, LoneLife())
        await until(lambda: len(a.api.told) == 3)
        assert sorted(a.api.told) == [f"/rooms/{room}/finished" for room in ("r", "r2", "r3")]
        left = {"persist_failed-4", "persist_failed-of-somebody"}
        await until(
            lambda: {path.name for path in tmp_path.glob("persist_failed*[!k]")} <= {*left, "persist_failed"}
        )

        living.release()
        await until(lambda: len(a.api.told) == 4)
        nursery.cancel_scope.cancel()


async def test_a_result_is_on_the_disk_while_it_is_told_and_in_redis_only_after(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    outcomes: list[CallbackOutcome] = []
    with redis.Redis.from_url(redis_server.url) as client:
        async with around(redis_server.url, tmp_path, request_s=60.0) as a:
            await a.link.until_up()
            a.api.hangs = True
            a.results.deliver(finished(), outcomes.append)
            await until(lambda: bool(a.api.told) and a.spool.get("r1") == finished().body)
            await trio.testing.wait_all_tasks_blocked()

            assert a.results.statistics().waiting == 0
            assert a.spool.names() == ["r1"]
            assert client.keys() == []
            assert outcomes == []


@pytest.mark.parametrize(
    ("status", "acknowledges", "kept"),
    [
        (200, True, 0),
        (404, True, 0),
        (200, False, 1),
        (301, True, 1),
        (422, True, 1),
        (401, True, 1),
        (503, True, 1),
    ],
)
async def test_a_result_is_kept_unless_it_is_acknowledged_or_nobody_knows_the_room(
    redis_server: RedisServer, tmp_path: Path, status: int, acknowledges: bool, kept: int
) -> None:
    outcomes: list[CallbackOutcome] = []
    with redis.Redis.from_url(redis_server.url) as client:
        async with around(redis_server.url, tmp_path) as a:
            await a.link.until_up()
            a.api.status, a.api.acknowledges = status, acknowledges
            a.results.deliver(finished(), outcomes.append)
            await until(lambda: bool(outcomes))
            await until(lambda: len(client.keys()) == kept and a.spool.names() == [])

            await until(lambda: a.results.statistics().waiting == 0)
            assert a.api.told == ["/rooms/r1/finished"]
            assert a.results.statistics().kept == kept


async def test_what_a_former_process_left_is_told_once_as_if_it_had_just_happened(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    ResultSpool(tmp_path / "spool").put("r1", finished().body)
    with redis.Redis.from_url(redis_server.url) as client:
        async with around(redis_server.url, tmp_path) as a:
            a.api.status = 200
            await a.link.until_up()
            await until(lambda: a.spool.names() == [])

            assert a.api.told == ["/rooms/r1/finished"]
            assert a.results.statistics().delivered == 1
            assert client.keys() == []


async def test_a_disk_that_takes_nothing_does_not_hold_up_the_telling(
    tmp_path: Path,
) -> None:
    outcomes: list[CallbackOutcome] = []
    async with around(nowhere(), tmp_path) as a:
        await until(lambda: a.results._left is not None)  # noqa: SLF001
        (tmp_path / "spool").write_text("a file where the directory should be")
        a.api.status = 200
        a.results.deliver(finished(), outcomes.append)
        await until(lambda: bool(outcomes))
        assert a.results.statistics().waiting == 0


async def test_a_result_goes_to_the_api_server_if_that_is_back_before_redis(tmp_path: Path) -> None:
    async with around(nowhere(), tmp_path) as a:
        a.results.deliver(finished(), ignore)
        await until(lambda: len(a.api.told) > 1)
        assert a.spool.names() == ["r1"]
        a.api.status = 200

        await until(lambda: a.spool.names() == [])
        await until(lambda: a.results.statistics().waiting == 0)
        assert a.results.statistics().delivered == 1


async def test_a_result_that_is_refused_stays_and_holds_up_nobody(tmp_path: Path) -> None:
    async with around(nowhere(), tmp_path) as a:
        a.results.deliver(finished("r1"), ignore)
        a.results.deliver(finished("r2"), ignore)
        await until(lambda: a.results.statistics().waiting == 2)
        a.api.status = 200
        a.api.refuses = "/rooms/r1/finished"

        await until(lambda: a.spool.names() == ["r1"])
        a.api.refuses = ""
        await until(lambda: a.spool.names() == [])
        assert a.results.statistics().delivered == 2


async def test_results_of_a_former_life_are_found_on_the_disk(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    ResultSpool(tmp_path / "spool").put("r1", finished().body)
    with redis.Redis.from_url(redis_server.url) as client:
        async with around(redis_server.url, tmp_path) as a:
            await until(lambda: bool(client.exists("persist_failed:r1")))
            await until(lambda: a.spool.names() == [])
        assert client.get("persist_failed:r1") == finished().body


async def test_a_stop_brings_the_last_result_to_the_disk(tmp_path: Path) -> None:
    a = Around(nowhere(), tmp_path)
    life = LoneLife()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(a.results.run, life)
        await trio.testing.wait_all_tasks_blocked()
        a.results.deliver(finished(), ignore)
        life.trap_exit().set()
    assert a.spool.names() == ["r1"]


async def test_a_hundred_results_at_once_are_on_the_disk_before_anybody_is_asked(tmp_path: Path) -> None:
    async with around(nowhere(), tmp_path, request_s=60.0) as a:
        a.api.hangs = True
        for number in range(100):
            a.results.deliver(finished(f"r{number}"), ignore)
        await until(lambda: bool(a.api.told))
        assert len(a.spool.names()) == 100


async def test_the_end_of_a_match_that_another_node_has_is_not_reported(tmp_path: Path) -> None:
    async with around(nowhere(), tmp_path) as a:
        a.results._fence = FenceAgainst("theirs")  # noqa: SLF001
        a.api.status = 200
        outcomes: list[CallbackOutcome] = []
        for room in ("theirs", "mine"):
            a.results.deliver(finished(room), outcomes.append)
        await until(lambda: len(outcomes) == 2)
        await until(lambda: a.spool.names() == [])
        assert a.api.told == ["/rooms/mine/finished"]


@pytest.mark.parametrize("made", ["aborted", "finished"])
async def test_what_a_stop_leaves_no_time_for_is_made_by_the_next_process(tmp_path: Path, made: str) -> None:
    calls = {
        "aborted": callback.aborted("r1", reason="process_error", at_s=0.0),
        "finished": finished(),
    }
    first = Around(nowhere(), tmp_path, request_s=60.0)
    first.api.hangs = True
    first.callbacks._drain_s = 0.1  # noqa: SLF001
    results, callbacks = LoneLife(), LoneLife()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(first.results.run, results)
        async with trio.open_nursery() as inner:
            inner.start_soon(first.callbacks.run, callbacks)
            await trio.testing.wait_all_tasks_blocked()
            first.results.deliver(callback.started("r1", player_ids=["ann"], at_s=0.0), ignore)
            first.results.deliver(calls[made], ignore)
            await until(lambda: bool(first.api.told) and len(first.spool.names()) == 1)
            callbacks.trap_exit().set()
        results.trap_exit().set()
    assert len(first.spool.names()) == 2
    async with around(nowhere(), tmp_path) as second:
        second.api.status = 200
        await until(lambda: second.spool.names() == [])
        assert second.api.told == ["/rooms/r1/started", f"/rooms/r1/{made}"]


async def test_old_results_leave_fresh_jobs_their_places(tmp_path: Path) -> None:
    old = ResultSpool(tmp_path / "spool")
    old.put_all({f"old{number}": finished(f"old{number}").body for number in range(200)})
    async with around(nowhere(), tmp_path, request_s=60.0) as a:
        a.api.hangs = True
        await until(lambda: len(a.api.told) == 16)
        a.api.hangs, a.api.status = False, 200
        outcome = await a.callbacks.submit(callback.ready("fresh", node_name="n")).wait()
        assert outcome.verdict is Verdict.ACKNOWLEDGED
        assert len(a.api.told) == 17


async def test_without_a_disk_redis_takes_it(
    redis_server: RedisServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "spool").write_text("a file where the directory should be")
    with redis.Redis.from_url(redis_server.url) as client:
        a = Around(redis_server.url, tmp_path)
        a.results._spool.recover = list  # type: ignore[method-assign]  # noqa: SLF001
        async with trio.open_nursery() as nursery:
            nursery.start_soon(a.link.run, LoneLife())
            await a.link.until_up()
            nursery.start_soon(a.callbacks.run, LoneLife())
            nursery.start_soon(a.results.run, LoneLife())
            a.results.deliver(finished(), ignore)
            await until(lambda: bool(client.exists("persist_failed:r1")))
            nursery.cancel_scope.cancel()
    assert "result_spool_unwritable" in caplog.text


# -- the recovery ---------------------------------------------------------------------


async def test_the_recovery_tells_every_result_and_takes_its_key_away(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    rooms = {f"r{number}" for number in range(700)}
    with redis.Redis.from_url(redis_server.url) as client:
        client.mset({f"persist_failed:{room}": finished(room).body for room in rooms})
        client.set("something else", "stays")
        async with around(redis_server.url, tmp_path) as a:
            a.api.status = 200
            await a.link.until_up()
            await a.recovery.look()
        assert set(a.api.told) == {f"/rooms/{room}/finished" for room in rooms}
        assert client.keys() == [b"something else"]


async def test_while_the_api_server_is_away_it_is_asked_once_a_round(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    with redis.Redis.from_url(redis_server.url) as client:
        client.mset({f"persist_failed:r{number}": finished(f"r{number}").body for number in range(5)})
        async with around(redis_server.url, tmp_path) as a:
            await a.link.until_up()
            await a.recovery.look()
        assert len(a.api.told) == 1
        assert len(list(client.scan_iter())) == 5


@pytest.mark.parametrize(("status", "acknowledges"), [(422, True), (302, True), (200, False)])
async def test_a_result_that_is_refused_is_told_again_in_the_next_round(
    redis_server: RedisServer, tmp_path: Path, status: int, acknowledges: bool
) -> None:
    with redis.Redis.from_url(redis_server.url) as client:
        client.mset({f"persist_failed:r{number}": finished(f"r{number}").body for number in range(3)})
        async with around(redis_server.url, tmp_path) as a:
            a.api.status, a.api.acknowledges = status, acknowledges
            await a.link.until_up()
            await a.recovery.look()
            assert len(list(client.scan_iter())) == 3
            a.api.status, a.api.acknowledges = 200, True
            await a.recovery.look()
        assert len(a.api.told) == 6
        assert list(client.scan_iter()) == []


async def test_a_result_that_waits_for_over_half_an_hour_is_an_alert(
    redis_server: RedisServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with redis.Redis.from_url(redis_server.url) as client:
        client.set("persist_failed:old", finished("old").body, ex=604_800 - 1900)
        client.set("persist_failed:new", finished("new").body, ex=604_800 - 1700)
        async with around(redis_server.url, tmp_path) as a:
            await a.link.until_up()
            await a.recovery.look()
    stalled = [record for record in caplog.records if record.message == "persist_recovery_stalled"]
    assert [record.__dict__["room_id"] for record in stalled] == ["old"]
    assert a.recovery.statistics().stalled == 1
    assert stalled[0].levelno == logging.ERROR


@pytest.mark.parametrize("key", [b"persist_failed:r1", b"persist_failed:a/b", b"persist_failed:"])
async def test_what_is_no_result_is_left_alone(redis_server: RedisServer, tmp_path: Path, key: bytes) -> None:
    with redis.Redis.from_url(redis_server.url) as client:
        client.set(key, "nonsense")
        client.lpush("persist_failed:list", "not even a string")
        async with around(redis_server.url, tmp_path) as a:
            await a.link.until_up()
            await a.recovery.look()
        assert a.api.told == []
        assert client.exists(key)


def test_a_result_is_told_under_the_key_it_was_told_before() -> None:
    said = finished()
    again = callback_of("r1", said.body)

    assert again is not None
    assert again.idempotency_key == said.idempotency_key
    assert callback_of("r2", said.body) is None
    assert callback_of("r1", orjson.dumps({"room_id": "r1"})) is None


def test_the_age_of_a_key_follows_from_what_is_left_of_its_life() -> None:
    assert age_s(604_800 - 60) == 60
    assert age_s(-1) == 0
