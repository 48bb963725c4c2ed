"""Finds the record that made an evaluation fail, so that the partition goes on without it.

A poll is evaluated as a whole, in place. When that fails, nothing tells which of its records is at fault, and the
state is half changed. So the partition is replayed from the log, the poll's records are then evaluated one at a time,
and the first one that fails is skipped from then on, in every further replay too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from fleetloop.domain.signals import SignalCatalogue
from fleetloop.kit.messaging.outage import is_outage
from fleetloop.kit.messaging.producer import Record
from trigger_detector.partition import Outcome, Partition, process_records
from trigger_detector.plan import Plan


@dataclass(frozen=True, slots=True)
class Failure:
    """An evaluation failed. The partition's state is unusable until it has been replayed."""

    error: Exception
    records: Sequence[Record]
    """Those that were evaluated together; with one record it is the one at fault."""


@dataclass(slots=True)
class Isolation:
    """What is known of one partition's records that cannot be evaluated."""

    skipped: set[int] = field(default_factory=set)
    """Offsets of the records at fault."""
    singly_until: int = 0
    """Records before this offset are evaluated one at a time."""

    def evaluate(
        self, partition: Partition, records: Sequence[Record], plan: Plan, catalogue: SignalCatalogue
    ) -> tuple[Outcome, Failure | None]:
        """The outcome of the records up to the first one at fault, and what failed. Raises what is an outage."""
        parts = [records] if records[0].offset >= self.singly_until else [[record] for record in records]
        outcome = Outcome((), (), live=False)
        for part in parts:
            try:
                outcome = outcome.followed_by(process_records(partition, part, plan, catalogue, self.skipped))
            except Exception as error:
                if is_outage(error):
                    raise
                return outcome, Failure(error, part)
        return outcome, None

    def note(self, failure: Failure) -> Record | None:
        """Remembers a failure. The record at fault, once it is known."""
        if len(failure.records) > 1:
            self.singly_until = failure.records[-1].offset + 1
            return None
        self.skipped.add(failure.records[0].offset)
        return failure.records[0]

    def forget_before(self, offset: int) -> None:
        """Forgets records that no replay reads again."""
        self.skipped = {each for each in self.skipped if each >= offset}
