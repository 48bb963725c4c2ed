"""Write the next Alembic revision of a service from the difference between its models and its migrations.

Usage: python scripts/new_migration.py label_desk "add leases". Read what it wrote before committing it.
"""

from __future__ import annotations

import importlib
import sys
import tempfile
from pathlib import Path

from alembic import command
from alembic.config import Config

from fleetloop.kit.storage.database import MIGRATION_ENVIRONMENT, Database

ROOT = Path(__file__).resolve().parent.parent


def main(package: str, message: str) -> None:
    """Migrate an empty database to the newest revision and write the difference to the models as the next one."""
    base = importlib.import_module(f"{package}.store").Base
    versions = ROOT / "services" / package / "migrations"
    with tempfile.TemporaryDirectory() as folder:
        database = Database(f"sqlite:///{folder}/scratch.db", base)
        database.migrate(versions)
        config = Config()
        config.set_main_option("script_location", str(MIGRATION_ENVIRONMENT))
        config.set_main_option("version_locations", str(versions))
        config.set_main_option("path_separator", "os")
        config.attributes["engine"] = database.engine
        config.attributes["metadata"] = base.metadata
        number = len(list(versions.glob("[0-9]*.py"))) + 1
        command.revision(config, message, autogenerate=True, rev_id=f"{number:04d}", version_path=str(versions))
        database.close()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
