"""Wiring of GRPS automation: its children, routes, metrics and health.

Without a configured database its file is made when the first snapshot arrives.
"""

from __future__ import annotations

import logging
import secrets
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from actors.automation.batch import DecisionContext
from actors.automation.hook import DecisionHook, HookSettings, HookStatistics
from actors.automation.open_cloud import OpenCloudSettings
from actors.automation.outbox import forget_settled
from actors.automation.policy_files import PolicyError, PolicyFiles
from actors.automation.relay import Relay, RelayWorker
from actors.automation.review_schedule import ReviewSchedule, ScheduleStatistics
from actors.automation.roblox import Roblox
from actors.automation.roblox_players import RobloxPlayers
from actors.automation.transactions import forget_snapshots
from actors.core import Traces
from actors.links import Expiry, RetentionSweeper, WallClock
from supervision import ChildSpec, ChildType
from web.handlers.automation import AutomationHandlers, now
from web.handlers.inspection.section import SampledSection
from web.handlers.limits import PerMinute
from web.handlers.metrics import counter, gauge, histogram
from web.wiring.database import new_database
from web.wiring.feature import Feature
from web.wiring.on_demand import OnDemandDatabase

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from actors.core import Registry
    from actors.links import Database, DatabasePart
    from web.handlers.inspection.section import Section
    from web.handlers.metrics import Sample
    from web.handlers.routes import Route
    from web.settings import Settings

logger = logging.getLogger(__name__)

# Longer than a transaction takes that is going to succeed.
RECORDER_SHUTDOWN_S: Final = 9.0
NO_HOOK: Final = HookStatistics(told=0, retries=0, given_up=0, owed=0, problem=None)
NO_REVIEWS: Final = ScheduleStatistics(finished=0, reviewed=0, applied=0)


@dataclass(frozen=True, slots=True)
class Applying:
    """What carries decisions out. An outage of Roblox does not make the node unhealthy for load balancers."""

    relay: Relay
    child: RelayWorker

    def health(self) -> dict[str, object]:
        """For `/internal/health`: whether Roblox answers, and how many decisions are pending."""
        told = self.relay.statistics()
        waited_s = 0 if told.oldest is None else max(0, int((now() - told.oldest).total_seconds()))
        facts: dict[str, object] = {
            "decisions_waiting": told.waiting,
            "oldest_waiting_seconds": waited_s,
        }
        if told.step_problem is not None:
            facts |= {"steps_refused": told.steps_refused, "last_step_refused": told.step_problem}
        status = "ok" if told.problem is None else "degraded"
        return {"roblox": {"status": status, **facts, "problem": told.problem}}


@dataclass(frozen=True, slots=True)
class AutomationFeature(Feature):
    """GRPS automation.

    Attributes:
        is_off: Neither routes nor children; what was queued waits.
        on_demand: Runs the database where no other part does; else None.
        applying: None without a key of Open Cloud.
        hook: None where nobody is to be told of applied decisions.
        schedule: None where players are not reviewed on a timer.
        senders: Limits addresses where anybody may send; None where a key is needed.
    """

    settings: Settings
    database: DatabasePart
    on_demand: OnDemandDatabase | None
    files: PolicyFiles
    roblox_players: RobloxPlayers
    retention: RetentionSweeper
    applying: Applying | None
    hook: DecisionHook | None
    schedule: ReviewSchedule | None
    senders: PerMinute | None

    @property
    def is_off(self) -> bool:
        """Whether the part is switched off."""
        return self.settings.automation == "off"

    def supervisors(self) -> list[ChildSpec]:
        """The Roblox players' supervisor."""
        if self.is_off:
            return []
        return [ChildSpec(id="roblox_players", start=self.roblox_players.run, type=ChildType.SUPERVISOR)]

    def children(self) -> list[ChildSpec]:
        """Child specs in the order of their start; what needs the database stops before it."""
        if self.is_off:
            return []
        children = [ChildSpec(id="policy_files", start=self.files.run)]
        if self.on_demand is not None:
            children.append(ChildSpec(id="database", start=self.on_demand.run))
        recorder = self.roblox_players.recorder
        children.append(ChildSpec(id="recorder", start=recorder.run, shutdown_s=RECORDER_SHUTDOWN_S))
        children.append(ChildSpec(id="retention", start=self.retention.run))
        if self.applying is not None:
            children.append(ChildSpec(id="outbox", start=self.applying.child.run))
        if self.hook is not None:
            children.append(ChildSpec(id="decision_hook", start=self.hook.run))
        if self.schedule is not None:
            children.append(ChildSpec(id="reviews", start=self.schedule.run))
        return children

    def routes(self) -> tuple[Route, ...]:
        """The paths and what answers them."""
        if self.is_off:
            return ()
        handlers = AutomationHandlers(
            self.roblox_players,
            inbound_keys=self.settings.inbound_api_keys,
            policy=lambda: self.files.current,
            traces=Traces() if self.applying is None else self.applying.relay.traces,
            senders=self.senders,
        )
        return handlers.routes()

    def health(self) -> dict[str, object]:
        """What `/internal/health` shows of it."""
        facts: dict[str, object] = {}
        if self.applying is not None and not self.is_off:
            facts = {**self.applying.health(), **_hook_health(self.hook)}
        if (problem := self.database.problem) is not None:
            # No reason to send game servers' requests elsewhere: their tables are others.
            facts["automation"] = {"status": "degraded", "problem": problem}
        return facts

    def sections(self) -> Mapping[str, Section]:
        """Snapshots and decisions, and whether Roblox answers."""
        return {"automation": SampledSection(self.metrics, more=self.health)}

    def reload(self) -> None:
        """Read the policy files again."""
        if not self.is_off:
            self.files.reload()

    def metrics(self) -> Iterator[Sample]:
        """Its metrics."""
        if self.is_off:
            return
        recorder = self.roblox_players.recorder.statistics()
        yield gauge("snapshots_waiting", "Snapshots and decisions not answered yet.", recorder.waiting)
        yield counter("snapshot_transactions", "Transactions of the recorder.", recorder.transactions)
        commits = self.roblox_players.recorder.commits
        yield histogram("snapshot_commit_seconds", "How long a commit of the recorder takes.", commits)
        yield counter("snapshots_recorded", "Snapshots and decisions recorded.", recorder.recorded)
        yield counter("snapshots_failed", "Snapshots and decisions not recorded.", recorder.failed)
        roblox_players = self.roblox_players.statistics()
        yield gauge("roblox_players_active", "Roblox players with a task.", roblox_players.active)
        yield counter("roblox_player_crashes", "Their tasks that crashed.", roblox_players.crashes)
        policy = self.files.statistics()
        yield counter("policy_reloads", "Policy files taken anew.", policy.reloads)
        yield counter("policy_refusals", "Policy files refused.", policy.refusals)
        yield counter("automation_rows_forgotten", "Rows too old to be kept.", self.retention.forgotten)
        yield from _review_metrics(self.schedule)
        yield from _hook_metrics(self.hook)
        over_limit = 0 if self.senders is None else self.senders.refused
        yield counter("snapshots_over_limit", "Requests without a key that came too often.", over_limit)
        if self.applying is not None:
            yield from _relay_metrics(self.applying.relay)


def build_automation(settings: Settings, registry: Registry, database: Database | None) -> AutomationFeature:
    """Build it from the settings; nothing runs yet.

    Args:
        database: One that runs already for others; if None, one of our own.

    Raises:
        PolicyError: `CONFIG_DIR` or a policy file in it cannot be used.
    """
    # Files that nobody uses stop no start.
    directory = None if settings.automation == "off" else settings.config_dir
    if directory is not None and not directory.is_dir():
        raise PolicyError([f"{directory} is not a directory"])
    files = PolicyFiles(directory)
    cloud = cloud_settings(settings)
    used = new_database(settings) if database is None else database
    part = used.part("automation")
    on_demand = OnDemandDatabase(used, part) if database is None else None
    senders = None
    if not settings.inbound_api_keys and settings.automation == "open":
        senders = PerMinute(settings.max_open_snapshots_per_ip_per_minute, time.monotonic)
        logger.warning(
            "snapshots_are_open",
            extra={"reason": "INBOUND_API_KEYS is empty: anybody may send snapshots; nothing is applied"},
        )

    clock = WallClock()

    def dated() -> datetime:
        return datetime.fromtimestamp(clock(), UTC)

    def context() -> DecisionContext:
        has_key = bool(settings.inbound_api_keys)
        return DecisionContext(
            policy=files.current,
            capabilities=cloud.capabilities,
            inbound_key=has_key,
            now=dated(),
            max_open=None if has_key else settings.max_open_players,
        )

    def on_queued() -> None:
        if applying is not None:
            applying.relay.poke()

    roblox_players = RobloxPlayers(on_demand or part, registry, context=context, on_queued=on_queued)
    hook = _build_hook(settings, part, files, dated) if cloud.capabilities.key else None
    applying = None
    if cloud.capabilities.key:
        applying = _applying(settings, part, cloud, files, roblox_players, dated, hook)
    retention = RetentionSweeper(
        part,
        [
            Expiry(settings.snapshot_ttl_seconds, forget_snapshots),
            Expiry(settings.decision_ttl_seconds, forget_settled),
        ],
        clock=clock,
    )
    schedule = None
    if settings.automation_review_seconds:
        every_s = settings.automation_review_seconds
        schedule = ReviewSchedule(part, roblox_players.reviews, every_s=every_s, now=dated)
    return AutomationFeature(
        settings, part, on_demand, files, roblox_players, retention, applying, hook, schedule, senders
    )


def cloud_settings(settings: Settings) -> OpenCloudSettings:
    """The configuration of Roblox Open Cloud."""
    key = settings.roblox_open_cloud_api_key
    return OpenCloudSettings(
        base_url=settings.roblox_api_base,
        api_key=None if key is None else key.get_secret_value(),
        group_id=settings.roblox_group_id,
        universe_id=settings.roblox_universe_id,
        datastore=settings.roblox_datastore_name,
        scope=settings.roblox_datastore_scope,
        prefix=settings.roblox_datastore_prefix,
    )


def _applying(
    settings: Settings,
    database: DatabasePart,
    cloud: OpenCloudSettings,
    files: PolicyFiles,
    roblox_players: RobloxPlayers,
    now: Callable[[], datetime],
    hook: DecisionHook | None,
) -> Applying:
    roblox = Roblox(cloud)
    relay = Relay(
        database.write,
        roblox,
        # Of this very process: two nodes may have been given one name.
        owner=f"{settings.node_name[:80]}:{secrets.token_hex(8)}",
        policy=lambda: files.current,
        now=now,
        on_changed=roblox_players.outdate,
        on_done=None if hook is None else hook.poke,
        read=database.read,
    )
    return Applying(relay, RelayWorker(relay, database, roblox))


def _build_hook(
    settings: Settings, database: DatabasePart, files: PolicyFiles, now: Callable[[], datetime]
) -> DecisionHook | None:
    if settings.decision_hook_url is None:
        return None
    secret = settings.decision_hook_secret
    target = HookSettings(
        url=settings.decision_hook_url.get_secret_value(),
        secret=None if secret is None else secret.get_secret_value(),
    )
    return DecisionHook(target, database, policy=lambda: files.current, now=now)


def _hook_health(hook: DecisionHook | None) -> dict[str, object]:
    if hook is None:
        return {}
    told = hook.statistics()
    status = "ok" if told.problem is None else "degraded"
    return {"decision_hook": {"status": status, "decisions_owed": told.owed, "problem": told.problem}}


def _hook_metrics(hook: DecisionHook | None) -> Iterator[Sample]:
    told = NO_HOOK if hook is None else hook.statistics()
    yield gauge("hook_owed", "Applied decisions the hook is yet to be told of, of all nodes.", told.owed)
    yield counter("hook_told", "Decisions this node has told the hook.", told.told)
    yield counter("hook_retries", "Requests to the hook that are to be tried again.", told.retries)
    yield counter("hook_given_up", "Decisions the hook has refused, or not taken for a day.", told.given_up)


def _review_metrics(schedule: ReviewSchedule | None) -> Iterator[Sample]:
    told = (
        ScheduleStatistics(finished=0, reviewed=0, applied=0) if schedule is None else schedule.statistics()
    )
    yield counter(
        "reviews_finished", "Scheduled reviews of all players that this node has ended.", told.finished
    )
    yield counter("players_reviewed", "Players it has decided about in scheduled reviews.", told.reviewed)
    yield counter("review_decisions", "Decisions of scheduled reviews that are carried out.", told.applied)


def _relay_metrics(relay: Relay) -> Iterator[Sample]:
    told = relay.statistics()
    age_s = 0.0 if told.oldest is None else max(0.0, (now() - told.oldest).total_seconds())
    yield gauge("decisions_waiting", "Decisions Roblox is yet to hear, of all nodes.", told.waiting)
    yield gauge("decisions_oldest_seconds", "How long the oldest of them has waited.", age_s)
    yield gauge("roblox_up", "Whether Roblox settled the last request, with yes or no.", told.problem is None)
    yield counter("decisions_done", "Decisions carried out by this node.", told.done)
    yield counter("decisions_refused", "Decisions Roblox has refused.", told.refused)
    yield counter("decision_steps_refused", "Later steps that Roblox refused.", told.steps_refused)
    yield counter("decision_retries", "Requests to Roblox that are to be tried again.", told.retries)
    yield counter("decision_leases_lost", "Decisions another node took over.", told.leases_lost)
