"""Text lines for the channel events of a match, as one of its players receives them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from dev.phoenix import ChannelEvent


def lines(heard: ChannelEvent) -> Iterator[str]:
    """Yield the lines for an event; none for an event of no interest to people."""
    tell = TELLS.get(heard.event)
    if tell is not None:
        yield from tell(heard.payload)


def _joined(said: Mapping[str, Any]) -> Iterator[str]:
    yield f"{said['display_name']} is there, {said['players_joined']} of {said['players_required']}"


def _disconnected(said: Mapping[str, Any]) -> Iterator[str]:
    yield f"{said['display_name']} has lost the connection"


def _reconnected(said: Mapping[str, Any]) -> Iterator[str]:
    yield f"{said['display_name']} is back"


def _started(said: Mapping[str, Any]) -> Iterator[str]:
    yield f"{said['game_type']} begins with {said['first_turn']}; everybody has {said['your_hp']} hit points"


def _applied(said: Mapping[str, Any]) -> Iterator[str]:
    done = ", ".join(_effect(effect) for effect in said["effects"])
    yield f"{said['turn_number']:3}  {said['actor']} plays {said['card']['name']}: {done}"


def _effect(effect: Mapping[str, Any]) -> str:
    match effect["type"]:
        case "deal_damage":
            return f"{effect['target']} loses {effect['amount']} and has {effect['new_hp']}"
        case "heal":
            return f"{effect['target']} gains {effect['amount']} and has {effect['new_hp']}"
        case "draw_card":
            return f"{effect['target']} draws {effect['amount']}"
        case other:
            return f"{other} {effect['amount']}"


def _skipped(said: Mapping[str, Any]) -> Iterator[str]:
    yield f"{said['turn_number']:3}  {said['skipped_player']} took too long"


def _ended(said: Mapping[str, Any]) -> Iterator[str]:
    winner = "nobody wins" if said["winner"] is None else f"{said['winner']} wins"
    yield f"{winner} after {said['turns_played']} turns: {said['reason']}"


def _aborted(said: Mapping[str, Any]) -> Iterator[str]:
    yield f"aborted: {said['message']}"


TELLS: Final[Mapping[str, Callable[[Mapping[str, Any]], Iterator[str]]]] = {
    "player:joined": _joined,
    "player:disconnected": _disconnected,
    "player:reconnected": _reconnected,
    "game:started": _started,
    "game:action_applied": _applied,
    "game:turn_skipped": _skipped,
    "game:ended": _ended,
    "game:aborted": _aborted,
}
