"""Every service's migrations lead to exactly the schema that its models describe."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from fleetloop.kit.storage.database import Database

SERVICES = Path(__file__).parents[2] / "services"
KEEPING = sorted(path.parent.name for path in SERVICES.glob("*/migrations"))


@pytest.mark.parametrize("package", KEEPING)
def test_migrations_make_the_models_schema(package: str, database_url: str) -> None:
    base = importlib.import_module(f"{package}.store").Base
    database = Database(database_url, base)
    database.migrate(SERVICES / package / "migrations")
    with database.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), base.metadata) == []
    database.migrate(SERVICES / package / "migrations")  # a second start changes nothing
    database.close()


def test_there_is_something_to_check() -> None:
    assert len(KEEPING) >= 5
