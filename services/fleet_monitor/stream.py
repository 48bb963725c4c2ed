"""The Kafka shell: a Faust table with one record per vehicle, updated by one report at a time.

The write to the table is in its changelog before the report is acknowledged. After a crash between the two the report
is read again and recognised by its sequence. Keys are the raw keys of messages, because Faust's own partitioner would
write changelog records to other partitions than those of the reports.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import faust

from fleet_monitor.codec import from_bytes, report_of, to_bytes
from fleet_monitor.core import Outcome, add, decide
from fleet_monitor.model import VehicleRecord
from fleet_monitor.settings import FleetMonitorSettings
from fleetloop.domain.reports import report_in
from fleetloop.domain.topics import HEALTH
from fleetloop.kit.messaging.dead_letters import is_for_another
from fleetloop.kit.messaging.events import EventTooLargeError, traceparent_of
from fleetloop.kit.messaging.faust_app import build_app, handled
from fleetloop.kit.messaging.faust_order import guard_of
from fleetloop.kit.messaging.producer import KafkaPublisher, Record
from fleetloop.kit.process.clock import Clock, ms_to_ns
from fleetloop.kit.process.tracing import span

SERVICE = "fleet-monitor"
_PARTITIONS = 4
MAX_RECORD_BYTES = 1_048_576 - 4096
"""Bytes of the largest record of a vehicle: `max_bytes` of the changelog, less room for what Kafka adds."""


class FleetRecords:
    """The table as RPCs and metrics read it. Decoded records are cached until they change."""

    def __init__(self, is_whole: Callable[[], bool]) -> None:
        """`is_whole` says whether the table holds every vehicle, which it does not while it is being restored."""
        self.is_whole = is_whole
        self.table: Any = None
        self._decoded: dict[bytes, tuple[bytes, VehicleRecord]] = {}
        self._written: Any = None

    def get(self, key: bytes) -> VehicleRecord:
        """The record of one vehicle; an empty one for a new vehicle."""
        raw = self.table.get(key)
        if raw is None:
            return VehicleRecord()
        cached = self._decoded.get(key)
        if cached is None or cached[0] is not raw:
            self._decoded[key] = cached = (raw, from_bytes(raw))
        return cached[1]

    def attach(self, table: Any) -> None:
        """Uses a table, and keeps the future of its latest changelog write.

        Faust drops that future, and its flush() does not wait for the write.
        """
        self.table = table
        send = table.send_changelog

        def remember(*arguments: Any, **options: Any) -> Any:
            self._written = send(*arguments, **options)
            return self._written

        table.send_changelog = remember

    async def put(self, key: bytes, record: VehicleRecord) -> None:
        """Writes a record and waits until the changelog has it. Call it only inside the agent.

        Raises EventTooLargeError, before anything is changed, when the changelog has no room for the record.
        """
        raw = to_bytes(record)
        if len(raw) + len(key) > MAX_RECORD_BYTES:
            raise EventTooLargeError(f"the record of the vehicle has {len(raw)} bytes, at most {MAX_RECORD_BYTES}")
        self.table[key] = raw
        await self._written

    def all(self) -> Iterator[tuple[str, VehicleRecord]]:
        """All vehicles of the partitions of this process."""
        for key in list(self.table.keys()):
            yield key.decode(), self.get(key)


def build_monitor(
    settings: FleetMonitorSettings, publisher: KafkaPublisher, clock: Clock
) -> tuple[faust.App, FleetRecords]:
    """The Faust app with its table and agent."""
    app = build_app(SERVICE, settings)
    order = guard_of(SERVICE, settings)
    records = FleetRecords(lambda: _is_whole(app))
    records.attach(app.Table("windows", partitions=_PARTITIONS, key_type=bytes, value_type=bytes))

    async def count(record: Record) -> str:
        if is_for_another(record, SERVICE):
            return "skipped"
        message = report_in(record)
        assert record.key is not None
        with span(f"{SERVICE} {record.topic}", parent=traceparent_of(record.headers)):
            report = report_of(message, settings.window_s, ms_to_ns(record.appended_ms) or clock.now_utc_ns())
            before = records.get(record.key)
            outcome = decide(before, report)
            if outcome is Outcome.COUNTED:
                await records.put(record.key, add(before, report, settings.keep_s, settings.fine_s))
        return outcome.value

    @app.agent(app.topic(HEALTH, key_type=bytes, value_type=bytes), name="reports")
    async def reports(stream: Any) -> None:
        async for event in stream.noack().events():
            await handled(event, count, publisher, SERVICE, order)

    return app, records


def _is_whole(app: faust.App) -> bool:
    """True once the table is restored and this process has every partition."""
    recovered = app.tables.recovery.completed.is_set() and not app.in_recovery  # type: ignore[attr-defined]
    if not app.started or not recovered or app.rebalancing:
        return False
    return sum(partition.topic == HEALTH for partition in app.consumer.assignment()) == _PARTITIONS
