"""What players and spectators are shown of a match. The seed is in none of it."""

from __future__ import annotations

from actors.core import iso_utc
from actors.matches.lifecycle.match import Match, Seat
from actors.matches.lifecycle.status import BROKEN_OFF, MESSAGES, AbortReason, Status
from actors.matches.rules.contract import JsonObject, Outcome, Setup


def setup_of(match: Match) -> Setup:
    """What the match's game is begun with."""
    job = match.job
    return Setup(players=job.player_ids, turn_time_limit_s=job.turn_time_limit_s, options=job.config)


def record(match: Match) -> JsonObject:
    """The room's public state: what anybody may see."""
    return {
        "status": match.status.value,
        "game_type_id": match.job.game_type_id,
        "game_rules": match.job.game_rules,
        "turn_time_limit": setup_of(match).turn_time_limit,
        "players": _players(match),
        "created_at": _time(match, match.created_at),
        "started_at": _time(match, match.started_at),
        "ended_at": _time(match, match.ended_at),
        "turn_ends_at": _turn_ends_at(match),
        "game": _game(match),
        **_ending(match),
    }


def join_reply(match: Match, user_id: str) -> JsonObject:
    """What a player hears who comes in, or comes back."""
    reply: JsonObject = {
        "room_id": match.room_id,
        "status": match.status.value,
        "players": _players(match),
        "turn_ends_at": _turn_ends_at(match),
        **_ending(match),
    }
    if match.play is None or match.rules_failed:
        return reply
    return {**reply, "game": match.play.private_view(user_id)}


def player_joined(match: Match, seat: Seat) -> JsonObject:
    """`player:joined`."""
    there = sum(other.is_there for other in match.seats)
    return {**player(seat), "players_joined": there, "players_required": len(match.seats)}


def player(seat: Seat) -> JsonObject:
    """`player:disconnected` and `player:reconnected`."""
    return {"user_id": seat.user_id, "display_name": seat.display_name}


def game_ended(match: Match, outcome: Outcome) -> JsonObject:
    """`game:ended`."""
    return {
        "winner": outcome.winner,
        "reason": outcome.reason,
        "final_state": outcome.final_state(),
        "turns_played": outcome.turns_played,
        "duration_seconds": duration_s(match),
    }


def result_data(match: Match, outcome: Outcome) -> JsonObject:
    """What the API server keeps of a finished match."""
    return {
        "players": outcome.final_state(),
        "turns_played": outcome.turns_played,
        "duration_seconds": duration_s(match),
    }


def game_aborted(reason: AbortReason) -> JsonObject:
    """`game:aborted`."""
    return {"reason": reason.value, "message": MESSAGES[reason]}


def duration_s(match: Match) -> int:
    """Whole seconds from the start of the game to its end."""
    return 0 if match.started_at is None or match.ended_at is None else int(match.ended_at - match.started_at)


def _game(match: Match) -> JsonObject | None:
    """The public view of the game. That of a match broken off is kept: asking the rules may be what fails."""
    if match.play is None or match.rules_failed or match.status in BROKEN_OFF:
        return None if match.shown is None else match.shown["game"]
    return match.play.public_view()


def _players(match: Match) -> list[JsonObject]:
    return [{**player(seat), "connected": seat.is_there} for seat in match.seats]


def _turn_ends_at(match: Match) -> str | None:
    return _time(match, match.turn_due) if match.status is Status.PLAYING else None


def _ending(match: Match) -> JsonObject:
    return {
        "reason": None if match.reason is None else match.reason.value,
        "result": None if match.outcome is None else game_ended(match, match.outcome),
    }


def _time(match: Match, at: float | None) -> str | None:
    """One of its times as the wall clock has it."""
    return None if at is None else iso_utc(at + match.correction_s)
