"""No lead of any clock loses data or blocks a vehicle: it is accepted, waited for, or corrected."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from telemetry_gateway.arrival_time import DeferredError, StreamOrder, time_correction

S = 10**9
NOW_NS = 1_790_000_000 * S
WEEK_NS = 7 * 86_400 * S


@given(st.integers(-(2**63), 2**63 - 1), st.floats(0, 1000), st.floats(0, 1000))
def test_every_end_is_accepted_waited_for_or_corrected(
    end_utc_ns: int, max_future_s: float, max_lead_s: float
) -> None:
    now_ns, waited_ns = NOW_NS, 0
    while True:
        try:
            correction_ns = time_correction("f", end_utc_ns, now_ns, max_future_s, max_lead_s)
            break
        except DeferredError as error:
            assert 0 < error.retry_after_ns <= 30 * S
            now_ns += error.retry_after_ns
            waited_ns += error.retry_after_ns
    assert waited_ns <= max(max_lead_s, 0.1) * S
    assert correction_ns <= 0
    assert end_utc_ns + correction_ns - now_ns <= max_future_s * S + 1
    if correction_ns:
        assert end_utc_ns + correction_ns == now_ns
        assert waited_ns == 0


@pytest.mark.parametrize(
    ("lead_ns", "outcome"),
    [
        (-WEEK_NS * 1024, 0),
        (10 * S, 0),
        (60 * S, "wait"),
        (120 * S, "wait"),
        (121 * S, -121 * S),
        (300 * S, -300 * S),
        (1024 * WEEK_NS, -1024 * WEEK_NS),
    ],
)
def test_a_short_lead_waits_and_a_gps_week_rollover_is_corrected(lead_ns: int, outcome: object) -> None:
    try:
        found: object = time_correction("f", NOW_NS + lead_ns, NOW_NS, 10, 120)
    except DeferredError as error:
        found = "wait"
        assert "keep it" in str(error)
    assert found == outcome


def test_batches_behind_a_deferred_one_wait_for_it_and_no_longer_than_its_grace() -> None:
    order = StreamOrder()
    order.check((b"a", 4), 0)
    order.defer((b"a", 5), 20 * S)
    for later in ((b"a", 6), (b"b", 0)):
        with pytest.raises(DeferredError) as caught:
            order.check(later, 5 * S)
        assert caught.value.retry_after_ns == 15 * S
    order.check((b"a", 5), 20 * S)
    order.check((b"a", 6), 20 * S)
    order.defer((b"a", 7), 20 * S)
    with pytest.raises(DeferredError):
        order.check((b"a", 8), 50 * S)
    order.check((b"a", 8), 50 * S + 1)
    order.check((b"a", 9), 0)
