"""What happens to a batch or a clip whose UTC lies ahead of the gateway's clock. Nothing is refused for its time.

A vehicle's UTC is an estimate, and the gateway's clock may be behind too. Up to `max_future_s` the difference is
accepted. Up to `max_lead_s` the sender keeps the data and sends it again once the clock has reached it: the wait is
at most the lead itself, so it ends. A greater lead, such as the 1,024 weeks of a GPS week rollover, would not end;
the data is stored with a corrected time, which ends now, and loses only its placement in time.
"""

from __future__ import annotations

from dataclasses import dataclass

from fleetloop.domain.validation import BatchError
from fleetloop.kit.process.clock import ns_to_seconds, seconds_to_ns

_SHORTEST_WAIT_NS = seconds_to_ns(0.1)
_LONGEST_WAIT_NS = seconds_to_ns(30)
_GRACE_NS = seconds_to_ns(30)
"""How long later batches wait for a deferred one that its vehicle may have dropped meanwhile."""


class DeferredError(Exception):
    """A batch or a clip that cannot be stored now. The sender keeps it and sends it again after `retry_after_ns`."""

    def __init__(self, field: str, message: str, retry_after_ns: int) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field
        self.message = message
        self.retry_after_ns = retry_after_ns

    def as_batch_error(self) -> BatchError:
        """The reason as the vehicle reads it."""
        return BatchError("future", self.field, self.message)


def time_correction(field: str, end_utc_ns: int, now_utc_ns: int, max_future_s: float, max_lead_s: float) -> int:
    """Nanoseconds to add to the times of data that ends at `end_utc_ns`; 0 if they can stay.

    Raises DeferredError if the clock reaches the end within `max_lead_s` seconds; with 0 it never does.
    """
    lead_ns = end_utc_ns - now_utc_ns
    wait_ns = lead_ns - seconds_to_ns(max_future_s)
    if wait_ns <= 0:
        return 0
    if lead_ns > seconds_to_ns(max_lead_s):
        return -lead_ns
    raise DeferredError(
        field,
        f"ends {ns_to_seconds(lead_ns):.1f} s in the future, at most {max_future_s:g} s is accepted: "
        "keep it, send it again later, and correct the clock that is wrong",
        min(max(wait_ns, _SHORTEST_WAIT_NS), _LONGEST_WAIT_NS),
    )


@dataclass(slots=True)
class StreamOrder:
    """Keeps one stream in order: while one of its batches is deferred, the batches behind it are deferred too."""

    _batch: tuple[bytes, int] | None = None
    _until_ns: int = 0

    def defer(self, batch: tuple[bytes, int], until_ns: int) -> None:
        """Defer a batch, (boot, sequence), until an instant of the monotonic clock."""
        self._batch, self._until_ns = batch, until_ns

    def check(self, batch: tuple[bytes, int], monotonic_ns: int) -> None:
        """Raises DeferredError if a batch ahead of this one is still deferred.

        Ends the deferral if this is the deferred batch, or if that one has not come again in time.
        """
        if self._batch is None:
            return
        if batch == self._batch or monotonic_ns > self._until_ns + _GRACE_NS:
            self._batch = None
            return
        wait_ns = max(self._until_ns - monotonic_ns, _SHORTEST_WAIT_NS)
        raise DeferredError("sequence", f"batch {self._batch[1]} comes first: send both again, in order", wait_ns)
