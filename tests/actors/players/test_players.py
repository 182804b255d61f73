"""Changes through player, ledger and a real database of either kind."""

from __future__ import annotations

import pytest
import trio

from actors.players import Account, Entry, Posted, Refused
from tests.actors.players.conftest import ALICE, BOB, CARA, StatsNode, running
from tests.fakes.waiting import until
from tests.postgres import PostgresServer


async def test_what_was_posted_is_there_for_the_next_life_of_the_node(url: str) -> None:
    async with running(StatsNode(url)) as node:
        first = await node.players.change(Entry(ALICE, {"exp": 250, "cash": 5}, "t-1"))
    async with running(StatsNode(url)) as node:
        again = await node.players.change(Entry(ALICE, {"exp": 250, "cash": 5}, "t-1"))

    assert first == Posted(Account(1, {"exp": 250, "cash": 5}), applied=True)
    assert again == Posted(Account(1, {"exp": 250, "cash": 5}), applied=False)


async def test_the_same_id_with_other_deltas_is_a_mismatch(node: StatsNode) -> None:
    await node.players.change(Entry(ALICE, {"exp": 1}, "t-1"))

    assert await node.players.change(Entry(ALICE, {"exp": 2}, "t-1")) == Refused("transaction_mismatch")
    assert await node.total(ALICE) == {"exp": 1}


async def test_without_an_id_every_request_counts(node: StatsNode) -> None:
    for _ in range(3):
        await node.players.change(Entry(ALICE, {"exp": 2}))

    assert await node.players.read(ALICE) == Account(3, {"exp": 6})


async def test_nobody_may_spend_what_is_not_there(node: StatsNode) -> None:
    await node.players.change(Entry(ALICE, {"cash": 10}))

    refused = await node.players.change(Entry(ALICE, {"exp": 5, "cash": -11}))

    assert refused == Refused("insufficient", "cash", 10)
    assert await node.total(ALICE) == {"cash": 10}


async def test_only_one_of_many_at_once_may_spend_the_last_coin(node: StatsNode) -> None:
    await node.players.change(Entry(ALICE, {"cash": 10}))
    outcomes: list[object] = []

    async def spend() -> None:
        outcomes.append(await node.players.change(Entry(ALICE, {"cash": -10})))

    async with trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(spend)

    assert sum(isinstance(outcome, Posted) for outcome in outcomes) == 1
    assert await node.total(ALICE) == {"cash": 0}


async def test_many_at_once_share_transactions(node: StatsNode) -> None:
    async with trio.open_nursery() as nursery:
        for number in range(200):
            nursery.start_soon(node.players.change, Entry(ALICE + number % 7, {"exp": 1}, f"t-{number}"))

    now = node.players.ledger.statistics()
    assert now.applied == 200
    assert now.transactions < 20


async def test_a_batch_is_answered_in_order_and_each_item_stands_alone(node: StatsNode) -> None:
    outcomes = await node.players.change_all(
        [
            Entry(BOB, {"cash": 5}, "b-1"),
            Entry(ALICE, {"cash": -1}, "a-1"),
            Entry(BOB, {"cash": -5}, "b-2"),
            Entry(BOB, {"cash": 5}, "b-1"),
            Entry(BOB, {"cash": 6}, "b-1"),
        ]
    )

    assert outcomes == [
        Posted(Account(1, {"cash": 5}), applied=True),
        Refused("insufficient", "cash", 0),
        Posted(Account(2, {"cash": 0}), applied=True),
        Posted(Account(2, {"cash": 0}), applied=False),
        Refused("transaction_mismatch"),
    ]


async def test_what_the_database_cannot_store_is_refused_alone_and_for_good(
    postgres_server: PostgresServer, caplog: pytest.LogCaptureFixture
) -> None:
    entries = [Entry(ALICE + number, {"exp": 1}, f"t-{number}") for number in range(50)]
    entries[17] = entries[17]._replace(reason="日本", server_id="srv7")
    async with running(StatsNode(postgres_server.new_database("LATIN1"))) as node:
        outcomes = await node.players.change_all(entries)

        assert outcomes.pop(17) == Refused("unstorable")
        assert outcomes == [Posted(Account(1, {"exp": 1}), applied=True)] * 49
        assert await node.total(ALICE + 17) == {}
        assert node.tree.statistics().crashes == 0
    [said] = [record for record in caplog.records if record.getMessage() == "ledger_entry_refused"]
    assert said.__dict__["server_id"] == "srv7"
    assert "日本" not in str(said.__dict__)


async def test_a_player_whose_row_is_broken_costs_the_others_nothing(node: StatsNode) -> None:
    await node.players.change(Entry(BOB, {"exp": 1}))
    await node.database.write(
        lambda connection: connection.exec_driver_sql("UPDATE player_stats SET totals = '7'")
    )

    outcomes = await node.players.change_all(
        [Entry(ALICE, {"exp": 1}), Entry(BOB, {"exp": 1}), Entry(CARA, {"exp": 1}), Entry(ALICE, {"exp": 1})]
    )

    assert outcomes == [
        Posted(Account(1, {"exp": 1}), applied=True),
        Refused("ledger_failed"),
        Posted(Account(1, {"exp": 1}), applied=True),
        Posted(Account(2, {"exp": 1 + 1}), applied=True),
    ]
    assert node.tree.statistics().crashes == 0


async def test_a_player_nothing_was_counted_for_is_unknown(node: StatsNode) -> None:
    await node.players.change(Entry(ALICE, {"cash": -1}))

    assert await node.players.read(ALICE) is None
    assert await node.players.read(BOB) is None


async def test_texts_come_back_as_they_were(node: StatsNode) -> None:
    odd = "Ünïcødé 🎮 \"quoted\" 'single' \\ %s :name ?"
    await node.players.change(Entry(ALICE, {"exp": 1}, odd, odd, "srv7"))

    [row] = await node.players.history(ALICE, limit=10)

    assert (row.transaction_id, row.reason, row.server_id) == (odd, odd, "srv7")
    assert await node.players.change(Entry(ALICE, {"exp": 1}, odd)) == Posted(
        Account(1, {"exp": 1}), applied=False
    )


@pytest.mark.parametrize("encoding", ["UTF8", "LATIN1", "SQL_ASCII"])
async def test_texts_come_back_as_they_were_whatever_the_encoding_of_postgresql(
    encoding: str, postgres_server: PostgresServer
) -> None:
    async with running(StatsNode(postgres_server.new_database(encoding))) as node:
        await node.players.change(Entry(ALICE, {"exp": 1}, "Ünïcødé", "Ünïcødé", "srv7"))

        [row] = await node.players.history(ALICE, limit=10)

        assert (row.transaction_id, row.reason, row.deltas) == ("Ünïcødé", "Ünïcødé", {"exp": 1})


async def test_totals_of_64_bits_come_back_exactly(node: StatsNode) -> None:
    # As large as a total gets, in steps a request may take; written straight into the row.
    await node.players.change(Entry(ALICE, {"exp": 1}))
    await node.database.write(
        lambda connection: connection.exec_driver_sql(
            "UPDATE player_stats SET totals = '{\"exp\": 9223372036854775806}'"
        )
    )

    assert await node.players.change(Entry(ALICE, {"exp": 1})) == Posted(
        Account(2, {"exp": 2**63 - 1}), applied=True
    )
    assert await node.players.change(Entry(ALICE, {"exp": 1})) == Refused("overflow", "exp", 2**63 - 1)
    assert await node.total(ALICE) == {"exp": 2**63 - 1}


async def test_the_history_has_the_newest_first(node: StatsNode) -> None:
    for number in range(5):
        await node.players.change(Entry(ALICE, {"exp": number + 1}, f"t-{number}", "map_end", "srv7"))
    await node.players.change(Entry(BOB, {"exp": 1}))

    rows = await node.players.history(ALICE, limit=2)

    assert [(row.transaction_id, row.deltas, row.version) for row in rows] == [
        ("t-4", {"exp": 5}, 5),
        ("t-3", {"exp": 4}, 4),
    ]


async def pass_time(node: StatsNode, now: list[float], seconds: int) -> int:
    """Let time pass in steps of ten seconds, with a sweep after each; how many rows went."""
    swept = 0
    for _ in range(seconds // 10):
        node.steady_s += 10
        now[0] += 10
        swept += await node.sweeper.sweep()
    return swept


async def test_old_transactions_are_forgotten_and_totals_stay(url: str) -> None:
    now = [1_000.0]
    async with running(StatsNode(url, clock=lambda: now[0])) as node:
        await node.sweeper.sweep()
        await node.players.change_all([Entry(ALICE, {"exp": 1}, f"old-{number}") for number in range(1_200)])
        await node.players.change(Entry(ALICE, {"exp": 1}, "last"))
        await pass_time(node, now, 50)
        await node.players.change(Entry(ALICE, {"exp": 1}, "newer"))

        assert await pass_time(node, now, 100) == 1_201
        assert [row.transaction_id for row in await node.players.history(ALICE, limit=9)] == ["newer"]
        assert await node.total(ALICE) == {"exp": 1_202}


@pytest.mark.parametrize("ahead", [1, 500, 501])
async def test_a_clock_that_was_ahead_for_a_moment_keeps_no_old_transactions(ahead: int, url: str) -> None:
    now = [2_000_000_000.0]
    async with running(StatsNode(url, clock=lambda: now[0])) as node:
        await node.players.change_all(
            [Entry(ALICE, {"exp": 1}, f"ahead-{number}") for number in range(ahead)]
        )
        await node.sweeper.sweep()
        now[0] = 1_000.0
        await node.sweeper.sweep()  # rows are dated by the clock again when it has been noted
        await node.players.change_all([Entry(BOB, {"exp": 1}, f"old-{number}") for number in range(1_200)])
        await pass_time(node, now, 50)
        await node.players.change(Entry(BOB, {"exp": 1}, "newer"))

        assert await pass_time(node, now, 100) == 1_200
        assert len(await node.players.history(ALICE, limit=1_000)) == ahead
        assert [row.transaction_id for row in await node.players.history(BOB, limit=9)] == ["newer"]


async def test_a_player_becomes_active_by_posting_and_retires_when_idle(sqlite_url: str) -> None:
    async with running(StatsNode(sqlite_url, idle_s=0.05)) as node:
        await node.players.change(Entry(ALICE, {"exp": 1}))
        assert node.registry.whereis(("steam", ALICE)) is not None

        await until(lambda: not node.players.statistics().active)

        assert node.registry.whereis(("steam", ALICE)) is None
        assert await node.total(ALICE) == {"exp": 1}


async def test_past_the_limit_of_active_players_changes_count_all_the_same(sqlite_url: str) -> None:
    async with running(StatsNode(sqlite_url, max_active=1)) as node:
        for steam_id in (ALICE, BOB, CARA, ALICE):
            assert isinstance(await node.players.change(Entry(steam_id, {"exp": 1})), Posted)

        now = node.players.statistics()
        assert (now.active, now.without_task) == (1, 2)


@pytest.mark.parametrize("crashed", ["ledger", "players", "registry", "database"])
async def test_after_a_crash_of_any_part_changes_go_on(crashed: str, sqlite_url: str) -> None:
    async with running(StatsNode(sqlite_url)) as node:
        await node.players.change(Entry(ALICE, {"exp": 1}, "before"))
        node.tree.kill_child(crashed)

        assert isinstance(await node.insist(Entry(ALICE, {"exp": 1}, "after")), Posted)
        assert await node.total(ALICE) == {"exp": 2}
