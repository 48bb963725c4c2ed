"""One caller cannot take all places of a server; what it has open is counted exactly."""

from __future__ import annotations

from contextlib import ExitStack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetloop.kit.refusal import ResourceExhaustedError
from fleetloop.kit.security.identity import Identity
from fleetloop.kit.security.open_calls import OpenCalls

CAR, OTHER, ANN = (
    Identity("demo", kind, name) for kind, name in (("vehicle", "a"), ("vehicle", "b"), ("user", "ann"))
)
MOST = {"vehicle": 2, "user": 3, "service": 9}


def test_a_caller_with_too_many_calls_is_refused_and_the_others_are_not() -> None:
    calls = OpenCalls(MOST)
    with calls.open(CAR), calls.open(CAR):
        refused = pytest.raises(
            ResourceExhaustedError, match="vehicle/a has 2 calls open here; end some of them first"
        )
        with refused, calls.open(CAR):
            pass
        with calls.open(OTHER), calls.open(ANN), calls.open(ANN), calls.open(ANN):
            assert len(calls) == 6
    with calls.open(CAR):
        assert len(calls) == 1


@given(st.lists(st.tuples(st.sampled_from([CAR, OTHER, ANN]), st.booleans()), max_size=30))
def test_nothing_is_left_of_ended_calls_also_when_they_failed(calls_made: list[tuple[Identity, bool]]) -> None:
    calls = OpenCalls(MOST)
    with ExitStack() as stack:
        for who, fails in calls_made:
            try:
                if fails:
                    with calls.open(who):
                        raise KeyError("Id")
                stack.enter_context(calls.open(who))
            except (KeyError, ResourceExhaustedError):
                pass
        assert len(calls) <= 2 + 2 + 3
    assert len(calls) == 0
    assert not calls._open, "and callers that are gone cost no memory"
