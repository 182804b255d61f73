"""How one environment variable is read: small types that pydantic checks with."""

from __future__ import annotations

import ipaddress
import os
import re
from typing import Annotated, Final
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr

from actors.links import RedisAddress, check_database_url, check_url, urls_in

_TRUE: Final = frozenset({"1", "true", "yes", "on"})
_FALSE: Final = frozenset({"0", "false", "no", "off"})
_STAT_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,31}\Z")
# What a game server's body says beside stats, which in a flat body stand among them.
_NO_STATS: Final = frozenset({"deltas", "reason", "server_id", "steamid", "transaction_id"})
# As many as the ledger's column takes: every change posted with the token bears the name.
_SERVER_ID_CHARACTERS: Final = 64

_URL: Final = re.compile(r"[!-~]+\Z")
_REDIS_PATH: Final = re.compile(r"(?:/[0-9]*)?\Z")
_TOKEN: Final = re.compile(r"[!-~]+\Z")
# A browser leaves these out of the Origin it sends (RFC 6454, section 6.2).
_DEFAULT_PORTS: Final = {"http": ":80", "https": ":443"}
_WILDCARD: Final = re.compile(r"[a-z][a-z0-9+.-]*://\*(?:\.[a-z0-9_-]+){2,}(?::[0-9]+)?\Z")
_ORIGIN: Final = re.compile(r"[a-z][a-z0-9+.-]*://[^/?#@\s]+\Z")

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def split_commas(value: object) -> object:
    """`"a, b,"` as `("a", "b")`; what is no text is left alone."""
    if isinstance(value, str):
        return tuple(part for part in (piece.strip() for piece in value.split(",")) if part)
    return value


def _workers(value: object) -> object:
    """`auto`: one for each core this process may use."""
    if isinstance(value, str) and value.strip().lower() == "auto":
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return value


def _switch(value: object) -> object:
    if not isinstance(value, str):
        return value
    word = value.strip().lower()
    if word in _TRUE:
        return True
    if word in _FALSE:
        return False
    raise ValueError("wanted on or off")


def _origin(value: str) -> str:
    """An origin as a browser sends it; one that no browser sends could never match."""
    if value in {"*", "null"}:
        return value
    origin = value.lower()
    if not _ORIGIN.match(origin):
        raise ValueError(f"{value!r} is not an origin: wanted scheme://host[:port] without a path, or *")
    if not origin.isascii():
        raise ValueError(f"{value!r} can never match: browsers send the host in its xn-- form")
    if "*" in origin and not _WILDCARD.match(origin):
        raise ValueError(
            f"{value!r} can never match: wanted whole origins, * alone, or * for the first label of a host"
        )
    port = _DEFAULT_PORTS.get(origin.partition(":")[0])
    if port is not None and origin.endswith(port):
        raise ValueError(f"{value!r} can never match: browsers leave the default port {port} out")
    return origin


def _network(value: object) -> object:
    if isinstance(value, str):
        try:
            return ipaddress.ip_network(value, strict=False)
        except ValueError:
            raise ValueError(f"{value!r} is not an address or a network such as 10.0.0.0/8") from None
    return value


def _checked(value: str) -> SplitResult:
    """The parts of a URL whose port is one, and in which nothing needs an escape."""
    parts = urlsplit(value)
    try:
        port = parts.port
    except ValueError:
        raise ValueError("its port is not a number from 1 to 65535") from None
    if port == 0 or not _URL.match(value):
        raise ValueError("it has a port or a character that no URL has")
    return parts


def _http_url(value: str) -> str:
    parts = _checked(value)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment:
        raise ValueError("wanted an http:// or https:// URL without a query")
    return value.rstrip("/")


def _hook_url(value: SecretStr) -> SecretStr:
    parts = _checked(value.get_secret_value())
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.fragment:
        raise ValueError("wanted an http:// or https:// URL")
    return value


def _redis_url(value: SecretStr) -> SecretStr:
    urls = urls_in(value.get_secret_value())
    for url in urls:
        _check_redis_url(url)
    places = [(address.shown, address.database) for address in map(RedisAddress, urls)]
    if len(set(places)) < len(places):
        raise ValueError("names one database of one server twice")
    return value


def _check_redis_url(url: str) -> None:
    parts = _checked(url)
    if parts.scheme not in {"redis", "rediss", "unix"}:
        raise ValueError("wanted a redis://, rediss:// or unix:// URL")
    if parts.scheme == "unix" and not parts.path:
        raise ValueError("wanted the path of a socket after unix://")
    if parts.scheme != "unix" and not _REDIS_PATH.match(parts.path):
        raise ValueError("wanted the number of a database after the last /")
    check_url(url)


def _database_url(value: SecretStr) -> SecretStr:
    engine = _checked(value.get_secret_value()).scheme.partition("+")[0]
    if engine not in {"sqlite", "postgres", "postgresql"}:
        raise ValueError("wanted a sqlite: or postgresql: URL")
    if engine == "sqlite" and urlsplit(value.get_secret_value()).path.strip("/") in {"", ":memory:"}:
        raise ValueError("a database in memory forgets what it has acknowledged: wanted a file")
    check_database_url(value.get_secret_value())
    return value


def _stat_name(value: str) -> str:
    if not _STAT_NAME.match(value):
        raise ValueError(f"{value!r} is not a name for a stat: wanted lower-case letters, digits and _")
    if value in _NO_STATS:
        raise ValueError(f"{value!r} is not a name for a stat: it means something else in a request")
    return value


def _header_value(value: SecretStr) -> SecretStr:
    if not _TOKEN.match(value.get_secret_value()):
        raise ValueError("wanted visible ASCII only, since it travels in a header")
    return value


def _server_token(value: SecretStr) -> SecretStr:
    """A token, or `server_id:token`: an empty one would let anybody in who guesses that it is."""
    entry = value.get_secret_value()
    if not entry.rpartition(":")[2]:
        raise ValueError("an entry has no token: wanted token or server_id:token")
    name, colon, _ = entry.partition(":")
    if colon and len(name) > _SERVER_ID_CHARACTERS:
        raise ValueError(f"a name in front of a colon has more than {_SERVER_ID_CHARACTERS} characters")
    return _header_value(value)


def _stripped(value: object) -> object:
    return value.strip() if isinstance(value, str) else value


def _lower(value: object) -> object:
    return value.strip().lower() if isinstance(value, str) else value


Names = Annotated[tuple[str, ...], BeforeValidator(split_commas)]
StatNames = Annotated[tuple[Annotated[str, AfterValidator(_stat_name)], ...], BeforeValidator(split_commas)]
Origins = Annotated[tuple[Annotated[str, AfterValidator(_origin)], ...], BeforeValidator(split_commas)]
Networks = Annotated[tuple[Annotated[Network, BeforeValidator(_network)], ...], BeforeValidator(split_commas)]
Secrets = Annotated[tuple[SecretStr, ...], BeforeValidator(split_commas)]
HeaderSecret = Annotated[SecretStr, BeforeValidator(_stripped), AfterValidator(_header_value)]
HeaderSecrets = Annotated[tuple[HeaderSecret, ...], BeforeValidator(split_commas)]
ServerTokens = Annotated[
    tuple[Annotated[SecretStr, AfterValidator(_server_token)], ...], BeforeValidator(split_commas)
]
Switch = Annotated[bool, BeforeValidator(_switch)]
HttpUrl = Annotated[str, AfterValidator(_http_url)]
HookUrl = Annotated[SecretStr, AfterValidator(_hook_url)]
RedisUrl = Annotated[SecretStr, AfterValidator(_redis_url)]
DatabaseUrl = Annotated[SecretStr, AfterValidator(_database_url)]
Lower = BeforeValidator(_lower)
Workers = Annotated[int, BeforeValidator(_workers), Field(ge=1, le=256)]
Port = Annotated[int, Field(ge=0, le=65535)]
Positive = Annotated[int, Field(ge=1)]
NotNegative = Annotated[int, Field(ge=0)]
Seconds = Annotated[float, Field(gt=0, le=10 * 365 * 86400, allow_inf_nan=False)]
