"""Channels as configured: who may connect, and the sessions of those who have; topics come from the features.

Tokens are verified here when `JWT_SECRET` or public keys are set, and otherwise (or with
`AUTH_VERIFY=remote`) by the API server. Where neither is configured nobody can
prove who they are: clients connect without a token then, and may watch
(`state:*`), not play.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from web.channels.logout import LogoutHandler
from web.channels.long_poll import LongPolls
from web.channels.remote import RemoteTokens
from web.channels.router import ChannelRouter
from web.channels.session_registry import SessionRegistry
from web.channels.socket_auth import SocketAuth
from web.channels.tokens import GrantedTokens, LocalTokens
from web.channels.transport import EndReason
from web.handlers.http import Answer, Request, error
from web.handlers.inspection.section import SampledSection
from web.handlers.metrics import counter, counters, gauge
from web.handlers.paths import SOCKET_PATH
from web.handlers.routes import Endpoint, Route
from web.wiring.access import cors_of
from web.wiring.feature import Feature

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping

    from actors.core import Trace
    from actors.links import NodeInbox
    from web.channels.identity import User
    from web.channels.router import JoinHandler
    from web.channels.tokens import Tokens
    from web.handlers.inspection.section import Section
    from web.handlers.jwt_keys import JwtKeys
    from web.handlers.metrics import Sample
    from web.settings import Settings
    from web.wiring.access import AccessFeature

# Why a connect is refused.
REFUSED: Final = ("draining", "full", "origin", "vsn", "token")
REMOTE: Final = "remote"
SOCKET_PATTERN: Final = "/".join(("", *SOCKET_PATH))
UPGRADE_REQUIRED: Final = error(
    426, "upgrade_required", "this is for WebSockets", headers=(("Upgrade", "websocket"),)
)


class NoTokens:
    """A node that cannot verify tokens."""

    async def verify(self, token: str, trace: Trace | None = None) -> User | None:  # noqa: ARG002  # whatever it says
        """Refuse every token."""
        return None


@dataclass(frozen=True, slots=True)
class ChannelsFeature(Feature):
    """The sockets of a node, whatever topics they join.

    Attributes:
        auth: Authenticates clients, and has the sessions.
        polls: The long-polling clients.
        tokens: Verifies tokens.
        logout: Closes the sockets of a user.
    """

    auth: SocketAuth
    polls: LongPolls
    tokens: Tokens
    logout: LogoutHandler

    @property
    def sockets(self) -> SessionRegistry:
        """The sessions of this process."""
        return self.auth.sockets

    def routes(self) -> tuple[Route, ...]:
        """The HTTP routes."""
        socket = Route(SOCKET_PATTERN, {"GET": Endpoint(_no_upgrade)})
        return (self.polls.route(), socket, *self.logout.routes())

    async def aclose(self) -> None:
        """Close the connections to the API server."""
        if isinstance(self.tokens, RemoteTokens):
            await self.tokens.aclose()

    def sections(self) -> Mapping[str, Section]:
        """Sockets, and why they end."""
        return {"sockets": SampledSection(self.metrics)}

    def metrics(self) -> Iterator[Sample]:
        """The metrics of channels."""
        now = self.sockets.statistics()
        yield gauge("sockets", "Open sockets, long polls included.", now.open)
        yield gauge("long_polls", "Sockets that are long polls.", len(self.polls))
        yield counter("long_polls_forwarded", "Polls and posts sent on to their node.", self.polls.forwarded)
        yield counter("sockets_opened", "Sockets opened.", now.opened)
        yield counters("sockets_refused", "Connects turned down.", "reason", now.refused, REFUSED)
        yield counters("sockets_ended", "Sockets that ended.", "reason", now.ended, EndReason)


async def _no_upgrade(_request: Request) -> Answer:
    """For a request that reached the table: one that asks for a WebSocket never does."""
    return UPGRADE_REQUIRED


def build_channels(
    settings: Settings,
    access: AccessFeature,
    topics: Mapping[str, JoinHandler],
    logout: Callable[[str], Awaitable[tuple[int, object]]],
    inbox: NodeInbox | None,
) -> ChannelsFeature:
    """Sockets that can join `topics`, by pattern; nothing runs yet.

    Args:
        settings: The node's.
        access: Who may do what.
        topics: What can be joined.
        logout: Closes a user's sockets in all processes: how many there were, and what that covers.
        inbox: The way to other nodes, for long polls of their sessions.
    """
    sockets = SessionRegistry(ChannelRouter(topics), max_sockets=settings.max_sockets)
    tokens = tokens_of(settings, access.keys)
    anonymous = isinstance(tokens, NoTokens)
    granted = tokens if access.rooms is None else GrantedTokens(tokens, access.rooms)
    auth = SocketAuth(
        sockets, granted, cors_of(settings), anonymous=anonymous, trusted=settings.trusted_proxies
    )
    return ChannelsFeature(
        auth, LongPolls(auth, inbox=inbox), tokens, LogoutHandler(logout, settings.admin_token)
    )


def tokens_of(settings: Settings, keys: JwtKeys) -> Tokens:
    """The verifier that the settings ask for."""
    if settings.verifies_tokens and settings.auth_verify != REMOTE:
        return LocalTokens(keys=keys)
    if settings.api_base_url is None:
        return NoTokens()
    return RemoteTokens(settings.api_base_url, [key.get_secret_value() for key in settings.internal_api_key])
