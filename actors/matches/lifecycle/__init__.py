"""The life of a match: a state machine that decides and never waits.

A match is a value. Something happens to it at a time, and `step` gives back the
next value, what is to be done about it, and the answer for whoever asked. It
looks at no clock: `now` is handed in, as Unix seconds that must not go back (a
wall clock read once, plus what a monotonic clock has counted since).

Whoever runs a match keeps `step.match` first, then gives the answer, then does
the effects in their order. A crash in between costs pushes at most: `Recovered`
says again what the API server has not been told.

Reading order, each file leaning only on the ones above it:

    status    where a match can be, and the table of how it gets from there to there
    limits    how often a player may act; newest nonces
    match     the value, with everything that must survive a crash
    events    what can happen to a match
    effects   what is to be done about it
    views     what players and onlookers are shown
    ending    how a match gets over, in either way
    table     moves, and what comes of them
    lobby     coming, going and coming back
    machine   `begin` and `step`
"""

from actors.matches.lifecycle.effects import Answer, Effect, Gone, Publish, Push, Step, WakeAt
from actors.matches.lifecycle.events import (
    Acted,
    Confirmed,
    Disconnected,
    Disowned,
    Event,
    Joined,
    Left,
    ProcessFailed,
    Recovered,
    Terminated,
    Tick,
    Told,
)
from actors.matches.lifecycle.limits import Window
from actors.matches.lifecycle.machine import begin, step
from actors.matches.lifecycle.match import Match, Patience, Seat
from actors.matches.lifecycle.status import OVER, TRANSITIONS, AbortReason, Status, Trigger
from actors.matches.lifecycle.views import join_reply, record

__all__ = [
    "OVER",
    "TRANSITIONS",
    "AbortReason",
    "Acted",
    "Answer",
    "Confirmed",
    "Disconnected",
    "Disowned",
    "Effect",
    "Event",
    "Gone",
    "Joined",
    "Left",
    "Match",
    "Patience",
    "ProcessFailed",
    "Publish",
    "Push",
    "Recovered",
    "Seat",
    "Status",
    "Step",
    "Terminated",
    "Tick",
    "Told",
    "Trigger",
    "WakeAt",
    "Window",
    "begin",
    "join_reply",
    "record",
    "step",
]
