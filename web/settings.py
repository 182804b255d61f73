"""All configuration: environment variables, read once and checked before anything starts."""

from __future__ import annotations

import math
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from actors.links import urls_in
from web.settings_types import (
    DatabaseUrl,
    HeaderSecret,
    HeaderSecrets,
    HookUrl,
    HttpUrl,
    Lower,
    Networks,
    NotNegative,
    Origins,
    Port,
    Positive,
    RedisUrl,
    Seconds,
    Secrets,
    ServerTokens,
    StatNames,
    Switch,
    Workers,
)
from web.workers.place import ParentPlan

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic_core import ErrorDetails


class SettingsError(Exception):
    """The environment has a value that cannot be used.

    Attributes:
        variable: Name of the environment variable.
        problem: What is wrong with it, in one line; never the value of a secret.
    """

    def __init__(self, variable: str, problem: str) -> None:
        super().__init__(f"{variable}: {problem}")
        self.variable = variable
        self.problem = problem


def _env_name(field: str) -> str:
    return field.upper()


class Settings(BaseModel):
    """Every setting, under the name of its environment variable in lower case.

    Times are seconds, sizes bytes. A limit of 0 means no limit where the
    comment says so.
    """

    model_config = ConfigDict(
        frozen=True, extra="ignore", alias_generator=_env_name, hide_input_in_errors=True
    )

    _worker: int = 1

    # -- listening -------------------------------------------------------------------
    port: Port = 4000
    host: str = "0.0.0.0"  # noqa: S104  # a server in a container is reached from outside it
    tls_cert_file: Path | None = None
    tls_key_file: Path | None = None
    h2c: Switch = True
    max_connections: Positive = 32_768
    trusted_proxies: Networks = ()
    workers: Workers = 1
    drain_seconds: Annotated[float, Field(ge=0, le=3600, allow_inf_nan=False)] = 10.0

    # -- rooms and streams -----------------------------------------------------------
    cors_origins: Origins = ()
    cors_credentials: Switch = False
    max_state_bytes: Positive = 32_768
    room_store: Annotated[Literal["memory", "redis"], Lower] = "memory"
    room_reads: Annotated[Literal["fresh", "local"], Lower] = "fresh"
    room_key_prefix: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,32}$")] = "gr"
    room_ttl_seconds: Seconds = 86_400.0
    room_snapshot: Switch = True
    heartbeat_seconds: Seconds = 15.0
    stream_stall_seconds: Seconds = 60.0
    stream_compression: Switch = False
    max_streams: Positive = 20_000
    max_streams_per_room: Positive | None = None  # as max_streams
    max_streams_per_ip: NotNegative = 0  # 0: no limit
    max_sockets: Positive = 20_000
    max_rooms: Positive = 200_000
    max_room_creates_per_ip_per_minute: NotNegative = 0  # 0: no limit
    max_total_state_bytes: Positive = 1 << 30

    # -- who may do what -------------------------------------------------------------
    admin_token: HeaderSecret | None = None
    metrics_token: HeaderSecret | None = None
    demo: Switch = False
    dashboard: Annotated[Literal["on", "open", "off"], Lower] = "on"
    jwt_secret: Secrets = ()
    jwt_jwks_file: Path | None = None
    jwt_jwks_url: HttpUrl | None = None
    auth_verify: Annotated[Literal["local", "remote"], Lower] = "local"
    room_auth: Annotated[Literal["open", "token"], Lower] = "open"

    # -- this node and its neighbours ------------------------------------------------
    node_name: Annotated[str, Field(min_length=1, max_length=255)] = Field(default_factory=socket.gethostname)
    redis_url: RedisUrl | None = None
    database_url: DatabaseUrl | None = None
    database_listen_url: DatabaseUrl | None = None
    data_dir: Path = Path("var")
    config_dir: Path | None = None

    # -- matches ---------------------------------------------------------------------
    matches: Switch = True
    api_base_url: HttpUrl | None = None
    internal_api_key: HeaderSecrets = ()
    room_queue_delivery: Annotated[Literal["at_least_once", "at_most_once"], Lower] = "at_least_once"
    room_creation_deadline_seconds: Seconds = 15.0
    room_creation_expiry: Switch = False
    join_timeout_seconds: Seconds = 120.0
    reconnect_grace_seconds: Seconds = 60.0
    persist_recovery_enabled: Switch = False
    persist_recovery_interval_seconds: Seconds = 300.0

    # -- game servers ----------------------------------------------------------------
    stats: Switch = True
    game_server_tokens: ServerTokens = ()
    stats_read: Annotated[Literal["public", "token"], Lower] = "public"
    stat_names: StatNames = ("exp", "cash", "pills")
    non_negative_stats: StatNames = ("cash", "pills")
    ledger_max_wait_ms: Annotated[float, Field(ge=0, le=1000, allow_inf_nan=False)] = 2.0
    transaction_ttl_seconds: Annotated[Seconds, Field(ge=1)] = 7 * 86_400.0
    game_config_file: Path | None = None

    # -- GRPS automation -------------------------------------------------------------
    automation: Annotated[Literal["on", "open", "off"], Lower] = "on"
    inbound_api_keys: HeaderSecrets = ()
    max_open_players: Positive = 10_000
    max_open_snapshots_per_ip_per_minute: NotNegative = 600  # 0: no limit
    automation_review_seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0  # 0: never
    decision_hook_url: HookUrl | None = None
    decision_hook_secret: HeaderSecret | None = None
    roblox_api_base: HttpUrl = "https://apis.roblox.com"
    roblox_open_cloud_api_key: HeaderSecret | None = None
    roblox_group_id: Positive | None = None
    roblox_universe_id: Positive | None = None
    roblox_datastore_name: str | None = None
    roblox_datastore_scope: str = "global"
    roblox_datastore_prefix: str = ""
    snapshot_ttl_seconds: Annotated[Seconds, Field(ge=1)] = 90 * 86_400.0
    decision_ttl_seconds: Annotated[Seconds, Field(ge=1)] = 30 * 86_400.0

    # -- logs ------------------------------------------------------------------------
    log_level: Annotated[Literal["debug", "info", "warning", "error", "critical"], Lower] = "info"
    log_format: Annotated[Literal["json", "text"], Lower] = "json"

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> Self:
        """Read what `env` has under our names, without white space at either end; empty counts as absent.

        A secret may stand in a file instead, whose path is in the variable with `_FILE` behind its name.

        Raises:
            SettingsError: A value cannot be used; names the first such variable.
        """
        values = {name: value for name in VARIABLES if (value := env.get(name, "").strip())}
        values |= _secrets_in_files(env, values)
        if "CORS_ORIGINS" not in values and (origins := env.get(CORS_ALIAS, "").strip()):
            values["CORS_ORIGINS"] = origins
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise _first_problem(error) from None

    @property
    def verifies_tokens(self) -> bool:
        """Whether this node knows what tokens are signed with."""
        return bool(self.jwt_secret) or self.jwt_jwks_file is not None or self.jwt_jwks_url is not None

    @property
    def streams_per_room(self) -> int:
        """How many streams one room may have."""
        return self.max_streams if self.max_streams_per_room is None else self.max_streams_per_room

    def parent_plan(self) -> ParentPlan:
        """What the parent of several workers has to know."""
        return ParentPlan(
            host=self.host,
            port=self.port,
            workers=self.workers,
            stall_s=self.stream_stall_seconds,
            drain_s=self.drain_seconds,
            log_level=self.log_level,
            log_format=self.log_format,
        )

    @property
    def worker(self) -> int:
        """Which of several workers this process is, from 1."""
        return self._worker

    def of_worker(self, number: int, count: int) -> Self:
        """The settings of worker `number` of `count`: limits of the node are divided, with slack.

        Connections are spread by chance, so a share has three standard deviations more than its mean.
        """
        shared = {name: share(getattr(self, name), count) for name in SHARED_LIMITS}
        copy = self.model_copy(update=shared)
        copy._worker = number  # noqa: SLF001  # of this class
        return copy

    @property
    def redis_urls(self) -> tuple[str, ...]:
        """Those in `REDIS_URL`: rooms use all, everything else the first."""
        return () if self.redis_url is None else urls_in(self.redis_url.get_secret_value())

    @property
    def matches_enabled(self) -> bool:
        """Whether rooms are made for a matchmaker: there is a queue to read and an API server to tell."""
        return self.matches and self.redis_url is not None and self.api_base_url is not None

    @model_validator(mode="after")
    def _goes_together(self) -> Self:
        for variable, other, problem in _contradictions(self):
            raise ValueError(f"{variable}\0{problem.format(other)}")
        return self


# Limits of connections, which the kernel spreads over the workers.
SHARED_LIMITS: Final = (
    "max_connections",
    "max_streams",
    "max_streams_per_ip",
    "max_sockets",
    "max_room_creates_per_ip_per_minute",
    "max_open_snapshots_per_ip_per_minute",
)


def share(limit: int, count: int) -> int:
    """The limit of one of `count` workers; 0 stays no limit."""
    mean = limit / count
    return min(limit, math.ceil(mean + 3 * math.sqrt(mean)))


VARIABLES: Final = frozenset(map(_env_name, Settings.model_fields))
# An older name of CORS_ORIGINS.
CORS_ALIAS: Final = "ALLOWED_ORIGINS"
# What may stand in a file: secrets, and URLs that may hold a password.
SECRETS: Final = (
    "ADMIN_TOKEN",
    "METRICS_TOKEN",
    "JWT_SECRET",
    "REDIS_URL",
    "DATABASE_URL",
    "DATABASE_LISTEN_URL",
    "API_BASE_URL",
    "INTERNAL_API_KEY",
    "GAME_SERVER_TOKENS",
    "INBOUND_API_KEYS",
    "ROBLOX_OPEN_CLOUD_API_KEY",
    "DECISION_HOOK_URL",
    "DECISION_HOOK_SECRET",
)
# Of these, those that may have one on each line of the file.
LISTS_OF_SECRETS: Final = frozenset(
    {"JWT_SECRET", "INTERNAL_API_KEY", "GAME_SERVER_TOKENS", "INBOUND_API_KEYS"}
)
FILE_SUFFIX: Final = "_FILE"
MAX_SECRET_FILE_BYTES: Final = 65_536


def _secrets_in_files(env: Mapping[str, str], values: Mapping[str, str]) -> dict[str, str]:
    """The secrets whose variable names a file, read from there.

    Raises:
        SettingsError: The file cannot be read, or the secret is given in both places.
    """
    found = {}
    for name in SECRETS:
        path = env.get(name + FILE_SUFFIX, "").strip()
        if not path:
            continue
        if name in values:
            raise SettingsError(name + FILE_SUFFIX, f"{name} is set too: wanted one of them")
        text = _text_of(name + FILE_SUFFIX, Path(path))
        if not text:
            # Unset, it may open what it was to close.
            raise SettingsError(name + FILE_SUFFIX, f"{path}: is empty")
        if name in LISTS_OF_SECRETS:
            text = ",".join(text.splitlines())
        found[name] = text
    return found


def _text_of(variable: str, path: Path) -> str:
    try:
        with path.open("rb") as file:
            text = file.read(MAX_SECRET_FILE_BYTES + 1)
    except OSError as error:
        raise SettingsError(variable, f"{path}: {error.strerror or error}") from None
    if len(text) > MAX_SECRET_FILE_BYTES:
        raise SettingsError(variable, f"{path}: more than {MAX_SECRET_FILE_BYTES} bytes")
    try:
        return text.decode("utf-8-sig").strip()
    except UnicodeDecodeError:
        raise SettingsError(variable, f"{path}: not UTF-8") from None


def _contradictions(settings: Settings) -> list[tuple[str, str, str]]:
    """Pairs of settings that make no sense together: variable, the other one, what to do."""
    found = []
    if settings.tls_cert_file is not None and settings.tls_key_file is None:
        found.append(("TLS_KEY_FILE", "TLS_CERT_FILE", "needed because {} is set"))
    if settings.tls_key_file is not None and settings.tls_cert_file is None:
        found.append(("TLS_CERT_FILE", "TLS_KEY_FILE", "needed because {} is set"))
    if settings.room_auth == "token" and not settings.verifies_tokens:
        wanted = "this, JWT_JWKS_FILE or JWT_JWKS_URL is needed because {} is token"
        found.append(("JWT_SECRET", "ROOM_AUTH", wanted))
    if settings.jwt_jwks_file is not None and settings.jwt_jwks_url is not None:
        found.append(("JWT_JWKS_URL", "JWT_JWKS_FILE", "{} is set too: wanted one of them"))
    if settings.cors_credentials and "*" in settings.cors_origins:
        found.append(("CORS_CREDENTIALS", "CORS_ORIGINS", "{} is *: cookies are for origins that are named"))
    if settings.auth_verify == "remote" and settings.api_base_url is None:
        found.append(("API_BASE_URL", "AUTH_VERIFY", "needed because {} is remote"))
    if settings.room_store == "redis" and settings.redis_url is None:
        found.append(("REDIS_URL", "ROOM_STORE", "needed because {} is redis"))
    if settings.workers > 1 and settings.room_store != "redis":
        found.append(
            ("ROOM_STORE", "WORKERS", "must be redis because {} is above 1: workers share no memory")
        )
    said = "non_negative_stats" in settings.model_fields_set
    if said and not set(settings.non_negative_stats) <= set(settings.stat_names):
        found.append(("NON_NEGATIVE_STATS", "STAT_NAMES", "names a stat that {} does not"))
    return found


def _first_problem(error: ValidationError) -> SettingsError:
    first = error.errors(include_url=False, include_input=False)[0]
    problem = first["msg"].removeprefix("Value error, ")
    if "\0" in problem:
        variable, _, problem = problem.partition("\0")
        return SettingsError(variable, problem)
    return SettingsError(_variable(first), problem)


def _variable(details: ErrorDetails) -> str:
    location: tuple[Any, ...] = details["loc"]
    return str(location[0]).upper()
