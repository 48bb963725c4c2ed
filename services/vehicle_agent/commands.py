"""Decide what to do with a command, so that each is carried out once, however often it arrives."""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from vehicle_agent.model import ClipRequest
from vehicle_agent.ring_buffer import Availability, Rings


class ClipProgress(Enum):
    """The progress of a command's clip on this vehicle."""

    UNKNOWN = "unknown"
    CUT = "cut"
    """It is on disk and waits for its upload."""
    STORED = "stored"
    """The gateway confirmed that it is stored."""


class CommandOutcome(Enum):
    """What follows from a command that has arrived."""

    WAITS = "waits"
    """The clip is cut as soon as its last second has been recorded."""
    KNOWN = "known"
    """The command waits already, or its clip waits for the upload."""
    VERIFY = "verify"
    """The clip was stored. Because the fleet asks again, check whether it still is."""
    EXPIRED = "expired"
    GONE = "gone"
    """The seconds, or their boot, are no longer in memory."""


@dataclass(slots=True)
class ClipRequests:
    """Requests for clips whose last second has not been recorded yet."""

    waiting: dict[str, ClipRequest] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)
    """Commands that could not be carried out; a repeated one is not counted as another fault."""

    def receive(self, request: ClipRequest, progress: ClipProgress, rings: Rings, now_utc_ns: int) -> CommandOutcome:
        """Decide about a command that has arrived. A request that waits is added to `waiting`."""
        if request.expires_at_utc_ns <= now_utc_ns:
            return CommandOutcome.EXPIRED
        if progress is ClipProgress.CUT or request.command_id in self.waiting:
            return CommandOutcome.KNOWN
        if progress is ClipProgress.STORED:
            return CommandOutcome.VERIFY
        ring = rings.get(request.boot_id)
        if ring is None or ring.availability(request) is Availability.GONE:
            self.gone.add(request.command_id)
            return CommandOutcome.GONE
        self.waiting[request.command_id] = request
        return CommandOutcome.WAITS

    def ready(
        self, rings: Rings, now_utc_ns: int, ended: Mapping[bytes, bool]
    ) -> tuple[list[ClipRequest], list[str]]:
        """Return the requests to cut now, highest priority first, and the commands whose seconds are gone.

        Expired requests are dropped. Requests for a boot that has `ended` are cut with what was recorded.
        """
        cut: list[tuple[int, int, ClipRequest]] = []
        gone = []
        for number, (command_id, request) in enumerate(list(self.waiting.items())):
            ring = rings.get(request.boot_id)
            availability = Availability.GONE if ring is None else ring.availability(request)
            if request.expires_at_utc_ns <= now_utc_ns:
                del self.waiting[command_id]
            elif availability is Availability.GONE:
                del self.waiting[command_id]
                self.gone.add(command_id)
                gone.append(command_id)
            elif availability is Availability.READY or ended.get(request.boot_id, False):
                del self.waiting[command_id]
                heapq.heappush(cut, (-request.priority, number, request))
        return [heapq.heappop(cut)[2] for _ in range(len(cut))], gone
