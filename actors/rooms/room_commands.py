"""The commands of shared rooms: one script a write, in the Redis that all nodes use.

Redis decides the order of a room's versions, keeps the record under one key and publishes the stored
bytes. Two outcomes of a failed write are told apart: `store_unavailable` says that nothing was
written, `outcome_unknown` that it may have been.
"""

from __future__ import annotations

import hashlib
import logging
import time
from importlib import resources
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import redis

from actors.core import CallTimeout, InlineCall, PendingCall
from actors.links import LinkDown, NotSent, RedisWire, Unsuitable
from actors.rooms.record import ALWAYS, NO_DIGEST, Kind, digest, new_epoch
from actors.rooms.shared_record import KIND_LETTERS, Layout, SharedRecord, decode

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from actors.rooms.record import Condition, Put

logger: Final = logging.getLogger("actors.rooms")

OLDEST_REDIS: Final = (6, 2)
EVICTS_NOTHING: Final = "noeviction"
# Of a write without an Idempotency-Key: in place of the digests of that and of the state.
NO_WRITE: Final = NO_DIGEST * 2
# A match has an end of its own; this is for matches whose node has died.
MIN_MATCH_TTL_S: Final = 86_400.0
# Refusals of Redis itself after which it is certain that nothing was written: the script's first
# write is what they refuse. `OOM` is a full `maxmemory`; what is not named is "unavailable".
REFUSED: Final = {"OOM": "full", "WRONGTYPE": "foreign"}
MAX_ERROR: Final = 200
# Outcomes that show that Redis takes writes.
CHANGED: Final = frozenset({b"written", b"removed"})
# A tag that no record has.
NEVER: Final = "-"
# A node compares eras with the server on every connect, so one retry is enough after STALE.
ATTEMPTS: Final = 2


class Written(NamedTuple):
    """What became of a write or a removal.

    Attributes:
        outcome: `written`, `repeated`, `removed`; `authoritative`, `exists`, `forbidden`, `mismatch`,
            `superseded`, `version`, `absent` or `foreign` where the room speaks against it; `full`,
            `unavailable` or `unknown` where Redis does.
        epoch: Of the record as it is now; empty if there is none or nobody knows.
        version: Its version.
        updated_ms: When it was written.
        era: The era that the write was made in.
    """

    outcome: str
    epoch: str = ""
    version: int = 0
    updated_ms: int = 0
    era: bytes = b""


class _Script(NamedTuple):
    """A Lua script and the name that Redis gives it."""

    text: str
    sha: str

    @classmethod
    def load(cls, name: str) -> _Script:
        text = resources.files("actors.rooms").joinpath(name).read_text(encoding="utf-8")
        return cls(text, hashlib.sha1(text.encode()).hexdigest())  # noqa: S324  # how EVALSHA names scripts


class Evaluation:
    """A script that was sent to Redis.

    Attributes:
        script: Which.
        keys: Its KEYS.
        arguments: Its ARGV but for the era, which comes first.
        done: Called once with what became of it; must neither wait nor raise.
        attempts: How often it has been sent.
        era: That of the last attempt.
    """

    __slots__ = ("_commands", "arguments", "attempts", "done", "era", "keys", "script")

    def __init__(
        self,
        commands: RoomCommands,
        script: _Script,
        keys: tuple[str, ...],
        arguments: tuple[str | bytes, ...],
        done: Callable[[Written], None],
    ) -> None:
        self._commands = commands
        self.script = script
        self.keys = keys
        self.arguments = arguments
        self.done = done
        self.attempts = 0
        self.era = b""

    def send(self, answer: Any) -> None:
        """Redis has run it."""
        outcome, epoch, version, updated_ms = answer
        if outcome == b"stale":
            self._commands.evaluate_again(self, None)
        else:
            if self._commands.refused_with and outcome in CHANGED:
                self._commands.refused_with = ""
            self.done(Written(outcome.decode(), epoch.decode(), version, updated_ms, self.era))

    def fail(self, error: BaseException) -> None:
        """It has not, or nobody knows."""
        if isinstance(error, redis.RedisError):
            self._commands.evaluate_again(self, error)
        else:
            self.done(Written("unavailable" if isinstance(error, NotSent) else "unknown"))


class RoomCommands:
    """Writes, reads and removes shared rooms.

    Args:
        url: As for `RedisWire`.
        ttl_s: How long a plain room lives after its last write; a match's lives a day at least.
        layout: Names of keys and channels.
        options: For `RedisWire`.

    Attributes:
        wire: The connection that commands go through.
        layout: As given.
        ttl_s: By who writes the room.
        clock_ahead_s: What the clock of Redis is ahead of ours.
        refused_with: Code of the error with which Redis refuses writes; empty if it does not.
        unsuitable: Why the server that answered last is none for rooms; None if it is one.
    """

    def __init__(self, url: str, *, ttl_s: float, layout: Layout | None = None, **options: Any) -> None:
        self.layout = self._layout = layout or Layout()
        self.ttl_s = {Kind.PLAIN: ttl_s, Kind.MATCH: max(ttl_s, MIN_MATCH_TTL_S)}
        self._ttl_ms = {kind: b"%d" % (ttl_s * 1000) for kind, ttl_s in self.ttl_s.items()}
        self._era = b""
        self._era_key = self._layout.era_key
        self._policy = EVICTS_NOTHING
        self.clock_ahead_s = 0.0
        self.refused_with = ""
        self.unsuitable: Unsuitable | None = None
        self._write = _Script.load("write.lua")
        self._remove = _Script.load("remove.lua")
        self._name_era = _Script.load("era.lua")
        self.wire = RedisWire(url, on_connect=self._prepare, **options)

    @property
    def era(self) -> bytes:
        """The era of the Redis that was last connected to."""
        return self._era

    async def _prepare(self) -> None:
        """Compare layouts and eras and load the scripts, before any write is let through."""
        try:
            # First: a server that is none for rooms may refuse what follows in its own ways.
            await self._identify(before_up=True)
            await self._look_at_layout()
            await self._load()
        except Unsuitable as why:
            self.unsuitable = why
            raise
        self.unsuitable = None

    async def _look_at_layout(self) -> None:
        key, ours = self._layout.layout_key, self._layout.version
        await self.wire.call("SET", key, ours, "NX", before_up=True)
        theirs = await self.wire.call("GET", key, before_up=True)
        if theirs != ours:
            raise Unsuitable(
                f"{key} says that rooms are kept there as {theirs.decode('ascii', 'replace')!r}, "
                f"and this node keeps them as {ours.decode()!r}"
            )

    async def _load(self) -> None:
        for script in (self._write, self._remove):
            await self.wire.call("SCRIPT", "LOAD", script.text, before_up=True)
        await self.look_at_era(before_up=True)
        seconds, micros = await self.wire.call("TIME", before_up=True)
        self.clock_ahead_s = int(seconds) + int(micros) / 1e6 - time.time()

    async def look_at_era(self, *, before_up: bool = False) -> bool:
        """Ask which server answers now; whether the era has changed. `before_up` is that of `RedisWire.call`.

        Raises:
            LinkDown, redis.ResponseError: As for `RedisWire.call`.
            Unsuitable: That server cannot keep rooms.
        """
        if self.refused_with:
            await self._try_to_write()
        identity = await self._identify(before_up=before_up)
        script = ("EVAL", self._name_era.text, 1, self._era_key, identity)
        era = await self.wire.call(*script, before_up=before_up)
        changed, self._era = era != self._era, era
        return bool(changed)

    async def _identify(self, *, before_up: bool) -> str:
        """Which server answers, if it can keep rooms."""
        facts = facts_of(await self.wire.call("INFO", "everything", before_up=before_up))
        check_server(facts)
        self._note_eviction(facts)
        return identity_of(facts)

    async def _try_to_write(self) -> None:
        """Find out whether writes are still refused, where nobody else writes."""
        try:
            await self.wire.call("SET", self._layout.trial_key, 1, "PX", 1000)
        except redis.ResponseError as error:
            self.refused_with = code_of(error)
        else:
            self.refused_with = ""

    def _note_eviction(self, facts: Mapping[str, str]) -> None:
        policy = facts.get("maxmemory_policy", EVICTS_NOTHING)
        if policy != self._policy:
            self._policy = policy
            logger.warning("room_store_may_evict_rooms", extra={"maxmemory_policy": policy})

    # -- calls ---------------------------------------------------------------------------

    async def write(
        self,
        room_id: str,
        put: Put,
        *,
        kind: Kind = Kind.PLAIN,
    ) -> Written:
        """As `write_then`, awaited."""
        answer = PendingCall("room_store", room_id)
        self.write_then(room_id, put, answer.send, kind=kind)
        written: Written = await answer.wait(None)
        return written

    def write_then(
        self, room_id: str, put: Put, done: Callable[[Written], None], *, kind: Kind = Kind.PLAIN
    ) -> None:
        """Store the next version of a room, if nothing speaks against it; `done` hears what became of it."""
        state, condition, secret, is_admin, idempotency_key = put
        key, channel = self._layout.names(room_id)
        outcome_key, write_id = "", NO_WRITE
        if idempotency_key is not None:
            id_digest = digest(idempotency_key.encode())
            outcome_key, write_id = self._layout.outcome_key(room_id, id_digest), id_digest + digest(state)
        writer = KIND_LETTERS[kind] + (digest(secret.encode()) if secret else NO_DIGEST) + write_id
        arguments = (
            new_epoch(),
            writer,
            self._ttl_ms[kind],
            channel,
            state,
            "" if condition is ALWAYS else condition_text(condition),
            "admin" if is_admin else "",
        )
        self._evaluate(Evaluation(self, self._write, (key, outcome_key, self._era_key), arguments, done))

    async def remove(
        self, room_id: str, *, kind: Kind = Kind.PLAIN, secret: str | None = None, is_admin: bool = False
    ) -> Written:
        """Remove a room of `kind` and tell its subscribers. Never raises for Redis."""
        arguments = (
            KIND_LETTERS[kind],
            digest(secret.encode() if secret else None),
            "admin" if is_admin else "",
            self._layout.channel(room_id),
        )
        keys = (self._layout.key(room_id), self._era_key)
        answer = PendingCall("room_store", room_id)
        self._evaluate(Evaluation(self, self._remove, keys, arguments, answer.send))
        removed: Written = await answer.wait(None)
        return removed

    async def read(self, room_id: str) -> SharedRecord | None:
        """The newest record.

        Raises:
            LinkDown: Redis is away.
            ForeignValue: Something else stands under the room's key.
            redis.ResponseError: Redis refused, as with a value of another type.
        """
        value = await self.wire.call("GET", self._layout.key(room_id))
        return None if value is None else decode(value)

    def _evaluate(self, asked: Evaluation) -> None:
        asked.attempts += 1
        asked.era = self._era
        script, keys = asked.script, asked.keys
        try:
            self.wire.send(("EVALSHA", script.sha, len(keys), *keys, self._era, *asked.arguments), asked)
        except NotSent:
            asked.done(Written("unavailable"))

    def evaluate_again(self, asked: Evaluation, error: redis.RedisError | None) -> None:
        """Run a script again that has changed nothing: STALE if `error` is None, else what Redis refused."""

        def prepared(outcome: Written | None) -> None:
            if outcome is None and asked.attempts < ATTEMPTS:
                self._evaluate(asked)
            else:
                asked.done(outcome or Written("unavailable"))

        InlineCall(self._prepare_again(asked.script, error), prepared).resume()

    async def _prepare_again(self, script: _Script, error: redis.RedisError | None) -> Written | None:
        """What it means that the script changed nothing; None to try again, with what it lacked."""
        text = str(error or "")
        if error is not None and not text.startswith("NOSCRIPT"):
            logger.warning("room_store_refused", extra={"error": text[:MAX_ERROR]})
            outcome = next((outcome for code, outcome in REFUSED.items() if code in text), "unavailable")
            if outcome != "foreign":
                self.refused_with = code_of(error)
            return Written(outcome)
        try:
            if error is None:
                await self.look_at_era()
            else:
                await self.wire.call("SCRIPT", "LOAD", script.text)
        except (LinkDown, CallTimeout, redis.RedisError):
            return Written("unavailable")
        return None


def condition_text(condition: Condition) -> str:
    """A condition as write.lua reads it."""
    if condition is ALWAYS:
        return ""
    if condition.must_not_exist:
        return NEVER if condition.must_exist or condition.any_of else "new"
    if condition.must_exist and not condition.any_of:
        return "any"
    # No record has a tag with a space in it.
    return " ".join(tag for tag in condition.any_of if tag and " " not in tag) or NEVER


def facts_of(info: bytes) -> dict[str, str]:
    """The fields of `INFO`."""
    lines = info.decode("utf-8", "replace").splitlines()
    return dict(line.split(":", 1) for line in lines if ":" in line)


def identity_of(facts: Mapping[str, str]) -> str:
    """Which server and which history answered `INFO`: `run_id` and `master_replid`."""
    return f"{facts.get('run_id', '')}-{facts.get('master_replid', '')}"


def code_of(error: redis.RedisError) -> str:
    """The first word of an error; of one inside a script, the word that the command was refused with."""
    words = str(error).split()
    return next((word for word in words if word.isupper() and word != "ERR"), words[0] if words else "")


def check_server(facts: Mapping[str, str]) -> None:
    """Refuse a server on which the promises of shared rooms would not hold.

    Raises:
        Unsuitable: It is part of a cluster, replicates with others in both directions, or is too old.
    """
    if facts.get("redis_mode") == "cluster":
        raise Unsuitable("Redis Cluster is not supported: give one server, or several in REDIS_URL")
    if facts.get("role") == "active-replica":
        raise Unsuitable("KeyDB's active replication is not supported: two servers would order writes")
    version = facts.get("redis_version", "")
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    if numbers < OLDEST_REDIS:
        raise Unsuitable(f"Redis {version} is too old: wanted 6.2 or newer, or Valkey")
