"""Lance as the curator uses it: a write can be looked up by its commit, a tag is a version for good."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.unit.dataset_curator.test_committing import sample

from dataset_curator.model import Sample
from dataset_curator.tables import DatasetTables
from fleetloop.domain.trunk import load_trunk

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
    assert list(tables.rows("town", "v1", ["sample_id"])) == []
    with pytest.raises(RuntimeError, match="town has no table at"):
        tables.tag("town", "v1", 1)


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
