from __future__ import annotations

from aiokafka import TopicPartition
from prometheus_client import REGISTRY

from fleetloop.kit.messaging.producer import Record
from fleetloop.kit.messaging.progress import ConsumerProgress
from fleetloop.kit.testing import ManualClock

TOPIC = "fleet.x.v1"
ONE, TWO = TopicPartition(TOPIC, 0), TopicPartition(TOPIC, 1)


def value(metric: str, service: str, **labels: str) -> float | None:
    return REGISTRY.get_sample_value(f"fleetloop_{metric}", {"service": service, **labels})


def lags(service: str) -> list[float | None]:
    return [value("consumer_lag_messages", service, topic=TOPIC, partition=number) for number in ("0", "1")]


def test_lag_without_progress_is_a_problem_after_the_time_limit_only() -> None:
    clock = ManualClock()
    progress = ConsumerProgress("p-limit", [TOPIC], 60, clock)
    progress.observe_lag({ONE: 2, TWO: 3})
    assert lags("p-limit") == [2, 3]
    clock.advance(60)
    assert progress.problem() is None
    clock.advance(1)
    assert progress.problem() == "5 messages behind and no commit for 61 s"
    progress.mark()
    assert progress.problem() is None


def test_having_no_lag_is_progress() -> None:
    clock = ManualClock()
    progress = ConsumerProgress("p-idle", [TOPIC], 60, clock)
    clock.advance(3600)
    progress.observe_lag({ONE: 0})
    progress.observe_lag({ONE: 1})
    assert progress.problem() is None


def test_a_commit_is_progress_and_sets_its_time() -> None:
    clock = ManualClock()
    progress = ConsumerProgress("p-commit", [TOPIC], 60, clock)
    progress.observe_lag({ONE: 1})
    clock.advance(61)
    progress.mark()
    assert value("consumer_last_commit_timestamp_seconds", "p-commit") == clock.utc_ns / 1e9 - 61
    progress.committed()
    assert value("consumer_last_commit_timestamp_seconds", "p-commit") == clock.utc_ns / 1e9


def test_another_limit_counts_from_the_later_of_two_instants() -> None:
    clock = ManualClock()
    progress = ConsumerProgress("p-other", [TOPIC], 60, clock)
    progress.observe_lag({ONE: 1})
    clock.advance(10)
    busy_until_ns = clock.monotonic_ns()
    clock.advance(5)
    assert progress.idle_problem(busy_until_ns, 5) is None
    assert progress.idle_problem(busy_until_ns, 4) == "1 messages behind and no commit for 5 s"
    assert progress.idle_problem(0, 14) == "1 messages behind and no commit for 15 s"
    progress.mark()
    assert progress.idle_problem(busy_until_ns, 4) is None


def test_a_revoked_partition_has_no_lag_here() -> None:
    progress = ConsumerProgress("p-revoked", [TOPIC], 60, ManualClock())
    progress.observe_lag({ONE: 2, TWO: 3})
    progress.revoked([TWO])
    assert lags("p-revoked") == [2, 0]


def test_an_event_is_as_old_as_its_cloudevents_time_or_its_timestamp() -> None:
    clock = ManualClock(utc_ns=100 * 10**9)
    progress = ConsumerProgress("p-age", [TOPIC], 60, clock)
    said = [("ce_time", b"1970-01-01T00:01:30+00:00")]
    progress.observe_age([Record(TOPIC, 0, 0, None, b"", said, 99_000)])
    assert value("event_age_seconds_sum", "p-age", topic=TOPIC) == 10
    progress.observe_age([Record(TOPIC, 0, 1, None, b"", [], 99_000)])
    assert value("event_age_seconds_sum", "p-age", topic=TOPIC) == 11
    progress.observe_age([Record(TOPIC, 0, 2, None, b"", [], 101_000)])
    assert value("event_age_seconds_sum", "p-age", topic=TOPIC) == 11, "a clock that is ahead makes no negative age"
