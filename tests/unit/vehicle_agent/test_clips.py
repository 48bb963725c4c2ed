"""A clip waits on the disk until it is stored, over restarts; a half-written one never results."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fleetloop.domain.clips import DriveInfo, read_drive
from fleetloop.domain.frames import Column, FrameBatch
from vehicle_agent.clips import ClipStore
from vehicle_agent.commands import ClipProgress
from vehicle_agent.model import ClipHeader, ClipRequest
from vehicle_agent.ring_buffer import ClipContent, RingBuffer

BOOT = b"12345678"


def cut(command: str) -> ClipContent:
    ring, times = RingBuffer(1000), np.arange(100, dtype=np.int64)
    batch = FrameBatch("f", "v", BOOT, 0, 0, 10**18, "none", times, {"A.B": Column(times)}, "a" * 64)
    ring.add_batch(batch)
    return ring.cut(ClipRequest(command, "firing", BOOT, 10, 20, 15), DriveInfo("v", "d", boot_id=BOOT, fleet_id="f"))


def test_from_the_cut_to_the_gateways_word(tmp_path: Path) -> None:
    store = ClipStore(tmp_path, 10**6)
    assert store.progress("../c") is ClipProgress.UNKNOWN
    header = store.write(cut("../c"), 5)
    assert (header.start_utc_ns, header.end_utc_ns) == (10**18 + 10, 10**18 + 20)
    assert (header.firing_id, header.model_digest, header.boot_id) == ("firing", "a" * 64, BOOT.hex())
    again = ClipStore(tmp_path, 10**6)
    assert again.progress("../c") is ClipProgress.CUT
    assert again.waiting() == [header]
    assert read_drive(again.content(header)).signals["A.B"].values.tolist() == list(range(10, 21))
    again.stored(header)
    assert again.progress("../c") is ClipProgress.STORED
    assert again.stored_digest("../c") == header.sha256
    assert again.waiting() == []
    assert len(list(tmp_path.iterdir())) == 1
    again.unmark_stored("../c")
    assert again.progress("../c") is ClipProgress.UNKNOWN
    assert again.stored_digest("../c") == ""


def test_a_clip_without_its_header_never_happened(tmp_path: Path) -> None:
    store = ClipStore(tmp_path, 10**6)
    header = store.write(cut("c"), 0)
    next(tmp_path.glob("*.json")).unlink()
    (tmp_path / "torn.tmp").write_bytes(b"half")
    again = ClipStore(tmp_path, 10**6)
    assert again.progress("c") is ClipProgress.UNKNOWN
    assert again.waiting() == []
    assert not (tmp_path / "torn.tmp").exists()
    assert again.write(cut("c"), 0) == header


def test_the_least_wanted_make_room(tmp_path: Path) -> None:
    roomy = ClipStore(tmp_path, 10**6)
    headers: list[ClipHeader] = [roomy.write(cut(f"c{number}"), number) for number in range(4)]
    store = ClipStore(tmp_path, 2 * headers[0].size_bytes + 50)
    assert store.make_room() == 2
    assert [header.command_id for header in store.waiting()] == ["c3", "c2"]
    assert store.make_room() == 0
