"""One partition's way through the core: replay in silence, then fire.

Kept apart from Kafka's client, so that what happens at a restart can be tested with plain records.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from fleetdomain.signals import SignalCatalogue
from fleetkit.clock import Clock
from fleetkit.events import Event, traceparent_of
from fleetkit.kafka import Record, UnreadableMessageError
from fleetkit.tracing import current_traceparent, span
from trigger_detector.codec import appended_of, firing_event
from trigger_detector.core import DetectorState, step
from trigger_detector.metrics import BATCHES, FRAMES, REPLAYED, STEP_SECONDS
from trigger_detector.model import Appended, Firing, Tally
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
    wanted = _wanted(plan)
    replayed: list[Appended] = []
    live: list[Appended] = []
    traces: dict[tuple[str, bytes, int], str | None] = {}
    unreadable: list[tuple[Record, UnreadableMessageError]] = []
    for record in records:
        partition.next_offset = record.offset + 1
        is_live = record.offset >= partition.resume_offset
        try:
            appended = appended_of(record, catalogue, wanted)
        except UnreadableMessageError as error:
            if is_live:
                unreadable.append((record, error))
            continue
        partition.newest_append_ms = max(partition.newest_append_ms, record.appended_ms)
        (live if is_live else replayed).append(appended)
        if is_live:
            batch = appended.batch
            traces.setdefault((batch.vehicle_id, batch.boot_id, batch.sequence), traceparent_of(record.headers))
    if replayed:
        partition.state, _ = step(partition.state, replayed, plan)
        REPLAYED.inc(len(replayed))
    firings: tuple[Firing, ...] = ()
    if live:
        with STEP_SECONDS.time():
            partition.state, result = step(partition.state, live, plan)
        firings = result.firings
        _count(result.tally)
    BATCHES.labels("unreadable").inc(len(unreadable))
    traced = [(f, traces.get((f.vehicle_id, f.boot_id, f.sequence))) for f in firings]
    return Outcome(tuple(traced), tuple(unreadable), bool(live or unreadable))


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
