"""Access by tokens as configured: keys, who may do what in rooms, and what ends when a token expires."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from supervision import ChildSpec
from web.handlers.access import Access
from web.handlers.cors import Cors
from web.handlers.expiries import Expiries
from web.handlers.jwks import JwksFile, JwksUrl
from web.handlers.jwt_keys import JwtKeys
from web.handlers.metrics import counter, counters, gauge
from web.wiring.feature import Feature

if TYPE_CHECKING:
    from collections.abc import Iterator

    from web.handlers.metrics import Sample
    from web.settings import Settings


REFUSED: Final = ("401", "403")


@dataclass(frozen=True, slots=True)
class AccessFeature(Feature):
    """Who may do what.

    Attributes:
        keys: What tokens are signed with.
        source: Where public keys come from; None if there are none.
        rooms: Judges calls on rooms; None where they are open.
        stats: Judges readers of stats; None where they are open, or only for game servers.
        expiries: Ends what was opened with a token.
    """

    keys: JwtKeys
    source: JwksFile | JwksUrl | None
    rooms: Access | None
    stats: Access | None
    expiries: Expiries

    def supervisors(self) -> list[ChildSpec]:
        """What ends streams whose token expires."""
        if self.rooms is None and self.stats is None:
            return []
        return [ChildSpec(id="expiries", start=self.expiries.run)]

    def children(self) -> list[ChildSpec]:
        """The reader of public keys."""
        return [] if self.source is None else [ChildSpec(id="jwks", start=self.source.run)]

    def away(self) -> tuple[str, ...]:
        """`jwks` while public keys cannot be read."""
        return () if self.source is None or self.source.trouble is None else ("jwks",)

    def metrics(self) -> Iterator[Sample]:
        """Tokens and keys."""
        access = self.rooms or self.stats
        if access is not None:
            yield gauge("tokens_remembered", "Tokens that need not be verified again.", len(access))
            yield counter(
                "tokens_verified", "Tokens whose signature was checked and is good.", access.verified
            )
            yield counters(
                "tokens_refused", "Requests turned down for their token.", "status", access.refused, REFUSED
            )
            yield gauge("token_streams", "Streams and topics that end with a token.", len(self.expiries))
        if self.source is not None:
            yield gauge("jwks_keys", "Public keys in force.", len(self.keys))

    def reload(self) -> None:
        """Read the public keys again."""
        if self.source is not None:
            self.source.read_soon()

    async def aclose(self) -> None:
        """Close the connection to where public keys come from."""
        if isinstance(self.source, JwksUrl):
            await self.source.aclose()


def build_access(settings: Settings) -> AccessFeature:
    """What the settings ask for; nothing runs yet.

    Raises:
        BadKeys: `JWT_JWKS_FILE` cannot be used.
    """
    keys = JwtKeys([secret.get_secret_value() for secret in settings.jwt_secret])
    access = Access(keys, admin_token=settings.admin_token, cors=cors_of(settings))
    source: JwksFile | JwksUrl | None = None
    if settings.jwt_jwks_file is not None:
        source = JwksFile(settings.jwt_jwks_file, keys)
    elif settings.jwt_jwks_url is not None:
        source = JwksUrl(settings.jwt_jwks_url, keys)
    reads_stats = settings.verifies_tokens and settings.stats_read == "token"
    return AccessFeature(
        keys=keys,
        source=source,
        rooms=access if settings.room_auth == "token" else None,
        stats=access if reads_stats else None,
        expiries=Expiries(),
    )


def cors_of(settings: Settings) -> Cors:
    """The origins that may read our answers."""
    return Cors(frozenset(settings.cors_origins), credentials=settings.cors_credentials)
