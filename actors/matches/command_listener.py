"""Carries out operators' commands from the Pub/Sub channel `room_commands`, if this node hosts the room.

Redis keeps nothing for a listener that is away: a command published during an
outage is not heard, and whoever sent it sees no `aborted`.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Final

from actors.links import LinkDown, RedisLink, Subscription
from actors.matches.matches import Matches
from actors.matches.room_command import Ignored, read_command
from supervision import Life

logger: Final = logging.getLogger("actors.matches.commands")

CHANNEL: Final = "room_commands"


@dataclass(frozen=True, slots=True)
class ListenerStatistics:
    """Counts since the start.

    Attributes:
        heard: Messages.
        obeyed: Those about a match that lives here.
        elsewhere: Those about any other room.
        ignored: Those that were no command.
    """

    heard: int
    obeyed: int
    elsewhere: int
    ignored: int


class CommandListener:
    """The listener. As a child of the tree it is `run`.

    Args:
        link: The way to Redis.
        matches: The matches of this node.
        wait_s: Longest wait in the worker thread, and so the longest a stop takes.
    """

    def __init__(self, *, link: RedisLink, matches: Matches, wait_s: float = 0.25) -> None:
        self._link = link
        self._matches = matches
        self._wait_s = wait_s
        self._obeyed = self._elsewhere = self._ignored = 0

    def statistics(self) -> ListenerStatistics:
        """Current counts."""
        heard = self._obeyed + self._elsewhere + self._ignored
        return ListenerStatistics(heard, self._obeyed, self._elsewhere, self._ignored)

    async def run(self, life: Life) -> None:
        """Listen until cancelled."""
        subscription = Subscription(self._link, CHANNEL, wait_s=self._wait_s)
        life.started()
        try:
            while True:
                try:
                    messages = await subscription.read()
                except LinkDown as trouble:
                    await self._link.wait_out(trouble)
                else:
                    for message in messages:
                        self._obey(message)
        finally:
            subscription.close()

    def _obey(self, message: bytes) -> None:
        command = read_command(message)
        if isinstance(command, Ignored):
            self._ignored += 1
            logger.warning("room_command_ignored", extra={"reason": command.value, "bytes": len(message)})
        elif self._matches.terminate(command.room_id):
            self._obeyed += 1
            facts = {"room_id": command.room_id, "admin_id": command.admin_id}
            logger.info("room_command_obeyed", extra=facts)
        else:
            self._elsewhere += 1
            logger.debug("room_command_for_another_node")
