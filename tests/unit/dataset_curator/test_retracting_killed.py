"""SIGKILL at every step of a retraction: the next start finishes it or finds nothing begun, and it happens once."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import sqlalchemy as sa
from tests.unit.dataset_curator.retract_and_die import POINTS, curator
from tests.unit.dataset_curator.test_retracting import LIAR, of, retract

from dataset_curator import queries
from dataset_curator.store import OutboxRow
from fleetloop.domain.dataset_digest import DIGESTED, dataset_digest

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("point", POINTS)
async def test_a_retraction_that_was_killed_takes_effect_once(tmp_path: Path, point: str) -> None:
    command = [sys.executable, "-m", "tests.unit.dataset_curator.retract_and_die", str(tmp_path), point]
    run = partial(subprocess.run, command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    died = await asyncio.to_thread(run)
    assert died.returncode == -signal.SIGKILL, died.stderr
    committer, database, tables = curator(tmp_path)
    await committer.recover()
    known = [each.version for each in await database.read(queries.versions)]
    assert known == (["v1"] if point == "before the record" else ["v2", "v1"])
    answer = await retract(committer, database, LIAR, "once")  # the caller, who got no answer, tries again
    assert (answer.committed.version, answer.committed.samples, answer.committed.changed) == ("v2", 1, 1)
    assert [row["sample_id"] for row in tables.rows("town", "v2", ["sample_id"])] == ["s1"]
    assert answer.committed.content_digest == dataset_digest(tables.rows("town", "v2", DIGESTED))
    assert len(list(tables.rows("town", "v1", ["sample_id"]))) == 2
    after = await committer.import_samples("town", [of(3)], "", False, "later")
    assert (after.version, after.samples) == ("v3", 2)
    assert await database.read(queries.pending_commits) == []
    assert await database.read(partial(queries.vehicle_counts, dataset="town")) == {"": 2}
    events = await database.read(lambda tx: list(tx.session.scalars(sa.select(OutboxRow.event_id))))
    assert len(events) == len(set(events)) == 3, "each version is announced once"
    assert len(await database.read(partial(queries.retractions, dataset="town"))) == 1
    database.close()
