"""When to start again and when to give up."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fleetloop.supervisor.restart import Ended, GiveUp, History, RestartPolicy, StartAgain, after_exit

POLICY = RestartPolicy(first_delay_s=0.5, factor=2.0, longest_delay_s=4.0, healthy_after_s=10.0, loop_exits=6)
ENDS = st.builds(
    Ended,
    code=st.sampled_from([0, 1, 70, -9]),
    ready_for_s=st.none() | st.floats(0, 30),
    requested=st.booleans(),
)


def test_delays_double_to_a_limit_and_then_the_verdict_falls() -> None:
    history, delays = History(), []
    for _ in range(5):
        history, decision = after_exit(POLICY, history, Ended(1, None))
        assert isinstance(decision, StartAgain)
        delays.append(decision.delay_s)
    assert delays == [0.5, 1.0, 2.0, 4.0, 4.0]
    assert after_exit(POLICY, history, Ended(1, None))[1] == GiveUp(6)


def test_having_been_healthy_wipes_the_slate() -> None:
    history = History(failures=5, blamed=5)
    history, decision = after_exit(POLICY, history, Ended(1, ready_for_s=10.0))
    assert (history, decision) == (History(1, 1), StartAgain(0.5))


def test_having_been_ready_for_a_moment_does_not() -> None:
    assert isinstance(after_exit(POLICY, History(5, 5), Ended(1, ready_for_s=9.9))[1], GiveUp)


@given(st.lists(ENDS.filter(lambda ended: ended.requested or ended.code == 70), max_size=200))
def test_requested_ends_and_broken_dependencies_never_make_a_crash_loop(ends: list[Ended]) -> None:
    history = History()
    for ended in ends:
        history, decision = after_exit(POLICY, history, ended)
        assert isinstance(decision, StartAgain)
        assert 0.5 <= decision.delay_s <= 4.0


@given(st.lists(ENDS, max_size=60))
def test_a_verdict_needs_that_many_ends_in_a_row_without_health(ends: list[Ended]) -> None:
    history, in_a_row = History(), 0
    for ended in ends:
        history, decision = after_exit(POLICY, history, ended)
        if ended.ready_for_s is not None and ended.ready_for_s >= 10.0:
            in_a_row = 0
        in_a_row += not ended.requested and ended.code != 70
        gives_up = not ended.requested and in_a_row >= 6 and ended.code != 70
        if ended.code != 70:
            assert isinstance(decision, GiveUp) is gives_up
