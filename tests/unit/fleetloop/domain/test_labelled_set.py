"""A labelled set comes back as it was written, and what is wrong in one is named."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fleetloop.domain.labelled_set import (
    FILE,
    LabelledRow,
    LabelledSetError,
    read_labelled_set,
    read_set_at,
    write_labelled_set,
)
from fleetloop.kit.storage.objects import Objects


def rows(count: int) -> list[LabelledRow]:
    rng = np.random.default_rng(1)
    return [
        LabelledRow(
            f"s{number}", rng.integers(0, 256, (3, 2, 4, 5, 3)).astype(np.uint8),
            {"stop_sign": {"is_sign": 1, "attributes": ["held"]}}, "held", "night_held", "corner", 5 + number,
        )
        for number in range(count)
    ]  # fmt: skip


def test_a_set_comes_back_as_it_was_written(tmp_path: Path) -> None:
    written = rows(130)  # more than are read at once
    assert write_labelled_set(tmp_path / "set", written) == 130
    back = list(read_labelled_set(tmp_path / "set"))
    assert len(back) == 130
    for one, other in zip(written, back, strict=True):
        np.testing.assert_array_equal(one.frames, other.frames)
        assert replace(one, frames=other.frames) == other


def damaged(folder: Path, column: str, value: object) -> Path:
    write_labelled_set(folder, rows(3))
    table = pq.read_table(folder / FILE)
    values = table[column].to_pylist()
    values[1] = value
    column_index = table.schema.get_field_index(column)
    field = table.schema.field(column_index)
    pq.write_table(table.set_column(column_index, field, pa.array(values, field.type)), folder / FILE)
    return folder


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("sample_id", None), ("sample_id", "s0"), ("frames", b"abc"), ("frames", None), ("frames_shape", [3, 2, 4]),
        ("answers", "{"), ("answers", "[]"), ("answers", '{"stop_sign": 1}'), ("moment_utc_ns", None),
    ],
)  # fmt: skip
def test_the_row_and_field_that_are_wrong_are_named(tmp_path: Path, column: str, value: object) -> None:
    with pytest.raises(LabelledSetError) as caught:
        list(read_labelled_set(damaged(tmp_path, column, value)))
    assert (caught.value.row, caught.value.field) == (1, column)
    assert FILE in str(caught.value)


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    write_labelled_set(tmp_path, rows(1))
    pq.write_table(pq.read_table(tmp_path / FILE).drop(["answers"]), tmp_path / FILE)
    with pytest.raises(LabelledSetError, match="answers: the column is missing"):
        list(read_labelled_set(tmp_path))


def test_a_folder_without_the_file_and_a_file_that_is_none_are_named(tmp_path: Path) -> None:
    with pytest.raises(LabelledSetError, match="does not exist"):
        list(read_labelled_set(tmp_path))
    (tmp_path / FILE).write_text("no parquet")
    with pytest.raises(LabelledSetError, match="not readable"):
        list(read_labelled_set(tmp_path))


def test_a_set_is_read_from_a_folder_or_from_the_object_store(tmp_path: Path) -> None:
    objects = Objects((tmp_path / "objects").as_uri())
    write_labelled_set(tmp_path / "set", rows(3))
    objects.put_once("demo/labelled/test/" + FILE, tmp_path / "set" / FILE)
    for address in (str(tmp_path / "set"), "demo/labelled/test", "demo/labelled/test/"):
        assert [row.sample_id for row in read_set_at(address, objects)] == ["s0", "s1", "s2"]
    with pytest.raises(LabelledSetError, match="is not in the object store"):
        list(read_set_at("demo/labelled/other", objects))
