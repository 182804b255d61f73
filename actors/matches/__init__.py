"""Match rooms: from the matchmaker's queue to the API server's acknowledgement.

Reading order, each file leaning only on the ones above it:

    creation_job       parses and checks one job of the queue
    callback           the five calls to the API server, as values
    delivery           what an answer to a call means and when to retry: tables, no network
    callbacks          the task that makes the calls, in order per room
    job_outcome        how a creation job ended, and the future its consumer waits on
    lifecycle          the match state machine: pure, takes `now`
    rules              games, as pure functions
    player_connection  protocols between a match and its players' connections
    context            what all matches of a node share
    handle             the state of a match that survives its task, and its inbox
    match              the actor of one match
    matches            all matches of this node, and their supervisor
    spool              results on this machine's disk
    persist_failed     results in Redis
    results            delivers results, and keeps each until it is delivered
    recovery           delivers results that wait in Redis
    in_flight          jobs under way, and a crash count per job
    lease              how other nodes see that this one lives
    room_queue         the queue in Redis: names, commands, processing lists
    dead_letters       jobs that were not done, for operators
    outcomes           who reports the end of a match: the fence of final reports
    claims             which node has the match of a room id: the fence of matches
    reclaim            takes over jobs and matches of dead nodes
    creation_consumer  takes jobs and settles each of them
    room_command       commands of operators
    command_listener   subscribes to them
"""

from actors.matches.callbacks import CallbackOutcome, Callbacks, CallbackStatistics
from actors.matches.claims import Claims, ends_of_matches
from actors.matches.command_listener import CommandListener, ListenerStatistics
from actors.matches.context import ResultKeeper, RoomPublisher
from actors.matches.creation_consumer import CreationConsumer, CreationPolicy, CreationStatistics
from actors.matches.creation_job import CreationJob, InvalidJob, KnownRules, Reason, read_job
from actors.matches.dead_letters import DeadLetter, DeadLetters
from actors.matches.delivery import Patience, Verdict
from actors.matches.handle import MatchHandle
from actors.matches.job_outcome import JobEnd, JobFuture, JobOutcome
from actors.matches.lease import Lease
from actors.matches.lifecycle import AbortReason, Match, MatchTimeouts, Status
from actors.matches.match import MatchRoom
from actors.matches.matches import Matches, MatchStatistics
from actors.matches.outcomes import Outcomes
from actors.matches.recovery import Recovery
from actors.matches.results import Results
from actors.matches.room_queue import DEAD, QUEUE, QueueDelivery
from actors.matches.spool import ResultSpool

__all__ = [
    "DEAD",
    "QUEUE",
    "AbortReason",
    "CallbackOutcome",
    "CallbackStatistics",
    "Callbacks",
    "Claims",
    "CommandListener",
    "CreationConsumer",
    "CreationJob",
    "CreationPolicy",
    "CreationStatistics",
    "DeadLetter",
    "DeadLetters",
    "InvalidJob",
    "JobEnd",
    "JobFuture",
    "JobOutcome",
    "KnownRules",
    "Lease",
    "ListenerStatistics",
    "Match",
    "MatchHandle",
    "MatchRoom",
    "MatchStatistics",
    "MatchTimeouts",
    "Matches",
    "Outcomes",
    "Patience",
    "QueueDelivery",
    "Reason",
    "Recovery",
    "ResultKeeper",
    "ResultSpool",
    "Results",
    "RoomPublisher",
    "Status",
    "Verdict",
    "ends_of_matches",
    "read_job",
]
