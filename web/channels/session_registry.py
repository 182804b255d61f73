"""The registry of all sessions of this process: limit, timeouts, logout and drain.

Clients reconnect without jitter, so a drain closes them in small batches over its
whole time; closing all at once would bring all back at once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import trio

from supervision import Life
from web.channels.identity import User
from web.channels.router import ChannelRouter
from web.channels.serializer import Serializer
from web.channels.session import Session
from web.channels.transport import EndReason, Transport

__all__ = ["SessionRegistry", "SessionStatistics", "batches"]

SWEEP_S: Final = 2.0
# Ticks between which other tasks run: well under a millisecond of them.
TICKS_PER_SLICE: Final = 500
DRAIN_STEP_S: Final = 0.1
MAX_SOCKETS: Final = 20_000


@dataclass(frozen=True, slots=True)
class SessionStatistics:
    """Counts of sessions.

    Attributes:
        open: Sessions now, long polls included.
        opened: Sessions since the start.
        refused: Requests turned away, by reason.
        ended: Sessions that ended, by what ended them.
    """

    open: int
    opened: int
    refused: dict[str, int]
    ended: dict[str, int]


class SessionRegistry:
    """The sessions of this process.

    Args:
        router: Finds the join handler of a topic.
        max_sockets: How many sessions there may be.
        clock: Seconds that only go forward.
    """

    def __init__(
        self,
        router: ChannelRouter,
        *,
        max_sockets: int = MAX_SOCKETS,
        clock: Callable[[], float] = trio.current_time,
    ) -> None:
        self._router = router
        self._max_sockets = max_sockets
        self._clock = clock
        self._sessions: dict[Session, None] = {}
        self._opened = 0
        self._refused: dict[str, int] = {}
        self._ended: dict[str, int] = {}
        self._none: trio.Event | None = None
        self.draining = False

    def __len__(self) -> int:
        return len(self._sessions)

    @property
    def full(self) -> bool:
        """Whether the limit is reached."""
        return len(self._sessions) >= self._max_sockets

    def now(self) -> float:
        """The time, by the clock of the sessions."""
        return self._clock()

    def open(self, user: User, serializer: Serializer, transport: Transport) -> Session:
        """Open a session for an authenticated client; it is removed when it ends."""
        session = Session(
            user,
            serializer=serializer,
            transport=transport,
            router=self._router,
            now=self._clock(),
            on_end=self._forget,
        )
        self._sessions[session] = None
        self._opened += 1
        return session

    def refused(self, reason: str) -> None:
        """Count a request that was turned away."""
        self._refused[reason] = self._refused.get(reason, 0) + 1

    def statistics(self) -> SessionStatistics:
        """Current counts."""
        return SessionStatistics(len(self._sessions), self._opened, dict(self._refused), dict(self._ended))

    def logout(self, user_id: str) -> int:
        """Close every socket of a user with 1001; returns how many there were."""
        theirs = [session for session in self._sessions if session.user.user_id == user_id]
        for session in theirs:
            session.logout()
        return len(theirs)

    async def run(self, life: Life) -> None:
        """Check the timeouts of all sessions every two seconds, for ever."""
        life.started()
        while True:
            await trio.sleep(SWEEP_S)
            await self.sweep()

    async def sweep(self) -> None:
        """Close idle sockets, and answer joins that nobody has answered."""
        for number, session in enumerate(tuple(self._sessions), 1):
            session.tick(self._clock())
            if number % TICKS_PER_SLICE == 0:
                await trio.lowlevel.checkpoint()

    async def drain(self, over_s: float) -> None:
        """Refuse new sessions and close all with 1012, spread over `over_s` seconds.

        Returns before the clients have answered.
        """
        self.draining = True
        started = trio.current_time()
        for number, batch in enumerate(batches(tuple(self._sessions), over_s)):
            await trio.sleep_until(started + number * DRAIN_STEP_S)
            for session in batch:
                session.drain()

    async def wait_none(self) -> None:
        """Wait until all sessions have ended."""
        while self._sessions:
            self._none = trio.Event()
            await self._none.wait()

    def abort_all(self) -> None:
        """Abort the connections whose client has not answered the close."""
        for session in tuple(self._sessions):
            session.abort()

    def _forget(self, session: Session) -> None:
        self._sessions.pop(session, None)
        why = session.ended_for or EndReason.CLIENT_GONE
        self._ended[why.value] = self._ended.get(why.value, 0) + 1
        if self._none is not None and not self._sessions:
            self._none.set()


def batches(sessions: Sequence[Session], over_s: float) -> Iterator[Sequence[Session]]:
    """The sessions in equal batches, one for every tenth of a second of `over_s`."""
    steps = max(1, int(over_s / DRAIN_STEP_S))
    size = max(1, math.ceil(len(sessions) / steps))
    return (sessions[at : at + size] for at in range(0, len(sessions), size))
