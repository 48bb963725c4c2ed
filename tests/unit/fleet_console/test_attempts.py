"""Guessing passwords: a few attempts are free, then each costs time, and all together are limited."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fleet_console.login.attempts import FIRST_WAIT_S, FREE, IN_ALL, LONGEST_WAIT_S, MOST_NAMES, WINDOW_S, Guesses

S = 10**9


def test_the_wait_doubles_up_to_five_minutes_and_ends_with_the_right_password() -> None:
    guesses, now = Guesses(), 0
    for _ in range(FREE):
        assert guesses.wait_s("ann", now) == 0
        guesses.wrong("ann", now)
    waits = []
    for _ in range(12):
        waits.append(guesses.wait_s("ann", now))
        now += int(waits[-1] * S)
        assert guesses.wait_s("ann", now) == 0
        guesses.wrong("ann", now)
    assert waits[:4] == [FIRST_WAIT_S * 2**n for n in range(4)]
    assert waits[-1] == LONGEST_WAIT_S
    assert guesses.wait_s("ben", now + int(WINDOW_S * S)) == 0, "another name does not wait"
    guesses.right("ann")
    assert guesses.wait_s("ann", now + int(WINDOW_S * S)) == 0


@given(st.lists(st.text(max_size=5), min_size=IN_ALL, max_size=IN_ALL))
def test_names_that_change_do_not_help(names: list[str]) -> None:
    guesses = Guesses()
    for name in names:
        guesses.wrong(name, 0)
    assert guesses.wait_s("fresh", 1) > 0
    assert guesses.wait_s("fresh name", int(WINDOW_S * S)) == 0


def test_memory_is_bounded() -> None:
    guesses = Guesses()
    for number in range(MOST_NAMES + 100):
        guesses.wrong(str(number), number * S)
        guesses.wait_s("x", number * S)
    assert len(guesses._names) == MOST_NAMES
    assert len(guesses._recent) <= WINDOW_S + 1
