"""Rooms: JSON documents that clients write over HTTP and watch as streams.

Reading order, each file leaning only on the ones above it:

    record    one version of a room, its bytes, and what a conditional write asks of it
    store     what handlers, channels and matches ask of the rooms, whoever keeps the records
    table     every room's last record, and whether its task is idle; outlives all tasks
    room      the task through which one room's writes go, one at a time
    memory_rooms  all rooms of this process: what handlers, matches and the sweeper call
    sweeper   removes old rooms
    snapshot  the file in which rooms outlive an orderly stop
    shared_record  keys, channels and header of a room that many nodes share
    room_commands  what is asked of Redis: one script a write
    shared_view    what a node knows of one of them: which news is newer
    stream_counts  how many listen to a room on all nodes
    shared_views   those that are listened to here: subscribed, looked at, broadcast
    shared_rooms   reading, writing and listing them; the protocol of `store`
    partitioned_rooms  the same over several Redis servers, each with a part of the rooms
"""

from actors.rooms.memory_rooms import MemoryRooms, RoomStatistics
from actors.rooms.partitioned_rooms import PartitionedRooms
from actors.rooms.record import ALWAYS, Change, Condition, Kind, Put, Record, Refusal, is_room_id
from actors.rooms.room_commands import RoomCommands
from actors.rooms.shared_record import Layout, server_layouts
from actors.rooms.shared_rooms import SharedRooms, SharedStatistics
from actors.rooms.snapshot import RoomSnapshot
from actors.rooms.store import Page, RoomRow, RoomStore, change_by_condition
from actors.rooms.sweeper import Sweeper
from actors.rooms.table import RoomTable

__all__ = [
    "ALWAYS",
    "Change",
    "Condition",
    "Kind",
    "Layout",
    "MemoryRooms",
    "Page",
    "PartitionedRooms",
    "Put",
    "Record",
    "Refusal",
    "RoomCommands",
    "RoomRow",
    "RoomSnapshot",
    "RoomStatistics",
    "RoomStore",
    "RoomTable",
    "SharedRooms",
    "SharedStatistics",
    "Sweeper",
    "change_by_condition",
    "is_room_id",
    "server_layouts",
]
