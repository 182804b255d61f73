"""Looking inside a node: the sections of all features, the live view, the dashboard's sessions."""

from __future__ import annotations

import os
import time
from importlib import metadata
from itertools import chain
from typing import TYPE_CHECKING, Final

from actors.core import iso_utc
from supervision import ChildSpec
from web.handlers.inspection.access import AdminAccess
from web.handlers.inspection.handlers import DashboardHandlers, InspectionHandlers
from web.handlers.inspection.live import LiveView, Series
from web.handlers.inspection.section import SampledSection
from web.handlers.limits import PerMinute
from web.handlers.metrics import gauge
from web.wiring.feature import Feature

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from supervision import Supervisor
    from web.handlers.http import Request
    from web.handlers.inspection.section import Section
    from web.handlers.metrics import Sample
    from web.handlers.routes import Route
    from web.settings import Settings

SIGN_INS_PER_MINUTE: Final = 10
# What is kept for fifteen minutes, by the name of its chart.
SERIES: Final[Mapping[str, Series]] = {
    "streams": Series("streams", "streams"),
    "sockets": Series("sockets", "sockets"),
    "rooms": Series("rooms", "rooms"),
    "writes_per_s": Series("rooms", "room_writes", is_rate=True),
    "matches": Series("matches", "matches"),
    "connected_players": Series("matches", "connected_players"),
    "jobs_in_flight": Series("queue", "jobs_in_flight"),
    "callbacks_waiting": Series("callbacks", "callbacks_waiting"),
    "results_waiting": Series("results", "results_waiting"),
    "deltas_per_s": Series("ledger", "ledger_applied", is_rate=True),
    "snapshots_per_s": Series("automation", "snapshots_recorded", is_rate=True),
}


class InspectionFeature(Feature):
    """What operators see, and who they are.

    Attributes:
        root: Of the tree; set with the sections once both are made.
        live: Sends changes, and keeps numbers for charts.
    """

    def __init__(self, settings: Settings, clock: Callable[[], float]) -> None:
        self._settings = settings
        self._started_at = iso_utc(time.time())
        self._version = metadata.version("greenroom")
        is_open = settings.dashboard == "open"
        self._access = AdminAccess(settings.admin_token, is_open=is_open, clock=clock)
        self._attempts = PerMinute(SIGN_INS_PER_MINUTE, clock)
        self._sections: dict[str, Section] = {}
        self.root: Supervisor | None = None
        self.live = LiveView(self._root, self._sections, SERIES)

    def show(self, root: Supervisor, features: Sequence[Feature]) -> None:
        """Show a tree, and what the features have to show."""
        self.root = root
        for feature in features:
            self._sections |= feature.sections()

        def links() -> Iterator[Sample]:
            return chain.from_iterable(feature.metrics() for feature in features)

        self._sections["links"] = SampledSection(links, "redis_", "database_", "room_store_")
        self._sections["nodes"] = SampledSection(tuple, more=self._this_node)

    def _this_node(self) -> Mapping[str, object]:
        node = {"this": True, "pid": os.getpid(), "started_at": self._started_at, "version": self._version}
        return {self._settings.node_name: node}

    def supervisors(self) -> Sequence[ChildSpec]:
        """The live view."""
        return [ChildSpec(id="inspection", start=self.live.run)] if self._access.exists else []

    def routes(self) -> Sequence[Route]:
        """`/internal/inspect`, and the dashboard."""
        inspection = InspectionHandlers(
            self._access, self._root, self._sections, self.live, may_kill=self._access.is_open
        )
        if self._settings.dashboard == "off":
            return inspection.routes()
        dashboard = DashboardHandlers(
            self._access, self._settings.admin_token, attempts=self._attempts, is_tls=self._is_tls
        )
        return (*inspection.routes(), *dashboard.routes())

    def metrics(self) -> Iterator[Sample]:
        """How many look."""
        yield gauge("lookers", "Clients of the live view of /internal/inspect.", self.live.lookers)

    def _root(self) -> Supervisor:
        if self.root is None:
            raise RuntimeError("the tree is not made yet")
        return self.root

    def _is_tls(self, request: Request) -> bool:
        forwarded = request.headers.get("x-forwarded-proto", "")
        return self._settings.tls_cert_file is not None or forwarded == "https"
