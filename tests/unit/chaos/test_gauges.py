"""Lag and old events are read from the services' metrics."""

from __future__ import annotations

from tests.chaos.findings import Fault
from tests.chaos.gauges import Ages, findings_of, lag_of, old_events_of

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


def test_only_old_events_that_are_new_since_the_last_scrape_count() -> None:
    ages = Ages()
    assert ages.note({"desk": TEXT}) == {("desk", "t"): 2}
    assert ages.note({"desk": TEXT}) == {}
    assert ages.note({}) == {}  # it did not answer, and is not new after that
    assert ages.note({"desk": TEXT}) == {}
    more = TEXT.replace("7.0", "9.0")
    assert ages.note({"desk": more}) == {("desk", "t"): 2}


def test_what_a_process_read_since_it_was_restarted_counts() -> None:
    ages = Ages()
    ages.note({"desk": TEXT.replace("7.0", "19.0")})
    found = ages.note({"desk": TEXT})
    assert found == {("desk", "t"): 2}
    (finding,) = findings_of(found, "in calm load")
    assert (finding.fault, finding.id) == (Fault.STUCK, "desk t")
