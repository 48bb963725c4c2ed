"""Every stream hears every standing command once, and a repeat with a higher attempt again."""

from __future__ import annotations

import hypothesis.strategies as st
from hypothesis import given

from telemetry_gateway.model import PendingCommand
from telemetry_gateway.pending_commands import PendingCommands


def command(command_id: str, attempt: int = 0, expires: int = 100, vehicle: str = "v") -> PendingCommand:
    return PendingCommand(command_id, vehicle, attempt, expires, b"")


def heard(board: PendingCommands, told: dict[str, int], now: int = 0, vehicle: str = "v") -> list[tuple[str, int]]:
    return [(each.command_id, each.attempt) for each in board.due(vehicle, told, now)]


def test_a_stream_hears_what_stands_then_what_is_new_then_what_is_repeated() -> None:
    board = PendingCommands(1000)
    first: dict[str, int] = {}
    assert board.put(command("a"), 0)
    assert board.put(command("other", vehicle="w"), 0)
    assert heard(board, first) == [("a", 0)]
    assert heard(board, first) == []
    assert not board.put(command("a"), 0)
    assert board.put(command("b"), 0)
    assert board.put(command("a", attempt=2), 0)
    assert not board.put(command("a", attempt=1), 0)
    assert heard(board, first) == [("a", 2), ("b", 0)]
    assert heard(board, {}) == [("a", 2), ("b", 0)]


def test_what_has_expired_is_told_to_nobody_and_forgotten_by_all() -> None:
    board = PendingCommands(1000)
    assert not board.put(command("dead", expires=5), 5)
    board.put(command("a", expires=10), 0)
    told: dict[str, int] = {}
    assert heard(board, told, now=10) == []
    assert heard(board, told, now=9) == [("a", 0)]
    board.prune(10)
    assert len(board) == 0
    assert heard(board, told, now=10) == []
    assert told == {}


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 3), st.integers(1, 30), st.booleans())))
def test_a_slow_stream_ends_with_the_latest_attempt_of_all_that_stands(
    steps: list[tuple[str, int, int, bool]],
) -> None:
    board, told = PendingCommands(1000), dict[str, int]()
    latest: dict[str, tuple[int, int]] = {}
    last_heard: dict[str, int] = {}
    for now, (name, attempt, lives, looks) in enumerate(steps):
        board.prune(now)
        latest = {known: value for known, value in latest.items() if value[1] > now}
        board.put(command(name, attempt, now + lives), now)
        if attempt > latest.get(name, (-1, 0))[0]:
            latest[name] = (attempt, now + lives)
        if looks:
            last_heard |= dict(heard(board, told, now))
            # An earlier attempt that comes after a later one was heard, and forgotten, needs no second hearing.
            assert all(last_heard[known] >= wanted for known, (wanted, _) in latest.items())


def test_a_vehicle_has_a_limited_number_of_commands_and_others_lose_none() -> None:
    board = PendingCommands(3)
    board.put(command("theirs", vehicle="w"), 0)
    for number in range(5):
        assert board.put(command(f"c{number}"), 0)
    assert heard(board, {}) == [("c2", 0), ("c3", 0), ("c4", 0)]
    assert heard(board, {}, vehicle="w") == [("theirs", 0)]
    assert board.dropped == 2
