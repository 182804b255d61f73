"""A database that is opened at its first use."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio
from sqlalchemy import Connection
from trio.testing import MockClock, wait_all_tasks_blocked

from actors.links import Database, LinkDown
from supervision import ChildSpec, Supervisor
from web.wiring.on_demand import OPENING_S, OnDemandDatabase


def one(connection: Connection) -> int:
    return int(connection.exec_driver_sql("SELECT 1").scalar_one())


async def test_the_first_use_opens_it_and_all_others_wait_for_that(tmp_path: Path) -> None:
    file = tmp_path / "file.sqlite3"
    link = Database(f"sqlite:///{file}")
    database = OnDemandDatabase(link, link.part("automation"))
    supervisor = Supervisor([ChildSpec(id="database", start=database.run)])
    answers: list[int] = []

    async def ask() -> None:
        answers.append(await database.write(one))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(supervisor.run)
        await wait_all_tasks_blocked()
        assert database.is_up
        assert not file.exists()
        async with trio.open_nursery() as asking:
            for _ in range(3):
                asking.start_soon(ask)
        assert await database.read(one) == 1
        supervisor.stop()

    assert answers == [1, 1, 1]
    assert file.exists()


async def test_one_that_cannot_be_opened_refuses_at_once_after_the_first_use(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    link = Database(f"sqlite:///{tmp_path / 'file.sqlite3'}")
    database = OnDemandDatabase(link, link.part("automation"))  # nobody runs it
    assert database.is_up

    started_s = trio.current_time()
    with pytest.raises(LinkDown):
        await database.write(one)
    assert trio.current_time() - started_s == pytest.approx(OPENING_S)
    assert not database.is_up
    with pytest.raises(LinkDown):
        await database.read(one)
    assert trio.current_time() - started_s == pytest.approx(OPENING_S)
