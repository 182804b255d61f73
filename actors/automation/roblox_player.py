"""One active Roblox player: through this task go all snapshots of the player, in order."""

from __future__ import annotations

from typing import Final

from actors.automation.recorder import Recorder
from actors.automation.requests import Asker, Entry, NotRecorded
from actors.automation.roster import Roster
from actors.core import ActorGone, Registry, RetiringActor

# A game server sends a snapshot at least every minute or so while somebody plays.
IDLE_S: Final = 120.0
# It is sent no messages.
MAILBOX_SLOTS: Final = 1


class RobloxPlayer(RetiringActor[None]):
    """Hands one player's snapshots to the recorder, in order; never waits for a commit.

    It is the recorder that answers, so the snapshots of many players share a transaction. One is handed
    on by whoever brings it, without a turn of the player's task: that keeps the player's place in the
    roster, and retires when idle. What is known of the player stands there, so a crash loses nothing.

    Args:
        user_id: The name in the registry is `("roblox", user_id)`.
        recorder: Where snapshots go.
        roster: Where what is known of the player stands.
    """

    __slots__ = ("_recorder", "_registry", "_roster", "user_id")

    def __init__(self, user_id: int, *, recorder: Recorder, roster: Roster, registry: Registry) -> None:
        super().__init__(("roblox", user_id), mailbox_slots=MAILBOX_SLOTS)
        self.user_id = user_id
        self._recorder = recorder
        self._roster = roster
        self._registry = registry

    async def init(self) -> None:
        """Take the name and a place in the roster."""
        self._registry.register(self.name, self)
        self._roster.open(self.user_id)

    def hand_on(self, entry: Entry, asker: Asker) -> NotRecorded | None:
        """Let the recorder record `entry` and answer `asker`, or say at once why not. Never waits.

        Raises:
            ActorGone: The player has retired; its successor may be asked.
        """
        if not self.is_alive:
            raise ActorGone(self.name, entry)
        self.touch()
        return self._recorder.submit(entry, asker)

    async def terminate(self) -> None:
        """Forget the player; the database does not."""
        self._roster.close(self.user_id)
