"""Lag and old events are read from the services' metrics."""

from __future__ import annotations

from collections import Counter

from tests.chaos.findings import Fault
from tests.chaos.gauges import check_ages, lag_of, old_events_of

TEXT = """
# TYPE fleetloop_consumer_lag_messages gauge
fleetloop_consumer_lag_messages{service="desk",topic="t",partition="0"} 2.0
fleetloop_consumer_lag_messages{service="desk",topic="t",partition="1"} 3.0
# TYPE fleetloop_event_age_seconds histogram
fleetloop_event_age_seconds_bucket{le="10.0",service="desk",topic="t"} 4.0
fleetloop_event_age_seconds_bucket{le="30.0",service="desk",topic="t"} 5.0
fleetloop_event_age_seconds_bucket{le="+Inf",service="desk",topic="t"} 7.0
fleetloop_event_age_seconds_count{service="desk",topic="t"} 7.0
fleetloop_event_age_seconds_sum{service="desk",topic="t"} 90.0
"""


def test_the_lag_of_a_topic_is_that_of_all_its_partitions() -> None:
    assert lag_of([TEXT]) == {("desk", "t"): 5}


def test_events_over_thirty_seconds_are_counted() -> None:
    assert old_events_of([TEXT]) == {("desk", "t"): 2}


def test_only_old_events_that_are_new_since_the_first_scrape_count() -> None:
    now = old_events_of([TEXT])
    assert check_ages(now, now) == []
    (found,) = check_ages(Counter({("desk", "t"): 1}), now)
    assert (found.fault, found.id) == (Fault.STUCK, "desk t")
    restarted = Counter({("desk", "t"): 9})  # a process that was restarted counts from zero again
    assert check_ages(restarted, now) == []
