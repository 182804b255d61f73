"""The life of a match: a pure state machine.

A match is a value. `step` takes it, an event and a time, and returns the next
value, the effects to carry out, and a reply if somebody asked. It reads no
clock: `now` is an argument, in seconds that must not jump (a wall clock read
once, plus what a monotonic clock has counted since). What others are told has
`correction_s` added, so that it follows the wall clock.

Whoever runs a match keeps `result.match` first, then gives the reply, then
carries out the effects in their order. A crash in between costs pushes at most:
`Recovered` repeats every callback the API server has not acknowledged.

Reading order, each file leaning only on the ones above it:

    status      the states and the table of transitions
    limits      how often a player may act; newest nonces
    match       the value, with everything that must survive a crash
    events      what can happen to a match
    effects     what is to be done about it
    views       what players and spectators are shown
    ending      how a match ends: finished, aborted or failed
    moves       game actions and their consequences
    lobby       players joining, leaving and coming back
    confirming  `ready`, and what its answer decides
    machine     `begin` and `step`
"""

from actors.matches.lifecycle.effects import (
    Effect,
    Gone,
    JobSettled,
    PlayerReply,
    Publish,
    Push,
    StepResult,
    WakeAt,
)
from actors.matches.lifecycle.events import (
    Acted,
    CallbackSettled,
    Disconnected,
    Event,
    Joined,
    Left,
    ProcessFailed,
    Recovered,
    Rejected,
    Requested,
    Terminated,
    Tick,
)
from actors.matches.lifecycle.machine import begin, step
from actors.matches.lifecycle.match import Match, MatchTimeouts, Seat
from actors.matches.lifecycle.status import OVER, TRANSITIONS, AbortReason, Status, Trigger
from actors.matches.lifecycle.views import join_reply, record

__all__ = [
    "OVER",
    "TRANSITIONS",
    "AbortReason",
    "Acted",
    "CallbackSettled",
    "Disconnected",
    "Effect",
    "Event",
    "Gone",
    "JobSettled",
    "Joined",
    "Left",
    "Match",
    "MatchTimeouts",
    "PlayerReply",
    "ProcessFailed",
    "Publish",
    "Push",
    "Recovered",
    "Rejected",
    "Requested",
    "Seat",
    "Status",
    "StepResult",
    "Terminated",
    "Tick",
    "Trigger",
    "WakeAt",
    "begin",
    "join_reply",
    "record",
    "step",
]
