"""Nobody ever learns of a card that is not theirs to know: looked for in everything that leaves a match."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator

import httpx
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from actors.core import Audiences, Event, Registry
from actors.matches import Callbacks, CreationJob, Matches, MatchHandle, read_job
from actors.matches.rules.battle import Battle
from actors.rooms import MemoryRooms, RoomTable
from supervision import ChildSpec, ChildType, Supervisor
from tests.fakes.http import Network
from tests.fakes.keeper import DirectKeeper
from tests.fakes.node import GAMES, RULES, job
from tests.fakes.players import PlayerConnection, Question
from web.handlers.sse import sse
from web.wiring.matches import RoomsOfMatches

PLAYERS = ("ann", "bob")
CARD_ID = re.compile(r'"id":\s*"([^"]+)"')


class Onlooker:
    """A stream of the room."""

    seq = 0

    def __init__(self) -> None:
        self.frames: list[str] = []

    def offer(self, event: Event) -> None:
        self.frames.append(sse(event).decode())

    def close(self, reason: str) -> None:
        raise AssertionError(reason)


class Table:
    """One match, both its players, everybody who watches, and the API server."""

    def __init__(self, seed: int) -> None:
        self.luck = random.Random(seed)
        self.said: list[str] = []
        registry = Registry(Audiences(max_members=10, max_members_per_topic=10))
        self.rooms = MemoryRooms(RoomTable(max_rooms=10, max_bytes=1 << 20), registry, max_tasks=10)
        self.onlooker = Onlooker()
        self.callbacks = Callbacks("http://api", keys=["k"], transport=Network(self._hear))
        publisher = RoomsOfMatches(self.rooms)
        self.matches = Matches(
            registry,
            callbacks=self.callbacks,
            publisher=publisher,
            keeper=DirectKeeper(self.callbacks),
            node_name="node-a",
            games=GAMES,
        )
        self.root = Supervisor(
            [
                ChildSpec(id="registry", start=registry.run),
                ChildSpec(id="rooms", start=self.rooms.run, type=ChildType.SUPERVISOR),
                ChildSpec(id="callbacks", start=self.callbacks.run),
                ChildSpec(id="matches", start=self.matches.run, type=ChildType.SUPERVISOR),
            ]
        )
        self.connections: dict[str, PlayerConnection] = {}
        self.known: dict[str, set[str]] = {player: set() for player in PLAYERS}
        self.records: list[str] = []

    async def _hear(self, request: httpx.Request) -> httpx.Response:
        self.said.append(request.content.decode())
        return httpx.Response(200, json={"acknowledged": True})

    @property
    def handle(self) -> MatchHandle:
        handle = self.matches.find("room-1")
        assert handle is not None
        return handle

    @property
    def battle(self) -> Battle:
        play = self.handle.match.play
        assert play is not None
        assert isinstance(play.state, Battle)
        return play.state

    async def join(self, player: str) -> None:
        self.connections[player] = PlayerConnection(player)
        self.handle.join(self.connections[player])
        await self.settle()

    async def settle(self) -> None:
        """Let everything happen, then look for what nobody may see."""
        await wait_all_tasks_blocked()
        self._look()

    async def move(self) -> None:
        """Something that players do, wise or not."""
        player = self.luck.choice(PLAYERS)
        connection = self.connections[player]
        match self.luck.randrange(12):
            case 0:
                self.handle.disconnect(connection)
                await self.settle()
                await self.join(player)
            case 1:
                await trio.sleep(61)  # the turn is skipped
            case 2:
                self.matches.supervisor.kill_child("room-1")
                await self.settle()
                for each in PLAYERS:
                    await self.join(each)
            case _:
                mover = self.battle.mover
                card = self.luck.choice(mover.hand).id if mover.hand else "none"
                payload = {"action": "play_card", "card_id": card, "nonce": str(self.luck.random())}
                self.handle.push(self.connections[mover.player], "game:action", payload, Question())
                await trio.sleep(0.3)
        await self.settle()

    # -- woken ------------------------------------------------------------------------

    def _look(self) -> None:
        played = {card.id for side in self.battle.sides for card in side.played} if self.is_playing else set()
        for player in PLAYERS:
            if self.is_playing:
                self.known[player] |= {card.id for card in self.battle.side_of(player).hand}
            for said in self._told(player):
                assert ids(said) <= self.known[player] | played, f"{player} was told of {ids(said)}"
        for shown in self._shown():
            assert ids(shown) <= played, shown
            assert not re.search(r'"(your_)?hand"|"deck"|seed', shown)

    @property
    def is_playing(self) -> bool:
        return self.handle.match.play is not None

    def _told(self, player: str) -> Iterator[str]:
        connection = self.connections.get(player)
        if connection is not None:
            told, connection.told = connection.told, []
            yield from (json.dumps(payload) for _, payload in told)
            yield json.dumps(connection.accepted)

    def _shown(self) -> Iterator[str]:
        record = self.rooms.get("room-1")
        assert record is not None
        yield record.body.decode()
        frames, self.onlooker.frames = self.onlooker.frames, []
        yield from frames
        yield from self.said


def ids(said: str) -> set[str]:
    return set(CARD_ID.findall(said))


@pytest.mark.parametrize("seed", range(25))
async def test_in_a_whole_random_game_nothing_hidden_leaves_the_match(
    seed: int, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    table = Table(seed)
    wanted = read_job(job("room-1", players=PLAYERS), RULES)
    assert isinstance(wanted, CreationJob)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(table.root.run)
        await wait_all_tasks_blocked()
        table.rooms.join("room-1", table.onlooker)
        await table.matches.create(wanted).wait()
        for player in PLAYERS:
            await table.join(player)
        with trio.fail_after(3600 * 24):
            while not table.handle.match.is_over:
                await table.move()
        seed_of_the_dice = str(table.handle.match.seed)
        everything = "".join(table.said) + caplog.text
        nursery.cancel_scope.cancel()

    assert seed_of_the_dice not in everything
    assert len(table.said) == 3
    # The test can see cards at all.
    assert any(table.known.values())
