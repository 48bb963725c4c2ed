"""Dataset versions are read as they are, mistakes are named, and batches are drawn as the recipe says."""

import json
from pathlib import Path

import lance
import numpy as np
import pyarrow as pa
import pytest
from tests.unit.perception.nets import SCHEMA

from fleetloop.domain.dataset_digest import content_digest, dataset_digest
from fleetloop.domain.run_folder import VersionRef
from perception.data import BatchSampler, DatasetError, read_version


def write(path: Path, answers: str = '{"sign": {"is_sign": 0}}', shape: list[int] | None = None) -> str:
    frames = np.arange(2 * 2 * 16 * 16 * 3, dtype=np.uint64).astype(np.uint8)
    table = pa.table(
        {
            "sample_id": ["a", "b"],
            "frames": pa.array([frames.tobytes()] * 2, pa.large_binary()),
            "frames_shape": [shape or [2, 2, 16, 16, 3]] * 2,
            "answers": [json.dumps({"sign": {"is_sign": 1, "applies": 1}}), answers],
            "choice": ["plain", "none"],
            "slice": ["plain", None],
            "trigger": ["flicker", ""],
        }
    )
    lance.write_dataset(table, str(path)).tags.create("v1", 1)
    return str(path)


def version(table: str, tag: str = "v1", content_digest: str = "") -> VersionRef:
    return VersionRef(table=table, tag=tag, version=tag, content_digest=content_digest)


def committed_digest(table: str) -> str:
    """What the curator announces for a table."""
    rows = lance.dataset(table).to_table().to_pylist()
    frames = [np.frombuffer(row["frames"], np.uint8).reshape(row["frames_shape"]) for row in rows]
    return dataset_digest(
        {**row, "content_sha256": content_digest(each)} for row, each in zip(rows, frames, strict=True)
    )


def test_the_rows_that_were_committed_are_read(tmp_path: Path) -> None:
    table = write(tmp_path / "t.lance")
    assert len(read_version(version(table, content_digest=committed_digest(table)), SCHEMA)) == 2


@pytest.mark.parametrize("column", ["frames", "answers", "choice", "slice", "trigger", "sample_id"])
def test_a_changed_row_is_not_used(tmp_path: Path, column: str) -> None:
    digest = committed_digest(write(tmp_path / "t.lance"))
    table = lance.dataset(str(tmp_path / "t.lance")).to_table()
    changed = {
        "frames": bytes(2 * 2 * 16 * 16 * 3), "answers": '{"sign": {"is_sign": 1}}', "choice": "held", "slice": "x",
        "trigger": "x", "sample_id": "c",
    }  # fmt: skip
    values = table[column].to_pylist()
    values[1] = changed[column]
    index = table.schema.get_field_index(column)
    swapped = table.set_column(index, table.schema.field(index), pa.array(values, table.schema.field(index).type))
    lance.write_dataset(swapped, str(tmp_path / "swapped.lance")).tags.create("v1", 1)
    with pytest.raises(DatasetError, match="not those of the commit"):
        read_version(version(str(tmp_path / "swapped.lance"), content_digest=digest), SCHEMA)


def test_rows_come_with_their_targets_and_groups(tmp_path: Path) -> None:
    samples = read_version(version(write(tmp_path / "t.lance")), SCHEMA)
    assert samples.frames.shape == (2, 2, 2, 16, 16, 3) and samples.frames[0, 0, 0, 0, 1, 0] == 3
    assert samples.targets["sign.is_sign"][:, 0].tolist() == [1, 0]
    assert np.isnan(samples.targets["light.state"]).all()
    assert list(samples.groups) == ["flicker/plain", ""] and list(samples.slices) == ["plain", ""]


@pytest.mark.parametrize(
    ("answers", "shape", "said"),
    [
        ('{"sign": {"is_sign": 2}}', None, "b: answers.sign.is_sign: give 0 or 1"),
        ("{}", [1, 2, 16, 16, 3], "frames_shape"),
        ('{"sing": {"is_sign": 1}}', None, "tasks.sing"),
    ],
)
def test_a_wrong_row_is_named(tmp_path: Path, answers: str, shape: list[int] | None, said: str) -> None:
    with pytest.raises(DatasetError, match=said):
        read_version(version(write(tmp_path / "t.lance", answers, shape)), SCHEMA)


def test_a_version_that_is_not_there_is_named(tmp_path: Path) -> None:
    table = write(tmp_path / "t.lance")
    for address, tag in ((table, "v9"), (str(tmp_path / "none.lance"), "v1")):
        with pytest.raises(DatasetError, match=tag):
            read_version(version(address, tag), SCHEMA)


def test_hard_rows_make_up_their_share_and_rare_groups_come_more_often() -> None:
    groups = [""] * 100 + ["t/common"] * 90 + ["t/rare"] * 10
    drawn = np.concatenate([BatchSampler(groups, 0.33).rows(60, np.random.default_rng(s)) for s in range(200)])
    assert (drawn >= 100).mean() == pytest.approx(0.33, abs=0.01)
    assert (drawn >= 190).sum() / (drawn >= 100).sum() == pytest.approx(0.25, abs=0.03)  # 1 in 10 by count


@pytest.mark.parametrize("groups", [[""] * 5, ["t/a"] * 5])
def test_without_hard_or_without_plain_rows_the_others_fill_the_batch(groups: list[str]) -> None:
    assert len(BatchSampler(groups, 0.33).rows(12, np.random.default_rng(0))) == 12
