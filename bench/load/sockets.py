"""Addresses, non-blocking connections in clear and in TLS, and the limit on open files."""

from __future__ import annotations

import errno
import resource
import socket
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from bench.errors import TargetError, UsageError

# Linux hands out some 28,000 local ports per source address (32768 to 60999);
# past 20,000 connections the next loopback address is used, well before they run out.
PER_SOURCE: Final = 20_000
RECEIVE_BUFFER: Final = 65_536
CONNECT_TIMEOUT_S: Final = 5.0
SPARE_FILES: Final = 64
# What a non-blocking socket raises when there is nothing to read, or no room to write.
NOT_YET: Final = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)
_IP_BIND_ADDRESS_NO_PORT: Final = 24


@dataclass(frozen=True, slots=True)
class Address:
    """Where the server under test listens.

    Attributes:
        host: Name or IPv4 address.
        port: TCP port.
        prefix: Path in front of `/api/rooms`, without a slash at its end.
        tls: How connections are encrypted; None in clear.
        source: Local address that connections are made from; the system's choice without one.
    """

    host: str
    port: int
    prefix: str = ""
    tls: ssl.SSLContext | None = None
    source: str = ""

    @property
    def authority(self) -> str:
        """What goes into `Host`."""
        return f"{self.host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """Whether several source addresses can be used."""
        return self.host == "localhost" or self.host.startswith("127.")


def parse_url(url: str, *, ca: Path | None = None, insecure: bool = False) -> Address:
    """Return the address behind `url`.

    Args:
        url: `http://` or `https://host[:port][/prefix]`.
        ca: PEM file with the authority that has signed the server's certificate; the system's without one.
        insecure: Take any certificate.

    Raises:
        UsageError: Not such a URL, or not such a file.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as wrong:
        raise UsageError(f"--url {url!r} is not a URL: {wrong}") from None
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query:
        raise UsageError(f"--url {url!r} is not of the form http[s]://host[:port][/prefix]")
    prefix = parts.path.rstrip("/")
    if parts.scheme == "https":
        return Address(parts.hostname, port or 443, prefix, tls=_tls(ca, insecure=insecure))
    if ca is not None or insecure:
        raise UsageError("--ca and --insecure belong to a --url that begins with https")
    return Address(parts.hostname, port or 80, prefix)


def _tls(ca: Path | None, *, insecure: bool) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=ca)
    except OSError as wrong:
        raise UsageError(f"--ca {ca} cannot be used: {wrong.strerror or wrong}") from wrong
    if insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["http/1.1"])
    return context


def raise_file_limit() -> int:
    """Lift the soft limit on open files to the hard one, and return it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def need_files(connections: int) -> None:
    """Refuse early what the limit on open files would refuse half-way.

    Raises:
        UsageError: `connections` do not fit.
    """
    limit = raise_file_limit()
    if limit != resource.RLIM_INFINITY and connections + SPARE_FILES > limit:
        raise UsageError(
            f"{connections} connections need more than this system's {limit} open files (ulimit -Hn)"
        )


def begin_connect(address: Address, nth: int = 0) -> socket.socket:
    """Start a non-blocking connection; it is writable once it stands.

    Args:
        address: Where to.
        nth: Which connection of the run this is; chooses the loopback source address.

    Raises:
        TargetError: Refused at once.
    """
    connection = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        connection.settimeout(0)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        source = address.source
        if nth >= PER_SOURCE and address.is_loopback:
            source = source or f"127.0.0.{1 + nth // PER_SOURCE}"
        if source:
            connection.setsockopt(socket.IPPROTO_IP, _IP_BIND_ADDRESS_NO_PORT, 1)
            connection.bind((source, 0))
        code = connection.connect_ex((address.host, address.port))
    except OSError as wrong:
        connection.close()
        raise TargetError(f"cannot connect to {address.authority}: {wrong}") from wrong
    if code not in {0, errno.EINPROGRESS}:
        connection.close()
        raise TargetError(f"cannot connect to {address.authority}: {errno.errorcode.get(code, code)}")
    return connection


def connect(address: Address, *, timeout_s: float = CONNECT_TIMEOUT_S) -> socket.socket:
    """Return a connection that stands, non-blocking.

    Raises:
        TargetError: Nobody answers there.
    """
    try:
        source = (address.source, 0) if address.source else None
        connection = socket.create_connection((address.host, address.port), timeout_s, source)
    except OSError as wrong:
        raise TargetError(f"cannot connect to {address.authority}: {wrong}") from wrong
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if address.tls is not None:
        # Within the time-out, the handshake included.
        connection = secure(address.tls, address, connection, handshake=True)
    connection.settimeout(0)
    return connection


def secure(
    tls: ssl.SSLContext, address: Address, connection: socket.socket, *, handshake: bool
) -> ssl.SSLSocket:
    """Return the TLS end of a connection; with `handshake` once it stands, else the caller does that.

    Raises:
        TargetError: There is no connection, or the server's certificate is not trusted.
    """
    try:
        return tls.wrap_socket(connection, server_hostname=address.host, do_handshake_on_connect=handshake)
    except OSError as wrong:
        raise tls_failed(address, wrong) from wrong


def tls_failed(address: Address, wrong: OSError) -> TargetError:
    """Return the error for a handshake that failed."""
    hint = ""
    if isinstance(wrong, ssl.SSLCertVerificationError):
        hint = f" ({wrong.verify_message}; --ca FILE names an authority, --insecure takes any certificate)"
    return TargetError(f"no TLS with {address.authority}: {wrong.strerror or wrong}{hint}")
