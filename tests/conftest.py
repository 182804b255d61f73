"""Fixtures for every test: engines that are real, private and gone afterwards."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.engines import RedisServer
from tests.postgres import PostgresServer, PostgresTemplate, postgres_template

# What outlives a killed process need not outlive the machine: in memory an fsync costs 3 us instead of
# 4 ms, and the tests of databases make tens of thousands.
MEMORY: Final = Path("/dev/shm")  # pytest and `tempfile` make private directories in it
ENOUGH_BYTES: Final = 4 << 30


def pytest_configure() -> None:
    """Keep temporary files in memory, where there is enough and programs may be run from it."""
    if "PYTEST_DEBUG_TEMPROOT" in os.environ or not MEMORY.is_dir():
        return
    facts = os.statvfs(MEMORY)
    has_room = facts.f_bavail * facts.f_frsize >= ENOUGH_BYTES and not facts.f_flag & os.ST_NOEXEC
    if has_room and os.access(MEMORY, os.W_OK):
        # Workers of pytest-xdist inherit it.
        os.environ["PYTEST_DEBUG_TEMPROOT"] = os.environ["TMPDIR"] = tempfile.tempdir = str(MEMORY)


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[RedisServer]:
    """An empty Redis of the test's own, which it may kill and start again."""
    directory = tmp_path / "redis"
    directory.mkdir()
    server = RedisServer(directory)
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="session")
def _postgres_template() -> Iterator[PostgresTemplate]:
    with postgres_template() as template:
        yield template


@pytest.fixture
def postgres_server(_postgres_template: PostgresTemplate) -> Iterator[PostgresServer]:
    """A PostgreSQL of the test's own with an empty database, which it may kill and start again."""
    server = PostgresServer(_postgres_template)
    try:
        server.start()
        yield server
    finally:
        server.discard()
