"""Rows are removed by their origin in a new version, stay out, and the versions that had them are named."""

from __future__ import annotations

import io
from dataclasses import replace
from functools import partial

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.dataset_curator.test_committing import (
    BreakingTables,
    committer,
    database,
    import_,
    label,
    objects,
    sample,
    tables,
)
from tests.unit.dataset_curator.test_preparing import labelled

from dataset_curator import queries, transactions
from dataset_curator.codec import labelled_of
from dataset_curator.committing import Committer
from dataset_curator.core import is_retracted
from dataset_curator.model import DatasetVersion, LabelledMoment, RetractionRule, RowSelector, Sample
from dataset_curator.retracting import NO_SLICE
from fleetloop.domain.dataset_digest import DIGESTED, dataset_digest
from fleetloop.kit.refusal import FailedPreconditionError, NotFoundError
from fleetloop.kit.storage.database import Database
from fleetloop.kit.storage.objects import Objects
from fleetloop.protos.dataset.v1 import dataset_pb2
from fleetloop.protos.label.v1 import label_pb2

__all__ = ["committer", "database", "objects", "tables"]
LIAR = RowSelector(vehicle_id="liar")


def of(number: int, **origin: object) -> Sample:
    return replace(sample(number), **origin)  # type: ignore[arg-type]


async def add(committer: Committer, *samples: Sample) -> DatasetVersion:
    ids = "-".join(each.sample_id for each in samples)
    return await committer.import_samples("town", samples, "", False, ids)


async def retract(
    committer: Committer, database: Database, rows: RowSelector, request_id: str = "r", dataset: str = "town"
) -> dataset_pb2.RetractRowsResponse:
    await committer.retract(dataset, rows, "forged", "user/ann", request_id)
    answer = await database.read(lambda tx: tx.response_of(request_id, queries.RETRACT_METHOD))
    return dataset_pb2.RetractRowsResponse.FromString(answer or b"")


def moment(objects: Objects, name: str, noise: int, **fields: object) -> LabelledMoment:
    """An agreed label of a clip of its own; `fields` of SampleLabelled, or of its provenance."""
    message = label_pb2.SampleLabelled.FromString(labelled(objects, 32, name, noise).event)
    for field, value in fields.items():
        owner = message if field in message.DESCRIPTOR.fields_by_name else message.provenance
        setattr(owner, field, value)
    return labelled_of(message)


async def wait(database: Database, *moments: LabelledMoment) -> None:
    for each in moments:
        await database.run(partial(transactions.add_waiting, labelled=each, now_utc_ns=1))


async def test_a_retraction_is_a_version_without_the_rows_and_earlier_versions_keep_them(
    committer: Committer, tables: BreakingTables, objects: Objects, database: Database
) -> None:
    await add(committer, of(1), of(2, vehicle_id="liar", slice="night", trigger="flicker", trigger_version=2))
    await add(committer, of(3, vehicle_id="liar", detected_at_utc_ns=7), of(4, vehicle_id="honest"))
    response = await retract(committer, database, LIAR)
    version, gone = response.committed, response.committed.retraction
    assert (version.version, version.parent, version.samples, version.added, version.changed) == ("v3", "v2", 2, 0, 2)
    assert (version.reason, gone.retracted_by, gone.first_version) == ("forged", "user/ann", "v1")
    assert dict(gone.removed_by_slice) == {"night": 1, NO_SLICE: 1}
    assert [(row.trigger, row.version, row.samples) for row in gone.removed_by_trigger] == [
        ("", 0, 1),
        ("flicker", 2, 1),
    ]
    assert (sorted(gone.removed_sample_ids), list(gone.removed_detected_at_utc_ns)) == (["s2", "s3"], [7])
    assert sorted(tables.digests_by_id("town")) == ["s1", "s4"]
    assert version.content_digest == dataset_digest(tables.rows("town", "v3", DIGESTED))
    assert sorted(row["sample_id"] for row in tables.rows("town", "v2", ["sample_id"])) == ["s1", "s2", "s3", "s4"]
    diff = pq.read_table(io.BytesIO(objects.get(version.diff_address))).to_pylist()
    assert {row["sample_id"]: row["change"] for row in diff} == {"s2": "removed", "s3": "removed"}
    after = await add(committer, of(5))
    assert (after.version, after.samples, after.added, after.retraction) == ("v4", 3, 1, None)


@pytest.mark.parametrize(
    ("rows", "left"),
    [
        (RowSelector(clip_id="c" * 64), ["s2", "s3", "s4"]),
        (RowSelector(trigger="flicker"), ["s1", "s4"]),
        (RowSelector(trigger="flicker", trigger_version=2), ["s1", "s2", "s4"]),
        (RowSelector(label_source="hindsight"), ["s1", "s2", "s3"]),
    ],
)
async def test_rows_are_selected_by_clip_trigger_and_source(
    committer: Committer, tables: BreakingTables, database: Database, rows: RowSelector, left: list[str]
) -> None:
    await add(
        committer,
        of(1, clip_id="c" * 64),
        of(2, trigger="flicker", trigger_version=1),
        of(3, trigger="flicker", trigger_version=2),
        of(4, label_source="hindsight"),
    )
    await retract(committer, database, rows)
    assert sorted(tables.digests_by_id("town")) == left


async def test_a_repeat_of_the_request_changes_nothing_and_gets_the_same_answer(
    committer: Committer, database: Database
) -> None:
    await add(committer, of(1), of(2, vehicle_id="liar"))
    first = await retract(committer, database, LIAR)
    assert await retract(committer, database, LIAR) == first
    assert len(await database.read(queries.versions)) == 2


async def test_nothing_to_retract_is_refused_and_the_refusal_names_where_to_look(
    committer: Committer, database: Database
) -> None:
    await add(committer, of(1))
    with pytest.raises(NotFoundError, match=r"rows: neither .* has rows of vehicle liar; DiffVersions lists"):
        await retract(committer, database, LIAR)
    assert await database.read(queries.retractions) == []


async def test_a_test_set_is_not_changed(committer: Committer, database: Database) -> None:
    await committer.import_samples("exam", [of(1, vehicle_id="liar")], "", True, "exam")
    with pytest.raises(FailedPreconditionError, match="dataset: exam is a frozen test set; import the set without"):
        await retract(committer, database, LIAR, dataset="exam")


async def test_all_rows_can_be_retracted_and_others_added_later(
    committer: Committer, tables: BreakingTables, database: Database
) -> None:
    await add(committer, of(1, vehicle_id="liar"), of(2, vehicle_id="liar"))
    assert (await retract(committer, database, LIAR)).committed.samples == 0
    assert (await import_(committer, "later", [3])).samples == 1
    assert sorted(tables.digests_by_id("town")) == ["s3"]


async def test_a_late_or_repeated_label_of_a_retracted_origin_is_refused(
    committer: Committer, tables: BreakingTables, objects: Objects, database: Database
) -> None:
    labels = [moment(objects, f"m{n}", n, vehicle_id="liar" if n < 3 else "honest") for n in range(1, 5)]
    await wait(database, *labels)
    committed = await committer.commit_if_due("town")
    assert committed is not None and committed.added == 4
    await retract(committer, database, LIAR)
    late = moment(objects, "late", 9, vehicle_id="liar", detected_at_utc_ns=5)
    other = moment(objects, "other", 10, vehicle_id="honest")
    await wait(database, labels[0], late, other)
    after = await committer.commit_if_due("town")
    assert after is not None and (after.added, dict(after.refused)) == (1, {"retracted": 2})
    assert sorted(tables.digests_by_id("town")) == ["m3", "m4", "other"]
    assert await database.read(partial(queries.waiting, dataset="town")) == []


async def test_only_what_is_detected_after_the_readmission_is_admitted_again(
    committer: Committer, tables: BreakingTables, objects: Objects, database: Database
) -> None:
    await add(committer, of(1), of(2, vehicle_id="liar"))
    await retract(committer, database, LIAR)
    ended = await database.run(
        partial(transactions.readmit, dataset="town", rows=LIAR, by="user/ben", now_utc_ns=100)
    )
    assert (ended.readmitted_at_utc_ns, ended.readmitted_by) == (100, "user/ben")
    old = moment(objects, "old", 1, vehicle_id="liar", detected_at_utc_ns=100)
    new = moment(objects, "new", 2, vehicle_id="liar", detected_at_utc_ns=101)
    await wait(database, old, new)
    after = await committer.commit_if_due("town")
    assert after is not None and (after.added, dict(after.refused)) == (1, {"retracted": 1})
    assert sorted(tables.digests_by_id("town")) == ["new", "s1"]
    with pytest.raises(NotFoundError, match="rows: town refuses no samples of vehicle liar"):
        await database.run(partial(transactions.readmit, dataset="town", rows=LIAR, by="user/ben", now_utc_ns=200))
    again = await retract(committer, database, LIAR, "again")
    assert again.committed.retraction.first_version == "v3", "what was removed before was reported before"
    (rule,) = await database.read(queries.retractions)
    assert rule.readmitted_at_utc_ns == 0


async def test_samples_that_wait_are_discarded_also_when_no_version_has_rows(
    committer: Committer, objects: Objects, database: Database
) -> None:
    await wait(database, moment(objects, "a", 1, vehicle_id="liar"), moment(objects, "b", 2, vehicle_id="honest"))
    response = await retract(committer, database, LIAR)
    assert (response.HasField("committed"), response.discarded_waiting) == (False, 1)
    (state,) = await database.read(partial(queries.curation, bound=committer.share))
    assert (state.dataset, state.waiting, [str(rule.rows) for rule in state.retractions]) == (
        "town", 1, ["vehicle liar"],
    )  # fmt: skip


async def test_the_first_version_with_the_rows_is_found_behind_one_that_cannot_be_read(
    committer: Committer, tables: BreakingTables, database: Database
) -> None:
    await add(committer, of(1))
    await add(committer, of(2, vehicle_id="liar"))
    await add(committer, of(3))
    table = tables.open("town")
    assert table is not None
    table.tags.delete("v2")
    assert (await retract(committer, database, LIAR)).committed.retraction.first_version == "v2"


async def test_a_commit_that_was_begun_is_finished_before_a_retraction(
    committer: Committer, tables: BreakingTables, objects: Objects, database: Database
) -> None:
    await label(committer, objects, database, "a", "b")
    tables.broken = True
    with pytest.raises(OSError, match="full"):
        await committer.commit_if_due("town")
    tables.broken = False
    with pytest.raises(NotFoundError):
        await retract(committer, database, LIAR)
    assert [each.version for each in await database.read(queries.versions)] == ["v1"]


@pytest.mark.parametrize("how", ["full", "broken"])
async def test_a_retraction_that_failed_is_finished_at_the_next_start(
    committer: Committer, tables: BreakingTables, database: Database, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await add(committer, of(1), of(2, vehicle_id="liar"))

    def no_space(*_: object) -> int:
        raise OSError("the disk is full")

    with monkeypatch.context() as broken:
        broken.setattr(tables, "delete" if how == "full" else "tag", no_space)
        with pytest.raises(OSError, match="full"):
            await retract(committer, database, LIAR)
    assert [each.version for each in await database.read(queries.versions)] == ["v1"]
    await committer.recover()
    assert [each.version for each in await database.read(queries.versions)] == ["v2", "v1"]
    assert sorted(tables.digests_by_id("town")) == ["s1"]
    assert (await retract(committer, database, LIAR)).committed.version == "v2", "the retry of its caller"


ORIGINS = {"vehicle_id": ("a", "b"), "clip_id": ("c", "d"), "trigger": ("t", "u"), "label_source": ("human", "model")}
SELECTORS = st.sampled_from(
    [replace(RowSelector(), **{name: value}) for name, values in ORIGINS.items() for value in values]  # type: ignore[arg-type]
    + [RowSelector(trigger="t", trigger_version=2)]
)
MOMENTS = st.builds(
    LabelledMoment, sample_id=st.just("s"), dataset=st.just("d"), task=st.just("t"), choice=st.just("c"),
    clip_address=st.just("a"), moment_utc_ns=st.just(0), moment_monotonic_ns=st.just(0), position_deg=st.none(),
    firing_id=st.just(""), campaign=st.just(""), model_digest=st.just(""), label_confidence=st.just(1.0),
    labelled_at_utc_ns=st.just(0), event=st.just(b""), trigger_version=st.integers(1, 3),
    detected_at_utc_ns=st.integers(0, 9), **{name: st.sampled_from(values) for name, values in ORIGINS.items()},
)  # fmt: skip


@given(MOMENTS, SELECTORS, st.integers(0, 9))
def test_a_rule_refuses_its_origin_until_it_is_readmitted_and_no_other(
    candidate: LabelledMoment, rows: RowSelector, readmitted_ns: int
) -> None:
    rule = RetractionRule("d", rows, "v2", "v1", "user/ann", "r", 5, readmitted_ns)
    same = all(
        getattr(candidate, name) == value for name in (*ORIGINS, "trigger_version") if (value := getattr(rows, name))
    )
    in_force = not readmitted_ns or candidate.detected_at_utc_ns <= readmitted_ns
    assert is_retracted(candidate, [rule]) == (same and in_force)
    assert not is_retracted(candidate, [])
