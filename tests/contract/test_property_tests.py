"""A property test fails for a wrong example only, never for a slow machine."""

from __future__ import annotations

import time

from hypothesis import given, settings
from hypothesis import strategies as st


@settings(max_examples=2)
@given(st.booleans())
def test_an_example_may_take_longer_than_the_deadline_that_hypothesis_has_by_default(_: bool) -> None:
    time.sleep(0.25)
