"""What goes into the archive comes out of it: every value, time, list and name; and people can read it, too."""

from __future__ import annotations

from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings

from fleetloop.domain.archive_files import (
    ArchiveFileError,
    Footer,
    VehicleTotals,
    address_of,
    list_files,
    read_appended,
    read_archive,
    read_file,
    read_footer,
    scan_archive,
    write_file,
)
from fleetloop.domain.archive_rows import from_table, to_table
from fleetloop.domain.frames import Column, FrameBatch
from fleetloop.kit.storage.objects import Objects

WORDS = ("none", "red", "green")


def assert_same(found: FrameBatch, sent: FrameBatch) -> None:
    for name in FrameBatch.__dataclass_fields__:
        if name not in ("columns", "frame_offsets_ns"):
            assert getattr(found, name) == getattr(sent, name), name
    np.testing.assert_array_equal(found.frame_offsets_ns, sent.frame_offsets_ns)
    kept = {path: column for path, column in sent.columns.items() if column.rows()}
    assert set(found.columns) == set(kept)
    for path, column in kept.items():
        read = found.columns[path]
        assert read.values.dtype == column.values.dtype, path
        np.testing.assert_array_equal(read.values, column.values)
        assert read.dictionary == column.dictionary
        assert (read.offsets_ns is None) == (column.offsets_ns is None)
        if column.offsets_ns is not None:
            np.testing.assert_array_equal(read.offsets_ns, column.offsets_ns)
        assert (read.splits is None) == (column.splits is None)
        if column.splits is not None:
            np.testing.assert_array_equal(read.splits, column.splits)


@st.composite
def batches(draw: st.DrawFn) -> FrameBatch:
    chance = np.random.default_rng(draw(st.integers(0, 2**32)))

    def clock(rows: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        return np.sort(chance.integers(0, 5, rows)).astype(np.int64)  # instants may coincide

    frames = draw(st.integers(1, 6))
    columns: dict[str, Column] = {}
    shared = clock(draw(st.integers(0, 4)))
    for path, dtype in (("F", "f4"), ("D", "f8"), ("I", "i4"), ("L", "i8"), ("B", "?"), ("E", "u2")):
        way = draw(st.sampled_from(["absent", "frames", "own", "shared"]))
        if way == "absent":
            continue
        offsets = {"frames": None, "own": clock(draw(st.integers(0, 4))), "shared": shared}[way]
        rows = frames if offsets is None else len(offsets)
        splits = None
        total = rows
        if draw(st.booleans()):
            splits = np.concatenate([[0], np.cumsum(chance.integers(0, 3, rows))]).astype(np.uint32)
            total = int(splits[-1])
        values = chance.integers(0, 2, total).astype(dtype)
        if dtype == "f4" and total:
            values[0] = np.nan
        name = path if splits is None else path + "s"
        columns[name] = Column(values, offsets, splits, WORDS if dtype == "u2" else ())
    return FrameBatch(
        draw(st.sampled_from(["fleet"])),
        draw(st.sampled_from(["v1", "v2"])),
        draw(st.sampled_from([b"12345678", b"\x00\xff345678"])),
        draw(st.integers(0, 2**63)),
        draw(st.integers(0, 2**60)),
        draw(st.integers(0, 2**60)),
        "gnss",
        clock(frames),
        columns,
        draw(st.sampled_from(["", "a" * 64])),
        "",
    )


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(batches(), max_size=6))
def test_any_batches_come_back_from_a_file(tmp_path_factory: pytest.TempPathFactory, sent: list[FrameBatch]) -> None:
    numbered = [(7 + 3 * number, batch) for number, batch in enumerate(sent)]
    objects = Objects(tmp_path_factory.mktemp("archive").as_uri())
    appended = {offset: offset * 1000 for offset, _ in numbered}
    objects.put_once("f/telemetry/0/0.parquet", write_file(numbered, Footer(0, 99, 1, 2, 0, 0), appended))
    for found in (list(from_table(to_table(numbered))), list(read_file(objects, "f/telemetry/0/0.parquet"))):
        assert [offset for offset, _ in found] == [offset for offset, _ in numbered]
        for (_, read), (_, batch) in zip(found, numbered, strict=True):
            assert_same(read, batch)


def test_the_brokers_times_come_back_and_are_guessed_where_a_file_lacks_them(tmp_path: Path) -> None:
    objects, sent = Objects(tmp_path.as_uri()), [(offset, simple("v", offset)) for offset in (10, 14, 20)]
    footer = Footer(10, 20, 5000, 6000, 0, 0)
    known = {10: 5000, 14: 5007, 20: 6000}
    objects.put_once("new", write_file(sent, footer, known))
    objects.put_once("old", write_file(sent, footer))
    assert read_appended(objects, "new", footer) == known
    guessed = read_appended(objects, "old", footer)
    assert [guessed[offset] for offset in known] == [5000, 5400, 6000]
    assert [offset for offset, _ in read_file(objects, "new", {"Speed"})] == [10, 14, 20]


def simple(vehicle: str, sequence: int) -> FrameBatch:
    start = 1_700_000_000_000_000_000 + sequence * 10**9
    lights = Column(np.array([1, 0], np.uint16), dictionary=WORDS)
    speed = Column(np.array([1, 2], np.float32))
    tracks = Column(np.array([5, 6, 7], np.int64), np.array([3, 4], np.int64), np.array([0, 1, 3], np.uint32))
    columns = {"Speed": speed, "Light": lights, "Tracks.Id": tracks} if sequence % 2 == 0 else {"Speed": speed}
    return FrameBatch(
        "fleet", vehicle, b"12345678", sequence, 5, start, "gnss", np.array([0, 10**8], np.int64), columns
    )


def stored(folder: Path) -> Objects:
    objects = Objects(folder.as_uri())
    for partition, vehicle in enumerate(("v1", "v2")):
        for first in (0, 100):
            sent = [(first + number, simple(vehicle, first + number)) for number in range(4)]
            times = [batch.start_utc_ns for _, batch in sent]
            totals = VehicleTotals(4, 8, times[0], times[-1] + 10**8)
            footer = Footer(
                first, first + 99, 1, 2, 3, 0, {vehicle: totals}, {vehicle: {"3132": [(first, first + 3)]}}
            )
            objects.put_once(address_of("fleet", partition, first), write_file(sent, footer))
    return objects


def test_a_file_tells_what_is_in_it_and_the_archive_is_read_in_the_order_of_its_logs(tmp_path: Path) -> None:
    objects = stored(tmp_path)
    files = list_files(objects, "fleet")
    assert [address.split("/", 2)[2] for address in files][:2] == [f"0/{0:020d}.parquet", f"0/{100:020d}.parquet"]
    footer = read_footer(objects, files[1])
    assert (footer.first_offset, footer.last_offset, footer.repeats) == (100, 199, 3)
    assert footer.sequences == {"v1": {"3132": [(100, 103)]}}
    everything = list(read_archive(objects, "fleet"))
    assert [(b.vehicle_id, b.sequence) for b in everything] == [
        (vehicle, first + number) for vehicle in ("v1", "v2") for first in (0, 100) for number in range(4)
    ]
    wanted = read_archive(
        objects, "fleet", signals={"Light"}, vehicles={"v2"}, from_utc_ns=everything[6].start_utc_ns
    )
    assert [(b.vehicle_id, b.sequence, sorted(b.columns)) for b in wanted] == [
        ("v2", 102, ["Light"]),
        ("v2", 103, []),
    ]
    assert list(read_archive(objects, "fleet", until_utc_ns=everything[0].start_utc_ns)) == []


def test_polars_reads_the_files_as_a_plain_table(tmp_path: Path) -> None:
    stored(tmp_path)
    frame = scan_archive(tmp_path)
    per_vehicle = (
        frame.filter(pl.col("clock") == 0).group_by("vehicle").agg(pl.len(), pl.col("Speed").max()).collect()
    )
    assert sorted(per_vehicle.rows()) == [("v1", 16, 2.0), ("v2", 16, 2.0)]
    lights = frame.select(pl.col("Light").drop_nulls().cast(pl.String)).collect().to_series()
    assert sorted(lights.to_list()) == ["none"] * 8 + ["red"] * 8
    assert frame.select(pl.col("Tracks.Id").drop_nulls().explode().sum()).collect().item() == 18 * 8


def test_what_is_no_file_of_the_archive_is_named(tmp_path: Path) -> None:
    objects = Objects(tmp_path.as_uri())
    objects.put_once("fleet/telemetry/0/1.parquet", b"no parquet")
    with pytest.raises(ArchiveFileError, match=r"telemetry/0/1\.parquet"):
        read_footer(objects, "fleet/telemetry/0/1.parquet")
    with pytest.raises(ValueError, match="one table holds one"):
        other = FrameBatch(
            "f", "v", b"12345678", 0, 0, 0, "gnss", np.zeros(1, np.int64), {"Speed": Column(np.zeros(1, np.int32))}
        )
        to_table([(0, simple("v", 0)), (1, other)])
