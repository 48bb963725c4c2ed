"""What to do about a command, so that each is carried out once, however often it comes."""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from vehicle_agent.model import ClipRequest
from vehicle_agent.ring_buffer import Reach, Rings


class Standing(Enum):
    """How far a command's clip has come on this vehicle."""

    UNKNOWN = "unknown"
    CUT = "cut"
    """It waits on the disk for its upload."""
    STORED = "stored"
    """The gateway said that it is stored."""


class Answer(Enum):
    """What taking a command led to."""

    WAITS = "waits"
    """It will be cut as soon as its last second has been recorded."""
    KNOWN = "known"
    """It waits already, or its clip waits for the upload."""
    VERIFY = "verify"
    """Its clip was stored; the fleet asks again, so ask whether it still is."""
    EXPIRED = "expired"
    GONE = "gone"
    """The seconds are not in memory any more, or belong to a boot that is not."""


@dataclass(slots=True)
class CommandDesk:
    """Requests for clips that wait for their last second."""

    waiting: dict[str, ClipRequest] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)
    """Commands that could not be carried out; a repeat is not counted as another fault."""

    def take(self, request: ClipRequest, standing: Standing, rings: Rings, now_utc_ns: int) -> Answer:
        """Decides about a command that has come; what waits is in `waiting`."""
        if request.expires_at_utc_ns <= now_utc_ns:
            return Answer.EXPIRED
        if standing is Standing.CUT or request.command_id in self.waiting:
            return Answer.KNOWN
        if standing is Standing.STORED:
            return Answer.VERIFY
        ring = rings.get(request.boot_id)
        if ring is None or ring.reach(request) is Reach.GONE:
            self.gone.add(request.command_id)
            return Answer.GONE
        self.waiting[request.command_id] = request
        return Answer.WAITS

    def ready(
        self, rings: Rings, now_utc_ns: int, ended: Mapping[bytes, bool]
    ) -> tuple[list[ClipRequest], list[str]]:
        """(requests to cut now, highest priority first; commands whose seconds have gone). Expired ones are dropped.

        A boot that has `ended` records no more: its requests are cut with what there is.
        """
        cut: list[tuple[int, int, ClipRequest]] = []
        gone = []
        for number, (command_id, request) in enumerate(list(self.waiting.items())):
            ring = rings.get(request.boot_id)
            reach = Reach.GONE if ring is None else ring.reach(request)
            if request.expires_at_utc_ns <= now_utc_ns:
                del self.waiting[command_id]
            elif reach is Reach.GONE:
                del self.waiting[command_id]
                self.gone.add(command_id)
                gone.append(command_id)
            elif reach is Reach.READY or ended.get(request.boot_id, False):
                del self.waiting[command_id]
                heapq.heappush(cut, (-request.priority, number, request))
        return [heapq.heappop(cut)[2] for _ in range(len(cut))], gone
