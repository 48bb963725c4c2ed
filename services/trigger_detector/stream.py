"""The Kafka shell: reads telemetry and campaigns, sends firings, and commits last.

On assignment, and when campaigns change, the stream seeks a partition back by the horizon and replays it, without
firing, up to what was committed. The commit carries the broker's time of the last record in its metadata, so that the
seek is exact. Durable is what has been announced: lag counts records until their firings are in Kafka.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence

from aiokafka import TopicPartition
from aiokafka.errors import IllegalStateError
from aiokafka.structs import OffsetAndMetadata

from fleetloop.domain.signals import SignalCatalogue
from fleetloop.domain.topics import CAMPAIGN, TELEMETRY
from fleetloop.kit.messaging.dead_letters import ATTEMPTS, summary
from fleetloop.kit.messaging.events import Event
from fleetloop.kit.messaging.outage import is_outage
from fleetloop.kit.messaging.partition_reader import GroupReader, Polled, TopicReader
from fleetloop.kit.messaging.producer import Record
from fleetloop.kit.messaging.signatures import load_trust
from fleetloop.kit.process.clock import Clock, seconds_to_ms, seconds_to_ns
from fleetloop.kit.process.logs import get_logger
from fleetloop.triggerlang.kernels.warm import warm
from trigger_detector import metrics
from trigger_detector.campaigns import CampaignBook
from trigger_detector.codec import campaign_of
from trigger_detector.isolation import Failure, Isolation
from trigger_detector.partition import SERVICE as SERVICE
from trigger_detector.partition import Outcome, Partition, event_of_firing
from trigger_detector.plan import Plan, make_plan, plan_of
from trigger_detector.ports import Outlet
from trigger_detector.settings import TriggerDetectorSettings

_GAUGES_EVERY_S = 10.0
_FETCH_BYTES = 4 * 1024 * 1024
log = get_logger(__name__)


_Done = tuple[TopicPartition, Partition, Outcome, OffsetAndMetadata]
"""The outcome of a partition's records, and what to commit once it is announced."""


class DetectorStream:
    """Evaluates the telemetry of the partitions that are assigned to this process."""

    def __init__(
        self, settings: TriggerDetectorSettings, catalogue: SignalCatalogue, outlet: Outlet, clock: Clock
    ) -> None:
        self._settings = settings
        self._catalogue = catalogue
        self._outlet = outlet
        self._clock = clock
        self.book = CampaignBook()
        self.plan: Plan = make_plan([], catalogue, settings.limits())[0]
        self.refused: Mapping[str, str] = {}
        self.partitions: dict[TopicPartition, Partition] = {}
        self._unprepared: set[TopicPartition] = set()
        self._isolations: dict[TopicPartition, Isolation] = {}
        self._announced: dict[TopicPartition, int] = {}
        """The offset before which every firing of a partition is in Kafka."""
        self._last_gauges_ns = 0
        self.firings = 0
        self.ready = asyncio.Event()
        self._reader = GroupReader(
            SERVICE,
            [TELEMETRY],
            settings,
            clock,
            listener=self,
            durable=self._announced.get,
            fetch_bytes=_FETCH_BYTES,
        )
        self._trust = load_trust(settings)
        self._campaigns = TopicReader(SERVICE, [CAMPAIGN], settings, clock, name="campaigns")

    def problem(self) -> str | None:
        """Liveness check: why this consumer counts as stuck, or None."""
        return self._reader.problem() or self._campaigns.problem()

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        """Drops the state of these partitions: the next owner rebuilds it by a replay."""
        for tp in revoked:
            self.partitions.pop(tp, None)
            self._announced.pop(tp, None)
            self._unprepared.discard(tp)
            self._isolations.pop(tp, None)

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """Marks these partitions, so that the stream seeks them back before it uses their records."""
        self._unprepared |= set(assigned)

    async def run(self, stopping: asyncio.Event) -> None:
        """Runs until ``stopping``; what was handled is committed before it returns."""
        async with self._campaigns as campaigns:
            unreadable: list[tuple[Record, Exception]] = []
            async for record in campaigns.read_to_end():
                self._apply_campaign(record, unreadable)
            # Before it joins the group: compiling takes longer than a member may be silent.
            await asyncio.to_thread(warm)
            await self._send_to_dlq(unreadable)
            self._replan()
            async with self._reader:
                await self._detect(stopping)

    async def _detect(self, stopping: asyncio.Event) -> None:
        """Evaluates polls one after the other.

        While one is evaluated, the next one is fetched and what the one before led to is announced.
        """
        fetching: asyncio.Task[Polled] | None = None
        announcing: asyncio.Task[None] | None = None
        try:
            while not stopping.is_set():
                await self._apply_campaign_changes()
                polled = await (fetching or self._fetch())
                fetching = None
                await self._prepare_assigned(polled)
                fetching = asyncio.create_task(self._fetch())
                done = await self._evaluate(polled)
                if announcing is not None:
                    await announcing
                announcing = asyncio.create_task(self._announce(done))
                self._observe_state()
                if self._reader.assignment() and not self._unprepared:
                    self.ready.set()
            if announcing is not None:
                await announcing
        finally:
            tasks = [task for task in (fetching, announcing) if task is not None]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _fetch(self) -> Polled:
        return await self._reader.poll(max_records=self._settings.detector_poll_records)

    async def _apply_campaign_changes(self) -> None:
        """Applies what has changed in the campaigns since the last pass."""
        changed = False
        unreadable: list[tuple[Record, Exception]] = []
        for records in (await self._campaigns.poll(timeout_s=0)).values():
            for record in records:
                changed |= self._apply_campaign(record, unreadable)
        await self._send_to_dlq(unreadable)
        if changed:
            self._replan()

    def _apply_campaign(self, record: Record, unreadable: list[tuple[Record, Exception]]) -> bool:
        try:
            self._trust.verify(record)
            if not record.value:
                return self.book.remove((record.key or b"").decode(errors="replace"))
            revision, problems = campaign_of(record)
        except Exception as error:
            if is_outage(error):
                raise
            unreadable.append((record, error))
            return False
        for problem in problems:
            log.error("trigger_refused", campaign=revision.campaign, problem=problem)
        return self.book.add(revision)

    def _replan(self) -> None:
        """Compiles the triggers in force. When they changed, all state is rebuilt from the log."""
        plan, problems = plan_of(self.book.in_force(), self._catalogue, self._settings.limits())
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

    async def _prepare_assigned(self, polled: Polled) -> None:
        """Seeks new partitions back, and removes from the poll what was fetched of them before the seek."""
        for tp in sorted(self._unprepared & self._reader.assignment()):
            polled.pop(tp, None)  # fetched before the seek, and after it again
            try:
                await self._prepare(tp)
            except IllegalStateError:
                log.info("partition_went_away", partition=tp.partition)

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
            await self._reader.seek_to_beginning(tp)
        elif append_ms is None:
            log.warning(
                "replaying_everything", partition=tp.partition, reason="the commit has no time in its metadata"
            )
            await self._reader.seek_to_beginning(tp)
            start = 0
        else:
            from_ms = max(0, append_ms - seconds_to_ms(self._settings.detector_horizon_s))
            found = await self._reader.offset_at(tp, from_ms)
            start = resume if found is None else min(resume, found)
            self._reader.seek(tp, start)
        partition = Partition(resume, newest_append_ms=append_ms or 0)
        self.partitions[tp] = partition
        if tp in self._isolations:
            self._isolations[tp].forget_before(start)
        self._announced.setdefault(tp, resume)
        self._unprepared.discard(tp)
        log.info("partition_prepared", partition=tp.partition, replay_from=start, resume_at=resume)

    async def _committed(self, tp: TopicPartition) -> tuple[int, int | None]:
        """The committed offset, -1 for none, and the broker's time of the record before it, None if unknown."""
        found = await self._reader.committed(tp)
        if found is None:
            return -1, None
        return found.offset, int(found.metadata) if found.metadata.isdigit() else None

    async def _evaluate(self, polled: Polled) -> list[_Done]:
        """Evaluates the records of each partition, in a thread."""
        work: list[tuple[TopicPartition, Partition, Sequence[Record]]] = []
        for tp, records in polled.items():
            partition = self.partitions.get(tp)
            if partition is None or tp in self._unprepared:
                continue  # fetched before the seek
            work.append((tp, partition, records))
        if not work:
            return []
        plan, catalogue = self.plan, self._catalogue
        isolations = {tp: self._isolations.setdefault(tp, Isolation()) for tp, _, _ in work}

        def evaluate() -> list[tuple[_Done, Failure | None]]:
            found = []
            for tp, partition, records in work:
                outcome, failure = isolations[tp].evaluate(partition, records, plan, catalogue)
                found.append(((tp, partition, outcome, _end_of(partition)), failure))
            return found

        found = await asyncio.to_thread(evaluate)
        for (tp, partition, _, _), failure in found:
            if failure is not None:
                await self._isolate(tp, partition, failure)
        return [done for done, _ in found]

    async def _isolate(self, tp: TopicPartition, partition: Partition, failure: Failure) -> None:
        """Replays a partition whose evaluation failed, without the record at fault once it is known."""
        log.error(
            "evaluation_failed", partition=tp.partition, records=len(failure.records), error=summary(failure.error)
        )
        self._unprepared.add(tp)
        record = self._isolations.setdefault(tp, Isolation()).note(failure)
        if record is not None and record.offset >= partition.resume_offset:
            metrics.BATCHES.labels("unreadable").inc()
            await self._outlet.send_to_dlq(record, failure.error, ATTEMPTS)

    async def _announce(self, done: Sequence[_Done]) -> None:
        """Announces firings and then commits, in this order, so that no firing is lost."""
        if not done:
            return
        events: list[Event] = []
        for _, _, outcome, _ in done:
            unreadable = list(outcome.unreadable)
            for firing, record in outcome.firings:
                try:
                    events.append(event_of_firing(firing, record, self._clock))
                except Exception as error:  # such as an event that is too large for its topic
                    if is_outage(error):
                        raise
                    unreadable.append((record, error))
                    continue
                trigger = firing.trigger
                metrics.FIRINGS.labels(firing.campaign, trigger.name, str(trigger.version)).inc()
            await self._send_to_dlq(unreadable)
        if events:
            await self._outlet.publish(events)
        self.firings += len(events)
        ends = {tp: end for tp, _, outcome, end in done if outcome.live and tp in self.partitions}
        self._announced.update({tp: end.offset for tp, end in ends.items()})
        if ends:
            await self._reader.commit(ends)
        else:
            self._reader.mark_progress()  # a replay has moved on, and has nothing to commit

    async def _send_to_dlq(self, unreadable: Iterable[tuple[Record, Exception]]) -> None:
        for record, error in unreadable:
            log.warning("unreadable", topic=record.topic, offset=record.offset, error=str(error))
            await self._outlet.send_to_dlq(record, error)

    def _observe_state(self) -> None:
        """Sets the gauges of the state every few seconds, because adding it up costs more than a pass."""
        now_ns = self._clock.monotonic_ns()
        if now_ns - self._last_gauges_ns > seconds_to_ns(_GAUGES_EVERY_S):
            self._last_gauges_ns = now_ns
            metrics.VEHICLES.set(self.vehicles())
            metrics.STATE_BYTES.set(self.state_bytes())

    def assigned(self) -> list[int]:
        """Numbers of the partitions that this process reads."""
        return sorted(tp.partition for tp in list(self.partitions))

    def vehicles(self) -> int:
        """Number of vehicles (and boots) with state."""
        return sum(len(p.state.vehicles) for p in self.partitions.values())

    def state_bytes(self) -> int:
        """Bytes of the arrays of that state."""
        return sum(p.state.nbytes() for p in self.partitions.values())


def _end_of(partition: Partition) -> OffsetAndMetadata:
    """What is committed once everything of a partition up to here is announced."""
    return OffsetAndMetadata(partition.next_offset, str(partition.newest_append_ms))
