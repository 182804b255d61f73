"""What leans on engines outside: Redis, and the API server that hears about matches."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from actors.links import RedisLink
from supervision import ChildSpec, State, Supervisor
from web.handlers.metrics import counter, gauge, gauges
from web.wiring.matches import MatchMaking, build_match_making

if TYPE_CHECKING:
    from collections.abc import Iterator

    from actors.rooms import Rooms
    from web.handlers.metrics import Reading
    from web.settings import Settings

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Integrations:
    """What is configured of it; None where it is not."""

    link: RedisLink | None
    match_making: MatchMaking | None

    def away(self) -> tuple[str, ...]:
        """Names of configured engines that cannot be reached, or refuse what is needed of them."""
        return () if self.link is None or self.link.trouble is None else ("redis",)

    def health(self) -> dict[str, object]:
        """What is wrong with Redis, and at which address, for people."""
        trouble = None if self.link is None else self.link.trouble
        return {} if trouble is None else {"redis": trouble}

    def children(self) -> list[ChildSpec]:
        """Recipes, in the order of their start."""
        children = []
        if self.link is not None:
            children.append(ChildSpec(id="redis_link", start=self.link.run))
        if self.match_making is not None:
            children += self.match_making.children()
        return children

    def readings(self) -> Iterator[Reading]:
        """What they count."""
        if self.link is not None:
            link = self.link.statistics()
            yield gauge("redis_up", "Whether Redis answers and refuses nothing that is needed.", link.healthy)
            yield gauges("redis_refused", "Operations that Redis refuses now.", "code", link.refused)
            trouble = self.link.trouble
            causes = {} if trouble is None else {trouble: 1.0}
            yield gauges("redis_trouble", "What is wrong with Redis, and where it is.", "cause", causes)
            yield counter("redis_outages", "Times Redis went away.", link.outages)
        if self.match_making is not None:
            yield from self.match_making.readings()


class Restarting:
    """Children that depend on servers outside, failed, and wait for their next start: health and metrics.

    Attributes:
        supervisor: Theirs; None until the tree is made, or without any such child.
    """

    def __init__(self) -> None:
        self.supervisor: Supervisor | None = None

    def names(self) -> tuple[str, ...]:
        """Their ids."""
        children = () if self.supervisor is None else self.supervisor.which_children()
        return tuple(str(child.id) for child in children if child.state is State.RESTARTING)

    def readings(self) -> Iterator[Reading]:
        """One for each that restarts now."""
        names = dict.fromkeys(self.names(), 1.0)
        yield gauges(
            "child_restarting", "Children that failed and wait for their next start.", "child", names
        )


def build_integrations(settings: Settings, rooms: Rooms) -> Integrations:
    """What the settings ask for, nothing running yet.

    Raises:
        RulesError: A game that is installed cannot be used.
    """
    if settings.redis_url is None:
        return Integrations(None, None)
    link = RedisLink(settings.redis_url.get_secret_value())
    if settings.api_base_url is None:
        logger.warning("creation_consumer_off", extra={"reason": "API_BASE_URL is not set"})
        return Integrations(link, None)
    return Integrations(link, build_match_making(settings, settings.api_base_url, link, rooms))
