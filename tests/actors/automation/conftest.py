"""One suite for both databases."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine, StaticPool, create_engine

from actors.automation.tables import metadata
from tests.postgres import PostgresServer, PostgresTemplate


@pytest.fixture(scope="session")
def postgres_engine(_postgres_template: PostgresTemplate) -> Iterator[Engine]:
    """A PostgreSQL these tests share; each begins with empty tables."""
    server = PostgresServer(_postgres_template)
    try:
        server.start()
        engine = create_engine(server.url.replace("postgresql://", "postgresql+psycopg://"))
        yield engine
        engine.dispose()
    finally:
        server.discard()


@pytest.fixture(params=["sqlite", "postgresql"])
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    """An empty database of each kind."""
    if request.param == "sqlite":
        made = create_engine("sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False})
    else:
        made = request.getfixturevalue("postgres_engine")
        metadata.drop_all(made)
    metadata.create_all(made)
    yield made
    if request.param == "sqlite":
        made.dispose()
