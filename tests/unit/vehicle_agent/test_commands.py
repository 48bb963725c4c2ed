"""A command is carried out once, when its last second has been recorded, or its loss is said once."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from fleetloop.domain.frames import Column, FrameBatch
from vehicle_agent.commands import ClipProgress, ClipRequests, CommandOutcome
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
    requests = ClipRequests()
    assert requests.receive(WANTED, ClipProgress.UNKNOWN, recorded(150), 1) is CommandOutcome.WAITS
    assert requests.receive(WANTED, ClipProgress.UNKNOWN, recorded(150), 1) is CommandOutcome.KNOWN
    assert requests.ready(recorded(200), 1, {}) == ([], [])
    assert requests.ready(recorded(210), 1, {}) == ([WANTED], [])
    assert requests.ready(recorded(210), 1, {}) == ([], [])


def test_what_is_on_the_shelf_is_not_cut_again() -> None:
    requests = ClipRequests()
    assert requests.receive(WANTED, ClipProgress.CUT, recorded(300), 1) is CommandOutcome.KNOWN
    assert requests.receive(WANTED, ClipProgress.STORED, recorded(300), 1) is CommandOutcome.VERIFY
    assert requests.waiting == {}


def test_seconds_that_are_gone_are_said_to_be() -> None:
    requests = ClipRequests()
    assert requests.receive(WANTED, ClipProgress.UNKNOWN, recorded(400, horizon=50), 1) is CommandOutcome.GONE
    assert (
        requests.receive(replace(WANTED, boot_id=b"another1"), ClipProgress.UNKNOWN, recorded(300), 1)
        is CommandOutcome.GONE
    )
    late = replace(WANTED, command_id="c2")
    assert requests.receive(late, ClipProgress.UNKNOWN, recorded(150), 1) is CommandOutcome.WAITS
    assert requests.ready(recorded(400, horizon=50), 1, {}) == ([], ["c2"])
    assert requests.gone == {"c1", "c2"}


def test_expired_ones_are_let_go() -> None:
    requests = ClipRequests()
    assert requests.receive(WANTED, ClipProgress.UNKNOWN, recorded(300), 1000) is CommandOutcome.EXPIRED
    assert requests.receive(WANTED, ClipProgress.UNKNOWN, recorded(150), 999) is CommandOutcome.WAITS
    assert requests.ready(recorded(300), 1000, {}) == ([], [])
    assert requests.waiting == {}


def test_a_boot_that_ended_gives_what_it_has_and_urgent_ones_go_first() -> None:
    requests = ClipRequests()
    urgent = replace(WANTED, command_id="c9", priority=5)
    for each in (WANTED, urgent):
        requests.receive(each, ClipProgress.UNKNOWN, recorded(170), 1)
    assert requests.ready(recorded(170), 1, {BOOT: True}) == ([urgent, WANTED], [])
