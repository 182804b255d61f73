"""One active Roblox player: through this task go all snapshots of the player, in order."""

from __future__ import annotations

from typing import Final, NamedTuple, assert_never

from actors.automation.batch import SnapshotEntry
from actors.automation.recorder import Recorder
from actors.automation.requests import Asker, ByHand, Change, Entry, NotRecorded
from actors.automation.roster import Roster
from actors.core import Actor, ActorGone, MailboxFull, Registry, Timer, send_after

# A game server sends a snapshot at least every minute or so while somebody plays.
IDLE_S: Final = 120.0
# One player's snapshots come from one game server; only a stuck recorder lets them pile up.
MAILBOX_SLOTS: Final = 64


class LookIdle(NamedTuple):
    """From the player to itself: has anything happened since the last?"""


Message = SnapshotEntry | ByHand | LookIdle


class RobloxPlayer(Actor[Message]):
    """Puts one player's snapshots into an order and hands them to the recorder; never waits for a commit.

    It is the recorder that answers, so the snapshots of many players share a transaction. What is known
    of the player stands in the roster, so a crash of this task loses nothing. Retires when idle.

    Args:
        user_id: The name in the registry is `("roblox", user_id)`.
        recorder: Where snapshots go.
        roster: Where what is known of the player stands.
    """

    __slots__ = ("_idle_s", "_idle_timer", "_is_active", "_recorder", "_registry", "_roster", "user_id")

    def __init__(
        self, user_id: int, *, recorder: Recorder, roster: Roster, registry: Registry, idle_s: float = IDLE_S
    ) -> None:
        super().__init__(("roblox", user_id), mailbox_slots=MAILBOX_SLOTS)
        self.user_id = user_id
        self._recorder = recorder
        self._roster = roster
        self._registry = registry
        self._idle_s = idle_s
        self._is_active = True
        self._idle_timer: Timer | None = None

    async def init(self) -> None:
        """Take the name and a place in the roster."""
        self._registry.register(self.name, self)
        self._roster.open(self.user_id)
        if self._idle_timer is not None:
            self._idle_timer.cancel()
        self._idle_timer = send_after(self._idle_s, self, LookIdle())

    async def receive(self, message: Message) -> None:
        """Handle one message; the recorder answers for us."""
        match message:
            case SnapshotEntry() | ByHand():
                self._is_active = True
                if (asker := self.defer()) is not None:
                    self._hand_on(message, asker)
            case LookIdle():
                self._look_idle()
            case _:
                assert_never(message)

    async def terminate(self) -> None:
        """Forget the player; the database does not."""
        self._roster.close(self.user_id)

    def _hand_on(self, entry: Entry, asker: Asker) -> None:
        try:
            self._recorder.cast(Change(entry, asker))
        except MailboxFull:
            asker.send(NotRecorded.BUSY)
        except ActorGone:
            asker.send(NotRecorded.FAILED)

    def _look_idle(self) -> None:
        if self._is_active:
            self._is_active = False
            self._idle_timer = send_after(self._idle_s, self, LookIdle())
        else:
            self.stop()
