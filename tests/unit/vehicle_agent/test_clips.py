"""A clip waits on the disk until it is stored, over restarts; a half-written one never results."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.small_disk import small_disk

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


@pytest.mark.parametrize(
    "damage",
    [b"", b"{", b"[]", b"{}", b"\xff\xfe", b'{"cameras": 3}', b"null"],
)
def test_a_damaged_header_is_set_aside_and_the_other_clips_wait_on(tmp_path: Path, damage: bytes) -> None:
    store = ClipStore(tmp_path, 10**6)
    first = store.write(cut("first"), 0)
    next(tmp_path.glob("*.json")).write_bytes(damage)
    second = store.write(cut("second"), 0)
    assert store.waiting() == [second]
    assert store.progress("first") is ClipProgress.UNKNOWN
    assert store.damaged == 2
    assert len(list((tmp_path / "damaged").iterdir())) == 2
    assert not store.content(first).exists()


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_a_header_truncated_or_changed_anywhere_never_raises(data: st.DataObject) -> None:
    with TemporaryDirectory() as name:
        store = ClipStore(Path(name), 10**6)
        header = store.write(cut("c"), 0)
        path = next(Path(name).glob("*.json"))
        content = path.read_bytes()
        at = data.draw(st.integers(0, len(content) - 1))
        path.write_bytes(content[:at] + data.draw(st.binary(max_size=3)))
        assert store.waiting() in ([], [header])


@pytest.mark.parametrize("damage", [b"", b"garbage", None])
def test_a_clip_whose_bytes_are_damaged_is_set_aside(tmp_path: Path, damage: bytes | None) -> None:
    store = ClipStore(tmp_path, 10**6)
    header, other = store.write(cut("c"), 0), store.write(cut("other"), 0)
    if damage is None:
        store.content(header).unlink()
    else:
        store.content(header).write_bytes(damage)
    assert not store.check(header)
    assert store.check(other)
    assert store.waiting() == [other]
    assert store.progress("c") is ClipProgress.UNKNOWN


def test_a_damaged_mark_is_no_proof_that_a_clip_is_stored(tmp_path: Path) -> None:
    store = ClipStore(tmp_path, 10**6)
    store.stored(store.write(cut("c"), 0))
    for damage in (b"", b"\xff" * 64, b"a" * 63):
        next(tmp_path.glob("*.stored")).write_bytes(damage)
        assert store.stored_digest("c") == ""


def test_on_a_full_disk_clips_of_no_higher_priority_make_room(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 128 * 1024) as disk:
        store, written = ClipStore(disk, 10**9), 0
        for number in range(100):
            store.write(cut(f"c{number:02d}"), 1)
            written += 1
        assert 0 < store.dropped == written - len(store.waiting())
        assert not list(disk.glob("*.tmp"))
        before = store.waiting()
        with pytest.raises(OSError, match="No space"):
            while True:
                (disk / f"others-{len(list(disk.iterdir()))}").write_bytes(bytes(4096))
        with pytest.raises(OSError, match="No space"):
            store.write(cut("unwanted"), 0)
        assert store.waiting() == before
        store.stored(before[0])
        assert store.waiting() == before[1:]
