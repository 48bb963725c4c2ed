"""An already labelled set: a folder, or a prefix in the object store, with the one file `samples.parquet`.

Why it exists: a loop starts from labels that existed before it, and models are evaluated on a test set that never
changes. Both are imported in this simple format, which any tool can write.

| column | type | meaning |
|---|---|---|
| sample_id | string | unique within the set |
| frames | binary | uint8 pixels, C order |
| frames_shape | list of int | [frames, cameras, height, width, 3], the oldest frame first |
| answers | string | JSON: task -> head -> value of the task schema |
| choice | string | the main task's choice; empty when no single choice expresses the answers |
| slice | string | kind of situation, for evaluation |
| place | string | name of the location; the fleet never drives at those of the test set |
| moment_utc_ns | int64 | time of the newest frame, nanoseconds UTC |
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from fleetloop.domain.tasks import HeadValue
from fleetloop.kit.process.atomic_file import replacing
from fleetloop.kit.storage.objects import ObjectMissingError, Objects

FILE = "samples.parquet"
_SCHEMA = pa.schema(
    [
        pa.field("sample_id", pa.string()),
        pa.field("frames", pa.binary()),
        pa.field("frames_shape", pa.list_(pa.int32())),
        pa.field("answers", pa.string()),
        pa.field("choice", pa.string()),
        pa.field("slice", pa.string()),
        pa.field("place", pa.string()),
        pa.field("moment_utc_ns", pa.int64()),
    ]
)
# Bounds the memory for pictures: a row of the shipped task schema has 63 KiB of them.
_ROWS_AT_ONCE = 64


class LabelledSetError(ValueError):
    """A labelled set cannot be read.

    `file`, `row` (None: the file as a whole) and `field` locate the problem, `remedy` says what it is.
    """

    def __init__(self, file: Path, row: int | None, field: str, remedy: str) -> None:
        super().__init__(f"{file}{'' if row is None else f', row {row}'}: {field}: {remedy}")
        self.file, self.row, self.field, self.remedy = file, row, field, remedy


@dataclass(frozen=True, slots=True)
class LabelledRow:
    """One labelled scene. The module's table explains the fields."""

    sample_id: str
    frames: NDArray[np.uint8]
    """[frames, cameras, height, width, 3]"""
    answers: Mapping[str, Mapping[str, HeadValue]]
    choice: str
    slice: str
    place: str
    moment_utc_ns: int


def write_labelled_set(folder: Path, rows: Iterable[LabelledRow]) -> int:
    """Write the set into `folder`, completely or not at all, and return the number of rows."""
    folder.mkdir(parents=True, exist_ok=True)
    count = 0
    with replacing(folder / FILE, sync=True) as draft, pq.ParquetWriter(draft, _SCHEMA, compression="zstd") as writer:
        part: list[dict[str, Any]] = []
        for row in rows:
            part.append(_to_columns(row))
            count += 1
            if len(part) == _ROWS_AT_ONCE:
                writer.write_table(pa.Table.from_pylist(part, _SCHEMA))
                part = []
        if part:
            writer.write_table(pa.Table.from_pylist(part, _SCHEMA))
    return count


def read_labelled_set(folder: Path) -> Iterator[LabelledRow]:
    """Yield the rows one by one; the set need not fit into memory. Raises LabelledSetError at the first bad row."""
    path = folder / FILE
    try:
        file = pq.ParquetFile(path)
    except FileNotFoundError as error:
        raise LabelledSetError(path, None, "file", "does not exist; a labelled set is a folder with it") from error
    except (pa.ArrowInvalid, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # of the disk; Arrow's own errors have no number
        raise LabelledSetError(path, None, "file", f"is not readable Parquet: {error}") from error
    with file:
        for field in _SCHEMA:
            if field.name not in file.schema_arrow.names:
                raise LabelledSetError(path, None, field.name, f"the column is missing; it is {field.type}")
        number, seen = 0, set[str]()
        for batch in file.iter_batches(_ROWS_AT_ONCE, columns=_SCHEMA.names):
            for raw in batch.to_pylist():
                row = _to_row(path, number, raw)
                if row.sample_id in seen:
                    raise LabelledSetError(path, number, "sample_id", f"{row.sample_id!r} is there twice")
                seen.add(row.sample_id)
                yield row
                number += 1


def read_set_at(address: str, objects: Objects) -> Iterator[LabelledRow]:
    """Yield the rows of the set at `address`: an absolute path of a folder, or a prefix in the object store.

    Raises LabelledSetError, also when the object does not exist.
    """
    if Path(address).is_absolute():
        yield from read_labelled_set(Path(address))
        return
    with TemporaryDirectory() as folder:
        try:
            objects.fetch(f"{address.strip('/')}/{FILE}", Path(folder) / FILE)
        except ObjectMissingError as error:
            raise LabelledSetError(
                Path(address) / FILE, None, "file", f"is not in the object store: {error}"
            ) from error
        yield from read_labelled_set(Path(folder))


def _to_columns(row: LabelledRow) -> dict[str, Any]:
    return {
        "sample_id": row.sample_id,
        "frames": np.ascontiguousarray(row.frames).tobytes(),
        "frames_shape": list(row.frames.shape),
        "answers": json.dumps(row.answers, sort_keys=True),
        "choice": row.choice,
        "slice": row.slice,
        "place": row.place,
        "moment_utc_ns": row.moment_utc_ns,
    }


def _to_row(path: Path, number: int, raw: Mapping[str, Any]) -> LabelledRow:
    for field in ("sample_id", "frames", "frames_shape", "answers", "moment_utc_ns"):
        if raw[field] is None or raw[field] == "":
            raise LabelledSetError(path, number, field, "is empty")
    shape = tuple(raw["frames_shape"])
    if len(shape) != 5 or shape[-1] != 3 or min(shape) < 1:
        raise LabelledSetError(
            path, number, "frames_shape", f"{list(shape)} is not [frames, cameras, height, width, 3]"
        )
    if int(np.prod(shape)) != len(raw["frames"]):
        size = f"has {len(raw['frames'])} bytes, frames_shape says {int(np.prod(shape))}"
        raise LabelledSetError(path, number, "frames", size)
    try:
        answers = json.loads(raw["answers"])
    except ValueError as error:
        raise LabelledSetError(path, number, "answers", f"is not JSON: {error}") from error
    if not isinstance(answers, dict) or not all(isinstance(heads, dict) for heads in answers.values()):
        raise LabelledSetError(path, number, "answers", "is not an object of task -> head -> value")
    return LabelledRow(
        sample_id=str(raw["sample_id"]),
        frames=np.frombuffer(raw["frames"], np.uint8).reshape(shape),
        answers=answers,
        choice=raw["choice"] or "",
        slice=raw["slice"] or "",
        place=raw["place"] or "",
        moment_utc_ns=int(raw["moment_utc_ns"]),
    )
