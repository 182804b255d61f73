"""Stats on a PostgreSQL behind PgBouncer in transaction mode, and with other defaults than its own."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import trio

from actors.players import Entry, Posted
from actors.players.ledger import UNAVAILABLE
from tests.actors.players.conftest import ALICE, BOB, StatsNode, running
from tests.engines import free_port, wait_until_accepting
from tests.fakes.waiting import until
from tests.postgres import NOBODY, PostgresServer

PGBOUNCER = shutil.which("pgbouncer", path=os.defpath + ":/usr/sbin:/usr/local/sbin")

LISTENERS = "SELECT pid FROM pg_stat_activity WHERE query LIKE 'LISTEN%'"
END_LISTENERS = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'"


@pytest.fixture
def pooler_url(postgres_server: PostgresServer, tmp_path: Path) -> Iterator[str]:
    """A PgBouncer in transaction mode in front of the server."""
    if PGBOUNCER is None:
        pytest.skip("no pgbouncer")
    port = free_port()
    configuration = f"""
        [databases]
        greenroom = host=127.0.0.1 port={postgres_server.port} dbname=greenroom user=greenroom pool_size=2
        [pgbouncer]
        listen_addr=127.0.0.1
        listen_port={port}
        auth_type=any
        pool_mode=transaction
        unix_socket_dir=
    """
    # Beside the cluster, where its user may read.
    file = postgres_server.log.parent / "pgbouncer.ini"
    file.write_text("\n".join(line.strip() for line in configuration.splitlines()))
    file.chmod(0o644)
    log = tmp_path / "pgbouncer.log"
    user = NOBODY if os.geteuid() == 0 else None
    with log.open("wb") as output:
        process = subprocess.Popen(
            [PGBOUNCER, file],
            stdout=output,
            stderr=output,
            user=user,
            group=user,
            extra_groups=None if user is None else [],
        )
    try:
        wait_until_accepting(port, process, log)
        yield f"postgresql://greenroom@127.0.0.1:{port}/greenroom"
    finally:
        process.kill()
        process.wait()


async def test_behind_a_pooler_every_change_counts_and_every_read_answers(pooler_url: str) -> None:
    async with (
        running(StatsNode(pooler_url)) as first,
        running(StatsNode(pooler_url, origin="node-b")) as second,
    ):
        for number in range(20):
            for node in (first, second):
                outcome = await node.players.change(Entry(ALICE, {"exp": 1}, f"{node.origin}-{number}"))
                assert isinstance(outcome, Posted), outcome
                assert await node.total(ALICE) == dict(outcome.account.totals)

        assert await first.total(ALICE) == {"exp": 40}
        assert first.database.outages == second.database.outages == 0


async def test_nothing_of_ours_stays_behind_on_a_pooled_connection(pooler_url: str) -> None:
    async with running(StatsNode(pooler_url)) as node:
        for number in range(10):
            await node.insist(Entry(BOB, {"exp": 1}, f"t{number}"))
            await node.total(BOB)

        with psycopg.connect(pooler_url, prepare_threshold=None, autocommit=True) as other:
            for _ in range(6):
                settings = other.execute(
                    "SELECT current_setting('statement_timeout'), current_setting('lock_timeout'),"
                    " current_setting('default_transaction_read_only'),"
                    " (SELECT count(*) FROM pg_prepared_statements),"
                    " (SELECT count(*) FROM pg_listening_channels())"
                ).fetchone()
                assert settings == ("0", "0", "off", 0, 0)


async def test_behind_a_pooler_streams_hear_of_other_nodes_by_polling(
    pooler_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with (
        running(StatsNode(pooler_url)) as first,
        running(StatsNode(pooler_url, origin="node-b")) as second,
    ):
        listener, _ = await first.watch(ALICE)

        await second.insist(Entry(ALICE, {"exp": 5}))

        with trio.fail_after(10):
            await listener.until(b'"exp":5')
        assert "stats_news_polling" in caplog.messages


async def test_without_a_connection_to_spare_streams_poll_and_then_listen_again(
    postgres_server: PostgresServer, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level("INFO", logger="actors.players")
    monkeypatch.setattr("actors.players.news.POLLS_PER_ATTEMPT", 1)
    monkeypatch.setattr("actors.players.news.POLL_S", 0.05)
    node = StatsNode(postgres_server.url.replace("greenroom@", "node@"))
    with psycopg.connect(postgres_server.url, autocommit=True) as admin:
        admin.execute("CREATE ROLE node LOGIN")
        admin.execute("GRANT ALL ON SCHEMA public TO node")
        async with running(node):
            await node.insist(Entry(ALICE, {"exp": 1}))
            await node.total(ALICE)
            listener, _ = await node.watch(ALICE)
            with trio.fail_after(10):
                await until(lambda: admin.execute(LISTENERS).fetchone() is not None)
            # The listener's connection goes, and no other is let in.
            admin.execute("ALTER ROLE node CONNECTION LIMIT 0")
            admin.execute(END_LISTENERS)
            with trio.fail_after(10):
                await until(lambda: "stats_news_polling" in caplog.messages)

            assert isinstance(await node.players.change(Entry(ALICE, {"exp": 1})), Posted)
            admin.execute("ALTER ROLE node CONNECTION LIMIT -1")
            with trio.fail_after(10):
                await until(lambda: "stats_news_listening" in caplog.messages)
                await listener.until(b'"exp":2')


async def test_an_address_of_its_own_hears_other_nodes_past_the_pooler(
    pooler_url: str, postgres_server: PostgresServer, caplog: pytest.LogCaptureFixture
) -> None:
    first = StatsNode(pooler_url, listen_url=postgres_server.url)
    async with running(first), running(StatsNode(pooler_url, origin="node-b")) as second:
        listener, _ = await first.watch(ALICE)
        with psycopg.connect(postgres_server.url, autocommit=True) as admin, trio.fail_after(10):
            await until(lambda: admin.execute(LISTENERS).fetchone() is not None)

        await second.insist(Entry(ALICE, {"exp": 5}))

        with trio.fail_after(10):
            await listener.until(b'"exp":5')
        assert not first.news.is_polling


@pytest.mark.parametrize("limit", [1, 2, 3])
async def test_with_few_connections_everything_works_and_the_log_says_so(
    limit: int,
    postgres_server: PostgresServer,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    caplog.set_level("INFO", logger="actors.links")
    monkeypatch.setattr("actors.links.database.ASK_AGAIN_S", 0.2)
    node = StatsNode(postgres_server.url.replace("greenroom@", "node@"))
    with psycopg.connect(postgres_server.url, autocommit=True) as admin:
        admin.execute(f"CREATE ROLE node LOGIN CONNECTION LIMIT {limit}")
        admin.execute("GRANT ALL ON SCHEMA public TO node")
        async with running(node):
            for number in range(10):
                assert isinstance(await node.players.change(Entry(ALICE, {"exp": 1}, f"t{number}")), Posted)
                assert await node.total(ALICE) == {"exp": number + 1}

            async def read() -> None:
                assert await node.total(ALICE) == {"exp": 10}

            async with trio.open_nursery() as nursery:
                for _ in range(20):
                    nursery.start_soon(read)
            assert node.database.outages == 0
            assert node.database.statistics().short
            assert caplog.messages.count("database_connections_short") == 1

            admin.execute("ALTER ROLE node CONNECTION LIMIT -1")
            with trio.fail_after(10):
                while node.database.statistics().short:
                    async with trio.open_nursery() as nursery:
                        for _ in range(4):
                            nursery.start_soon(read)
                    await trio.sleep(0.05)  # real time: the server's connections
        assert "database_connections_enough" in caplog.messages


async def test_without_any_connection_nothing_is_acknowledged_until_there_is_one(
    postgres_server: PostgresServer, caplog: pytest.LogCaptureFixture
) -> None:
    node = StatsNode(postgres_server.url.replace("greenroom@", "node@"))
    with psycopg.connect(postgres_server.url, autocommit=True) as admin:
        admin.execute("CREATE ROLE node LOGIN CONNECTION LIMIT 0")
        admin.execute("GRANT ALL ON SCHEMA public TO node")
        async with running(node):
            assert await node.players.change(Entry(ALICE, {"exp": 1}, "t")) == UNAVAILABLE
            assert "too many connections for role" in str(node.database.problem)

            admin.execute("ALTER ROLE node CONNECTION LIMIT -1")
            assert (await node.insist(Entry(ALICE, {"exp": 1}, "t"))).applied


@pytest.mark.parametrize("isolation", ["repeatable read", "serializable"])
async def test_another_default_isolation_costs_no_change(
    isolation: str, postgres_server: PostgresServer
) -> None:
    with psycopg.connect(postgres_server.url, autocommit=True) as admin:
        admin.execute(f"ALTER DATABASE greenroom SET default_transaction_isolation = '{isolation}'")
        admin.execute("ALTER DATABASE greenroom SET default_transaction_read_only = on")
    nodes = [StatsNode(postgres_server.url), StatsNode(postgres_server.url, origin="node-b")]
    async with running(nodes[0]), running(nodes[1]):

        async def post(node: StatsNode, name: int) -> None:
            for number in range(25):
                outcome = await node.players.change(Entry(ALICE, {"exp": 1}, f"{name}-{number}"))
                assert isinstance(outcome, Posted), outcome

        async with trio.open_nursery() as nursery:
            for name in range(6):
                nursery.start_soon(post, nodes[name % 2], name)

        assert await nodes[0].total(ALICE) == {"exp": 150}
