"""Actors: addresses with a mailbox, a name and an audience, run by supervisors.

One trio loop per process: write batches, inline calls and spare queues are process globals.

Reading order, each file leaning only on the ones above it:

    errors          what can go wrong, and who has to act on it
    timers          one heap of deadlines for a whole trio loop
    files           names in a directory, durable
    trace           W3C trace contexts: read, remembered, passed on
    wall_time       Unix seconds as the text clients see, and clients' times
    histogram       durations by bucket, for metrics
    sliding_window  rate limits: pure values that are given the time
    inline_call     a coroutine that waits for actors without a task of its own
    write_batch     postpones socket writes until the current event-loop callback ends
    mailbox         an actor's bounded message queue; the pending answer of a call
    actor           an address and its task: cast, call, monitor, send_after
    audience        publish and subscribe: topics, members, one event for all, conflation
    registry        unique names of actors
    directory       finds or starts the actor of a key; cooldowns, retiring when idle

What is promised
    * An actor handles one message at a time, to its end, before the next.
    * Messages of one sender arrive in the order sent. Nothing is said about the order across senders.
    * `cast` never waits. A full mailbox refuses (`MailboxFull`) and hands the message back.
    * `call` ends: with the answer, at its deadline (`CallTimeout`), or when the receiver's life ends:
      `ActorCrashed` if it was handling this very message, `ActorGone` if it had not begun to.
    * An answer that comes after the deadline is dropped, and so is a second answer.
    * When a life ends, its unread messages are dropped. Calls among them raise `ActorGone`; casts are lost.
    * Watchers get one `Down` per `monitor`, after the last message of that life.
    * A name belongs to a life. Look-ups never return an actor that has ended.
    * Timers and `Down` get in even when the mailbox is full.
    * A member of an audience is sent growing event numbers, none twice, and in the end the newest.

What is not promised
    * `CallTimeout` and `ActorCrashed` do not say whether the message had an effect.
    * `is_alive` being true says nothing about the next instant; act, and handle the refusal.
    * A cast that was taken may never be handled: the life may end first.
    * Members may miss states in between.
    * Nothing here crosses a process border.
"""

from actors.core.actor import CALL_TIMEOUT_S, MAILBOX_SLOTS, Actor, Down, send_after
from actors.core.audience import Audiences, ConflatingMember, Event, Member, next_seq
from actors.core.directory import Cooldown, Directory, RetiringActor, Unavailable
from actors.core.errors import (
    ActorCrashed,
    ActorError,
    ActorGone,
    AlreadyRegistered,
    AlreadyRunning,
    CallingSelf,
    CallTimeout,
    MailboxFull,
    NotDelivered,
    TooMany,
)
from actors.core.files import sync_directory
from actors.core.histogram import BOUNDS_S, Histogram
from actors.core.inline_call import InlineCall
from actors.core.mailbox import PendingCall, mailbox_waits, sample_mailbox_wait
from actors.core.registry import Registry
from actors.core.sliding_window import KeyedWindows, SlidingWindow
from actors.core.timers import Timer
from actors.core.trace import TRACEPARENT, Trace, Traces, read_traceparent
from actors.core.wall_time import iso_utc, parse_iso_8601
from actors.core.write_batch import at_batch_end, is_in_write_batch, write_batch

__all__ = [
    "BOUNDS_S",
    "CALL_TIMEOUT_S",
    "MAILBOX_SLOTS",
    "TRACEPARENT",
    "Actor",
    "ActorCrashed",
    "ActorError",
    "ActorGone",
    "AlreadyRegistered",
    "AlreadyRunning",
    "Audiences",
    "CallTimeout",
    "CallingSelf",
    "ConflatingMember",
    "Cooldown",
    "Directory",
    "Down",
    "Event",
    "Histogram",
    "InlineCall",
    "KeyedWindows",
    "MailboxFull",
    "Member",
    "NotDelivered",
    "PendingCall",
    "Registry",
    "RetiringActor",
    "SlidingWindow",
    "Timer",
    "TooMany",
    "Trace",
    "Traces",
    "Unavailable",
    "at_batch_end",
    "is_in_write_batch",
    "iso_utc",
    "mailbox_waits",
    "next_seq",
    "parse_iso_8601",
    "read_traceparent",
    "sample_mailbox_wait",
    "send_after",
    "sync_directory",
    "write_batch",
]
