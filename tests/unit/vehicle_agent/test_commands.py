"""A command is carried out once, when its last second has been recorded, or its loss is said once."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from fleetloop.domain.frames import Column, FrameBatch
from vehicle_agent.commands import Answer, CommandDesk, Standing
from vehicle_agent.model import ClipRequest
from vehicle_agent.ring_buffer import RingBuffer

BOOT = b"12345678"
WANTED = ClipRequest("c1", "f", BOOT, 100, 200, 150, expires_at_utc_ns=1000)


def recorded(until: int, horizon: int = 1000, begin: int = 0) -> dict[bytes, RingBuffer]:
    ring = RingBuffer(horizon)
    for start in range(begin, until, 10):
        times = np.arange(10, dtype=np.int64)
        ring.add_batch(FrameBatch("f", "v", BOOT, 0, start, 0, "none", times, {"A.B": Column(times)}))
    return {BOOT: ring}


def test_it_waits_for_its_last_second() -> None:
    desk = CommandDesk()
    assert desk.take(WANTED, Standing.UNKNOWN, recorded(150), 1) is Answer.WAITS
    assert desk.take(WANTED, Standing.UNKNOWN, recorded(150), 1) is Answer.KNOWN
    assert desk.ready(recorded(200), 1, {}) == ([], [])
    assert desk.ready(recorded(210), 1, {}) == ([WANTED], [])
    assert desk.ready(recorded(210), 1, {}) == ([], [])


def test_what_is_on_the_shelf_is_not_cut_again() -> None:
    desk = CommandDesk()
    assert desk.take(WANTED, Standing.CUT, recorded(300), 1) is Answer.KNOWN
    assert desk.take(WANTED, Standing.STORED, recorded(300), 1) is Answer.VERIFY
    assert desk.waiting == {}


def test_seconds_that_are_gone_are_said_to_be() -> None:
    desk = CommandDesk()
    assert desk.take(WANTED, Standing.UNKNOWN, recorded(400, horizon=50), 1) is Answer.GONE
    assert desk.take(replace(WANTED, boot_id=b"another1"), Standing.UNKNOWN, recorded(300), 1) is Answer.GONE
    late = replace(WANTED, command_id="c2")
    assert desk.take(late, Standing.UNKNOWN, recorded(150), 1) is Answer.WAITS
    assert desk.ready(recorded(400, horizon=50), 1, {}) == ([], ["c2"])
    assert desk.gone == {"c1", "c2"}


def test_expired_ones_are_let_go() -> None:
    desk = CommandDesk()
    assert desk.take(WANTED, Standing.UNKNOWN, recorded(300), 1000) is Answer.EXPIRED
    assert desk.take(WANTED, Standing.UNKNOWN, recorded(150), 999) is Answer.WAITS
    assert desk.ready(recorded(300), 1000, {}) == ([], [])
    assert desk.waiting == {}


def test_a_boot_that_ended_gives_what_it_has_and_urgent_ones_go_first() -> None:
    desk = CommandDesk()
    urgent = replace(WANTED, command_id="c9", priority=5)
    for each in (WANTED, urgent):
        desk.take(each, Standing.UNKNOWN, recorded(170), 1)
    assert desk.ready(recorded(170), 1, {BOOT: True}) == ([urgent, WANTED], [])
