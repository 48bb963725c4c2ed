"""A drive of the town is a drive like any other: it can be read, replayed, and passes the catalogue."""

from __future__ import annotations

from pathlib import Path

from fleetloop.domain.clips import read_drive
from fleetloop.domain.signals import load_catalogue
from fleetloop.domain.tasks import load_task_schema
from fleetloop.domain.validation import validate
from fleetloop.worlds.recorded import RecordedDrive
from vehicle_agent.record import main, record_town

CONFIG = Path(__file__).parents[3] / "config"


def test_a_town_drive_can_be_replayed(tmp_path: Path) -> None:
    assert main([str(tmp_path / "a.mcap"), "--seconds=20", "--seed=5", f"--config-dir={CONFIG}"]) == 0
    record_town(tmp_path / "b.mcap", CONFIG, 20, 5)
    assert (tmp_path / "a.mcap").read_bytes() == (tmp_path / "b.mcap").read_bytes()
    drive = read_drive(tmp_path / "a.mcap")
    schema, catalogue = load_task_schema(CONFIG / "tasks.yaml"), load_catalogue(CONFIG / "signals.yaml")
    assert set(drive.cameras) == {camera.name for camera in schema.cameras}
    assert len(drive.images("front_main")) == 40
    assert drive.info.onset_monotonic_ns == -1
    world = RecordedDrive(drive)
    stretches = list(world.stretches("f", "v", b"12345678"))
    assert sum(stretch.batch.frames() for stretch in stretches) == world.frames == 200
    assert all(validate(s.batch, catalogue, 1_700_000_000 * 10**9).dropped == () for s in stretches)
    assert sum(len(stretch.images) for stretch in stretches) == 40 * len(schema.cameras)
