"""What lies outside of the process: Redis, the database, HTTP peers, files; and whether it is there.

Reading order, each file leaning only on the ones above it:

    errors              an engine cannot be reached, or not listened to
    availability        whether an engine can be reached, and since when
    redis_refusals      what follows from an error of Redis: a table
    file_watcher        files that may change: read every so often
    http_caller         requests to one HTTP peer, and whatever comes of them as a value
    redis_link          pipelines, and whether Redis can be reached
    redis_blocking      a command that waits inside Redis and can be called back
    redis_subscription  a Pub/Sub channel
    redis_address       opens trio streams from a REDIS_URL
    redis_wire          a trio-native connection for the path of shared rooms
    redis_channels      many Pub/Sub channels over one such connection
    node_name           the name of this node, which no other living one may have
    node_message        what nodes send one another, as bytes
    node_tokens         tokens that name the node they were made at
    node_inbox          calls and casts to other nodes by name
    database_engine     which driver, which time limits, what durable means
    database_worker     one connection and its worker thread
    database_pipeline   several statements in one round trip
    database            transactions, and whether the database can be reached
    database_channel    LISTEN: what other nodes say through PostgreSQL
    retention           deletes rows that are too old, whatever the wall clock does
    group_commit        an actor that writes many callers' entries in one transaction
"""

from actors.links.availability import Availability, LinkState
from actors.links.database import (
    Database,
    DatabasePart,
    DatabaseStatistics,
    Reader,
    Transactions,
    Unprepared,
    Writer,
    described,
)
from actors.links.database_channel import DatabaseChannel
from actors.links.database_engine import Limits, check_database_url, make_engine, normal_url
from actors.links.database_pipeline import Query, run_pipeline
from actors.links.database_worker import is_schema_fault
from actors.links.errors import CannotListen, LinkDown, NotSent, OutcomeUnknown
from actors.links.file_watcher import MAX_FILE_BYTES, FileWatcher, read_file, why_unreadable
from actors.links.group_commit import Caller, GroupCommit
from actors.links.http_caller import HttpAnswer, HttpCaller, read_retry_after
from actors.links.node_inbox import Gathered, InboxStatistics, NodeInbox
from actors.links.node_message import TooLong
from actors.links.node_name import NameTaken, NodeName
from actors.links.redis_address import RedisAddress, Unsuitable, urls_in
from actors.links.redis_blocking import BlockingCommand
from actors.links.redis_channels import ChannelStatistics, RedisChannels
from actors.links.redis_link import Command, LinkStatistics, RedisLink, check_url
from actors.links.redis_refusals import REFUSALS, LinkRefused, RefusalClass
from actors.links.redis_subscription import Subscription
from actors.links.redis_wire import Answered, RedisWire, WireStatistics
from actors.links.retention import Expiry, Forgotten, RetentionSweeper, Slice, WallClock

__all__ = [
    "MAX_FILE_BYTES",
    "REFUSALS",
    "Answered",
    "Availability",
    "BlockingCommand",
    "Caller",
    "CannotListen",
    "ChannelStatistics",
    "Command",
    "Database",
    "DatabaseChannel",
    "DatabasePart",
    "DatabaseStatistics",
    "Expiry",
    "FileWatcher",
    "Forgotten",
    "Gathered",
    "GroupCommit",
    "HttpAnswer",
    "HttpCaller",
    "InboxStatistics",
    "Limits",
    "LinkDown",
    "LinkRefused",
    "LinkState",
    "LinkStatistics",
    "NameTaken",
    "NodeInbox",
    "NodeName",
    "NotSent",
    "OutcomeUnknown",
    "Query",
    "Reader",
    "RedisAddress",
    "RedisChannels",
    "RedisLink",
    "RedisWire",
    "RefusalClass",
    "RetentionSweeper",
    "Slice",
    "Subscription",
    "TooLong",
    "Transactions",
    "Unprepared",
    "Unsuitable",
    "WallClock",
    "WireStatistics",
    "Writer",
    "check_database_url",
    "check_url",
    "described",
    "is_schema_fault",
    "make_engine",
    "normal_url",
    "read_file",
    "read_retry_after",
    "run_pipeline",
    "urls_in",
    "why_unreadable",
]
