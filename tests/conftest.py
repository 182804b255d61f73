"""Fixtures for every test: engines that are real, private and gone afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engines import RedisServer
from tests.postgres import PostgresServer, PostgresTemplate, postgres_template


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
