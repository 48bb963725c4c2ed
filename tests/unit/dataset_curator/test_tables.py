"""Lance as the curator uses it: a write can be looked up by its commit, a tag is a version for good."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import lance
import numpy as np
import pytest
from tests.unit.dataset_curator.test_committing import sample

from dataset_curator.model import Sample
from dataset_curator.tables import DatasetTables, TableUnreadableError
from fleetloop.domain.trunk import load_trunk
from fleetloop.kit.messaging.outage import is_outage

WIDTH = load_trunk().width


@pytest.fixture
def tables(tmp_path: Path) -> DatasetTables:
    return DatasetTables((tmp_path / "tables").as_uri())


def write(tables: DatasetTables, commit_id: str, *samples: Sample) -> int:
    return tables.append("town", commit_id, samples, WIDTH)


def test_before_its_first_version_a_dataset_is_empty_and_not_an_error(tables: DatasetTables) -> None:
    assert tables.open("town") is None
    assert tables.has_commit("town", "c1") is None
    assert (tables.digests("town"), tables.digests_by_id("town")) == (set(), {})
    assert tables.neighbourhood("town", frozen=False)(sample(1)) == []
    with pytest.raises(TableUnreadableError, match="town"):
        list(tables.rows("town", "v1", ["sample_id"]))
    with pytest.raises(TableUnreadableError, match="town"):
        tables.require("town")
    with pytest.raises(TableUnreadableError, match="town has no table at"):
        tables.tag("town", "v1", 1)


@pytest.mark.parametrize("damage", ["empty manifest", "half a manifest", "garbage", "no rows' file", "no folder"])
def test_a_table_that_cannot_be_read_is_never_an_empty_one(tables: DatasetTables, damage: str) -> None:
    write(tables, "c1", sample(1), sample(2))
    folder = Path(tables.address("town"))
    (manifest,) = (folder / "_versions").glob("*.manifest")
    content = manifest.read_bytes()
    if damage == "no rows' file":
        for path in (folder / "data").iterdir():
            path.unlink()
    elif damage == "no folder":
        shutil.rmtree(folder / "_versions")
    else:
        contents = {"empty manifest": b"", "half a manifest": content[: len(content) // 2], "garbage": b"x" * 500}
        manifest.write_bytes(contents[damage])
    calls: list[Callable[[], object]] = [
        lambda: tables.digests("town"),
        lambda: tables.digests_by_id("town"),
        lambda: tables.neighbourhood("town", frozen=True)(sample(1)),
        lambda: list(tables.rows("town", "v1", ["sample_id"])),
    ]
    if damage == "no folder":  # the store says that there is none; the curator's database knows better
        calls = [lambda: tables.require("town")]
    for call in calls:
        with pytest.raises(TableUnreadableError, match="town") as caught:
            call()
        assert is_outage(caught.value)


@pytest.mark.parametrize(
    "error",
    [
        ValueError("LanceError(IO): Generic S3 error: Error performing list request: 403 Forbidden"),
        OSError("LanceError(IO): 503 Slow Down"),
        RuntimeError("500"),
    ],
)
def test_a_store_that_does_not_answer_is_no_missing_table(
    tables: DatasetTables, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    write(tables, "c1", sample(1))

    def fails(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(lance, "dataset", fails)
    calls: list[Callable[[str], object]] = [
        tables.open,
        tables.digests,
        tables.require,
        lambda each: tables.has_commit(each, "c1"),
    ]
    for call in calls:
        with pytest.raises(TableUnreadableError, match="cannot be read"):
            call("town")
    with pytest.raises(TableUnreadableError):
        write(tables, "c2", sample(2))


def test_a_write_is_found_by_its_commit_however_many_followed(tables: DatasetTables) -> None:
    versions = {f"c{n}": write(tables, f"c{n}", sample(n)) for n in range(4)}
    assert {commit: tables.has_commit("town", commit) for commit in versions} == versions
    assert tables.has_commit("town", "c9") is None
    tables.tag("town", "v1", versions["c0"])  # makes no version of its own that would hide one
    assert {commit: tables.has_commit("town", commit) for commit in versions} == versions


def test_a_tag_stays_where_it_was_put_and_shows_what_was_then(tables: DatasetTables) -> None:
    first = write(tables, "c1", sample(1), sample(2))
    tables.tag("town", "v1", first)
    second = write(tables, "c2", sample(3))
    tables.tag("town", "v1", second)  # done again after a crash: it is there already
    tables.tag("town", "v2", second)
    ids = {tag: [row["sample_id"] for row in tables.rows("town", tag, ["sample_id"])] for tag in ("v1", "v2")}
    assert ids == {"v1": ["s1", "s2"], "v2": ["s1", "s2", "s3"]}


def test_rows_come_back_as_they_were_given(tables: DatasetTables) -> None:
    given = replace(sample(4), trigger="flicker", trigger_version=2, place="47.1,-122.2", label_confidence=0.5)
    tables.tag("town", "v1", write(tables, "c1", given))
    columns = ["frames", "frames_shape", "answers", "trigger", "trigger_version", "place", "label_confidence"]
    (row,) = tables.rows("town", "v1", columns)
    frames = np.frombuffer(row["frames"], np.uint8).reshape(row["frames_shape"])
    assert np.array_equal(frames, given.frames)
    assert row["answers"] == '{"stop_sign": {"is_sign": 1}}'
    assert (row["trigger"], row["trigger_version"], row["place"]) == ("flicker", 2, "47.1,-122.2")
    assert row["label_confidence"] == 0.5
    assert tables.digests_by_id("town") == {"s4": given.content_sha256}


def test_neighbours_are_the_nearest_of_the_same_trunk_and_say_whether_they_agree(tables: DatasetTables) -> None:
    near = replace(sample(1), embedding=_towards(0, 0.1))
    far = replace(sample(2), embedding=_towards(5, 0.0), answers={"stop_sign": {"is_sign": 0}})
    foreign = replace(sample(3), embedding=_towards(0, 0.0), trunk="another/1")
    write(tables, "c1", near, far, foreign)
    found = tables.neighbourhood("town", frozen=True)(replace(sample(9), embedding=_towards(0, 0.0)))
    assert [(n.sample_id, n.same_answer, n.frozen) for n in found] == [("s1", True, True), ("s2", False, True)]
    assert found[0].similarity > 0.98 > 0.1 > found[1].similarity
    assert len(tables.neighbourhood("town", frozen=False, count=1)(near)) == 1


def _towards(axis: int, aside: float) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    vector = np.zeros(WIDTH, np.float32)
    vector[axis], vector[axis + 1] = 1.0, aside
    return vector / np.linalg.norm(vector)
