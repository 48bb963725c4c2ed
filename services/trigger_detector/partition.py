"""One partition's way through the core: replay in silence, then fire.

Kept apart from Kafka's client, so that what happens at a restart can be tested with plain records.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from fleetloop.domain.signals import SignalCatalogue
from fleetloop.domain.telemetry_codec import encode_batch
from fleetloop.kit.messaging.events import Event, traceparent_of
from fleetloop.kit.messaging.producer import Record, UnreadableMessageError
from fleetloop.kit.process.clock import Clock
from fleetloop.kit.process.tracing import current_traceparent, span
from trigger_detector.codec import appended_of, firing_event
from trigger_detector.core import DetectorState, Poll, judge
from trigger_detector.metrics import BATCHES, FRAMES, REPLAYED, STEP_SECONDS
from trigger_detector.model import Firing, Tally
from trigger_detector.plan import Plan


@dataclass(slots=True)
class Partition:
    """State, and the first offset whose firings count: what lies before was handled in an earlier life."""

    resume_offset: int
    state: DetectorState = field(default_factory=DetectorState)
    next_offset: int = 0
    newest_append_ms: int = 0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run of records led to."""

    firings: tuple[tuple[Firing, str | None], ...]
    """With the trace that each belongs to."""
    unreadable: tuple[tuple[Record, UnreadableMessageError], ...]
    live: bool
    """Whether any record was new, so that there is something to commit."""


def advance(partition: Partition, records: Sequence[Record], plan: Plan, catalogue: SignalCatalogue) -> Outcome:
    """Takes the next records of a partition, in their order, through the core."""
    if not records:
        return Outcome((), (), False)
    partition.next_offset = records[-1].offset + 1
    poll, kept, unreadable = _read(records, plan, catalogue)
    live_from = sum(1 for r in kept if r.offset < partition.resume_offset)
    if kept:
        partition.newest_append_ms = max(partition.newest_append_ms, max(r.appended_ms for r in kept))
    if live_from:
        partition.state, _ = judge(partition.state, poll.part(0, live_from), plan)
        REPLAYED.inc(live_from)
    firings: list[tuple[Firing, str | None]] = []
    if live_from < len(kept):
        with STEP_SECONDS.time():
            partition.state, result = judge(partition.state, poll.part(live_from, len(kept)), plan)
        for firing, place in zip(result.firings, result.places, strict=True):
            firings.append((firing, traceparent_of(kept[live_from + place].headers)))
        _count(result.tally)
    buried = tuple((r, error) for r, error in unreadable if r.offset >= partition.resume_offset)
    BATCHES.labels("unreadable").inc(len(buried))
    return Outcome(tuple(firings), buried, bool(live_from < len(kept) or buried))


def _read(
    records: Sequence[Record], plan: Plan, catalogue: SignalCatalogue
) -> tuple[Poll, Sequence[Record], list[tuple[Record, UnreadableMessageError]]]:
    """The records as a poll, those of them that are in it, and those that cannot be read.

    What is not plain to the reader is decoded and checked in the ordinary way, which says what is wrong, and
    written anew in the ordinary form where nothing is.
    """
    raws = [r.value for r in records]
    batches = plan.reader.read(raws)
    kept = records
    unreadable: list[tuple[Record, UnreadableMessageError]] = []
    if not batches.plain.all():
        wanted = _wanted(plan)
        kept, raws, checked = [], [], []
        for record, plain in zip(records, batches.plain.tolist(), strict=True):
            raw = record.value
            if not plain:
                try:
                    raw = encode_batch(appended_of(record, catalogue, wanted).batch).SerializeToString()
                except UnreadableMessageError as error:
                    unreadable.append((record, error))
                    continue
            kept.append(record)
            raws.append(raw)
            checked.append(not plain)
        batches = plan.reader.read(raws, np.array(checked, np.bool_))
        if not batches.plain.all():
            raise AssertionError(
                f"checked batch at offset {kept[int(np.argmin(batches.plain))].offset} does not read"
            )
    return Poll(raws, np.array([r.appended_ms for r in kept], np.int64), batches), kept, unreadable


def event_of_firing(firing: Firing, traceparent: str | None, clock: Clock) -> Event:
    """The event of a firing, under the trace of the batch that it was found in."""
    attributes = {"firing": firing.firing_id, "vehicle": firing.vehicle_id, "trigger": firing.trigger.name}
    with span("detect", parent=traceparent, attributes=attributes):
        event = firing_event(firing, clock.now_utc_ns())
        return Event(
            topic=event.topic,
            key=event.key,
            event_id=event.event_id,
            event_type=event.event_type,
            payload=event.payload,
            time_utc_ns=event.time_utc_ns,
            traceparent=current_traceparent(),
        )


def _wanted(plan: Plan) -> set[str]:
    program = plan.program
    fields = {f"{group}.{name}" for group, names in program.groups.items() for name in (*names, "Id")}
    return fields | set(program.signals)


def _count(tally: Tally) -> None:
    FRAMES.inc(tally.frames)
    evaluated = tally.batches - tally.duplicates - tally.late - tally.too_late
    for outcome, number in (
        ("evaluated", evaluated),
        ("duplicate", tally.duplicates),
        ("late", tally.late),
        ("too_late", tally.too_late),
    ):
        BATCHES.labels(outcome).inc(number)
