"""`greenroom serve`: one process, configured by the environment, until a signal ends it."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, Final

import trio

from actors.automation.policy_files import PolicyError
from supervision import SupervisionError
from web.log import set_up
from web.program import Program, prepare_process, run_until_signalled
from web.server.sockets import CannotListen
from web.server.tls import BadCertificate

if TYPE_CHECKING:
    from web.log import PutLog
    from web.settings import Settings

logger = logging.getLogger(__name__)

OK: Final = 0
FAILED: Final = 1


def serve(settings: Settings) -> int:
    """Serve until stopped; the exit status. What cannot start says so in one line."""
    put_log = set_up(settings.log_level, settings.log_format, sys.stdout)
    prepare_process()
    status = FAILED
    try:
        status = OK if trio.run(_serve, settings, put_log) else FAILED
    except* (CannotListen, BadCertificate, PolicyError) as cannot:
        _say(cannot.exceptions[0])
    except* SupervisionError:
        logger.critical("given_up", exc_info=True)
    finally:
        put_log.close()
    return status


def _say(error: Exception) -> None:
    variable = "CONFIG_DIR" if isinstance(error, PolicyError) else "TLS_CERT_FILE"
    if isinstance(error, CannotListen):
        variable = "PORT" if error.in_use else "HOST"
    print(f"greenroom: {variable}: {error}", file=sys.stderr)  # noqa: T201  # before there is anybody to log for


async def _serve(settings: Settings, put_log: PutLog) -> bool:
    with Program(settings, put_log) as program:
        return await run_until_signalled(program)
