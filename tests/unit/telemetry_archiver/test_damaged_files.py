"""A file that is empty, truncated or foreign stops neither the archiver nor a reader, and its offsets come again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleetloop.domain.archive_files import ArchiveFileError, list_files, read_file, read_footer
from fleetloop.domain.frames import Column, FrameBatch
from fleetloop.kit.storage.objects import Objects
from telemetry_archiver.core import OpenFile
from telemetry_archiver.model import Arrival, SeenBatches
from telemetry_archiver.store import Archive

S = 10**9


def batch(sequence: int) -> FrameBatch:
    times = np.arange(10, dtype=np.int64) * 10**8
    columns = {"Speed": Column(np.full(10, float(sequence), np.float32))}
    return FrameBatch("f", "car", b"12345678", sequence, sequence * S, sequence * S, "gnss", times, columns)


def archived(root: Path, files: int = 3, batches: int = 4) -> tuple[Objects, Archive, list[str]]:
    """An archive of one partition: file n holds the offsets from n * batches on."""
    objects = Objects(root.as_uri())
    archive = Archive(objects, "f", 1000)
    file = OpenFile(0, SeenBatches())
    for _ in range(files):
        for _ in range(batches):
            number = file.last_offset + 1
            file.add(Arrival(number, 1000 + number, 100, batch(number)))
        assert archive.create(0, file, archive.encode(file))
        file = file.successor(1000)
    return objects, archive, list_files(objects, "f", 0)


def fresh(objects: Objects) -> Archive:
    return Archive(objects, "f", 1000)


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda content: b"",
    "truncated": lambda content: content[: len(content) // 2],
    "foreign": lambda content: b"no parquet at all",
    "zeros": lambda content: bytes(len(content)),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_the_archiver_goes_on_after_the_newest_intact_file(tmp_path: Path, damage: str) -> None:
    objects, _, addresses = archived(tmp_path)
    objects.put(addresses[2], DAMAGES[damage](objects.get(addresses[2])))
    file = fresh(objects).begin(0)
    assert file.first_offset == 8
    assert not file.add(Arrival(8, 2000, 100, batch(7))), "what is in intact files is still recognised"
    assert list_files(objects, "f", 0) == addresses[:2]
    (aside,) = [each for each in objects.list("f/telemetry/") if "damaged" in each]
    assert aside.startswith(addresses[2] + ".damaged-")
    again = fresh(objects)
    file = again.begin(0)
    for number in range(8, 12):
        assert file.add(Arrival(number, 1000 + number, 100, batch(number)))
    assert again.create(0, file, again.encode(file)), "the name is free again"
    rows = [offset for address in list_files(objects, "f", 0) for offset, _ in read_file(objects, address)]
    assert rows == list(range(12))
    assert len(list(fresh(objects).footers())) == 3


def test_all_files_of_a_partition_may_be_damaged(tmp_path: Path) -> None:
    objects, _, addresses = archived(tmp_path)
    for address in addresses:
        objects.put(address, b"")
    assert fresh(objects).begin(0).first_offset == 0
    assert list_files(objects, "f") == []


def test_a_damaged_file_is_left_out_of_the_statistics_and_readers_name_it(tmp_path: Path) -> None:
    objects, _, addresses = archived(tmp_path)
    objects.put(addresses[1], b"")
    assert [footer.first_offset for footer in fresh(objects).footers()] == [0, 8]
    with pytest.raises(ArchiveFileError, match=addresses[1]):
        list(read_file(objects, addresses[1]))


def test_a_file_under_the_name_of_another_is_damaged(tmp_path: Path) -> None:
    objects, _, addresses = archived(tmp_path)
    objects.put(addresses[2], objects.get(addresses[0]))
    with pytest.raises(ArchiveFileError, match="offsets 0 to 3"):
        read_footer(objects, addresses[2])
    assert fresh(objects).begin(0).first_offset == 8


@pytest.mark.parametrize(
    "name", ["notes.txt", "x.parquet", "12.parquet.tmp", "-1.parquet", "sub/1.parquet", ".parquet"]
)
def test_an_object_with_a_foreign_name_is_ignored(tmp_path: Path, name: str) -> None:
    objects, _, addresses = archived(tmp_path)
    objects.put(f"f/telemetry/0/{name}", b"x")
    objects.put(f"f/telemetry/{name}", b"x")
    assert list_files(objects, "f") == addresses
    assert fresh(objects).begin(0).first_offset == 12


def test_a_disk_that_cannot_be_read_is_not_taken_for_a_damaged_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    objects, _, addresses = archived(tmp_path)

    def broken(*_: object, **__: object) -> object:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("fleetloop.domain.archive_files.pq.read_schema", broken)
    with pytest.raises(OSError, match="Input/output error"):
        fresh(objects).begin(0)
    assert list_files(objects, "f", 0) == addresses


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_no_truncation_or_change_of_a_byte_raises_anything_but_the_errors_of_the_archive(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    objects, _, addresses = archived(tmp_path_factory.mktemp("archive"), files=1)
    content = objects.get(addresses[0])
    at = data.draw(st.integers(0, len(content) - 1))
    if data.draw(st.booleans()):
        damaged = content[:at]
    else:
        damaged = content[:at] + bytes([content[at] ^ data.draw(st.integers(1, 255))]) + content[at + 1 :]
    objects.put(addresses[0], damaged)
    try:
        footer = read_footer(objects, addresses[0])
        rows = list(read_file(objects, addresses[0]))
    except ArchiveFileError:
        return
    assert footer.first_offset == 0
    assert len(damaged) == len(content)
    assert len(rows) == 4
