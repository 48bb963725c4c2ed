from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from fleetloop.kit.process.clock import ms_to_ns, ns_to_ms, ns_to_seconds, seconds_to_ms, seconds_to_ns, utc_second


def test_units_are_converted_to_the_nearest_whole() -> None:
    assert (seconds_to_ns(1.5), seconds_to_ns(0.0000000004), seconds_to_ns(-2)) == (1_500_000_000, 0, -2_000_000_000)
    assert (seconds_to_ms(0.2), seconds_to_ms(0.0004), seconds_to_ms(7 * 86_400)) == (200, 0, 604_800_000)
    assert (ns_to_seconds(1_500_000_000), ns_to_seconds(-1)) == (1.5, -1e-9)
    assert (ms_to_ns(3), ns_to_ms(3_999_999), ns_to_ms(-1)) == (3_000_000, 3, -1)


@given(st.integers(0, 2**53 // 1000))
def test_a_duration_survives_seconds_to_the_microsecond(us: int) -> None:
    assert abs(seconds_to_ns(ns_to_seconds(us * 1000)) - us * 1000) < 1000


def test_an_instant_is_in_the_second_below() -> None:
    assert utc_second(1_700_000_000_999_999_999) == datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)
