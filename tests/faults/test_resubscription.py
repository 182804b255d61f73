"""How soon a node with very many watched rooms has caught up after its Redis was away.

    pytest -m slow -s tests/faults/test_resubscription.py

says how long it took. Without other work on the machine it is a few seconds.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Final

import pytest
import trio

from actors.core import Audiences, Registry
from actors.links import RedisChannels
from actors.rooms import RoomCommands, SharedRooms
from actors.rooms.shared_views import SharedViews
from tests.engines import RedisServer
from tests.fakes.life import LoneLife
from tests.fakes.waiting import until

ROOMS: Final = 100_000
AWAY_S: Final = 3.0
PATIENCE_S: Final = 120.0
# Rooms that are opened together.
TOGETHER: Final = 2000


def shared_rooms(server: RedisServer) -> SharedRooms:
    """Rooms that nobody is told of: the server is what is watched."""
    commands = RoomCommands(server.url, ttl_s=3600)

    def channels(views: SharedViews) -> RedisChannels:
        return RedisChannels(
            server.url, commands.wire, on_messages=views.on_messages, on_subscribed=views.on_subscribed
        )

    return SharedRooms(commands, channels, Registry(Audiences(max_members=ROOMS)), max_views=ROOMS)


@pytest.mark.slow
async def test_100_000_rooms_are_checked_again_soon_after_redis_is_back(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Nobody listens: that is not what is measured.
    monkeypatch.setattr(SharedViews, "_drop_idle", lambda _: None)
    server = RedisServer(tmp_path)
    server.start()
    rooms = shared_rooms(server)
    views = rooms._views  # noqa: SLF001  # no client asks whether all rooms are current
    ids = [f"room-{number}" for number in range(ROOMS)]

    def are_current() -> bool:
        return rooms.trouble is None and not views.checks_waiting and all(map(is_current, ids))

    def is_current(room_id: str) -> bool:
        view = views.get(room_id)
        return view is not None and views.is_current(view)

    try:
        async with trio.open_nursery() as nursery:
            for child in rooms.children():
                nursery.start_soon(child.start, LoneLife())
            await until(lambda: rooms.trouble is None, within_s=PATIENCE_S)
            for first in range(0, ROOMS, TOGETHER):
                async with trio.open_nursery() as opening:
                    for room_id in ids[first : first + TOGETHER]:
                        opening.start_soon(rooms.open, room_id)
            await until(are_current, within_s=PATIENCE_S)
            await trio.to_thread.run_sync(server.kill)
            await trio.sleep(AWAY_S)  # real time: long enough for the pauses between attempts to have grown
            await trio.to_thread.run_sync(server.start)
            began, used = time.perf_counter(), time.process_time()
            await until(are_current, within_s=PATIENCE_S)
            took_s, cpu_s = time.perf_counter() - began, time.process_time() - used
            nursery.cancel_scope.cancel()
    finally:
        server.stop()

    with capsys.disabled():
        sys.stdout.write(
            f"\n{ROOMS:,} rooms: {took_s:.1f} s after Redis was back, {cpu_s:.1f} s of processor time\n"
        )
    assert took_s < PATIENCE_S
