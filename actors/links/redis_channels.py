"""Many Pub/Sub channels over one trio-native connection, with proof that it hears.

Redis keeps nothing for a subscriber that is away, so this says when something may have been missed:
`on_subscribed` comes for a channel each time Redis has begun to send it, at first and after every
loss of the connection. Whoever reads the newest value at that moment has missed nothing.

A connection can be healthy and still carry no messages (a proxy that swallows Pub/Sub, a server that
dropped its subscribers). Therefore a probe is published to a channel of this connection's own every
`probe_every_s`; after `PROBES_MISSED` without one coming back the connection is made anew.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import redis
import trio

from actors.core import write_batch
from actors.links.errors import LinkDown
from actors.links.redis_address import (
    BREAKS,
    RECONNECT,
    RedisAddress,
    packed,
    read_answers,
    stay_connected,
)
from actors.links.redis_wire import IGNORED, RedisWire
from supervision import Backoff

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from supervision import Life

# Channels in one SUBSCRIBE: more would hold up Redis for others.
CHANNELS_PER_COMMAND: Final = 512
PROBES_MISSED: Final = 2
# For errors.
NAME: Final = "redis_channels"


@dataclass(frozen=True, slots=True)
class ChannelStatistics:
    """Counts since the start.

    Attributes:
        up: Whether the connection is there.
        channels: Channels wanted now.
        messages: Messages received, probes excluded.
        superseded: Of these, those not handed on because a newer one of the same channel had come.
        lost: Times the connection was lost.
        deaf: Of these, those found by a missing probe.
    """

    up: bool
    channels: int
    messages: int
    superseded: int
    lost: int
    deaf: int


class RedisChannels:
    """Subscriptions that come and go, read by one task that never waits for whoever is told.

    Args:
        url: As for `RedisWire`.
        wire: Publishes the probes; while it is down no probe is expected.
        on_messages: Channels and their messages, in one call for all that arrived together; where they
            arrive faster than they are read, only the newest of each channel. Must neither wait nor raise.
        on_subscribed: Redis sends this channel from now on. Must neither wait nor raise.
        on_lost: The connection has ended: what is published from now on is missed. As the others.
        newest_only: False where every message counts, and not the newest of a channel alone.
        prefix: Put before the name of the probe's channel.
        probe_every_s: Seconds between probes.
    """

    def __init__(
        self,
        url: str,
        wire: RedisWire,
        *,
        on_messages: Callable[[Collection[tuple[bytes, bytes]]], None],
        on_subscribed: Callable[[bytes], None],
        on_lost: Callable[[], None] = lambda: None,
        newest_only: bool = True,
        prefix: str = "gr",
        connect_timeout_s: float = 2.0,
        probe_every_s: float = 1.0,
        backoff: Backoff = RECONNECT,
    ) -> None:
        self._address = RedisAddress(url)
        self._wire = wire
        self._on_messages = on_messages
        self._on_subscribed = on_subscribed
        self._on_lost = on_lost
        self._newest_only = newest_only
        self._connect_timeout_s = connect_timeout_s
        self._probe_every_s = probe_every_s
        self._backoff = backoff
        self._probe = f"{prefix}:probe:{secrets.token_hex(8)}".encode()
        self._wanted: set[bytes] = set()
        self._to_ask: dict[bytes, bytes] = {}  # channel to SUBSCRIBE or UNSUBSCRIBE, in the order wanted
        self._has_to_ask = trio.Event()
        self._is_open = False
        self._heard_at = 0.0
        self._messages = self._superseded = self._lost = self._deaf = 0
        self._connections = 0
        self._opened = trio.Event()

    @property
    def connection(self) -> int:
        """Number of the present connection, from 1; 0 while there is none."""
        return self._connections if self._is_open else 0

    async def until_up(self) -> None:
        """Wait for a connection; a checkpoint if there is one."""
        await trio.lowlevel.checkpoint()
        while not self._is_open:
            await self._opened.wait()

    def statistics(self) -> ChannelStatistics:
        """Current counts."""
        return ChannelStatistics(
            self._is_open, len(self._wanted), self._messages, self._superseded, self._lost, self._deaf
        )

    def subscribe(self, channel: bytes) -> None:
        """Want a channel; `on_subscribed` follows. Nothing happens if it is wanted already."""
        if channel not in self._wanted:
            self._wanted.add(channel)
            self._ask(channel, b"SUBSCRIBE")

    def unsubscribe(self, channel: bytes) -> None:
        """Want it no more. Messages that are under way may still come."""
        if channel in self._wanted:
            self._wanted.discard(channel)
            self._ask(channel, b"UNSUBSCRIBE")

    def _ask(self, channel: bytes, command: bytes) -> None:
        self._to_ask[channel] = command
        self._has_to_ask.set()

    # -- the connection ------------------------------------------------------------------

    async def run(self, life: Life) -> None:
        """Connect, listen, and connect again, until cancelled."""
        life.started()
        await stay_connected(
            self._address, self._listen, connect_timeout_s=self._connect_timeout_s, backoff=self._backoff
        )

    async def _listen(self, stream: trio.abc.Stream) -> bool:
        try:
            async with trio.open_nursery() as nursery:
                self._to_ask = dict.fromkeys((self._probe, *self._wanted), b"SUBSCRIBE")
                self._has_to_ask.set()
                self._heard_at = trio.current_time()
                self._connections += 1
                self._is_open = True
                self._opened.set()
                self._opened = trio.Event()
                nursery.start_soon(self._write, stream)
                nursery.start_soon(partial(read_answers, stream.receive_some, self._take, link=NAME))
                nursery.start_soon(self._prove)
        except* BREAKS:
            pass
        finally:
            self._is_open = False
            self._lost += 1
            self._on_lost()
        return True

    async def _write(self, stream: trio.abc.Stream) -> None:
        while True:
            await self._has_to_ask.wait()
            self._has_to_ask = trio.Event()
            asked, self._to_ask = self._to_ask, {}
            for command in (b"SUBSCRIBE", b"UNSUBSCRIBE"):
                channels = [channel for channel, wish in asked.items() if wish == command]
                for first in range(0, len(channels), CHANNELS_PER_COMMAND):
                    part = channels[first : first + CHANNELS_PER_COMMAND]
                    await stream.send_all(packed((command, *part)))

    def _take(self, answers: Iterator[Any], is_behind: bool) -> None:  # noqa: FBT001
        """Hand on what has arrived."""
        messages: list[tuple[bytes, bytes]] = []
        with write_batch():
            for said in answers:
                if isinstance(said, redis.ResponseError):
                    raise said
                self._note(said, messages)
            if is_behind and self._newest_only:
                newest = dict(messages)
                self._superseded += len(messages) - len(newest)
                self._on_messages(newest.items())
            elif messages:
                self._on_messages(messages)

    def _note(self, said: Any, messages: list[tuple[bytes, bytes]]) -> None:
        match said:
            case [b"message", self._probe, _]:
                self._heard_at = trio.current_time()
            case [b"message", channel, payload]:
                self._messages += 1
                messages.append((channel, payload))
            case [b"subscribe", channel, _] if channel in self._wanted:
                self._on_subscribed(channel)
            case _:
                pass  # an acknowledgement of what is not wanted any more

    async def _prove(self) -> None:
        """Publish a probe now and then, and end a connection that does not hear it."""
        patience_s = self._probe_every_s * PROBES_MISSED
        while True:
            await trio.sleep(self._probe_every_s)
            if not self._wire.is_up:
                self._heard_at = trio.current_time()
            elif trio.current_time() - self._heard_at > patience_s:
                self._deaf += 1
                raise LinkDown(NAME)
            else:
                self._publish_probe()

    def _publish_probe(self) -> None:
        try:
            self._wire.send(("PUBLISH", self._probe, b"1"), IGNORED)
        except LinkDown:
            pass  # too much waits for the wire; the next probe will be tried
