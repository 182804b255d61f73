"""One active Roblox player: through this task go all snapshots of the player, in order."""

from __future__ import annotations

from typing import Final, NamedTuple

from actors.automation.recorder import Recorder
from actors.automation.requests import Asker, Entry, NotRecorded
from actors.automation.roster import Roster
from actors.core import Actor, ActorGone, Registry, Timer, send_after

# A game server sends a snapshot at least every minute or so while somebody plays.
IDLE_S: Final = 120.0
# Nobody writes to it but its own timer.
MAILBOX_SLOTS: Final = 1


class LookIdle(NamedTuple):
    """From the player to itself: has anything happened since the last?"""


class RobloxPlayer(Actor[LookIdle]):
    """Hands one player's snapshots to the recorder, in order; never waits for a commit.

    It is the recorder that answers, so the snapshots of many players share a transaction. One is handed
    on by whoever brings it, without a turn of the player's task: that keeps the player's place in the
    roster, and retires when idle. What is known of the player stands there, so a crash loses nothing.

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

    def hand_on(self, entry: Entry, asker: Asker) -> NotRecorded | None:
        """Let the recorder record `entry` and answer `asker`, or say at once why not. Never waits.

        Raises:
            ActorGone: The player has retired; its successor may be asked.
        """
        if not self.is_alive:
            raise ActorGone(self.name, entry)
        self._is_active = True
        return self._recorder.submit(entry, asker)

    async def receive(self, message: LookIdle) -> None:  # noqa: ARG002  # there is only one
        """Retire if nothing has happened since the last look."""
        if self._is_active:
            self._is_active = False
            self._idle_timer = send_after(self._idle_s, self, LookIdle())
        else:
            self.stop()

    async def terminate(self) -> None:
        """Forget the player; the database does not."""
        self._roster.close(self.user_id)
