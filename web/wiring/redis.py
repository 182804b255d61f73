"""The link to Redis, for whatever needs it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from actors.links import REFUSALS, RedisLink
from supervision import ChildSpec
from web.handlers.metrics import counter, gauge, gauges, histograms
from web.wiring.feature import Feature

if TYPE_CHECKING:
    from collections.abc import Iterator

    from actors.core import Histogram
    from web.handlers.metrics import Sample
    from web.settings import Settings


@dataclass(frozen=True, slots=True)
class RedisFeature(Feature):
    """Redis as configured.

    Attributes:
        link: None without `REDIS_URL`.
        round_trips: Times of all connections to Redis, by the name of each.
    """

    link: RedisLink | None
    round_trips: dict[tuple[str, ...], Histogram] = field(default_factory=dict)

    def children(self) -> list[ChildSpec]:
        """The link."""
        return [] if self.link is None else [ChildSpec(id="redis_link", start=self.link.run)]

    def away(self) -> tuple[str, ...]:
        """Whether Redis cannot be reached, or refuses what is needed of it."""
        return () if self.link is None or self.link.trouble is None else ("redis",)

    def health(self) -> dict[str, object]:
        """What is wrong with Redis, and at which address."""
        trouble = None if self.link is None else self.link.trouble
        return {} if trouble is None else {"redis": trouble}

    def metrics(self) -> Iterator[Sample]:
        """Whether it is there, and what it refuses."""
        if self.link is None:
            return
        link = self.link.statistics()
        yield gauge("redis_up", "Whether Redis answers and refuses nothing that is needed.", link.healthy)
        yield gauges("redis_refused", "Operations that Redis refuses now.", "code", link.refused, REFUSALS)
        trouble = self.link.trouble
        causes = {} if trouble is None else {trouble: 1.0}
        yield gauges("redis_trouble", "What is wrong with Redis, and where it is.", "cause", causes, ())
        text = "From a pipeline, or a batch of commands (one at a time is timed), to its answer."
        round_trips = {("jobs",): self.link.round_trips, **self.round_trips}
        yield histograms("redis_round_trip_seconds", text, ("link",), round_trips)
        yield counter("redis_outages", "Times Redis went away.", link.outages)


def build_redis(settings: Settings) -> RedisFeature:
    """The link that the settings ask for, not running yet."""
    urls = settings.redis_urls
    return RedisFeature(RedisLink(urls[0]) if urls else None)
