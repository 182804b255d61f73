"""Who is on `state:{id}`: those who joined with `{"presence": {…}}`, on all nodes.

A join with `{"presence": {…meta…}}` makes the user appear, with `{"presence": "watch"}` it only listens.
Both are sent `presence_state`, and then `presence_diff`, at most ten times a second. A user without a token
appears under a key of this connection's own, `guest:…`.

Other processes are told of a room's presences, and asked for theirs, once a second. Those of a process that
has died leave when what it told has lapsed, after six seconds. While Redis is away those of others stay.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final, Protocol

import orjson
import trio

from web.channels.broadcast import Broadcast
from web.channels.presence import DIFF, FORBIDDEN_KEYS, Presence

if TYPE_CHECKING:
    from actors.rooms.store import Describe, ListRooms
    from supervision import Life
    from web.channels.presence import Meta, State

__all__ = ["INVALID", "TOO_LARGE", "TOO_MANY", "WATCH", "PresenceListener", "StatePresences", "read_presence"]

MAX_META_BYTES: Final = 1024
# Devices of all users of a room, on all nodes.
MAX_PRESENT: Final = 1000
DIFF_EVERY_S: Final = 0.1
ASK_EVERY_S: Final = 1.0
# Other processes are asked about more rooms than these less often.
ROOMS_PER_S: Final = 1000.0
WATCH: Final = "watch"
INVALID: Final = "invalid_presence"
TOO_LARGE: Final = "presence_too_large"
TOO_MANY: Final = "too_many_present"
PREFIX: Final = "state:"


class PresenceListener(Protocol):
    """A client that hears of presences. No method waits or raises."""

    @property
    def user_id(self) -> str:
        """Who it is; empty for nobody in particular."""

    def hear_diff(self, diff: Broadcast) -> None:
        """Send `presence_diff`, or later the whole state."""

    def hear_state(self, state: State) -> None:
        """Send `presence_state`."""


class PresentElsewhere(Protocol):
    """Presences in other processes (a `RoomStore` has these)."""

    def tell_present(self, describe: Describe, rooms: ListRooms) -> None:
        """Tell others what `describe` says of each of `rooms`."""

    def note_present(self, room_id: str) -> None:
        """What is told of the room has changed."""

    async def present_elsewhere(self, room_ids: list[str]) -> dict[str, list[bytes]] | None:
        """What others tell of each room; None if they cannot be asked."""


class _Topic:
    """One room that has a listener.

    Attributes:
        listeners: Who hears of it, with the ref under which each appears, empty for who does not.
        presence: Everybody, here and elsewhere.
        here: Keys by ref of those whose connection is to this process.
        elsewhere: The same of all others.
        told: What other processes told last.
        joins: What the next diff will say, by ref.
        leaves: The same.
    """

    __slots__ = ("elsewhere", "here", "joins", "leaves", "listeners", "presence", "told")

    def __init__(self) -> None:
        self.listeners: dict[PresenceListener, str] = {}
        self.presence = Presence()
        self.here: dict[str, tuple[str, Meta]] = {}
        self.elsewhere: dict[str, tuple[str, Meta]] = {}
        self.told: tuple[bytes, ...] = ()
        self.joins: dict[str, tuple[str, Meta]] = {}
        self.leaves: dict[str, tuple[str, Meta]] = {}

    @property
    def count(self) -> int:
        return len(self.here) + len(self.elsewhere)

    def note_join(self, ref: str, key: str, meta: Meta) -> None:
        self.joins[ref] = (key, meta)

    def note_leave(self, ref: str, key: str, meta: Meta) -> None:
        """Also of somebody whose join was not told: a state in between had it."""
        self.joins.pop(ref, None)
        self.leaves[ref] = (key, meta)

    def take_diff(self) -> dict[str, State] | None:
        """What has changed since the last call; None for nothing."""
        joins, leaves = self.joins, self.leaves
        if not joins and not leaves:
            return None
        self.joins, self.leaves = {}, {}
        return {"joins": _state_of(joins), "leaves": _state_of(leaves)}


class StatePresences:
    """All rooms' presences, as far as this process has listeners.

    Args:
        others: Presences in other processes.
    """

    def __init__(self, others: PresentElsewhere) -> None:
        self._others = others
        self._topics: dict[str, _Topic] = {}
        self._changed: dict[str, None] = {}
        self._has_changed = trio.Event()
        self._is_new = trio.Event()
        others.tell_present(self._describe, self._rooms_here)

    def __len__(self) -> int:
        """How many appear whose connection is to this process."""
        return sum(len(topic.here) for topic in self._topics.values())

    def is_full(self, room_id: str) -> bool:
        """Whether no more may appear."""
        topic = self._topics.get(room_id)
        return topic is not None and topic.count >= MAX_PRESENT

    def enter(self, room_id: str, listener: PresenceListener, meta: Meta | None) -> None:
        """Have `listener` hear of the room, and appear if there is a `meta`. It is sent the state."""
        topic = self._topics.get(room_id)
        if topic is None:
            topic = self._topics[room_id] = _Topic()
            self._is_new.set()
        ref, key = "", listener.user_id or f"guest:{secrets.token_urlsafe(6)}"
        # Clients would break; such a user hears and does not appear, as in a match.
        if meta is not None and key not in FORBIDDEN_KEYS:
            ref, diff = topic.presence.track(key, meta)
            [added] = diff["joins"][key]["metas"]
            topic.here[ref] = (key, added)
            topic.note_join(ref, key, added)
            self._note(room_id)
            self._others.note_present(room_id)
        topic.listeners[listener] = ref
        listener.hear_state(topic.presence.state())

    def leave(self, room_id: str, listener: PresenceListener) -> None:
        """Have it hear no more, and be gone for others; nothing happens if it was not there."""
        topic = self._topics.get(room_id)
        ref = None if topic is None else topic.listeners.pop(listener, None)
        if topic is None or ref is None:
            return
        if ref:
            key, meta = topic.here.pop(ref)
            topic.presence.untrack(key, ref)
            topic.note_leave(ref, key, meta)
            self._note(room_id)
            self._others.note_present(room_id)
        if not topic.listeners:
            del self._topics[room_id]

    def state(self, room_id: str) -> State:
        """Everybody, for a client that has not been sent all diffs."""
        topic = self._topics.get(room_id)
        return {} if topic is None else topic.presence.state()

    def _note(self, room_id: str) -> None:
        self._changed[room_id] = None
        self._has_changed.set()

    # -- other processes -----------------------------------------------------------------

    def _rooms_here(self) -> list[str]:
        return [room_id for room_id, topic in self._topics.items() if topic.here]

    def _describe(self, room_id: str) -> bytes | None:
        """What others are told of the room."""
        topic = self._topics.get(room_id)
        if topic is None or not topic.here:
            return None
        return orjson.dumps([(ref, key, meta) for ref, (key, meta) in topic.here.items()])

    def hear(self, room_id: str, told: Iterable[bytes]) -> None:
        """Compare with what other processes tell of the room now."""
        topic, told = self._topics.get(room_id), tuple(told)
        if topic is None or topic.told == told:
            return
        topic.told = told
        there = {ref: (key, meta) for text in told for ref, key, meta in read_told(text)}
        for ref in topic.elsewhere.keys() - there.keys():
            key, meta = topic.elsewhere.pop(ref)
            topic.presence.untrack(key, ref)
            topic.note_leave(ref, key, meta)
        for ref in there.keys() - topic.elsewhere.keys() - topic.here.keys():
            key, meta = topic.elsewhere[ref] = there[ref]
            topic.presence.add(key, ref, meta)
            topic.note_join(ref, key, meta)
        if topic.joins or topic.leaves:
            self._note(room_id)

    # -- tasks ---------------------------------------------------------------------------

    async def run(self, life: Life) -> None:
        """Send diffs, and ask other processes; for ever."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._send_diffs)
            nursery.start_soon(self._ask_others)
            life.started()

    async def _send_diffs(self) -> None:
        while True:
            await self._has_changed.wait()
            await trio.sleep(DIFF_EVERY_S)
            self._has_changed = trio.Event()
            changed, self._changed = self._changed, {}
            for room_id in changed:
                self.send_diff(room_id)
                await trio.lowlevel.checkpoint()

    def send_diff(self, room_id: str) -> None:
        """Tell the room's listeners what has changed since the last time."""
        topic = self._topics.get(room_id)
        diff = None if topic is None else topic.take_diff()
        if topic is not None and diff is not None:
            told = Broadcast(PREFIX + room_id, DIFF, diff)
            for listener in tuple(topic.listeners):
                listener.hear_diff(told)

    async def _ask_others(self) -> None:
        while True:
            await self._is_new.wait()
            self._is_new = trio.Event()
            while self._topics:
                room_ids = list(self._topics)
                told = await self._others.present_elsewhere(room_ids)
                if told is not None:
                    for room_id in room_ids:
                        self.hear(room_id, told.get(room_id, ()))
                with trio.move_on_after(max(ASK_EVERY_S, len(room_ids) / ROOMS_PER_S)):
                    await self._is_new.wait()
                self._is_new = trio.Event()


def read_presence(payload: object) -> Mapping[str, Any] | str | None:
    """What a join asks for: a meta, `WATCH`, nothing (None), or the reason of a refusal."""
    asked = payload.get("presence") if isinstance(payload, Mapping) else None
    if asked is None or asked == WATCH:
        return asked
    if not isinstance(asked, dict):
        return INVALID
    try:
        return TOO_LARGE if len(orjson.dumps(asked)) > MAX_META_BYTES else asked
    except TypeError:  # half of a pair of surrogates has no UTF-8
        return INVALID


def read_told(text: bytes) -> list[tuple[str, str, Meta]]:
    """What another process tells of a room; nothing if it speaks another language."""
    try:
        told = orjson.loads(text)
    except ValueError:
        return []
    if not isinstance(told, list):
        return []
    return [
        (entry[0], entry[1], entry[2])
        for entry in told
        if isinstance(entry, list)
        and len(entry) == 3  # noqa: PLR2004  # ref, key, meta
        and isinstance(entry[0], str)
        and isinstance(entry[1], str)
        and isinstance(entry[2], dict)
    ]


def _state_of(metas: Mapping[str, tuple[str, Meta]]) -> State:
    state: State = {}
    for key, meta in metas.values():
        state.setdefault(key, {"metas": []})["metas"].append(meta)
    return state
