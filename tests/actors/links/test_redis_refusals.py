"""A Redis that answers, but refuses: what each refusal is called, and what becomes of the link."""

from __future__ import annotations

from typing import Any

import pytest
import redis
import trio

from actors.links import LinkRefused, RedisLink, RefusalClass, Subscription, check_url
from actors.links.redis_refusals import code_of
from tests.actors.links.test_redis_link import linked
from tests.engines import RedisServer
from tests.fakes.waiting import until

PARSER: Any = redis.connection.DefaultParser(socket_read_size=1)


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        ("OOM command not allowed when used memory > 'maxmemory'.", "OOM"),
        ("READONLY You can't write against a read only replica.", "READONLY"),
        ("MISCONF Redis is configured to save RDB snapshots, but it is unable to.", "MISCONF"),
        ("NOREPLICAS Not enough good replicas to write.", "NOREPLICAS"),
        ("BUSY Redis is busy running a script.", "BUSY"),
        ("NOPERM this user has no permissions to run the 'eval' command", "NOPERM"),
        ("CLUSTERDOWN Hash slot not served", "CLUSTERDOWN"),
        ("MASTERDOWN Link with MASTER is down", "MASTERDOWN"),
        ("TRYAGAIN Multiple keys request during rehashing of slot", "TRYAGAIN"),
        ("WRONGTYPE Operation against a key holding the wrong kind of value", "WRONGTYPE"),
        ("EXECABORT Transaction discarded because of: OOM command not allowed", "OOM"),
        ("EXECABORT Transaction discarded because of previous errors.", "ERR"),
        ("OOM command not allowed when used memory > 'maxmemory'. script: 6b1b, on @user_script:1.", "OOM"),
        ("ERR Error running script (call to f_6b1b): @user_script:1: OOM command not allowed", "OOM"),
        ("ERR Error running script (call to f_6b1b): @user_script: 12: -READONLY You can't", "READONLY"),
        (
            "ERR Error running script (call to f_6b1b): @user_script:1: @user_script: 1: -MISCONF x y",
            "MISCONF",
        ),
        ("ERR Error running script (call to f_6b1b): @user_script:1: user_script:1: attempt to", "ERR"),
        ("ERR unknown command `BLMOVE`, with args beginning with: `a`", "UNKNOWN"),
        ("ERR unknown command 'BLMOVE', with args beginning with: 'a'", "UNKNOWN"),
        ("ERR value is not an integer or out of range", "ERR"),
    ],
)
def test_the_code_of_a_refusal_is_known_whatever_class_the_driver_makes_of_it(answer: str, code: str) -> None:
    error = PARSER.parse_error(answer)
    assert isinstance(error, redis.ResponseError)
    assert code_of(error) == code
    in_a_pipeline = type(error)(f"Command # 1 (SET k v) of pipeline caused error: {error}")
    assert code_of(in_a_pipeline) == code


async def refuses(link: RedisLink, *parts: str) -> LinkRefused:
    with pytest.raises(LinkRefused) as caught:
        await link.command(*parts)
    return caught.value


async def test_an_operation_that_is_refused_is_trouble_until_it_succeeds(
    redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    client = redis.Redis.from_url(redis_server.url)
    async with linked(redis_server.url) as link:
        await link.until_up()
        assert link.trouble is None
        client.config_set("maxmemory", "1")
        for _ in range(3):
            refused = await refuses(link, "SET", "k", "v")
        assert (refused.code, refused.kind, refused.operation) == ("OOM", RefusalClass.WAIT, "SET")
        assert link.state.up
        assert link.trouble == f"127.0.0.1:{redis_server.port} refuses: OOM on SET"
        assert link.statistics().refused == {"OOM": 1}
        assert caplog.messages.count("redis_refuses") == 1
        await link.command("GET", "k")
        assert link.trouble is not None

        client.config_set("maxmemory", "0")
        await link.wait_out(refused)
        await link.command("SET", "k", "v")
        assert link.trouble is None
        assert link.statistics().healthy
    client.close()


async def test_a_transaction_that_is_refused_names_its_cause(redis_server: RedisServer) -> None:
    client = redis.Redis.from_url(redis_server.url)
    async with linked(redis_server.url) as link:
        await link.until_up()
        client.config_set("maxmemory", "1")
        with pytest.raises(LinkRefused) as caught:
            await link.pipeline([("SET", "k", "v"), ("DEL", "l")], transaction=True)
        assert caught.value.code == "OOM"
    client.close()


async def test_a_ping_that_is_refused_crashes_nobody(redis_server: RedisServer) -> None:
    client = redis.Redis.from_url(redis_server.url)
    client.acl_setuser("app", enabled=True, passwords=["+pw"], keys=["*"], commands=["+@all", "-ping"])
    async with linked(redis_server.url.replace("redis://", "redis://app:pw@")) as link:
        await link.until_up()
        await until(lambda: link.trouble is not None)
        assert "NOPERM on PING" in str(link.trouble)
        assert "pw" not in str(link.trouble)
        client.acl_setuser("app", commands=["+@all"])
        await until(lambda: link.trouble is None)
    client.close()


async def test_a_channel_that_may_not_be_subscribed_to_is_trouble(redis_server: RedisServer) -> None:
    client: Any = redis.Redis.from_url(redis_server.url)
    client.execute_command("ACL", "SETUSER", "app", "on", ">pw", "~*", "+@all", "resetchannels")
    async with linked(redis_server.url.replace("redis://", "redis://app:pw@")) as link:
        await link.until_up()
        subscription = Subscription(link, "news", wait_s=0.05)
        with pytest.raises(LinkRefused):
            await subscription.read()
        assert "NOPERM on SUBSCRIBE" in str(link.trouble)
        client.execute_command("ACL", "SETUSER", "app", "allchannels")
        assert await subscription.read() == []
        client.publish("news", "heard")
        with trio.fail_after(5):
            while await subscription.read() != [b"heard"]:
                pass
        assert link.trouble is None
        subscription.close()
    client.close()


async def test_a_subscriber_whose_connection_hears_nothing_finds_out(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("actors.links.redis_subscription.PING_EVERY_S", 0.1)
    async with linked(redis_server.url, ping_every_s=60, answer_timeout_s=0.3) as link:
        await link.until_up()
        subscription = Subscription(link, "news", wait_s=0.05)
        for _ in range(10):
            assert await subscription.read() == []
        redis_server.pause()
        try:
            with trio.fail_after(5):
                while link.state.up:
                    try:
                        await subscription.read()
                    except Exception as error:  # noqa: BLE001 - which one is looked at below
                        outage = error
        finally:
            redis_server.resume()
        assert type(outage).__name__ == "LinkDown"
        subscription.close()


@pytest.mark.parametrize(
    "query",
    ["", "?db=3", "?client_name=gr", "?socket_keepalive=yes"],
)
def test_an_address_with_options_that_are_known_can_be_used(query: str) -> None:
    check_url(f"redis://user:secret@redis.example:6379/0{query}")


@pytest.mark.parametrize(
    "query", ["?foo=1", "?protocol=3", "?decode_responses=1", "?db=x", "?ssl_nonsense=1", "?foo"]
)
def test_an_address_with_an_option_that_is_not_is_refused_without_showing_the_password(query: str) -> None:
    with pytest.raises(ValueError, match="option") as caught:
        check_url(f"redis://user:secret@redis.example:6379/0{query}")
    assert "secret" not in str(caught.value)
