"""Numbers and times as people read them."""

from __future__ import annotations

import pytest

from fleet_console.wording import age, duration, listed, number, size, words


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-3, "0 s"), (0.4, "0 s"), (59.4, "59 s"), (59.6, "1 min"), (61, "1 min 1 s"), (3599, "59 min 59 s"),
        (3600, "1 h"), (7860, "2 h 11 min"), (86400, "1 d"), (100000, "1 d 3 h"),
    ],
)  # fmt: skip
def test_durations_have_two_units_at_most(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_an_age_of_what_never_was_is_empty() -> None:
    assert age(0, 10**18) == ""
    assert age(10**18, 10**18 + 90 * 10**9) == "1 min 30 s ago"


def test_numbers_sizes_and_lists() -> None:
    assert [number(value) for value in (0, 1234, 12_345_678)] == ["0", "1,234", "12.3 M"]
    assert [size(value) for value in (10, 2048, 5 * 2**20, 3 * 2**30)] == ["10 B", "2 KiB", "5 MiB", "3.0 GiB"]
    assert listed({"near_duplicate": 2, "in_test_set": 5, "nothing": 0}) == "5 in test set, 2 near duplicate"
    assert words("RUN_STATE_EVALUATED", "RUN_STATE_") == "evaluated"
