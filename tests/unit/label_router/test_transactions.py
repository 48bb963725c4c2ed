from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from hashlib import sha256

import pytest
import sqlalchemy as sa
from tests.stages import stage_seconds

from fleetloop.domain.topics import COMMAND, LABEL_TASK
from fleetloop.kit.storage.database import Database
from fleetloop.protos.clip.v1 import clip_pb2
from fleetloop.protos.command.v1 import command_pb2
from fleetloop.protos.common.v1 import provenance_pb2
from fleetloop.protos.trigger.v1 import trigger_pb2
from label_router.codec import clip_of, firing_of
from label_router.model import Clip, Drop, Firing, Progress, Route, Routing
from label_router.queries import count_firings, has_overdue_clips
from label_router.store import Base, FiringRow, OutboxRow
from label_router.transactions import (
    follow_up_clips,
    prune_early_clips,
    prune_firings,
    record_clip,
    record_firing,
)

S = 10**9
NOW = 1_700_000_000 * S
ROUTING = Routing([Route("signs", ["*"], "town", "stop_sign", ["human"], 1, 0)], [], 25, 1000, 3600, 10_000, 10)


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    database = Database(database_url, Base)
    Base.metadata.create_all(database.engine)
    yield database
    database.close()


def fired(name: str, vehicle: str = "car", *, limit: int = 0, damaged: bool = False, detected_s: int = 0) -> Firing:
    provenance = provenance_pb2.Provenance(vehicle_id=vehicle, trigger="flicker", campaign="c")
    message = trigger_pb2.TriggerFired(
        event_id=name,
        provenance=provenance,
        task="stop_sign",
        onset_utc_ns=NOW,
        bytes_per_vehicle_day=limit,
        detected_at_utc_ns=detected_s * S,
    )
    if damaged:
        message.place.latitude_deg, message.place.longitude_deg = float("nan"), float("inf")
    return firing_of(message)


def clip(firing: str, vehicle: str = "car") -> Clip:
    provenance = provenance_pb2.Provenance(vehicle_id=vehicle, firing_id=firing)
    digest = sha256(f"{firing}{vehicle}".encode()).hexdigest()
    message = clip_pb2.ClipStored(provenance=provenance, sha256=digest, address="a", size_bytes=10)
    return clip_of(message)


def progress(database: Database, firing: str) -> str:
    return database.run_now(lambda tx: tx.session.get_one(FiringRow, firing).progress)


def published(database: Database, topic: str) -> list[bytes]:
    query = sa.select(OutboxRow.payload).where(OutboxRow.topic == topic).order_by(OutboxRow.row_id)
    return database.run_now(lambda tx: list(tx.session.scalars(query)))


@pytest.mark.parametrize("clip_first", [False, True])
def test_a_clip_becomes_one_question_whichever_of_the_two_comes_first(database: Database, clip_first: bool) -> None:
    if clip_first:
        assert database.run_now(lambda tx: record_clip(tx, clip("f"), ROUTING, NOW)) == "early"
    database.run_now(lambda tx: record_firing(tx, fired("f"), ROUTING, NOW))
    for outcome in [] if clip_first else ["routed"]:
        assert database.run_now(lambda tx: record_clip(tx, clip("f"), ROUTING, NOW)) == outcome
    assert database.run_now(lambda tx: record_clip(tx, clip("f"), ROUTING, NOW)) == "known"
    assert progress(database, "f") == Progress.ROUTED.value
    assert len(published(database, LABEL_TASK)) == 1


def test_the_time_to_a_clip_counts_from_the_detection_and_once(database: Database) -> None:
    count, total = stage_seconds("label-router", "clip")
    database.run_now(lambda tx: record_firing(tx, fired("f", detected_s=NOW // S - 4), ROUTING, NOW))
    for _ in range(2):
        database.run_now(lambda tx: record_clip(tx, clip("f"), ROUTING, NOW + 3 * S))
    assert stage_seconds("label-router", "clip") == pytest.approx((count + 1, total + 7))


@pytest.mark.parametrize("clip_first", [False, True])
def test_a_vehicle_cannot_answer_for_another_one(database: Database, clip_first: bool) -> None:
    if clip_first:
        database.run_now(lambda tx: record_clip(tx, clip("f", "thief"), ROUTING, NOW))
    database.run_now(lambda tx: record_firing(tx, fired("f"), ROUTING, NOW))
    assert database.run_now(lambda tx: record_clip(tx, clip("f", "thief"), ROUTING, NOW)) == "foreign"
    assert progress(database, "f") == Progress.CLIP_WANTED.value
    assert len(published(database, COMMAND)) == 1
    assert database.run_now(lambda tx: record_clip(tx, clip("f"), ROUTING, NOW)) == "routed"


def test_clips_with_long_waits_do_not_keep_new_ones_waiting(database: Database) -> None:
    for name in ("old-1", "old-2", "new"):
        database.run_now(lambda tx, name=name: record_firing(tx, fired(name), ROUTING, NOW))  # type: ignore[misc]

    def age(tx: object) -> None:
        for name in ("old-1", "old-2"):  # asked for six times; the next time is due in 640 s
            row = tx.session.get_one(FiringRow, name)  # type: ignore[attr-defined]
            row.attempts, row.last_asked_utc_ns = 6, NOW - 60 * S

    database.run_now(age)
    assert not database.read_now(lambda tx: has_overdue_clips(tx, ROUTING, NOW + 9 * S))
    assert database.run_now(lambda tx: follow_up_clips(tx, ROUTING, NOW + 9 * S, limit=2)) == (0, 0)
    assert database.read_now(lambda tx: has_overdue_clips(tx, ROUTING, NOW + 11 * S))
    assert database.run_now(lambda tx: follow_up_clips(tx, ROUTING, NOW + 11 * S, limit=2)) == (1, 0)
    again = command_pb2.VehicleCommand.FromString(published(database, COMMAND)[-1])
    assert (again.send_clip.firing_id, again.attempt) == ("new", 1)
    assert database.run_now(lambda tx: follow_up_clips(tx, ROUTING, NOW + 600 * S, limit=9)) == (3, 0)


def test_a_clip_that_never_comes_is_given_up_and_still_used_when_it_comes_late(database: Database) -> None:
    routing = replace(ROUTING, clip_expires_s=30)
    database.run_now(lambda tx: record_firing(tx, fired("f"), routing, NOW))
    assert database.run_now(lambda tx: follow_up_clips(tx, routing, NOW + 31 * S)) == (0, 1)
    assert database.run_now(lambda tx: tx.session.get_one(FiringRow, "f").reason) == Drop.CLIP_EXPIRED.value
    assert database.run_now(lambda tx: follow_up_clips(tx, routing, NOW + 99 * S)) == (0, 0)
    assert database.run_now(lambda tx: record_clip(tx, clip("f"), routing, NOW + 99 * S)) == "routed"


def test_a_place_that_is_no_number_is_no_place(database: Database) -> None:
    row = database.run_now(lambda tx: record_firing(tx, fired("f", damaged=True), ROUTING, NOW))
    assert row.cell == "vehicle:car"


def test_a_budget_counts_clips_that_are_on_their_way(database: Database) -> None:
    def fire(name: str) -> str:
        return database.run_now(lambda tx: record_firing(tx, fired(name, limit=25), ROUTING, NOW)).progress

    assert fire("f1") == Progress.CLIP_WANTED.value
    assert fire("f2") == Progress.DROPPED.value  # the size of a clip is not known yet
    database.run_now(lambda tx: record_clip(tx, clip("f1"), ROUTING, NOW))  # 10 bytes
    assert [fire("f3"), fire("f4"), fire("f5")] == [
        Progress.CLIP_WANTED.value,
        Progress.CLIP_WANTED.value,
        Progress.DROPPED.value,
    ]
    assert len(published(database, COMMAND)) == 3


def test_decided_firings_are_pruned_and_stay_counted(database: Database) -> None:
    keep_s = 20_000.0  # longer than the window of a place and the life of a clip's command
    for name in ("routed", "dropped", "waits"):
        database.run_now(lambda tx, n=name: record_firing(tx, fired(n), ROUTING, NOW))  # type: ignore[misc]
    database.run_now(lambda tx: record_clip(tx, clip("routed"), ROUTING, NOW))
    database.run_now(lambda tx: tx.session.get_one(FiringRow, "dropped").__setattr__("progress", "dropped"))
    before = database.read_now(count_firings)
    prune = partial(prune_firings, keep_s=keep_s, routing=ROUTING)
    assert database.run_now(lambda tx: prune(tx, NOW + 20_000 * S, 10)) == 0
    assert database.run_now(lambda tx: prune(tx, NOW + 20_001 * S, 1)) == 1
    assert database.run_now(lambda tx: prune(tx, NOW + 20_001 * S, 10)) == 1
    left = database.read_now(lambda tx: list(tx.session.scalars(sa.select(FiringRow.firing_id))))
    assert left == ["waits"], "its clip may come yet"
    assert database.read_now(count_firings) == before
    database.run_now(lambda tx: record_firing(tx, fired("later"), ROUTING, NOW))
    assert sum(row[-1] for row in database.read_now(count_firings)) == 4


def test_a_firing_that_still_counts_for_its_cell_is_kept_however_short_the_retention(database: Database) -> None:
    database.run_now(lambda tx: record_firing(tx, fired("f"), ROUTING, NOW))
    database.run_now(lambda tx: record_clip(tx, clip("f"), ROUTING, NOW))
    stands_s = ROUTING.cell_window_s + ROUTING.clip_expires_s
    prune = partial(prune_firings, keep_s=1.0, routing=ROUTING)
    assert database.run_now(lambda tx: prune(tx, NOW + round(stands_s) * S, 10)) == 0
    assert database.run_now(lambda tx: prune(tx, NOW + round(stands_s) * S + 1, 10)) == 1


def test_clips_whose_firing_never_came_are_pruned(database: Database) -> None:
    for name, at in (("old", NOW), ("young", NOW + 60 * S)):
        database.run_now(lambda tx, n=name, t=at: record_clip(tx, clip(n), ROUTING, t))  # type: ignore[misc]
    assert database.run_now(lambda tx: prune_early_clips(tx, NOW + 101 * S, 10, keep_s=100)) == 1
    assert database.run_now(lambda tx: prune_early_clips(tx, NOW + 101 * S, 10, keep_s=100)) == 0
    database.run_now(lambda tx: record_firing(tx, fired("young"), ROUTING, NOW + 61 * S))
    assert progress(database, "young") == Progress.ROUTED.value
