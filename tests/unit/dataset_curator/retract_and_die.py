"""A curator that imports a set, begins to retract a vehicle's rows, and kills itself at a point that is named.

Run by test_retracting_killed.py: FOLDER POINT. It exits by SIGKILL, or with 0 when it never reaches the point.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from tests.unit.dataset_curator.test_committing import CURATION, sample
from tests.unit.dataset_curator.test_retracting import LIAR, of

from dataset_curator import transactions
from dataset_curator.committing import Committer
from dataset_curator.store import Base
from dataset_curator.tables import DatasetTables
from fleetloop.domain.clips.limits import RECORDING
from fleetloop.domain.clips.stored import StoredClips
from fleetloop.domain.tasks import load_task_schema
from fleetloop.domain.trunk import load_trunk
from fleetloop.kit.storage.database import Database
from fleetloop.kit.storage.objects import Objects
from fleetloop.kit.testing import ManualClock
from fleetloop.shipped import config_folder

POINTS = {
    "before the record": (transactions, "begin_commit", False),
    "after the record": (Committer, "_finish", False),
    "before the delete is committed": (DatasetTables, "delete", False),
    "after the delete": (DatasetTables, "delete", True),
    "after the tag": (DatasetTables, "tag", True),
    "after the diff": (Objects, "put_once", True),
    "in the last transaction": (transactions, "finish_commit", True),
}
"""Where it dies: owner and name of a function, and whether that function still does its work."""


def curator(folder: Path) -> tuple[Committer, Database, DatasetTables]:
    """A committer over the files of a folder."""
    database = Database(f"sqlite:///{folder}/curator.db", Base)
    Base.metadata.create_all(database.engine)
    tables, objects = DatasetTables(str(folder / "tables")), Objects((folder / "objects").as_uri())
    schema, clips = load_task_schema(config_folder() / "tasks.yaml"), StoredClips(objects, RECORDING)
    clock = ManualClock()
    return (
        Committer(database, tables, objects, clips, schema, load_trunk(), CURATION, "demo", clock),
        database,
        tables,
    )


def die_at(point: str) -> None:
    """Replace a function by one that ends the process."""
    owner, name, works_first = POINTS[point]
    real: Callable[..., object] = getattr(owner, name)

    def dying(*arguments: object, **named: object) -> object:
        if works_first:
            real(*arguments, **named)
        os.kill(os.getpid(), signal.SIGKILL)
        return None

    setattr(owner, name, dying)


async def main(folder: Path, point: str) -> None:
    """Import two rows of which one is retracted."""
    committer, _, _ = curator(folder)
    await committer.import_samples("town", [sample(1), of(2, vehicle_id="liar")], "", False, "import")
    die_at(point)
    await committer.retract("town", LIAR, "forged", "user/ann", "once")


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
