"""Whether a consumer makes progress: its lag, the time since its last progress, and the metrics that alerts read.

A consumer makes progress when it commits, when it has nothing left to do, and when it reports work that needs no
commit. A consumer that has work and makes no progress for `stuck_after_s` is stuck: its liveness check fails, and the
supervisor or Kubernetes restarts the process.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from aiokafka import TopicPartition

from fleetloop.kit.messaging.events import event_time_ns_of
from fleetloop.kit.messaging.producer import Record
from fleetloop.kit.process.clock import Clock, ms_to_ns, ns_to_seconds
from fleetloop.kit.process.metrics import CONSUMER_LAG, EVENT_AGE, LAST_COMMIT, create_alerted_counters


class ConsumerProgress:
    """The progress of one consumer, which reads `topics` for `service`."""

    def __init__(
        self, service: str, topics: Iterable[str], stuck_after_s: float, clock: Clock, *, commits: bool = True
    ) -> None:
        """`commits` is False for a consumer without a group, which has no time of a last commit."""
        self._service = service
        self._stuck_after_s = stuck_after_s
        self._clock = clock
        self._commits = commits
        self._lag = 0
        self._progress_ns = clock.monotonic_ns()
        if commits:
            # Alerts compare this with the present, so a consumer that never commits counts from its start.
            self._set_last_commit()
        create_alerted_counters(service, reads=topics)

    def observe_lag(self, behind: Mapping[TopicPartition, int]) -> None:
        """Notes how many messages of each partition are not durable yet. Having none is progress."""
        for partition, messages in behind.items():
            CONSUMER_LAG.labels(self._service, partition.topic, str(partition.partition)).set(messages)
        self._lag = sum(behind.values())
        if self._lag == 0:
            self.mark()

    def revoked(self, partitions: Iterable[TopicPartition]) -> None:
        """Sets the lag of partitions to 0, because from now on another process reports it."""
        for partition in partitions:
            CONSUMER_LAG.labels(self._service, partition.topic, str(partition.partition)).set(0)

    def observe_age(self, records: Sequence[Record]) -> None:
        """Notes the age of the first and the last of the records, which are those of one partition in order.

        An event's age counts from its CloudEvents time; a message without one counts from its timestamp in Kafka.
        """
        now_ns = self._clock.now_utc_ns()
        for record in records if len(records) < 2 else (records[0], records[-1]):
            time_ns = event_time_ns_of(record.headers) or ms_to_ns(record.appended_ms)
            EVENT_AGE.labels(self._service, record.topic).observe(max(0.0, ns_to_seconds(now_ns - time_ns)))

    def committed(self) -> None:
        """Notes a commit that succeeded."""
        self._set_last_commit()
        self.mark()

    def mark(self) -> None:
        """Notes progress that needs no commit."""
        self._progress_ns = self._clock.monotonic_ns()

    def problem(self) -> str | None:
        """Liveness check: why the consumer counts as stuck, or None."""
        return self.idle_problem(self._progress_ns, self._stuck_after_s)

    def idle_problem(self, since_ns: int, after_s: float) -> str | None:
        """The same for another time limit: `since_ns` is an instant of the monotonic clock."""
        idle_s = ns_to_seconds(self._clock.monotonic_ns() - max(since_ns, self._progress_ns))
        if self._lag > 0 and idle_s > after_s:
            return f"{self._lag} messages behind and no commit for {idle_s:.0f} s"
        return None

    def _set_last_commit(self) -> None:
        if self._commits:
            LAST_COMMIT.labels(self._service).set(ns_to_seconds(self._clock.now_utc_ns()))
