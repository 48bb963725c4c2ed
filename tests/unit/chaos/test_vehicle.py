"""What a vehicle sends passes the gateway's check, keeps its digest in the archive, and can be asked for again."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest
from tests.chaos.checks import driven
from tests.chaos.findings import Fault
from tests.chaos.history import Recorder
from tests.chaos.load import read_recording
from tests.chaos.observed import Fired
from tests.chaos.system import CAMPAIGN, TRIGGERS
from tests.chaos.vehicle import Rates, S, content_digest, make_amounts, make_batch, make_clip, note_sent

from fleetloop.domain.archive_files import Footer, read_file, write_file
from fleetloop.domain.clips import read_drive
from fleetloop.domain.signals import load_catalogue
from fleetloop.domain.tasks import load_task_schema
from fleetloop.domain.validation import validate
from fleetloop.kit.storage.objects import Objects
from fleetloop.protos.command.v1 import command_pb2
from fleetloop.shipped import config_folder
from fleetloop.worlds.comma2k19 import find_comma2k19
from telemetry_gateway.core import check_report
from trigger_detector.backtest import Request, plan_of
from trigger_detector.core import DetectorState, evaluate_batches_in_place
from trigger_detector.model import Appended

CATALOGUE = load_catalogue(config_folder() / "signals.yaml")
RATES = Rates()


def test_batches_are_valid_and_keep_their_digest_in_the_archive(tmp_path: Path) -> None:
    batches = [make_batch("f", "car", b"12345678", n, n * S, time.time_ns(), RATES) for n in range(3)]
    for batch in batches:
        assert validate(batch, CATALOGUE, time.time_ns() + 10 * S).batch is batch
    objects = Objects(tmp_path.as_uri())
    objects.put_once("a.parquet", write_file(list(enumerate(batches)), Footer(0, 2, 0, 0, 0, 0)))
    assert [content_digest(batch) for _, batch in read_file(objects, "a.parquet")] == [*map(content_digest, batches)]
    assert len({*map(content_digest, batches)}) == 3


@pytest.mark.skipif(find_comma2k19() is None, reason="comma2k19 is not here; see docs/drives.md")
def test_recorded_batches_are_valid_shorter_than_their_distance_and_keep_their_digest(tmp_path: Path) -> None:
    recorded = read_recording(tmp_path)
    assert len(recorded) > 60 and "Radar.Object.Id" in recorded[0].columns
    batches = [
        replace(each, fleet_id="f", vehicle_id="car", boot_id=b"12345678", sequence=n, start_monotonic_ns=n * S)
        for n, each in enumerate(recorded)
    ]
    for batch in batches:
        assert validate(batch, CATALOGUE, time.time_ns()).batch is batch
        offsets = [batch.frame_offsets_ns, *(each.offsets_ns for each in batch.columns.values())]
        assert max(each[-1] for each in offsets if each is not None) < S
    objects = Objects(tmp_path.as_uri())
    objects.put_once("a.parquet", write_file(list(enumerate(batches)), Footer(0, len(batches), 0, 0, 0, 0)))
    assert [content_digest(batch) for _, batch in read_file(objects, "a.parquet")] == [*map(content_digest, batches)]


def test_a_recorded_batch_is_noted_without_a_drive_so_that_nothing_may_fire_for_it(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "history.jsonl")
    batch = make_batch("f", "car", b"12345678", 0, 0, time.time_ns(), RATES)
    which = note_sent(recorder, batch, made=False)
    assert which in recorder.history.sent and recorder.history.drives == {}
    fired = [Fired("a", driven.FAST, 1, "car", 0)]
    assert [each.fault for each in driven.check(recorder.history, fired)] == [Fault.UNSEEN]
    recorder.close()


def test_each_trigger_fires_once_in_every_period() -> None:
    texts = {CAMPAIGN: list(TRIGGERS)}
    plan, problems = plan_of(Request("", "f", "", texts), CATALOGUE)
    assert problems == []
    state, periods = DetectorState(), 5
    count = round(periods * RATES.fast_every_s)
    batches = [make_batch("f", "car", b"12345678", n, n * S, time.time_ns() + n * S, RATES) for n in range(count)]
    fired = evaluate_batches_in_place(
        state, [Appended(each, n * 1000) for n, each in enumerate(batches)], plan
    ).firings
    names = [each.trigger.name for each in fired]
    for name in ("stop_sign_chaos", "chaos_unrouted"):
        assert periods - 1 <= names.count(name) <= periods


def test_the_harness_knows_the_firings_that_the_core_finds(tmp_path: Path) -> None:
    plan, _ = plan_of(Request("", "f", "", {CAMPAIGN: list(TRIGGERS)}), CATALOGUE)
    recorder = Recorder(tmp_path / "history.jsonl")
    batches = []
    for vehicle in ("chaos-000", "chaos-001", "chaos-002"):
        # The vehicle rests for 20 s in between, as at the end of an episode.
        seconds = [*range(50), *range(70, 130)]
        batches += [
            make_batch("f", vehicle, b"12345678", n, at_s * S, time.time_ns() + at_s * S, RATES)
            for n, at_s in enumerate(seconds)
        ]
    for batch in batches:
        recorder.add("acknowledged", id=note_sent(recorder, batch))
    fired = evaluate_batches_in_place(
        DetectorState(), [Appended(each, n) for n, each in enumerate(batches)], plan
    ).firings
    announced = [
        Fired(each.firing_id, each.trigger.name, 1, each.vehicle_id, each.onset_monotonic_ns) for each in fired
    ]
    assert len(announced) > 15
    assert driven.check(recorder.history, announced) == []
    for missing in announced:
        rest = [each for each in announced if each is not missing]
        assert [each.fault for each in driven.check(recorder.history, rest)] in ([Fault.LOST], [])
    assert sum(not driven.check(recorder.history, [o for o in announced if o is not each]) for each in announced) < 4
    recorder.close()


def test_no_vehicle_is_fast_so_early_that_its_clip_would_begin_before_its_boot() -> None:
    schema = load_task_schema(config_folder() / "tasks.yaml")
    first = []
    for number in range(100):
        batches = [
            make_batch("f", f"chaos-{number:03d}", b"12345678", n, n * S, time.time_ns(), RATES) for n in range(30)
        ]
        first.append(
            next(
                batch.start_monotonic_ns + int(offset)
                for batch in batches
                for offset, speed in zip(batch.frame_offsets_ns, batch.columns["Vehicle.Speed"].values, strict=True)
                if speed > 100
            )
        )
    wanted = command_pb2.SendClip(firing_id="f", boot_id=b"12345678", onset_monotonic_ns=min(first))
    assert min(first) < 3 * S, "some vehicle is fast as early as it may be"
    drive = read_drive(make_clip(schema, "f", "car", wanted, time.time_ns()))
    assert drive.frames_at([c.name for c in schema.cameras], min(first), schema.frames.count, 0.25).shape


def test_the_gateway_believes_every_report() -> None:
    for number in range(200):
        check_report(
            boot_id=b"12345678", start_utc_ns=0, end_utc_ns=round(RATES.report_s * S), digests={},
            amounts=make_amounts(number), faults={},
        )  # fmt: skip


def test_clips_differ_and_have_the_pictures_that_a_sample_needs() -> None:
    schema = load_task_schema(config_folder() / "tasks.yaml")
    wanted = [command_pb2.SendClip(firing_id=f"f{n}", boot_id=b"12345678", onset_monotonic_ns=10 * S) for n in (0, 1)]
    clips = [make_clip(schema, "f", "car", each, time.time_ns()) for each in wanted]
    assert clips[0] != clips[1]
    assert make_clip(schema, "f", "car", wanted[0], read_drive(clips[0]).info.start_utc_ns) == clips[0]
    cameras = [camera.name for camera in schema.cameras]
    frames = read_drive(clips[0]).frames_at(cameras, 10 * S, schema.frames.count, 0.25)
    assert frames.shape[:2] == (schema.frames.count, len(cameras))
