"""Players' stats as configured: who may post, what is kept, and what runs for it.

Stats are kept as soon as there is a database: because somebody may post some
(`GAME_SERVER_TOKENS`), because one is named (`DATABASE_URL`), or for GRPS
automation and its keys. Without any there is no database file, the routes are
there, and answer that nobody may come in.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from actors.links import DatabaseChannel, Expiry, RetentionSweeper, WallClock
from actors.players import CHANNEL, GameConfig, News, Players, Rules, forget_old
from supervision import ChildSpec, ChildType
from web.handlers.game_config import GameConfigHandlers
from web.handlers.game_servers import GameServers
from web.handlers.inspection.section import SampledSection
from web.handlers.metrics import counter, counters, gauge, histogram
from web.handlers.stats import StatsHandlers, StatsRules
from web.wiring.feature import Feature

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from actors.core import Registry
    from actors.links import Database, DatabasePart
    from web.handlers.access import Access
    from web.handlers.inspection.section import Section
    from web.handlers.metrics import Sample
    from web.handlers.routes import Route
    from web.settings import Settings
    from web.wiring.access import AccessFeature

# Longer than a transaction takes that is going to succeed.
LEDGER_SHUTDOWN_S: Final = 9.0
# What the ledger says no with.
REFUSAL_CODES: Final = (
    "transaction_mismatch",
    "insufficient",
    "overflow",
    "database_unavailable",
    "ledger_failed",
    "unstorable",
    "busy",
)


@dataclass(frozen=True, slots=True)
class Keeping:
    """What keeps stats.

    Attributes:
        news: None where no other node can say anything.
    """

    database: Database
    part: DatabasePart
    players: Players
    sweeper: RetentionSweeper
    news: News | None


@dataclass(frozen=True, slots=True)
class StatsFeature(Feature):
    """Players' stats and the game's configuration; None for what is not configured."""

    keeping: Keeping | None
    config: GameConfig | None
    servers: GameServers
    rules: StatsRules
    readers: Access | None
    is_off: bool = False

    def away(self) -> tuple[str, ...]:
        """Names of configured engines that cannot be reached now."""
        return () if self.keeping is None or self.keeping.part.is_up else ("database",)

    def health(self) -> dict[str, object]:
        """Why the database cannot be used, where that is known."""
        problem = None if self.keeping is None else self.keeping.part.problem or self.keeping.database.problem
        return {} if problem is None else {"database": {"status": "degraded", "problem": problem}}

    def supervisors(self) -> list[ChildSpec]:
        """The players' supervisor."""
        if self.keeping is None:
            return []
        return [ChildSpec(id="players", start=self.keeping.players.run, type=ChildType.SUPERVISOR)]

    def children(self) -> list[ChildSpec]:
        """Recipes, in the order of their start; what leans on the database stops before it."""
        children = []
        if self.keeping is not None:
            keeping = self.keeping
            children.append(ChildSpec(id="database", start=keeping.database.run))
            ledger = keeping.players.ledger
            children.append(ChildSpec(id="ledger", start=ledger.run, shutdown_s=LEDGER_SHUTDOWN_S))
            children.append(ChildSpec(id="ledger_sweeper", start=keeping.sweeper.run))
            if keeping.news is not None:
                children.append(ChildSpec(id="stats_news", start=keeping.news.run))
        if self.config is not None:
            children.append(ChildSpec(id="game_config", start=self.config.run))
        return children

    def routes(self) -> tuple[Route, ...]:
        """The paths and what answers them."""
        if self.is_off:
            return ()
        players = None if self.keeping is None else self.keeping.players
        stats = StatsHandlers(players, self.servers, self.rules, self.readers)
        return stats.routes() + GameConfigHandlers(self.config, self.servers).routes()

    def sections(self) -> Mapping[str, Section]:
        """The ledger and its players."""
        return {} if self.keeping is None else {"ledger": SampledSection(self.metrics, "ledger", "player")}

    def reload(self) -> None:
        """Read the game's configuration again."""
        if self.config is not None:
            self.config.reload()

    def metrics(self) -> Iterator[Sample]:
        """What the parts count."""
        if self.keeping is not None:
            yield from _metrics_of(self.keeping)


def build_stats(
    settings: Settings, registry: Registry, database: Database | None, access: AccessFeature
) -> StatsFeature:
    """What the settings ask for, nothing running yet."""
    file = settings.game_config_file
    return StatsFeature(
        keeping=None if database is None else _keeping(settings, registry, database),
        config=None if file is None or not settings.stats else GameConfig(file),
        servers=GameServers(settings.game_server_tokens),
        rules=StatsRules(settings.stat_names, public=settings.stats_read == "public"),
        readers=access.stats,
        is_off=not settings.stats,
    )


def _keeping(settings: Settings, registry: Registry, database: Database) -> Keeping:
    # Of this very process: two nodes may have been given one name.
    origin = secrets.token_hex(8)
    clock = WallClock()
    part = database.part("ledger")
    players = Players(
        part,
        registry,
        Rules(non_negative=frozenset(settings.non_negative_stats), origin=origin),
        stats=settings.stat_names,
        max_wait_s=settings.ledger_max_wait_ms / 1000,
        clock=clock,
    )
    news = None
    if not database.is_sqlite:
        listen_at = settings.database_listen_url
        url = None if listen_at is None else listen_at.get_secret_value()
        news = News(part, DatabaseChannel(database, CHANNEL, url=url), players, origin=origin)
    sweeper = RetentionSweeper(part, [Expiry(settings.transaction_ttl_seconds, forget_old)], clock=clock)
    return Keeping(database, part, players, sweeper, news)


def _metrics_of(keeping: Keeping) -> Iterator[Sample]:
    link = keeping.database.statistics()
    yield gauge("database_up", "Whether the database answers.", link.up)
    short = "Whether reads share the writer's connection, the server having no more."
    yield gauge("database_connections_short", short, link.short)
    yield counter("database_outages", "Times the database went away.", link.outages)
    yield counter("database_writes", "Transactions committed.", link.writes)
    yield counter("database_failed_writes", "Transactions that failed.", link.failed_writes)
    if keeping.news is not None:
        polling = "Whether other nodes' changes are polled, LISTEN being impossible."
        yield gauge("stats_news_polling", polling, keeping.news.is_polling)
    ledger = keeping.players.ledger.statistics()
    yield gauge("ledger_waiting", "Changes not answered yet.", ledger.waiting)
    yield counter("ledger_transactions", "Transactions of the ledger.", ledger.transactions)
    yield counter("ledger_applied", "Changes counted.", ledger.applied)
    yield counter("ledger_repeated", "Changes that had been counted before.", ledger.repeated)
    yield counters("ledger_refused", "Changes refused.", "code", ledger.refused, REFUSAL_CODES)
    commits = keeping.players.ledger.commits
    yield histogram("ledger_commit_seconds", "How long a commit of the ledger takes.", commits)
    yield counter("ledger_forgotten", "Rows too old to be kept.", keeping.sweeper.forgotten)
    players = keeping.players.statistics()
    yield gauge("players_active", "Players with a task.", players.active)
    yield counter("player_crashes", "Player tasks that crashed.", players.crashes)
