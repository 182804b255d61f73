from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import redis
import trio

from actors.links import LinkDown, LinkRefused, RedisLink
from supervision import Backoff
from tests.engines import RedisServer
from tests.fakes.life import LoneLife
from tests.fakes.waiting import until

SOON = Backoff(first_s=0.01, factor=2, ceiling_s=0.1, jitter=0.5)


@asynccontextmanager
async def linked(url: str, **options: Any) -> AsyncIterator[RedisLink]:
    options = {"ping_every_s": 0.1, "answer_timeout_s": 0.5, "backoff": SOON, **options}
    link = RedisLink(url, **options)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(link.run, LoneLife())
        yield link
        nursery.cancel_scope.cancel()


async def test_a_pipeline_is_answered_in_order(redis_server: RedisServer) -> None:
    async with linked(redis_server.url) as link:
        await link.until_up()
        answers = await link.pipeline(
            [
                ("SET", "k", b"\xff"),
                ("GET", "k"),
                ("RPUSH", "list", 1, 2.5, "three"),
                ("LRANGE", "list", 0, -1),
            ]
        )
        assert answers == [True, b"\xff", 3, [b"1", b"2.5", b"three"]]
        assert await link.command("EXISTS", "k") == 1
        assert await link.work(lambda client: client.strlen("k")) == 1
        assert await link.pipeline([("INCR", "n")] * 3, transaction=True) == [1, 2, 3]


async def test_an_answer_that_says_no_is_the_callers_and_leaves_the_link_up(
    redis_server: RedisServer,
) -> None:
    async with linked(redis_server.url) as link:
        await link.until_up()
        await link.command("SET", "k", "text")
        with pytest.raises(LinkRefused):
            await link.pipeline([("LPUSH", "k", "x"), ("SET", "other", "1")])
        assert link.state.up
        assert await link.command("GET", "other") == b"1"


async def test_a_link_is_up_when_redis_has_come_and_not_before(redis_server: RedisServer) -> None:
    redis_server.stop()
    async with linked(redis_server.url) as link:
        await trio.sleep(0.1)  # real time: a few attempts to connect, which are counted nowhere
        assert not link.state.up
        with pytest.raises(LinkDown):
            await link.command("PING")
        await trio.to_thread.run_sync(redis_server.start)
        with trio.fail_after(5):
            await link.until_up()
        assert await link.command("GET", "k") is None


async def test_an_outage_is_noticed_without_a_command_and_logged_once_per_change(
    redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "actors.links")
    async with linked(redis_server.url, clock=trio.current_time) as link:
        await link.until_up()
        up_since_s = link.state.since_s
        redis_server.kill()
        await until(lambda: not link.state.up)
        down_since_s = link.state.since_s
        assert down_since_s > up_since_s
        await trio.sleep(0.5)  # real time: more attempts to connect, which are counted nowhere
        assert link.state.since_s == down_since_s
        await trio.to_thread.run_sync(redis_server.start)
        with trio.fail_after(5):
            await link.until_up()
        assert link.state.since_s > down_since_s
        assert caplog.messages == ["redis_up", "redis_down", "redis_up"]
        assert link.statistics().outages == 1


async def test_a_link_that_is_down_refuses_at_once(redis_server: RedisServer) -> None:
    async with linked(redis_server.url) as link:
        await link.until_up()
        redis_server.kill()
        await until(lambda: not link.state.up)
        trips = link.statistics().trips
        with trio.fail_after(0.1):
            for _ in range(100):
                with pytest.raises(LinkDown):
                    await link.command("PING")
        assert link.statistics().trips <= trips + 2


async def test_a_redis_that_hangs_counts_as_away_and_comes_back(redis_server: RedisServer) -> None:
    async with linked(redis_server.url) as link:
        await link.until_up()
        redis_server.pause()
        with trio.fail_after(3), pytest.raises(LinkDown):
            await link.command("GET", "k")
        assert not link.state.up
        redis_server.resume()
        with trio.fail_after(5):
            await link.until_up()


async def test_a_cancelled_pipeline_does_not_wait_for_a_redis_that_hangs(redis_server: RedisServer) -> None:
    async with linked(redis_server.url, answer_timeout_s=2.0) as link:
        await link.until_up()
        redis_server.pause()
        began = trio.current_time()
        with trio.move_on_after(0.1):
            await link.command("GET", "k")
        assert trio.current_time() - began < 1
        redis_server.resume()


async def test_many_pipelines_share_few_threads(redis_server: RedisServer) -> None:
    async with linked(redis_server.url, threads=2) as link, trio.open_nursery() as nursery:
        await link.until_up()
        for _ in range(100):
            nursery.start_soon(link.pipeline, [("INCR", "n")])
        await trio.lowlevel.checkpoint()
        assert link.statistics().threads_busy <= 2
        await until(lambda: not nursery.child_tasks)
        assert await link.command("GET", "n") == b"100"


async def test_old_news_of_an_outage_takes_no_new_link_down(redis_server: RedisServer) -> None:
    async with linked(redis_server.url) as link:
        await link.until_up()
        seen = link.outages
        redis_server.kill()
        await until(lambda: not link.state.up)
        await trio.to_thread.run_sync(redis_server.start)
        await link.until_up()
        link.note_outage(seen, redis.ConnectionError())
        assert link.state.up


async def test_a_password_is_shown_nowhere(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with linked("redis://user:hunter2@127.0.0.1:1/0") as link:
        await until(lambda: "redis_down" in caplog.messages)
        shown = repr(link) + repr(link.state) + repr(link.statistics())
    records = " ".join(str(record.__dict__) for record in caplog.records)
    assert "hunter2" not in shown + caplog.text + records
