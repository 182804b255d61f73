"""Which database, if any, and how it is brought up to date."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sqlalchemy.exc import DBAPIError

from actors.links import Database, Limits, Unprepared, make_engine, normal_url
from web.migrations import migrate

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy import Connection

    from web.settings import Settings

FILE: Final = "greenroom.sqlite3"


def database_url(settings: Settings) -> str:
    """`DATABASE_URL`, or a file in `DATA_DIR`."""
    if settings.database_url is not None:
        return settings.database_url.get_secret_value()
    return f"sqlite:///{settings.data_dir.absolute() / FILE}"


def needs_database(settings: Settings) -> bool:
    """Whether anybody is expected to post. A server to which nobody posts makes no file."""
    return (
        settings.database_url is not None
        or bool(settings.game_server_tokens)
        or (settings.automation != "off" and _expects_snapshots(settings))
    )


def _expects_snapshots(settings: Settings) -> bool:
    return bool(settings.inbound_api_keys) or settings.roblox_open_cloud_api_key is not None


def build_database(settings: Settings) -> Database | None:
    """The link to it, not running yet; None where the stats, which run it, are off or need none."""
    return new_database(settings) if settings.stats and needs_database(settings) else None


def new_database(settings: Settings) -> Database:
    """The link to `database_url`, whoever needs it, not running yet."""
    return Database(database_url(settings), prepare=_prepare)


def _prepare(connection: Connection) -> Mapping[str, str]:
    return migrate(connection).problems


class CannotMigrate(Exception):
    """The database cannot be reached or changed; the text says why, in one line."""


def migrate_now(settings: Settings) -> str:
    """Bring the database up to date, made if need be; the version it is of then.

    Raises:
        CannotMigrate: It was left as it was, at least those parts that are named.
    """
    url = normal_url(database_url(settings))
    try:
        if settings.database_url is None:
            settings.data_dir.mkdir(parents=True, exist_ok=True)
        with make_engine(url, Limits(), writes=True).begin() as connection:
            migrated = migrate(connection)
    except DBAPIError as error:
        raise CannotMigrate(str(error.orig).strip().splitlines()[0]) from error
    except (Unprepared, OSError) as error:
        raise CannotMigrate(str(error)) from error
    if migrated.problems:
        raise CannotMigrate("; ".join(f"{part}: {problem}" for part, problem in migrated.problems.items()))
    return migrated.version
