"""Takes one partition's records through the core: first a replay that announces nothing, then new records.

Separate from Kafka's client, so that a restart can be tested with plain records.
"""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

import numpy as np

from fleetloop.domain.signals import SignalCatalogue
from fleetloop.domain.telemetry_codec import encode_batch
from fleetloop.kit.messaging.dead_letters import is_for_another
from fleetloop.kit.messaging.events import Event, traceparent_of
from fleetloop.kit.messaging.producer import Record, UnreadableMessageError
from fleetloop.kit.process.clock import Clock
from fleetloop.kit.process.tracing import current_traceparent, span
from trigger_detector.codec import appended_of, firing_event
from trigger_detector.core import DetectorState, Poll, evaluate_in_place
from trigger_detector.metrics import BATCHES, FRAMES, REPLAYED, STEP_SECONDS
from trigger_detector.model import Firing, Tally
from trigger_detector.plan import Plan

SERVICE = "trigger-detector"


@dataclass(slots=True)
class Partition:
    """One partition's state and how far it was read."""

    resume_offset: int
    """First offset whose firings are announced; what comes before is replayed only to restore the state."""
    state: DetectorState = field(default_factory=DetectorState)
    next_offset: int = 0
    """The offset after the last record that was processed."""
    newest_append_ms: int = 0
    """The broker's newest time among the records that were processed."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of processing records."""

    firings: tuple[tuple[Firing, Record], ...]
    """Each with the record of its batch."""
    unreadable: tuple[tuple[Record, Exception], ...]
    """New records for the dead-letter queue."""
    live: bool
    """Whether any record was new, so that there is an offset to commit."""

    def followed_by(self, later: Outcome) -> Outcome:
        """The outcome of both."""
        return Outcome(self.firings + later.firings, self.unreadable + later.unreadable, self.live or later.live)


def process_records(
    partition: Partition,
    records: Sequence[Record],
    plan: Plan,
    catalogue: SignalCatalogue,
    skipped: AbstractSet[int] = frozenset(),
) -> Outcome:
    """Evaluates the next records of a partition, in the order of their offsets, and updates the partition.

    Records at the offsets in `skipped` count as read and have no effect. An exception leaves the state half changed.
    """
    if not records:
        return Outcome((), (), False)
    wanted = [r for r in records if r.offset not in skipped and not is_for_another(r, SERVICE)]
    poll, kept, unreadable = _read(wanted, plan, catalogue)
    live_from = sum(1 for r in kept if r.offset < partition.resume_offset)
    if kept:
        partition.newest_append_ms = max(partition.newest_append_ms, max(r.appended_ms for r in kept))
    if live_from:
        evaluate_in_place(partition.state, poll.part(0, live_from), plan)
        REPLAYED.inc(live_from)
    firings: list[tuple[Firing, Record]] = []
    if live_from < len(kept):
        with STEP_SECONDS.time():
            result = evaluate_in_place(partition.state, poll.part(live_from, len(kept)), plan)
        for firing, batch in zip(result.firings, result.batches, strict=True):
            firings.append((firing, kept[live_from + batch]))
        _count(result.tally)
    dead = tuple((r, error) for r, error in unreadable if r.offset >= partition.resume_offset)
    BATCHES.labels("unreadable").inc(len(dead))
    partition.next_offset = records[-1].offset + 1
    return Outcome(tuple(firings), dead, live=records[-1].offset >= partition.resume_offset)


def _read(
    records: Sequence[Record], plan: Plan, catalogue: SignalCatalogue
) -> tuple[Poll, Sequence[Record], list[tuple[Record, UnreadableMessageError]]]:
    """The records as a poll, the records that are in it, and those that cannot be read.

    A batch that is not plain is decoded and checked in the ordinary way, which says what is wrong. If nothing is
    wrong, it is encoded again in the form that the reader expects. A batch that the reader refuses even then is
    unreadable.
    """
    raws = [r.value for r in records]
    batches = plan.reader.read(raws)
    kept = records
    unreadable: list[tuple[Record, UnreadableMessageError]] = []
    if not batches.plain.all():
        columns = _columns_of(plan)
        kept, raws, checked = [], [], []
        for record, plain in zip(records, batches.plain.tolist(), strict=True):
            raw = record.value
            if not plain:
                try:
                    raw = encode_batch(appended_of(record, catalogue, columns).batch).SerializeToString()
                except UnreadableMessageError as error:
                    unreadable.append((record, error))
                    continue
            kept.append(record)
            raws.append(raw)
            checked.append(not plain)
        batches = plan.reader.read(raws, np.array(checked, np.bool_))
        if not batches.plain.all():
            refused = UnreadableMessageError("the detector's reader refuses this batch, although it passed the check")
            unreadable += [(r, refused) for r, plain in zip(kept, batches.plain.tolist(), strict=True) if not plain]
            chosen = np.flatnonzero(batches.plain).tolist()
            kept, raws = [kept[i] for i in chosen], [raws[i] for i in chosen]
            batches = plan.reader.read(raws, np.array(checked, np.bool_)[chosen])
    return Poll(raws, np.array([r.appended_ms for r in kept], np.int64), batches), kept, unreadable


def event_of_firing(firing: Firing, record: Record, clock: Clock) -> Event:
    """The event that announces a firing, as a child of the trace of its batch's record."""
    traceparent = traceparent_of(record.headers)
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


def _columns_of(plan: Plan) -> set[str]:
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
