"""The Kafka shell: reads telemetry and campaigns, sends firings, and commits last.

On assignment, and when campaigns change, a partition is sought back by the horizon and replayed in silence up
to what was committed. The commit carries the broker's time of the last record in its metadata, so the seek
needs no guess.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import CommitFailedError, IllegalStateError, RebalanceInProgressError, UnknownMemberIdError
from aiokafka.structs import OffsetAndMetadata

from fleetloop.domain.signals import SignalCatalogue
from fleetloop.domain.topics import CAMPAIGN, TELEMETRY
from fleetloop.kit.messaging.consumer import read_to_end
from fleetloop.kit.messaging.producer import Record, UnreadableMessageError, connection_options
from fleetloop.kit.process.clock import Clock, ns_to_seconds, seconds_to_ns
from fleetloop.kit.process.logs import get_logger
from fleetloop.kit.process.metrics import CONSUMER_LAG, EVENT_AGE, LAST_COMMIT
from fleetloop.triggerlang.kernels.warm import warm
from trigger_detector import metrics
from trigger_detector.campaigns import CampaignBook
from trigger_detector.codec import campaign_of
from trigger_detector.partition import Outcome, Partition, event_of_firing, process_records
from trigger_detector.plan import Plan, make_plan
from trigger_detector.ports import Outlet
from trigger_detector.settings import TriggerDetectorSettings

SERVICE = "trigger-detector"
_POLL_MS = 200
_GAUGES_EVERY_S = 10.0
log = get_logger(__name__)


_Done = tuple[TopicPartition, Partition, Outcome, OffsetAndMetadata]
"""What a partition's records led to, and what to commit when that is announced."""


class DetectorStream(ConsumerRebalanceListener):  # type: ignore[misc,unused-ignore]
    """One process's share of the telemetry. ``run`` until stopped; its failure is the process's."""

    def __init__(
        self, settings: TriggerDetectorSettings, catalogue: SignalCatalogue, outlet: Outlet, clock: Clock
    ) -> None:
        self._settings = settings
        self._catalogue = catalogue
        self._outlet = outlet
        self._clock = clock
        self.book = CampaignBook()
        self.plan: Plan = make_plan([], catalogue, settings.limits())[0]
        self.refused: dict[str, str] = {}
        self.partitions: dict[TopicPartition, Partition] = {}
        self._unprepared: set[TopicPartition] = set()
        self._lag = 0
        self._last_progress_ns = clock.monotonic_ns()
        self._last_gauges_ns = 0
        self.firings = 0
        self.ready = asyncio.Event()
        self._consumer = AIOKafkaConsumer(
            **connection_options(settings),
            group_id=SERVICE,
            client_id=SERVICE,
            group_instance_id=settings.instance_id or None,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            isolation_level="read_committed",
            max_partition_fetch_bytes=4 * 1024 * 1024,
            session_timeout_ms=10_000,
            heartbeat_interval_ms=3_000,
            max_poll_interval_ms=300_000,
        )

    def problem(self) -> str | None:
        """Why this consumer counts as stuck, or None."""
        idle_s = ns_to_seconds(self._clock.monotonic_ns() - self._last_progress_ns)
        if self._lag > 0 and idle_s > self._settings.stuck_after_s:
            return f"{self._lag} messages behind and no commit for {idle_s:.0f} s"
        return None

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        """Forgets their state: whoever has them next replays it."""
        for tp in revoked:
            self.partitions.pop(tp, None)
            self._unprepared.discard(tp)
            CONSUMER_LAG.labels(SERVICE, tp.topic, str(tp.partition)).set(0)

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """Marks them; they are sought back before anything of them is used."""
        self._unprepared |= set(assigned)

    async def run(self, stopping: asyncio.Event) -> None:
        """Runs until ``stopping``; what was handled is committed before it returns."""
        unreadable: list[tuple[Record, UnreadableMessageError]] = []

        def take(record: Record) -> None:
            self._take_campaign(record, unreadable)

        campaigns = await read_to_end([CAMPAIGN], self._settings, take, f"{SERVICE}-campaigns")
        fetching: asyncio.Task[dict[TopicPartition, Sequence[object]]] | None = None
        settling: asyncio.Task[None] | None = None
        await asyncio.to_thread(warm)  # before it joins: compiling takes longer than a member may be silent
        try:
            await self._bury(unreadable)
            self._replan()
            await self._consumer.start()
            self._consumer.subscribe([TELEMETRY], listener=self)
            while not stopping.is_set():
                await self._follow(campaigns)
                polled = await (fetching or self._fetch())
                fetching = None
                unprepared = sorted(self._unprepared & self._consumer.assignment())
                for tp in unprepared:
                    polled.pop(tp, None)  # fetched before the seek, and after it again
                    try:
                        await self._prepare(tp)
                    except IllegalStateError:
                        log.info("partition_went_away", partition=tp.partition)
                # The next ones are fetched, and what the ones before led to is announced, while these are evaluated.
                fetching = asyncio.create_task(self._fetch())
                self._observe_lag()  # what is in hand counts as lag: hanging on it must not look like having no work
                done = await self._evaluate(polled)
                if settling is not None:
                    await settling
                settling = asyncio.create_task(self._settle(done))
                self._observe_lag()
                if self._consumer.assignment() and not self._unprepared:
                    self.ready.set()
            if settling is not None:
                await settling
        finally:
            if fetching is not None:
                fetching.cancel()
            if settling is not None:
                settling.cancel()
            await asyncio.gather(*(t for t in (fetching, settling) if t is not None), return_exceptions=True)
            await campaigns.stop()
            await self._consumer.stop()

    async def _fetch(self) -> dict[TopicPartition, Sequence[object]]:
        """The next records of the partitions that are assigned."""
        polled: dict[TopicPartition, Sequence[object]] = await self._consumer.getmany(
            timeout_ms=_POLL_MS, max_records=self._settings.detector_poll_records
        )
        return polled

    async def _follow(self, campaigns: AIOKafkaConsumer) -> None:
        """Takes what changed in the campaigns since."""
        changed = False
        unreadable: list[tuple[Record, UnreadableMessageError]] = []
        for messages in (await campaigns.getmany(timeout_ms=0)).values():
            for record in _records(messages):
                changed |= self._take_campaign(record, unreadable)
        await self._bury(unreadable)
        if changed:
            self._replan()

    def _take_campaign(self, record: Record, unreadable: list[tuple[Record, UnreadableMessageError]]) -> bool:
        if not record.value:
            return self.book.remove((record.key or b"").decode(errors="replace"))
        try:
            revision, problems = campaign_of(record)
        except UnreadableMessageError as error:
            unreadable.append((record, error))
            return False
        for problem in problems:
            log.error("trigger_refused", campaign=revision.campaign, problem=problem)
        return self.book.add(revision)

    def _replan(self) -> None:
        """Compiles what is in force. Where that changed, all state is made anew from the log."""
        plan, problems = make_plan(self.book.in_force(), self._catalogue, self._settings.limits())
        for problem in problems:
            log.error("trigger_refused", campaign=problem.campaign, trigger=problem.trigger, problem=problem.message)
        self.refused = {problem.trigger: problem.message for problem in problems}
        metrics.REFUSED_TRIGGERS.set(len(problems))
        metrics.TRIGGERS.set(len(plan.actives))
        if plan.actives == self.plan.actives:
            return
        self.plan = plan
        self._unprepared |= set(self.partitions)
        log.info("campaigns_in_force", triggers=len(plan.actives), refused=len(problems))

    async def _prepare(self, tp: TopicPartition) -> None:
        """Seeks back by the horizon from what was handled, so that the replay restores the state."""
        append_ms: int | None
        known = self.partitions.get(tp)
        if known is not None and known.next_offset > known.resume_offset:
            resume, append_ms = known.next_offset, known.newest_append_ms
        else:
            resume, append_ms = await self._committed(tp)
        start = resume
        if resume < 0:
            resume = start = 0
            await self._consumer.seek_to_beginning(tp)
        elif append_ms is None:
            log.warning("replaying_everything", partition=tp.partition, reason="the commit says no time")
            await self._consumer.seek_to_beginning(tp)
            start = 0
        else:
            from_ms = max(0, append_ms - round(self._settings.detector_horizon_s * 1000))
            found = (await self._consumer.offsets_for_times({tp: from_ms})).get(tp)
            start = min(resume, found.offset) if found else resume
            self._consumer.seek(tp, start)
        partition = Partition(resume, newest_append_ms=append_ms or 0)
        self.partitions[tp] = partition
        self._unprepared.discard(tp)
        log.info("partition_prepared", partition=tp.partition, replay_from=start, resume_at=resume)

    async def _committed(self, tp: TopicPartition) -> tuple[int, int | None]:
        """The committed offset, -1 for none, and the broker's time of the record before it, None when not
        said.
        """
        admin = AIOKafkaAdminClient(**connection_options(self._settings))
        await admin.start()
        try:
            offsets = await admin.list_consumer_group_offsets(SERVICE, partitions=[tp])
        finally:
            await admin.close()
        found = offsets.get(tp)
        if found is None or found.offset < 0:
            return -1, None
        return found.offset, int(found.metadata) if found.metadata.isdigit() else None

    async def _evaluate(self, polled: Mapping[TopicPartition, Sequence[object]]) -> list[_Done]:
        """What the records of each partition lead to, found in a thread."""
        work: list[tuple[TopicPartition, Partition, Sequence[Record]]] = []
        for tp, messages in polled.items():
            partition = self.partitions.get(tp)
            if partition is None or tp in self._unprepared or not messages:
                continue  # fetched before the seek
            records = _records(messages)
            self._observe_age(records[-1])
            work.append((tp, partition, records))
        plan, catalogue = self.plan, self._catalogue

        def evaluate() -> list[_Done]:
            return [(tp, p, process_records(p, records, plan, catalogue), _end_of(p)) for tp, p, records in work]

        return await asyncio.to_thread(evaluate) if work else []

    async def _settle(self, done: Sequence[_Done]) -> None:
        """Announces firings, then commits: in this order, so that none is lost."""
        if not done:
            return
        found = [f for _, _, outcome, _ in done for f in outcome.firings]
        if found:
            await self._outlet.publish(event_of_firing(firing, trace, self._clock) for firing, trace in found)
        for firing, _ in found:
            trigger = firing.trigger
            metrics.FIRINGS.labels(firing.campaign, trigger.name, str(trigger.version)).inc()
        self.firings += len(found)
        for _, _, outcome, _ in done:
            await self._bury(outcome.unreadable)
        await self._commit({tp: end for tp, _, outcome, end in done if outcome.live and tp in self.partitions})
        self._last_progress_ns = self._clock.monotonic_ns()

    async def _bury(self, unreadable: Iterable[tuple[Record, UnreadableMessageError]]) -> None:
        for record, error in unreadable:
            log.warning("unreadable", topic=record.topic, offset=record.offset, error=str(error))
            await self._outlet.bury(record, error)

    async def _commit(self, offsets: Mapping[TopicPartition, OffsetAndMetadata]) -> None:
        if not offsets:
            return
        try:
            await self._consumer.commit(dict(offsets))
        except (CommitFailedError, IllegalStateError, RebalanceInProgressError, UnknownMemberIdError) as error:
            # The partitions went to somebody else, who reads these records again and sends the same ids.
            log.warning("commit_lost_to_rebalance", error=str(error))
            return
        LAST_COMMIT.labels(SERVICE).set(ns_to_seconds(self._clock.now_utc_ns()))

    def _observe_age(self, record: Record) -> None:
        age_s = ns_to_seconds(self._clock.now_utc_ns() - record.appended_ms * 1_000_000)
        EVENT_AGE.labels(SERVICE, record.topic).observe(max(0.0, age_s))

    def _observe_lag(self) -> None:
        lag = 0
        for tp, partition in self.partitions.items():
            end = self._consumer.highwater(tp)
            if end is None:
                continue
            behind = max(0, end - max(partition.next_offset, partition.resume_offset))
            CONSUMER_LAG.labels(SERVICE, tp.topic, str(tp.partition)).set(behind)
            lag += behind
        self._lag = lag
        now_ns = self._clock.monotonic_ns()
        if lag == 0:
            self._last_progress_ns = now_ns
        if now_ns - self._last_gauges_ns > seconds_to_ns(_GAUGES_EVERY_S):
            self._last_gauges_ns = now_ns
            metrics.VEHICLES.set(self.vehicles())
            metrics.STATE_BYTES.set(self.state_bytes())

    def assigned(self) -> list[int]:
        """Partitions that this process reads."""
        return sorted(tp.partition for tp in list(self.partitions))

    def vehicles(self) -> int:
        """Vehicles and boots with state."""
        return sum(len(p.state.vehicles) for p in self.partitions.values())

    def state_bytes(self) -> int:
        """Bytes of that state's arrays."""
        return sum(p.state.nbytes() for p in self.partitions.values())


def _end_of(partition: Partition) -> OffsetAndMetadata:
    """What is committed once all of a partition up to here is settled."""
    return OffsetAndMetadata(partition.next_offset, str(partition.newest_append_ms))


def _records(messages: Sequence[object]) -> list[Record]:
    return [
        Record(m.topic, m.partition, m.offset, m.key, m.value or b"", m.headers, m.timestamp)  # type: ignore[attr-defined]
        for m in messages
    ]
