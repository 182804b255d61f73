"""Channels as configured: who may connect, and what topics there are.

Tokens are verified here when `JWT_SECRET` is set, and otherwise (or with
`AUTH_VERIFY=remote`) by the API server. Where neither is configured nobody can
prove who they are: clients connect without a token then, and may watch
(`state:*`), not play.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from web.channels.gate import Gate
from web.channels.longpoll import LongPolls
from web.channels.remote import RemoteTokens
from web.channels.room_topic import ROOM_PATTERN, RoomTopic
from web.channels.sockets import Sockets
from web.channels.state_topic import STATE_PATTERN, StateTopic
from web.channels.tokens import LocalTokens
from web.channels.topics import Topics
from web.handlers.cors import Cors
from web.handlers.http import Answer, Request, error
from web.handlers.metrics import counter, counters, gauge
from web.handlers.routes import Endpoint, Route

if TYPE_CHECKING:
    from collections.abc import Iterator

    from actors.matches.player_connection import MatchDirectory, MatchPort
    from web.channels.identity import User
    from web.channels.tokens import Tokens
    from web.handlers.metrics import Reading
    from web.parts import Domain
    from web.settings import Settings

REMOTE: Final = "remote"
SOCKET_PATTERN: Final = "/socket/websocket"
UPGRADE_REQUIRED: Final = error(
    426, "upgrade_required", "this is for WebSockets", headers=(("Upgrade", "websocket"),)
)


class NoMatches:
    """A node without a matchmaker."""

    def find(self, room_id: str) -> MatchPort | None:  # noqa: ARG002  # whatever its id
        """There is none."""
        return None


class NoTokens:
    """Nobody who could say whether a token is good."""

    async def verify(self, token: str) -> User | None:  # noqa: ARG002  # whatever it says
        """It is not."""
        return None


@dataclass(frozen=True, slots=True)
class Channels:
    """All of them.

    Attributes:
        gate: Lets clients in, and knows the sockets.
        polls: Those who have no WebSocket.
        rooms: The players.
        tokens: To be closed at the end, if they are verified elsewhere.
    """

    gate: Gate
    polls: LongPolls
    rooms: RoomTopic
    tokens: Tokens

    @property
    def sockets(self) -> Sockets:
        """The sessions there are."""
        return self.gate.sockets

    def routes(self) -> tuple[Route, ...]:
        """The paths of plain requests and what answers them."""
        return (self.polls.route(), Route(SOCKET_PATTERN, {"GET": Endpoint(_no_upgrade)}))

    async def aclose(self) -> None:
        """Let go of the API server."""
        if isinstance(self.tokens, RemoteTokens):
            await self.tokens.aclose()

    def readings(self) -> Iterator[Reading]:
        """What they count."""
        now = self.sockets.statistics()
        yield gauge("sockets", "Open sockets, long polls included.", now.open)
        yield gauge("long_polls", "Sockets that are long polls.", len(self.polls))
        yield counter("sockets_opened", "Sockets opened.", now.opened)
        yield counters("sockets_refused", "Connects turned down.", "reason", now.refused)
        yield counters("sockets_ended", "Sockets that ended.", "reason", now.ended)
        yield gauge("connected_players", "Players with a live channel.", self.rooms.connected_players)
        yield gauge("rooms_with_players", "Rooms with a player connected.", self.rooms.rooms)


async def _no_upgrade(_request: Request) -> Answer:
    """For a request that reached the table: one that asks for a WebSocket never does."""
    return UPGRADE_REQUIRED


def build_channels(settings: Settings, domain: Domain) -> Channels:
    """What the settings ask for, nothing running yet."""
    making = domain.integrations.match_making
    matches: MatchDirectory = NoMatches() if making is None else making.matches
    rooms = RoomTopic(matches)
    topics = Topics({ROOM_PATTERN: rooms, STATE_PATTERN: StateTopic(domain.rooms)})
    sockets = Sockets(topics, max_sockets=settings.max_sockets)
    tokens = tokens_of(settings)
    cors = Cors(frozenset(settings.cors_origins))
    gate = Gate(sockets, tokens, cors, anonymous=isinstance(tokens, NoTokens))
    return Channels(gate, LongPolls(gate), rooms, tokens)


def tokens_of(settings: Settings) -> Tokens:
    """Who verifies tokens."""
    if settings.jwt_secret and settings.auth_verify != REMOTE:
        return LocalTokens([secret.get_secret_value() for secret in settings.jwt_secret])
    if settings.api_base_url is None:
        return NoTokens()
    return RemoteTokens(settings.api_base_url, [key.get_secret_value() for key in settings.internal_api_key])
