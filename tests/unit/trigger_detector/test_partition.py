"""What comes before the commit is replayed without firing, unreadable records are reported once, traces continue."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fleetloop.domain.frames import Column, FrameBatch
from fleetloop.domain.signals import load_catalogue
from fleetloop.domain.telemetry_codec import encode_batch
from fleetloop.kit.messaging.events import traceparent_of
from fleetloop.kit.messaging.producer import Record
from fleetloop.kit.process.tracing import configure_tracing
from fleetloop.protos.trigger.v1 import trigger_pb2
from fleetloop.triggerlang.trigger import Trigger
from trigger_detector.model import CampaignRevision, Limits
from trigger_detector.partition import Partition, event_of_firing, process_records
from trigger_detector.plan import make_plan

CATALOGUE = load_catalogue(Path(__file__).parents[3] / "config" / "signals.yaml")
FAST = Trigger(
    "fast", 3, "max(Vehicle.Speed, 2 s) > 50 km/h", min_interval_s=1, task="stop_sign", evidence=("Vehicle.Speed",)
)
PLAN, _ = make_plan([(CampaignRevision("c", 1, True, (FAST,)), 0)], CATALOGUE, Limits())
DIGEST = "ab" * 32
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def record(offset: int, *speeds: float, value: bytes | None = None) -> Record:
    columns = {
        "Vehicle.Speed": Column(np.array(speeds, np.float32)),
        "Vehicle.Chassis.SteeringWheel.Angle": Column(np.full(len(speeds), 9999, np.float32)),
    }
    offsets = np.arange(len(speeds), dtype=np.int64) * 10**8
    start_ns = offset * 10**9
    batch = FrameBatch("f", "v", b"12345678", offset, start_ns, start_ns, "gnss", offsets, columns, DIGEST)
    raw = encode_batch(batch).SerializeToString() if value is None else value
    return Record("t", 0, offset, b"v", raw, [("ce_traceparent", TRACE.encode())], 1000 * offset)


LOG = [record(0, 1, 1), record(1, 1, 60), record(2, 1, 1), record(3, 1, 1), record(4, 1, 1), record(5, 60)]


class FixedClock:
    def now_utc_ns(self) -> int:
        return 77

    def monotonic_ns(self) -> int:
        return 0


def test_a_replay_fires_nothing_and_restores_the_state() -> None:
    whole = process_records(Partition(0), LOG, PLAN, CATALOGUE)
    assert [f.onset_monotonic_ns for f, _ in whole.firings] == [1_100_000_000, 5_000_000_000]
    for resume in range(1, len(LOG)):
        partition = Partition(resume)
        after = [f.firing_id for r in LOG for f, _ in process_records(partition, [r], PLAN, CATALOGUE).firings]
        expected = [f.firing_id for f, _ in whole.firings if f.sequence >= resume]
        assert after == expected
        assert (partition.next_offset, partition.newest_append_ms) == (6, 5000)


def test_only_what_is_new_is_committed_or_sent_to_the_dead_letter_queue() -> None:
    rubbish = [record(0, value=b"\xff"), record(1, value=b"\xff")]
    outcome = process_records(Partition(1), rubbish, PLAN, CATALOGUE)
    assert [r.offset for r, _ in outcome.unreadable] == [1]
    assert outcome.live
    assert not process_records(Partition(2), rubbish, PLAN, CATALOGUE).live


def test_a_column_that_no_trigger_reads_is_not_checked() -> None:
    # The angle is far outside the catalogue's range: the gateway would have refused it, but no trigger reads it.
    assert process_records(Partition(0), LOG[:1], PLAN, CATALOGUE).unreadable == ()


def test_the_event_says_what_the_router_needs_and_goes_on_with_the_batchs_trace() -> None:
    configure_tracing("test", None)
    outcome = process_records(Partition(0), LOG[:2], PLAN, CATALOGUE)
    ((firing, record),) = outcome.firings
    assert record is LOG[1] and traceparent_of(record.headers) == TRACE
    event = event_of_firing(firing, record, FixedClock())
    fired = trigger_pb2.TriggerFired.FromString(event.payload)
    assert (event.key, event.event_id, event.time_utc_ns) == ("v", firing.firing_id, 77)
    assert event.traceparent is not None
    assert event.traceparent.split("-")[1] == TRACE.split("-")[1]
    origin = fired.provenance
    assert (origin.vehicle_id, origin.trigger, origin.trigger_version, origin.campaign) == ("v", "fast", 3, "c")
    assert (origin.firing_id, origin.model_digest, fired.task) == (firing.firing_id, DIGEST, "stop_sign")
    assert fired.evidence["Vehicle.Speed"] == 60
    assert not fired.HasField("place")
