"""A match that is told what happens to it, and remembers all that came of it."""

from __future__ import annotations

from typing import Any, TypeVar

import orjson

from actors.matches.callback import Call, Callback
from actors.matches.creation_job import CreationJob
from actors.matches.delivery import Verdict
from actors.matches.lifecycle import (
    Acted,
    CallbackSettled,
    Disconnected,
    Effect,
    Event,
    Gone,
    Joined,
    Match,
    MatchTimeouts,
    PlayerReply,
    Publish,
    Push,
    Status,
    Tick,
    begin,
    step,
)
from actors.matches.rules import RulesRegistry
from actors.matches.rules.battle import Battle

GAMES = RulesRegistry.load(())
CONFIRMED = CallbackSettled(Call.READY, Verdict.ACKNOWLEDGED)
T0 = 1_770_000_000.0
E = TypeVar("E")


def job(players: tuple[str, ...] = ("ann", "bob"), rules: str = "simple_card_battle") -> CreationJob:
    return CreationJob(
        room_id="r1",
        game_type_id="g1",
        player_ids=players,
        game_rules=rules,
        turn_time_limit_s=60.0,
        config={"player_count": len(players)},
        enqueued_at_s=T0,
    )


class Story:
    """One match, one clock."""

    def __init__(self, *, seed: int = 7, rules: str = "simple_card_battle", **timeouts: float) -> None:
        self.now = T0
        begun = begin(
            job(rules=rules),
            GAMES.get(rules),
            seed=seed,
            now=T0,
            node_name="node-a",
            timeouts=MatchTimeouts(**timeouts),
        )
        self.match: Match = begun.match
        self.effects: list[Effect] = list(begun.effects)
        self.answers: list[PlayerReply] = []
        self._nonce = 0

    def happens(self, event: Event, *, after_s: float = 0.0) -> PlayerReply | None:
        self.now += after_s
        done = step(self.match, event, self.now)
        self.match = done.match
        self.effects += done.effects
        if done.answer is not None:
            self.answers.append(done.answer)
        return done.answer

    # -- in fewer words -------------------------------------------------------------

    def is_confirmed(self) -> Story:
        self.happens(CONFIRMED)
        return self

    def joins(self, player: str, connection: object = None) -> PlayerReply:
        answer = self.happens(Joined(player, player.title(), connection or f"{player}-1"))
        assert answer is not None
        return answer

    def is_playing(self) -> Story:
        self.is_confirmed()
        self.joins("ann")
        self.joins("bob")
        return self

    def loses(self, player: str, connection: object = None) -> None:
        self.happens(Disconnected(player, connection or f"{player}-1"))

    def acts(self, player: str, **fields: Any) -> PlayerReply:
        answer = self.happens(Acted(player, fields))
        assert answer is not None
        return answer

    def plays_a_card(self, after_s: float = 1.0) -> PlayerReply:
        self.now += after_s
        self._nonce += 1
        mover = self.battle.mover
        return self.acts(mover.player, action="play_card", card_id=mover.hand[0].id, nonce=f"n{self._nonce}")

    def ticks_until(self, now: float) -> None:
        """Every tick that is due until then, at the time it is due."""
        while not self.is_gone and self.match.next_deadline is not None and self.match.next_deadline <= now:
            self.now = max(self.now, self.match.next_deadline)
            self.happens(Tick())
        self.now = max(self.now, now)

    # -- what came of it ------------------------------------------------------------

    @property
    def battle(self) -> Battle:
        assert self.match.play is not None
        state = self.match.play.state
        assert isinstance(state, Battle)
        return state

    @property
    def mover(self) -> str:
        return self.battle.mover.player

    @property
    def waiter(self) -> str:
        return self.battle.waiter.player

    def is_in(self, status: Status) -> bool:
        return self.match.status is status

    @property
    def is_gone(self) -> bool:
        return any(isinstance(effect, Gone) for effect in self.effects)

    def of_kind(self, kind: type[E]) -> list[E]:
        return [effect for effect in self.effects if isinstance(effect, kind)]

    @property
    def calls(self) -> list[Call]:
        return [callback.call for callback in self.of_kind(Callback)]

    def body(self, call: Call) -> dict[str, Any]:
        (found,) = (callback for callback in self.of_kind(Callback) if callback.call is call)
        body = orjson.loads(found.body)
        assert isinstance(body, dict)
        return body

    def pushes(self, event: str) -> list[Push]:
        return [push for push in self.of_kind(Push) if push.event == event]

    @property
    def shown(self) -> dict[str, Any]:
        return self.of_kind(Publish)[-1].state
