"""What an oracle compares a history with: the contents of every stage as plain values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction


@dataclass(frozen=True, slots=True)
class Archived:
    """A batch in an archive file."""

    batch_id: str
    content: str
    """Digest of its content, as `History.contents` has it."""


@dataclass(frozen=True, slots=True)
class Fired:
    """A firing as it was announced or computed. Two with the same id must be equal."""

    firing_id: str
    trigger: str
    version: int
    vehicle: str
    onset_monotonic_ns: int


@dataclass(frozen=True, slots=True)
class Routed:
    """The router's decision on a firing."""

    firing_id: str
    progress: str
    """clip_wanted, routed or dropped."""
    task_id: str = ""


@dataclass(frozen=True, slots=True)
class Ended:
    """The end of a label task, as it was announced."""

    event_id: str
    task_id: str
    sample_id: str
    outcome: str


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message of a dead-letter queue."""

    mark: str
    """As in `Planted`."""
    service: str
    origin: str
    """Topic, partition and offset of the message."""
    error: str


Earnings = Mapping[tuple[str, int, str], int]
"""(trigger, version, counter) -> value."""


@dataclass(frozen=True, slots=True)
class Observed:
    """Everything that the stages hold at one time. None means that it could not be read, which is never a pass."""

    archived: Sequence[Archived] | None = None
    """Every batch in every Parquet file, with repeats."""
    computed: Sequence[Fired] | None = None
    """What the detector's core fires over the archive in one go."""
    fired: Sequence[Fired] | None = None
    """Every message of fleet.trigger.v1."""
    routed: Sequence[Routed] | None = None
    """Every decision in the router's database."""
    clips: Mapping[str, str] | None = None
    """Event id of every announced clip -> its firing."""
    clip_of: Mapping[str, str] = field(default_factory=dict)
    """Firing -> clip that was announced for it."""
    tasks: Mapping[str, str] | None = None
    """Every announced label task -> its firing."""
    ended: Sequence[Ended] | None = None
    """Every announced end of a task, each event once."""
    added: Sequence[str] | None = None
    """Sample id of every row of every dataset table, with repeats."""
    refused: frozenset[str] | None = None
    """Samples that the curator refused."""
    sums: Mapping[str, Fraction] | None = None
    """The monitor's sums over all cohorts of the run."""
    ledger: Earnings | None = None
    kept: Mapping[tuple[str, int], int] = field(default_factory=dict)
    """(trigger, version) -> samples that the announced dataset versions have of it."""
    dead_letters: Sequence[DeadLetter] | None = None
    unreadable: Mapping[str, str] = field(default_factory=dict)
    """Stage -> why it could not be read."""
