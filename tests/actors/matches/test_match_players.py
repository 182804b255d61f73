"""A match and its players, with a clock that jumps: what the actor does about what the state machine says."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from actors.core import ActorGone, Audiences, MailboxFull, Registry
from actors.matches import Callbacks, CreationJob, Matches, MatchHandle, MatchTimeouts, read_job
from actors.matches.handle import INBOX_SLOTS
from actors.matches.rules.simple_card_battle import SimpleCardBattle
from supervision import ChildSpec, ChildType, Supervisor
from tests.fakes.http import Network
from tests.fakes.keeper import DirectKeeper
from tests.fakes.node import GAMES, RULES, Stage, job
from tests.fakes.players import PlayerConnection, Question


class MatchSetup:
    """One match of ann and bob that has been acknowledged."""

    def __init__(self) -> None:
        self.status = 200
        self.said: list[str] = []
        self.stage = Stage()
        self.callbacks = Callbacks("http://api", keys=["k"], transport=Network(self._hear))
        self.matches = Matches(
            Registry(Audiences(max_members=10)),
            callbacks=self.callbacks,
            publisher=self.stage,
            node_name="node-a",
            games=GAMES,
            keeper=DirectKeeper(self.callbacks),
            timeouts=MatchTimeouts(join_timeout_s=120, reconnect_grace_s=60, linger_s=30),
        )
        self.root = Supervisor(
            [
                ChildSpec(id="callbacks", start=self.callbacks.run),
                ChildSpec(id="matches", start=self.matches.run, type=ChildType.SUPERVISOR),
            ]
        )
        self._nonce = 0

    async def _hear(self, request: httpx.Request) -> httpx.Response:
        self.said.append(request.url.path.rsplit("/", 1)[-1])
        return httpx.Response(self.status, json={"acknowledged": True})

    @property
    def handle(self) -> MatchHandle:
        handle = self.matches.find("room-1")
        assert handle is not None
        return handle

    async def join(self, player: str) -> PlayerConnection:
        connection = PlayerConnection(player)
        self.handle.join(connection)
        await wait_all_tasks_blocked()
        return connection

    async def push(
        self, connection: PlayerConnection, event: str, payload: object = None
    ) -> tuple[str, dict[str, Any]] | None:
        question = Question()
        self.handle.push(connection, event, payload, question)
        await wait_all_tasks_blocked()
        return question.answer

    async def act(self, connection: PlayerConnection, **fields: Any) -> tuple[str, dict[str, Any]] | None:
        self._nonce += 1
        return await self.push(connection, "game:action", {"nonce": f"n{self._nonce}", **fields})

    def mover(self, *connections: PlayerConnection) -> PlayerConnection:
        shown = self.stage.rooms["room-1"]["game"]["current_turn"]
        return next(connection for connection in connections if connection.user_id == shown)

    def kill(self) -> None:
        self.matches.supervisor.kill_child("room-1")


@asynccontextmanager
async def setup() -> AsyncIterator[MatchSetup]:
    made = MatchSetup()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(made.root.run)
        await wait_all_tasks_blocked()
        wanted = read_job(job("room-1", players=("ann", "bob")), RULES)
        assert isinstance(wanted, CreationJob)
        await made.matches.create(wanted).wait()
        yield made
        nursery.cancel_scope.cancel()


async def test_the_game_begins_when_everybody_is_there(autojump_clock: MockClock) -> None:
    async with setup() as h:
        ann = await h.join("ann")
        assert ann.accepted is not None
        assert ann.accepted["status"] == "ready"
        bob = await h.join("bob")

        assert ann.events() == ["player:joined", "player:joined", "game:started"]
        assert bob.accepted is not None
        assert bob.accepted["game"]["your_hand"] == bob.told[-1][1]["your_hand"]
        assert h.said == ["rooms", "started"]


async def test_a_stranger_is_turned_away_for_good(autojump_clock: MockClock) -> None:
    async with setup() as h:
        assert (await h.join("eve")).refused == ("not_expected", True)


async def test_an_action_is_answered_before_it_is_told(autojump_clock: MockClock) -> None:
    async with setup() as h:
        ann, bob = await h.join("ann"), await h.join("bob")
        mover = h.mover(ann, bob)
        card = mover.told[-1][1]["your_hand"][0]["id"]

        assert await h.act(mover, action="play_card", card_id=card) == (
            "ok",
            {"accepted": True, "action_id": "room-1-a1"},
        )
        assert "game:action_applied" in ann.events()
        assert "game:action_applied" in bob.events()


async def test_what_the_match_does_not_know_is_said_to_be_unknown(autojump_clock: MockClock) -> None:
    async with setup() as h:
        ann = await h.join("ann")
        assert await h.push(ann, "game:dance") == ("error", {"reason": "unknown_event"})
        assert await h.act(ann, action="play_card") == (
            "error",
            {"accepted": False, "reason": "game_not_started"},
        )


async def test_a_line_that_was_replaced_has_no_say(autojump_clock: MockClock) -> None:
    async with setup() as h:
        old, _ = await h.join("ann"), await h.join("bob")
        new = await h.join("ann")
        h.handle.disconnect(old)
        answer = await h.push(old, "room:leave")

        assert answer == ("error", {"accepted": False, "reason": "not_connected"})
        assert h.stage.rooms["room-1"]["players"][0]["connected"]
        assert await h.push(new, "room:leave") == ("ok", {})


async def test_a_player_who_is_gone_before_their_turn_at_the_door_is_not_let_in(
    autojump_clock: MockClock,
) -> None:
    async with setup() as h:
        connection = PlayerConnection("ann")
        connection.alive = False
        h.handle.join(connection)
        await wait_all_tasks_blocked()

        assert connection.accepted is None
        assert not h.stage.rooms["room-1"]["players"][0]["connected"]


async def test_a_crash_sends_the_players_round_and_the_game_goes_on(autojump_clock: MockClock) -> None:
    async with setup() as h:
        connections = [await h.join("ann"), await h.join("bob")]
        before = h.handle.match.play
        h.kill()
        await wait_all_tasks_blocked()

        assert [connection.ending for connection in connections] == ["crashed", "crashed"]
        assert h.handle.match.play is before
        ann = await h.join("ann")
        assert ann.accepted is not None
        assert ann.accepted["game"]["your_hand"] == connections[0].told[-1][1]["your_hand"]
        assert h.said == ["rooms", "started"]


async def test_who_waits_for_the_answer_in_a_crash_is_told(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("a bug in the rules")

    async with setup() as h:
        ann, bob = await h.join("ann"), await h.join("bob")
        mover = h.mover(ann, bob)
        card = mover.told[-1][1]["your_hand"][0]["id"]
        before = h.handle.match
        monkeypatch.setattr(SimpleCardBattle, "apply", broken)

        answer = await h.act(mover, action="play_card", card_id=card)

        assert answer == ("error", {"accepted": False, "reason": "internal_error"})
        assert h.handle.match.play is before.play
        assert (ann.ending, bob.ending) == ("crashed", "crashed")


async def test_what_was_said_during_a_crash_is_handled_by_the_next_life(autojump_clock: MockClock) -> None:
    async with setup() as h:
        connection = PlayerConnection("ann")
        h.kill()
        h.handle.join(connection)
        await wait_all_tasks_blocked()

        assert connection.accepted is not None


async def test_players_of_a_match_that_is_given_up_are_told(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with setup() as h:
        await h.join("ann")
        for _ in range(3):
            h.kill()
            await wait_all_tasks_blocked()
        ann = await h.join("ann")
        h.kill()
        await trio.sleep(1)

        assert ann.events()[-1] == "game:aborted"
        assert ann.alive
        assert h.said == ["rooms", "aborted"]
        await trio.sleep(30)
        assert ann.ending == "closed"


async def test_a_match_that_hears_more_than_it_can_handle_says_so(autojump_clock: MockClock) -> None:
    async with setup() as h:
        ann = await h.join("ann")
        for _ in range(INBOX_SLOTS):
            h.handle.push(ann, "game:action", {}, Question())
        with pytest.raises(MailboxFull):
            h.handle.push(ann, "game:action", {}, Question())
        # What must get through does.
        h.handle.disconnect(ann)
        await wait_all_tasks_blocked()
        assert not h.stage.rooms["room-1"]["players"][0]["connected"]


async def test_when_the_match_goes_the_lines_are_closed_and_nobody_gets_in(autojump_clock: MockClock) -> None:
    async with setup() as h:
        ann = await h.join("ann")
        handle = h.handle
        h.matches.terminate("room-1")
        await trio.sleep(29)
        assert ann.alive
        late = await h.join("ann")
        assert late.accepted is not None
        assert late.accepted["reason"] == "admin_terminated"
        await trio.sleep(1.1)

        assert late.ending == "closed"
        with pytest.raises(ActorGone):
            handle.join(PlayerConnection("bob"))
        handle.disconnect(ann)


async def test_a_turn_nobody_uses_is_skipped_and_the_clock_starts_again(autojump_clock: MockClock) -> None:
    async with setup() as h:
        ann = await h.join("ann")
        await h.join("bob")
        for turns in range(1, 4):
            await trio.sleep(60.1)
            assert ann.events().count("game:turn_skipped") == turns


def fails(*_: object, **__: object) -> Any:
    raise OSError("a file that the rules lean on has gone")


@pytest.mark.parametrize(
    "function",
    [
        "validate",
        "apply",
        "on_timeout",
        "on_player_removed",
        "outcome",
        "turn_number",
        "public_view",
        "private_view",
    ],
)
async def test_rules_that_fail_for_good_end_their_match(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch, function: str
) -> None:
    async with setup() as h:
        await h.join("ann"), await h.join("bob")
        monkeypatch.setattr(SimpleCardBattle, function, fails)
        with trio.fail_after(1200):
            while h.matches.active:
                connections = [await h.join(player) for player in ("ann", "bob")]
                play = h.handle.match.play
                assert play is not None
                mover = next(line for line in connections if line.user_id == play.state.mover.player)
                if function == "on_player_removed":
                    await h.push(mover, "room:leave")
                elif function != "on_timeout":
                    await h.act(mover, action="play_card", card_id=play.state.mover.hand[0].id)
                await trio.sleep(20)
        await trio.sleep(1)

        assert h.said[-1] == "aborted"
        assert h.handle.match.reason == "process_error"
        assert h.stage.rooms["room-1"]["status"] == "aborted"
        await trio.sleep(60)
        assert h.matches.find("room-1") is None


@pytest.mark.parametrize("function", ["public_view", "private_view", "turn_number", "outcome"])
async def test_a_match_whose_rules_fail_can_be_terminated(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch, function: str
) -> None:
    async with setup() as h:
        ann, _ = await h.join("ann"), await h.join("bob")
        monkeypatch.setattr(SimpleCardBattle, function, fails)
        assert h.matches.terminate("room-1")
        await trio.sleep(1)

        assert h.said[-1] == "aborted"
        assert h.handle.match.reason == "admin_terminated"
        assert ann.events()[-1] == "game:aborted"
