"""Which batches, clips and reports the gateway accepts. An error names the field and says how to correct it."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

from fleetloop.domain.frames import FrameBatch
from fleetloop.domain.validation import BatchError
from fleetloop.kit.ids import causal_id
from fleetloop.kit.process.clock import NANOSECONDS_PER_SECOND, ns_to_seconds, seconds_to_ns
from telemetry_gateway.model import NOT_YOURS, Clip, FieldError, Sender

MCAP_MAGIC = b"\x89MCAP0\r\n"
"""The bytes that an MCAP file begins and ends with."""
_SHA256 = re.compile(r"[0-9a-f]{64}")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_LONGEST_CLIP_S = 3600.0
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_MOST_CAMERAS = 64


def batch_id(batch: FrameBatch) -> str:
    """The event id of a batch; every repeat has the same, also one from another source."""
    return causal_id("batch", batch.vehicle_id, batch.boot_id, batch.sequence)


def check_sender(fleet_id: str, vehicle_id: str, sender: Sender) -> None:
    """Raises BatchError (code NOT_YOURS) when the batch belongs to another vehicle or fleet than `sender`."""
    if vehicle_id != sender.vehicle_id:
        raise BatchError(NOT_YOURS, "vehicle_id", f"you are {sender.vehicle_id}, the batch says {vehicle_id!r}")
    if fleet_id != sender.fleet_id:
        raise BatchError(NOT_YOURS, "fleet_id", f"you belong to {sender.fleet_id}, the batch says {fleet_id!r}")


def check_size(size_bytes: int, max_bytes: int) -> None:
    """Raises BatchError (code size) when the batch has more than `max_bytes`."""
    if size_bytes > max_bytes:
        raise BatchError("size", "batch", f"has {size_bytes} bytes, at most {max_bytes}: send fewer frames per batch")


def check_clip(clip: Clip, max_bytes: int) -> None:
    """Raises FieldError for an invalid header. The caller has checked that the clip is the sender's own, and corrects
    its time (`arrival_time`).
    """
    if not _NAME.fullmatch(clip.vehicle_id):
        raise FieldError("header.vehicle_id", "use letters, digits, '.', '_' and '-'")
    check_digest("header.sha256", clip.sha256)
    if not 2 * len(MCAP_MAGIC) <= clip.size_bytes <= max_bytes:
        raise FieldError("header.size_bytes", f"{clip.size_bytes} is not between 16 and {max_bytes}")
    if not 8 <= len(clip.boot_id) <= 16:
        raise FieldError("header.boot_id", "send the 8 to 16 bytes of the boot that the clip was recorded in")
    if not 0 < clip.start_utc_ns <= clip.end_utc_ns:
        raise FieldError("header.end_utc_ns", "the clip must begin after 1970 and end no earlier than it begins")
    if clip.end_utc_ns - clip.start_utc_ns > seconds_to_ns(_LONGEST_CLIP_S):
        raise FieldError("header.end_utc_ns", f"a clip is at most {_LONGEST_CLIP_S:g} s long")
    if clip.model_digest:
        check_digest("header.model_digest", clip.model_digest)
    for field, text in (("command_id", clip.command_id), ("firing_id", clip.firing_id)):
        if text and not _ID.fullmatch(text):
            raise FieldError(f"header.{field}", "use at most 64 letters, digits, '.', '_' and '-'")
    if len(clip.cameras) > _MOST_CAMERAS or not all(_ID.fullmatch(camera) for camera in clip.cameras):
        raise FieldError(
            "header.cameras", f"at most {_MOST_CAMERAS} names of up to 64 letters, digits, '.', '_', '-'"
        )


def check_digest(field: str, text: str) -> None:
    """Raises FieldError unless `text` is a lower-case SHA-256."""
    if not _SHA256.fullmatch(text):
        raise FieldError(field, "must be 64 lower-case hex digits, a SHA-256")


def clip_event_id(sha256: str, firing_id: str) -> str:
    """The event id of a stored clip."""
    return causal_id("clip", sha256, firing_id)


MOST_PER_SECOND: Mapping[str, float] = {
    "distance_km": 0.1,
    "autopilot_km": 0.1,
    "interventions": 1.0,
    "map_disagreements": 100.0,
    "flickers": 100.0,
    "shadow_frames": 1000.0,
    "shadow_disagreements": 1000.0,
    "shadow_would_have_prevented": 1.0,
    "shadow_false_alarms": 1000.0,
    "shadow_decisions": 2.0,
    "shadow_would_have_avoided": 1.0,
    "shadow_would_have_missed": 1.0,
    "overrides": 1.0,
    "inferences": 1000.0,
}
"""What a vehicle can do in one second at most, by field of a report: 360 km/h, and 1000 frames."""
_SLACK_S = 60.0
"""Seconds that are added to a report's window, because what is counted may have begun before it."""
_LONGEST_WINDOW_S = 366 * 86_400.0


def check_report(
    *,
    boot_id: bytes,
    start_utc_ns: int,
    end_utc_ns: int,
    digests: Mapping[str, str],
    amounts: Mapping[str, float],
    faults: Mapping[str, int],
) -> None:
    """Raises FieldError for a report that cannot be counted, or has more than fits into its window.

    `digests` and `amounts` are by field of the report; amounts that MOST_PER_SECOND has are bounded by the window.
    """
    if not 8 <= len(boot_id) <= 16:
        raise FieldError("report.boot_id", "send the 8 to 16 random bytes of the boot")
    if end_utc_ns < start_utc_ns:
        raise FieldError("report.end_utc_ns", "the window ends before it begins")
    if not start_utc_ns >= 0 or end_utc_ns >= 2**62:
        raise FieldError("report.start_utc_ns", "is not nanoseconds since 1970, before the year 2116")
    for field, digest in digests.items():
        if digest:
            check_digest(f"report.{field}", digest)
    window_s = ns_to_seconds(end_utc_ns - start_utc_ns)
    if window_s > _LONGEST_WINDOW_S:
        raise FieldError("report.end_utc_ns", f"the window has {window_s:.0f} s, at most {_LONGEST_WINDOW_S:.0f}")
    for field, amount in amounts.items():
        _check_amount(f"report.{field}", amount, MOST_PER_SECOND.get(field, math.inf), window_s)
    for name, count in faults.items():
        _check_amount(f"report.faults[{name}]", count, MOST_PER_SECOND["inferences"], window_s)


def _check_amount(field: str, amount: float, most_per_second: float, window_s: float) -> None:
    most = most_per_second * (window_s + _SLACK_S)
    if not math.isfinite(amount) or amount < 0:
        raise FieldError(field, f"{amount} is not a finite number of at least 0")
    if amount > most:
        raise FieldError(field, f"{amount:g} in a window of {window_s:.1f} s; at most {most:g} is possible")


def trace_of(event_id: str) -> str:
    """A `traceparent` whose trace id is the event id, so that the batch is enough to find its trace."""
    return f"00-{event_id}-{event_id[:16]}-01"


class SpanBudget:
    """Allows at most `per_s` spans in each second, because a span for every batch would halve the throughput."""

    def __init__(self, per_s: int) -> None:
        self._per_s = per_s
        self._second = -1
        self._left = 0

    def allows(self, monotonic_ns: int) -> bool:
        """Whether this second has a span left; uses it up if so."""
        second = monotonic_ns // NANOSECONDS_PER_SECOND
        if second != self._second:
            self._second, self._left = second, self._per_s
        if self._left <= 0:
            return False
        self._left -= 1
        return True
