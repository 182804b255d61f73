"""A node without one of its safeguards is found out by the checker; with all of them it is not."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest
import trio

from actors.links import RedisChannels
from actors.rooms.room_commands import RoomCommands
from actors.rooms.shared_views import SharedViews
from tests.faults.cluster import Cluster, LocalNode, local_cluster
from tests.faults.test_shared_room_losses import ROOMS, promote_a_cut_off_replica, write

# Longer than the probe takes to find a connection that hears nothing, shorter than the sweep.
HEAL_S: Final = 6.0


# -- what happens ----------------------------------------------------------------------------------


async def promote(all_: Cluster[LocalNode], directory: Path) -> None:
    await promote_a_cut_off_replica(all_, directory / "replica")


async def swallow(all_: Cluster[LocalNode], _: Path) -> None:
    """Subscriptions stay open and hear nothing."""
    await write(all_, 1)
    await all_.heard(ROOMS)
    for proxy in all_.proxies:
        proxy.swallow_messages()
    await write(all_, 1, port=all_.nodes[0].port)
    await all_.calm(ROOMS, within_s=HEAL_S)


async def disconnect(all_: Cluster[LocalNode], _: Path) -> None:
    """Redis ends the subscriptions."""
    await write(all_, 1)
    await all_.heard(ROOMS)
    await all_.redis_command("CLIENT", "KILL", "TYPE", "pubsub")
    await trio.sleep(1)  # real time: of other processes
    await write(all_, 1, port=all_.nodes[0].port)
    await all_.calm(ROOMS, within_s=HEAL_S)


async def burst(all_: Cluster[LocalNode], _: Path) -> None:
    """Many versions of a room arrive together."""
    async with trio.open_nursery() as nursery:
        for _number in range(50):
            for room in ROOMS:
                nursery.start_soon(partial(all_.clients.write, room, port=all_.nodes[0].port))
    await all_.calm(ROOMS, within_s=HEAL_S)


# -- what is missing -------------------------------------------------------------------------------


async def no_era(self: RoomCommands, *, before_up: bool = False) -> bool:
    """The same one for whichever server answers."""
    self._era = b"%014d" % 1
    await self.wire.call("SET", self._era_key, self._era, before_up=before_up)
    return False


async def no_probe(_: RedisChannels) -> None:
    await trio.sleep_forever()


LISTEN: Final[Callable[..., Awaitable[bool]]] = RedisChannels._listen  # noqa: SLF001  # what is broken is inside


async def no_resubscription(self: RedisChannels, stream: trio.abc.Stream) -> bool:
    if self.statistics().lost:
        self._wanted = set()
    return await LISTEN(self, stream)


def drop_when_full(self: RedisChannels, answers: Iterator[Any], *_: Any) -> None:
    """A queue with room for one."""
    messages: list[tuple[bytes, bytes]] = []
    for said in answers:
        self._note(said, messages)
    self._on_messages(messages[:1])


class Safeguard(NamedTuple):
    """Something that a node does, and what shows that it does it.

    Attributes:
        owner: Class of the method.
        method: Its name.
        without: In its place.
        happens: Needs it.
        is_lossy: Whether Redis loses writes then.
    """

    owner: type
    method: str
    without: Callable[..., Any]
    happens: Callable[[Cluster[LocalNode], Path], Awaitable[None]]
    is_lossy: bool = False


SAFEGUARDS: Final = {
    "era": Safeguard(RoomCommands, "look_at_era", no_era, promote, is_lossy=True),
    "probe": Safeguard(RedisChannels, "_prove", no_probe, swallow),
    "resubscription": Safeguard(RedisChannels, "_listen", no_resubscription, disconnect),
    "newest of what is waiting": Safeguard(RedisChannels, "_take", drop_when_full, burst),
}


@pytest.mark.parametrize("name", SAFEGUARDS)
@pytest.mark.parametrize("is_there", [True, False], ids=["with", "without"])
async def test_a_safeguard(
    name: str, is_there: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    safeguard = SAFEGUARDS[name]
    # It finds everything, in the end; where there are few rooms, within seconds.
    monkeypatch.setattr(SharedViews, "_sweep", lambda _: None)
    if not is_there:
        monkeypatch.setattr(safeguard.owner, safeguard.method, safeguard.without)
    async with local_cluster(tmp_path) as all_, all_.watching(ROOMS):
        await safeguard.happens(all_, tmp_path)

    assert bool(all_.violations(is_lossy=safeguard.is_lossy)) is not is_there
