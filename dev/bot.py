"""A bot for simple_card_battle: plays the first card it holds, when it is its turn."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from typing import Any, Final

import trio

from dev.phoenix import CLOSED, CRASHED, Channel, ChannelEvent, Disconnected, JoinRefused

ENDINGS: Final = frozenset({"game:ended", "game:aborted"})
# A move that came too late is no mistake, nor is one into a match that is just coming back.
MOVED_ON: Final = frozenset(
    {
        None,
        "not_your_turn",
        "card_not_in_hand",
        "game_not_started",
        "unmatched topic",
        "not_connected",
        "internal_error",
        # The same move, whose answer was lost on its way from another node.
        "duplicate_nonce",
    }
)
# The move may be made again, with the same nonce.
AGAIN: Final = frozenset({"rate_limited", "unavailable", "timeout", "busy"})
# So may the join.
JOIN_AGAIN: Final = frozenset({"unavailable", "busy", "join crashed", "join timeout"})
# Five moves a second are allowed.
PAUSE_S: Final = 0.25


def _nothing(_heard: ChannelEvent) -> None:
    """Default of `on_event`: ignore it."""


class Bot:
    """One player of one match.

    Args:
        user_id: Who it is.
        channel: Its topic, joined.
        on_event: Called with every event the bot receives.
        pace_s: How long it thinks about a move.

    Attributes:
        ended: The payload of `game:ended` or `game:aborted`, once it came.
        heard: Names of all events, in order.
    """

    def __init__(
        self,
        user_id: str,
        channel: Channel,
        on_event: Callable[[ChannelEvent], None] = _nothing,
        *,
        pace_s: float = 0.0,
    ) -> None:
        self.user_id = user_id
        self.ended: dict[str, Any] | None = None
        self.heard: list[str] = []
        self._channel = channel
        self._on_event = on_event
        self._pace_s = pace_s
        self._hand: list[Mapping[str, Any]] = []
        self._turn: str | None = None

    async def play(self) -> dict[str, Any]:
        """Play until the match ends; return how it ended.

        Raises:
            Disconnected: The socket has ended before.
        """
        self._look_at(self._channel.joined)
        while self.ended is None:
            await self._move_if_it_is_our_turn()
            await self._take(await self._channel.hear())
        return self.ended

    async def _move_if_it_is_our_turn(self) -> None:
        if self._turn != self.user_id or not self._hand:
            return
        card = self._hand[0]
        await trio.sleep(self._pace_s)
        # Whatever becomes of it, the next move is for a turn that is announced.
        self._turn = None
        nonce = uuid.uuid4().hex
        reason = await self._move(card["id"], nonce)
        while reason in AGAIN:
            await trio.sleep(PAUSE_S)
            reason = await self._move(card["id"], nonce)
        if reason not in MOVED_ON:
            raise RuntimeError(f"{self.user_id} may not play {card['id']}: {reason}")

    async def _move(self, card_id: str, nonce: str) -> str | None:
        """Play a card; return the reason of a refusal, None if it was accepted or nobody can say."""
        move = {"action": "play_card", "card_id": card_id, "nonce": nonce}
        try:
            answer = await self._channel.push("game:action", move)
        except trio.TooSlowError:
            return None  # the channel has crashed meanwhile: what the match says when joined again counts
        return None if answer.status == "ok" else str(answer.response.get("reason"))

    async def _take(self, heard: ChannelEvent) -> None:
        self.heard.append(heard.event)
        self._on_event(heard)
        payload = heard.payload
        match heard.event:
            case "game:started":
                self._hand, self._turn = payload["your_hand"], payload["first_turn"]
            case "game:hand_updated":
                self._hand = payload["hand"]
            case "game:turn_changed":
                self._turn = payload["current_turn"]
                if payload["drawn_card"] is not None:
                    self._hand = [*self._hand, payload["drawn_card"]]
            case event if event in ENDINGS:
                self.ended = payload
            case event if event == CRASHED:
                self._look_at(await self._join_again())
            case event if event == CLOSED:
                raise Disconnected(1000)

    async def _join_again(self) -> Mapping[str, Any]:
        while True:
            try:
                return await self._channel.join()
            except JoinRefused as refused:
                if refused.response.get("reason") not in JOIN_AGAIN:
                    raise
            await trio.sleep(PAUSE_S)

    def _look_at(self, joined: Mapping[str, Any]) -> None:
        """Take the match's state from the reply to a join."""
        game = joined.get("game")
        if game is not None:
            self._hand, self._turn = game["your_hand"], game["current_turn"]
        self.ended = joined.get("result")
