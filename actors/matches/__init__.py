"""Match rooms: from the matchmaker's queue to the word of the API server.

Reading order, each file leaning only on the ones above it:

    creation_job       what a matchmaker may ask for
    callback           what the API server is told, as values
    delivery           what its answers mean: tables, no network
    callbacks          the task that calls it, in order per room
    settlement         what became of a job
    lifecycle          where a match can be, and how it gets from there to there
    rules              games, as pure functions
    line               what a match knows of its players
    world              what all matches share
    entry              what is kept of a match outside its task
    match              the actor of one match
    matches            all of them
    outbox             results on this machine's disk
    unsent             results in Redis
    results            tells results, and keeps each until it is told
    recovery           tells later what waits in Redis
    in_flight          jobs under way, and suspects among them
    room_queue         the queue in Redis: names, commands, shelves
    take_back          jobs of dead nodes
    creation_consumer  takes jobs and sees them through
    room_command       what operators may say
    command_listener   hears it
"""

from actors.matches.callbacks import Callbacks, CallbackStatistics, Outcome
from actors.matches.command_listener import CommandListener, ListenerStatistics
from actors.matches.creation_consumer import CreationConsumer, CreationPolicy, CreationStatistics
from actors.matches.creation_job import CreationJob, KnownRules, Reason, Refusal, read_job
from actors.matches.delivery import Patience, Verdict
from actors.matches.entry import Entry
from actors.matches.lifecycle import AbortReason, Match, Status
from actors.matches.lifecycle import Patience as MatchPatience
from actors.matches.match import MatchRoom
from actors.matches.matches import Matches, MatchStatistics
from actors.matches.outbox import Outbox
from actors.matches.recovery import Recovery
from actors.matches.results import Results
from actors.matches.room_queue import DEAD, QUEUE, QueueDelivery
from actors.matches.settlement import Fate, Settled, Settlement
from actors.matches.world import ResultKeeper, RoomPublisher

__all__ = [
    "DEAD",
    "QUEUE",
    "AbortReason",
    "CallbackStatistics",
    "Callbacks",
    "CommandListener",
    "CreationConsumer",
    "CreationJob",
    "CreationPolicy",
    "CreationStatistics",
    "Entry",
    "Fate",
    "KnownRules",
    "ListenerStatistics",
    "Match",
    "MatchPatience",
    "MatchRoom",
    "MatchStatistics",
    "Matches",
    "Outbox",
    "Outcome",
    "Patience",
    "QueueDelivery",
    "Reason",
    "Recovery",
    "Refusal",
    "ResultKeeper",
    "Results",
    "RoomPublisher",
    "Settled",
    "Settlement",
    "Status",
    "Verdict",
    "read_job",
]
