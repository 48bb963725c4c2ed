"""A Faust app with safe settings. Every deviation from Faust's defaults has its reason beside it.

Three rules hold for every agent. No exception may leave it, because Faust would acknowledge the message. No message
may stay unacknowledged while a later one is acknowledged, because the commit would skip it. And no message may take
effect before all earlier ones of its partition (`fleetloop.kit.messaging.faust_order`). `handled` keeps all three.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import faust
from aiokafka.errors import KafkaError
from faust.types import EventT

from fleetloop.kit.messaging.dead_letters import DeadLetterQueue, process_or_set_aside
from fleetloop.kit.messaging.faust_order import KeepingFlowControl, OrderGuard
from fleetloop.kit.messaging.producer import Record, broker_tls
from fleetloop.kit.messaging.progress import ConsumerProgress
from fleetloop.kit.messaging.undecodable import install as pass_over_undecodable
from fleetloop.kit.process.clock import Clock, seconds_to_ms
from fleetloop.kit.process.exit_codes import EXIT_BROKEN_DEPENDENCY
from fleetloop.kit.process.lifecycle import Runtime
from fleetloop.kit.process.logs import get_logger
from fleetloop.kit.process.metrics import MESSAGES, create_alerted_counters
from fleetloop.kit.process.pausing import pause
from fleetloop.kit.process.settings import ServiceSettings

log = get_logger(__name__)


def build_app(service: str, settings: ServiceSettings) -> faust.App:
    """An app named after the service, which is also its consumer group. Do not call it at module level."""
    pass_over_undecodable()
    try:
        from faust._cython.streams import StreamIterator  # noqa: F401
    except ImportError as error:  # the pure-Python iterator loses acknowledgements of noack streams
        raise RuntimeError("faust's compiled stream iterator is missing; install faust-streaming's wheel") from error
    credentials = None
    if settings.kafka_username:
        credentials = faust.SASLCredentials(
            username=settings.kafka_username,
            password=settings.kafka_password,
            mechanism="SCRAM-SHA-512",
            ssl_context=broker_tls(settings),
        )
    servers = settings.kafka_bootstrap_servers.split(",")
    app = faust.App(
        service,
        broker=[f"aiokafka://{server}" for server in servers],
        broker_credentials=credentials,
        datadir=str(settings.state_dir / "faust"),
        store="memory://",
        value_serializer="raw",
        key_serializer="raw",
        processing_guarantee="at_least_once",  # exactly_once doubled 612 of 30,000
        topic_allow_declare=False,  # topics come from the catalogue
        topic_disable_leader=True,
        web_enabled=False,  # its port would show the tables to any client
        consumer_auto_offset_reset="earliest",
        # No static membership: a worker that rejoined as the same member after SIGKILL fetched nothing for 40 s.
        broker_session_timeout=6.0,  # a kill delays the loop by this much; the default is 60 s
        broker_heartbeat_interval=2.0,
        broker_request_timeout=90.0,
        producer_acks=-1,
        broker_commit_interval=1.0,
        broker_commit_every=500,
        broker_max_poll_records=500,
        stream_wait_empty=False,
        stream_recovery_delay=0.0,
        worker_redirect_stdouts=False,
        logging_config=None,
        loghandlers=[],
    )
    app.flow_control = KeepingFlowControl()
    return app


def record_of(event: EventT[Any]) -> Record:
    """The message of a Faust event as a Record."""
    message = event.message
    headers: Any = message.headers or []
    pairs: list[tuple[str, bytes | None]] = list(headers.items()) if isinstance(headers, dict) else list(headers)
    return Record(
        topic=message.topic,
        partition=message.partition,
        offset=message.offset,
        key=message.key,
        value=message.value or b"",
        headers=pairs,
        appended_ms=seconds_to_ms(message.timestamp or 0),
    )


async def handled(
    event: EventT[Any],
    work: Callable[[Record], Awaitable[str]],
    dead_letters: DeadLetterQueue,
    service: str,
    order: OrderGuard,
) -> None:
    """Carries out `work` for one event of a `noack()` stream and acknowledges the event afterwards.

    `work` returns the outcome for the metric of messages. A message that it cannot process is set aside
    (`fleetloop.kit.messaging.dead_letters`). An outage, and a message that was passed over, end the process at once
    with exit code 70; the event stays unacknowledged.
    """
    record = record_of(event)
    try:
        await order.check(record)
        outcome = await process_or_set_aside(record, work, dead_letters)
    except Exception:
        log.exception("dependency_broken", topic=record.topic, offset=record.offset)
        os._exit(EXIT_BROKEN_DEPENDENCY)
    MESSAGES.labels(service, record.topic, outcome).inc()
    order.handled(record)
    event.ack()


STALLED_AFTER_S = 12.0
"""Seconds without a commit after which a worker with work leaves its group and restarts. After a kill, a worker
sometimes fetches nothing for minutes although it has its partitions; a restart helps at once, and so does not wait
for the liveness check."""


_OFFSETS_TIMEOUT_S = 5.0
"""Limit of the broker's answer: the worker's own thread passes the question on, and it may be busy."""


class StreamStalledError(Exception):
    """The worker is ready, messages wait, and it has committed nothing for `STALLED_AFTER_S`."""


class StreamWatch:
    """Lag and progress of a Faust worker, which exports no lag of its own; see ConsumerProgress for the rules."""

    def __init__(self, service: str, app: faust.App, stuck_after_s: float, clock: Clock) -> None:
        self._service = service
        self._app = app
        self._clock = clock
        self._progress = ConsumerProgress(service, [], stuck_after_s, clock)
        self._committed: dict[Any, int] = {}
        self._busy_ns = 0
        self.assigned = False

    async def observe(self) -> None:
        """Reads offsets from the worker and sets the metrics.

        While the broker gives no offset that is needed, nothing is known of the lag: the metrics stay as they are,
        and that counts neither as progress nor as work that waits.
        """
        consumer: Any = self._app.consumer
        assigned = consumer.assignment()
        self.assigned = bool(assigned)
        # Changelogs of tables are restored and never committed.
        partitions = [each for each in assigned if each.topic not in self._app.tables.changelog_topics]
        committed = {partition: consumer._committed_offset.get(partition) for partition in partitions}
        try:
            async with asyncio.timeout(_OFFSETS_TIMEOUT_S):
                behind = await _messages_behind(consumer, committed)
        except (TimeoutError, KafkaError) as error:
            log.warning("offsets_unknown", error=str(error) or "timeout")
            return
        create_alerted_counters(self._service, reads={partition.topic for partition in partitions})
        if committed != self._committed:
            self._progress.committed()
        self._progress.revoked(self._committed.keys() - committed.keys())
        self._progress.observe_lag(behind)
        self._committed = committed

    def problem(self) -> str | None:
        """Liveness check: why the worker counts as stuck, or None."""
        return self._progress.problem()

    def stall(self) -> str | None:
        """Why the worker counts as stalled, or None. Restoring tables and rebalancing have no time limit."""
        if self._app.rebalancing or not self._app.tables.actives_ready:
            self._busy_ns = self._clock.monotonic_ns()
        return self._progress.idle_problem(self._busy_ns, STALLED_AFTER_S)


async def _messages_behind(consumer: Any, committed: Mapping[Any, int | None]) -> dict[Any, int]:
    """Messages of each partition that are not committed yet.

    The worker knows the end of a partition only after its first fetch, and a stalled worker may never fetch. So the
    broker is asked for an end that is not known. A partition of which nothing was ever committed is read from its
    beginning.
    """
    ends = {partition: consumer.highwater(partition) for partition in committed}
    unfetched = [partition for partition, end in ends.items() if end is None]
    if unfetched:
        ends |= await consumer.highwaters(*unfetched)
    starts = dict(committed)
    uncommitted = [partition for partition, offset in committed.items() if offset is None and ends[partition]]
    if uncommitted:
        starts |= await consumer.earliest_offsets(*uncommitted)
    return {partition: max(0, ends[partition] - (starts[partition] or 0)) for partition in committed}


async def run_app(app: faust.App, runtime: Runtime, settings: ServiceSettings, clock: Clock) -> None:
    """Runs a Faust app until the process stops. A crash of the app ends the process."""
    watch = StreamWatch(runtime.service, app, settings.stuck_after_s, clock)
    runtime.http.add_liveness("faust", watch.problem)
    runtime.http.add_readiness("faust", lambda: None if watch.assigned else "no partitions yet")
    await app.start()
    try:
        while not runtime.stopping.is_set():
            if app.crashed:
                raise app.crash_reason or RuntimeError("the faust app crashed")
            await watch.observe()
            stall = watch.stall()
            if stall is not None:
                raise StreamStalledError(stall)
            await pause(runtime.stopping, 1.0)
    finally:
        await app.stop()
