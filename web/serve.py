"""`greenroom serve`: one process, configured by the environment, until a signal ends it."""

from __future__ import annotations

import logging
import os
import sys
from functools import partial
from typing import TYPE_CHECKING, Final

import trio

from actors.automation.policy_files import PolicyError
from actors.links import NameTaken, Unsuitable
from actors.matches.rules import RulesError
from supervision import SupervisionError
from web.check_config import unwritable
from web.handlers.jwt_keys import BadKeys
from web.log import set_up
from web.program import Program, prepare_process, run_until_signalled
from web.server.sockets import CannotListen, adopt
from web.server.systemd import READY, listen_descriptors, notify, watchdog_s
from web.server.tls import BadCertificate
from web.server.watchdog import keep_watchdog
from web.settings_warnings import warnings
from web.signals import receive_signals
from web.wiring.database import needs_database
from web.workers import lifeline as wire
from web.workers.lifeline import beat, obey, write_byte

if TYPE_CHECKING:
    import socket
    from collections.abc import Mapping

    from web.log import PutLog
    from web.settings import Settings
    from web.workers.place import WorkerPlace

logger = logging.getLogger(__name__)

OK: Final = 0
FAILED: Final = 1


def serve(settings: Settings, place: WorkerPlace | None = None) -> int:
    """Serve until stopped; the exit status. What cannot start says so in one line.

    Args:
        settings: Those of the node.
        place: That of this process among several workers; None where it is alone.
    """
    if place is not None:
        settings = settings.of_worker(place.number, place.count)
    put_log = set_up(settings.log_level, settings.log_format, sys.stdout)
    prepare_process(settings.max_connections)
    status = FAILED
    try:
        status = OK if trio.run(_serve, settings, put_log, place) else FAILED
    except* CANNOT_START as cannot:
        _say(cannot.exceptions[0])
    except* SupervisionError as ended:
        unsuitable = _unsuitable(ended)
        if unsuitable is None:
            logger.critical("given_up", exc_info=True)
        else:
            _say(unsuitable)
    finally:
        put_log.close()
    return status


class UnwritableDirectory(Exception):
    """`DATA_DIR` is needed and cannot be written."""


# Which variable is to be looked at, by what cannot start.
VARIABLE_OF: Final[Mapping[type[Exception], str]] = {
    BadCertificate: "TLS_CERT_FILE",
    BadKeys: "JWT_JWKS_FILE",
    NameTaken: "NODE_NAME",
    PolicyError: "CONFIG_DIR",
    Unsuitable: "REDIS_URL",
    UnwritableDirectory: "DATA_DIR",
}


CANNOT_START: Final = (
    CannotListen,
    BadCertificate,
    BadKeys,
    NameTaken,
    PolicyError,
    RulesError,
    UnwritableDirectory,
)


def _unsuitable(error: BaseException | None) -> Unsuitable | None:
    """The server that a part could not start with, if that is at the bottom of `error`."""
    while error is not None and not isinstance(error, Unsuitable):
        error = error.exceptions[0] if isinstance(error, BaseExceptionGroup) else error.__cause__
    return error


def _say(error: Exception) -> None:
    variable = VARIABLE_OF.get(type(error), "game rules")
    if isinstance(error, CannotListen):
        variable = "PORT" if error.in_use else "HOST"
    print(f"greenroom: {variable}: {error}", file=sys.stderr)  # noqa: T201  # before there is anybody to log for


def _make_data_dir(settings: Settings) -> None:
    """Make the directory of the ledger and the results, before the server listens.

    Raises:
        UnwritableDirectory: The directory is needed, and nothing can be written there.
    """
    has_file = settings.database_url is None and needs_database(settings)
    if not has_file and not settings.matches_enabled:
        return
    problem = unwritable(settings.data_dir)
    if problem is not None:
        raise UnwritableDirectory(problem)
    try:
        settings.data_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UnwritableDirectory(str(error)) from error


async def _serve(settings: Settings, put_log: PutLog, place: WorkerPlace | None) -> bool:
    _make_data_dir(settings)
    for warning in warnings(settings, os.environ):
        logger.warning("configuration_warning", extra={"warning": warning})
    with receive_signals() as signals:
        if place is None:
            stall_s = settings.stream_stall_seconds
            passed = [adopt(descriptor, stall_s=stall_s) for descriptor in listen_descriptors(os.environ)]
            with Program(settings, put_log, passed) as program:
                await _take_name(program)
                return await run_until_signalled(program, signals, beside=_notify_systemd)
        with (
            place.open_lifeline() as lifeline,
            Program(settings, put_log, place.open_listeners(), place) as program,
        ):
            if place.number == 1:
                # The others hold it with this one; one of them says so if it cannot be had.
                await _take_name(program)
            return await run_until_signalled(program, signals, beside=partial(_hold_lifeline, lifeline))


async def _take_name(program: Program) -> None:
    """Take the node's name. Connections and signals wait meanwhile, for one lease at most.

    Raises:
        NameTaken: Another living node has it.
    """
    if program.core.nodes.name is not None:
        await program.core.nodes.name.take()


def _notify_systemd(program: Program, nursery: trio.Nursery) -> None:
    """Tell systemd that this process serves, and that its loop turns."""

    async def say_ready() -> None:
        await program.is_serving.wait()
        notify(READY)

    nursery.start_soon(say_ready)
    nursery.start_soon(keep_watchdog, watchdog_s(os.environ))


def _hold_lifeline(lifeline: socket.socket, program: Program, nursery: trio.Nursery) -> None:
    """Show the parent that this worker is alive and ready, and obey it."""

    async def say_ready() -> None:
        await program.is_serving.wait()
        write_byte(lifeline, wire.READY)

    if program.siblings is not None:
        nursery.start_soon(program.siblings.run)
    nursery.start_soon(beat, lifeline)
    nursery.start_soon(obey, lifeline, program)
    nursery.start_soon(say_ready)
