"""Certificates for the listener."""

from __future__ import annotations

import logging
import ssl
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


logger = logging.getLogger(__name__)


class BadCertificate(Exception):
    """The certificate or its key cannot be used.

    Attributes:
        reason: What is wrong, in one line.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Certificates:
    """A TLS context whose certificate can be read again while it serves.

    Args:
        certificate: The chain, as PEM.
        key: Its key, as PEM.

    Attributes:
        context: For handshakes; those after a `reload` show the new certificate.

    Raises:
        BadCertificate: The files cannot be used.
    """

    def __init__(self, certificate: Path, key: Path) -> None:
        self._files = (certificate, key)
        self.context = server_context(certificate, key)

    def reload(self) -> None:
        """Read the files again; if they cannot be used, say so and keep the certificate in use."""
        try:
            # A context of its own first: a failure half way must not leave one without its key.
            server_context(*self._files)
            self.context.load_cert_chain(*self._files)
        except (BadCertificate, OSError) as error:
            # Without a traceback: the fault is in the files.
            logger.error("certificate_refused", extra={"reason": str(error)})  # noqa: TRY400
        else:
            logger.info("certificate_reloaded")


def server_context(certificate: Path, key: Path) -> ssl.SSLContext:
    """TLS 1.2 or newer, HTTP/2 or HTTP/1.1 by ALPN.

    Raises:
        BadCertificate: A file is missing, unreadable, or does not fit the other.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2  # RFC 9113, section 9.2
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(["h2", "http/1.1"])
    try:
        context.load_cert_chain(certificate, key)
    except OSError as error:  # ssl.SSLError is one
        raise BadCertificate(f"{certificate}, {key}: {error.strerror or error}") from error
    return context
