"""Who listens to a player hears every newest state, whoever changed it."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from actors.players import Entry
from actors.players.player import Player
from tests.actors.players.conftest import ALICE, BOB, StatsNode, running
from tests.fakes.waiting import until
from tests.postgres import PostgresServer


async def test_a_listener_hears_of_changes(node: StatsNode) -> None:
    await node.players.change(Entry(ALICE, {"exp": 1}))
    listener, account = await node.watch(ALICE)

    await node.players.change(Entry(ALICE, {"exp": 2}))
    await node.players.change(Entry(BOB, {"exp": 99}))

    with trio.fail_after(5):
        await listener.until(b'"exp":3')
    assert account.version == 1
    assert b"".join(listener.got) == (
        b'event: stats\nid: 2\ndata: {"steamid":"76561197960265729",'
        b'"stats":{"exp":3,"cash":0,"pills":0},"version":2}\n\n'
    )


async def test_a_repeat_is_no_news(node: StatsNode) -> None:
    await node.players.change(Entry(ALICE, {"exp": 1}, "t"))
    listener, _ = await node.watch(ALICE)

    await node.players.change(Entry(ALICE, {"exp": 1}, "t"))
    await node.players.change(Entry(ALICE, {"exp": 1}, "u"))

    with trio.fail_after(5):
        await listener.until(b'"exp":2')
    assert len(listener.got) == 1


async def test_one_may_listen_to_a_player_nobody_has_heard_of(node: StatsNode) -> None:
    listener, account = await node.watch(ALICE)

    assert account.version == 0
    await node.players.change(Entry(ALICE, {"pills": 1}))
    with trio.fail_after(5):
        await listener.until(b'"pills":1')


async def test_a_player_somebody_listens_to_does_not_retire(sqlite_url: str) -> None:
    async with running(StatsNode(sqlite_url, idle_s=0.02)) as node:
        listener, _ = await node.watch(ALICE)
        await trio.sleep(0.1)  # real time: five times as long as an idle player stays
        await node.players.change(Entry(ALICE, {"exp": 1}))

        with trio.fail_after(5):
            await listener.until(b'"exp":1')


@pytest.mark.parametrize("part", ["players", "ledger", "registry"])
async def test_listeners_survive_the_crash_of_any_part(part: str, sqlite_url: str) -> None:
    async with running(StatsNode(sqlite_url)) as node:
        listener, _ = await node.watch(ALICE)
        node.tree.kill_child(part)
        await node.insist(Entry(ALICE, {"exp": 1}, "t"))

        with trio.fail_after(5):
            await listener.until(b'"exp":1')


async def give_up(node: StatsNode, steam_id: int) -> None:
    """Let a player crash whenever it tells its listener the news, until its supervisor has enough."""

    async def crash(_: Player) -> None:
        raise RuntimeError("on purpose")

    with pytest.MonkeyPatch.context() as patch, trio.fail_after(5):
        patch.setattr(Player, "_announce", crash)
        await node.players.change(Entry(steam_id, {"exp": 1}))
        await until(lambda: node.players.supervisor.statistics().given_up >= 1)


async def test_after_a_player_was_given_up_its_listeners_hear_of_the_next_change(sqlite_url: str) -> None:
    async with running(StatsNode(sqlite_url)) as node:
        listener, _ = await node.watch(ALICE)
        await give_up(node, ALICE)

        await node.players.change(Entry(ALICE, {"exp": 1}))

        with trio.fail_after(5):
            await listener.until(b'"exp":2')


async def test_after_a_player_was_given_up_its_listeners_hear_in_the_end_what_they_missed(
    sqlite_url: str,
) -> None:
    async with running(StatsNode(sqlite_url, idle_s=0.1)) as node:
        listener, _ = await node.watch(ALICE)
        await give_up(node, ALICE)

        with trio.fail_after(5):
            await listener.until(b'"exp":1')


async def test_a_player_given_up_whom_nobody_hears_is_forgotten(sqlite_url: str) -> None:
    async with running(StatsNode(sqlite_url, idle_s=0.1)) as node:
        listener, _ = await node.watch(ALICE)
        await give_up(node, ALICE)
        node.players.leave(ALICE, listener)

        def is_forgotten() -> bool:
            joined = node.players.join(ALICE, listener)
            node.players.leave(ALICE, listener)
            return joined is None

        with trio.fail_after(5):
            await until(is_forgotten)


async def test_a_listener_on_one_node_hears_of_changes_on_another(postgres_server: PostgresServer) -> None:
    here, there = StatsNode(postgres_server.url, "node-a"), StatsNode(postgres_server.url, "node-b")
    async with running(here), running(there):
        listener, _ = await here.watch(ALICE)
        await trio.sleep(0.3)  # real time: until both listen, which nothing tells

        await there.players.change(Entry(ALICE, {"exp": 5}))
        with trio.fail_after(5):
            await listener.until(b'"exp":5')
        await here.players.change(Entry(ALICE, {"exp": 1}))
        with trio.fail_after(5):
            await listener.until(b'"exp":6')


async def test_news_lost_in_an_outage_are_made_up_for(postgres_server: PostgresServer) -> None:
    here, there = StatsNode(postgres_server.url, "node-a"), StatsNode(postgres_server.url, "node-b")
    async with running(here), running(there):
        listener, _ = await here.watch(ALICE)
        await trio.to_thread.run_sync(postgres_server.kill)
        await trio.to_thread.run_sync(postgres_server.start)
        await there.insist(Entry(ALICE, {"exp": 5}, "t"))

        with trio.fail_after(10):
            await listener.until(b'"exp":5')


async def test_two_nodes_adding_to_the_same_players_lose_nothing(postgres_server: PostgresServer) -> None:
    here, there = StatsNode(postgres_server.url, "node-a"), StatsNode(postgres_server.url, "node-b")
    async with running(here), running(there), trio.open_nursery() as nursery:
        for number in range(150):
            for node in (here, there):
                for steam_id in (ALICE, BOB):
                    entry = Entry(steam_id, {"exp": 1}, f"{node.origin}-{number}")
                    nursery.start_soon(node.insist, entry)
    async with running(StatsNode(postgres_server.url)) as node:
        assert (await node.total(ALICE), await node.total(BOB)) == ({"exp": 300}, {"exp": 300})


async def test_news_of_many_players_fit_what_postgresql_carries(postgres_server: PostgresServer) -> None:
    here, there = StatsNode(postgres_server.url, "node-a"), StatsNode(postgres_server.url, "node-b")
    async with running(here), running(there):
        listener, _ = await here.watch(ALICE + 999)
        await trio.sleep(0.3)  # real time: until both listen, which nothing tells

        await there.players.change_all([Entry(ALICE + number, {"exp": 2**31 - 1}) for number in range(1000)])

        with trio.fail_after(5):
            await listener.until(b'"exp":2147483647')


async def test_one_may_listen_to_a_player_who_is_about_to_retire(sqlite_url: str) -> None:
    async with running(StatsNode(sqlite_url)) as node:
        await node.players.change(Entry(ALICE, {"exp": 1}))
        player: Any = node.registry.whereis(("steam", ALICE))
        for _ in range(2):
            player.retire_if_idle()

        listener, account = await node.watch(ALICE)

        assert account.totals == {"exp": 1}
        await node.players.change(Entry(ALICE, {"exp": 1}))
        with trio.fail_after(5):
            await listener.until(b'"exp":2')
