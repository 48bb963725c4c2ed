"""Nothing leaves the spool but by acknowledgement, or by room that newer messages need; a restart changes nothing."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given, settings
from hypothesis import strategies as st

from vehicle_agent.spool import Spool

BOOT = b"\x00" * 7 + b"\x01"
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.integers(0, 30), st.integers(1, 60)),
        st.tuples(st.just("acknowledge"), st.integers(0, 30), st.just(0)),
        st.tuples(st.just("restart"), st.just(0), st.just(0)),
    ),
    max_size=40,
)


@given(STEPS)
@settings(max_examples=100, deadline=None)
def test_it_holds_what_a_list_would_hold(steps: list[tuple[str, int, int]]) -> None:
    """The reference is a plain list of (key, payload), oldest first."""
    with TemporaryDirectory() as folder:
        spool, dropped = Spool(Path(folder), 100), 0
        reference: list[tuple[int, bytes]] = []
        for action, number, size in steps:
            if action == "put":
                payload = bytes([number]) * size
                new = spool.put((BOOT, number), payload)
                if number not in dict(reference):
                    while sum(len(each) for _, each in reference) + size > 100:
                        reference.pop(0)
                        dropped += 1
                        new -= 1
                    reference.append((number, payload))
                assert new == 0
            elif action == "acknowledge":
                spool.acknowledge((BOOT, number))
                reference = [each for each in reference if each[0] != number]
            else:
                spool = Spool(Path(folder), 100)
                spool.dropped = dropped
            assert [(key[1], payload) for key, payload in spool.messages()] == reference
            assert spool.bytes == sum(len(each) for _, each in reference)
            assert spool.bytes <= 100
            assert spool.dropped == dropped
            assert len(list(Path(folder).iterdir())) == len(spool) == len(reference)


def test_boots_keep_their_order_over_a_restart(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 1000)
    later, earlier = b"\xff" * 8, b"\x11" * 8
    spool.put((later, 9), b"a")
    spool.put((earlier, 0), b"b")
    (tmp_path / "torn.tmp").write_bytes(b"half")
    again = Spool(tmp_path, 1000)
    assert again.keys() == [(later, 9), (earlier, 0)]
    assert not (tmp_path / "torn.tmp").exists()
    again.put((later, 10), b"c")
    assert Spool(tmp_path, 1000).keys() == [(later, 9), (earlier, 0), (later, 10)]


def test_a_message_that_was_acknowledged_meanwhile_is_passed_over(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 1000)
    for number in range(3):
        spool.put((BOOT, number), b"x")
    messages = spool.messages()
    assert next(messages)[0] == (BOOT, 0)
    spool.acknowledge((BOOT, 1))
    assert [key for key, _ in messages] == [(BOOT, 2)]
    assert spool.read((BOOT, 1)) is None
