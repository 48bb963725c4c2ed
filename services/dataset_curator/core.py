"""Pure decisions of the curator: which samples are admitted, and when a commit is due.

A sample is refused when the dataset has its pixels already, when it is nearly identical to a sample with the same
answer (it would teach nothing), or when it is nearly identical to a sample of a frozen test set, whatever its answer
(the examination would then test memory). A nearly identical sample with another answer is admitted: it shows where
the decision boundary is.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np

from dataset_curator.model import LabelledMoment, Neighbour, Plan, RefusalReason, RetractionRule, RowSelector, Sample
from fleetloop.kit.refusal import InvalidArgumentError

_NO_BOUND = 2**31 - 1
LABEL_SOURCES = ("human", "hindsight", "sensor", "model", "imported")


@dataclass(frozen=True, slots=True)
class CommitPolicy:
    """When labelled samples become a version."""

    samples: int
    """A commit is due as soon as this many samples wait,"""
    wait_s: float
    """or once the oldest has waited this many seconds."""

    def is_due(self, waiting: int, oldest_waits_s: float) -> bool:
        """True when a commit should be made now."""
        return waiting >= self.samples or (waiting > 0 and oldest_waits_s >= self.wait_s)


@dataclass(frozen=True, slots=True)
class LikenessBounds:
    """Cosine similarities from which on two samples count as nearly identical."""

    near_duplicate: float
    test_set: float


@dataclass(frozen=True, slots=True)
class ShareBound:
    """The most samples of a version that one vehicle may have recorded.

    The share is that of the samples from vehicles: imported ones, of which no vehicle is the source, make no room.
    Of a version with fewer than `rows` such samples, the bound is the share of `rows`.
    """

    share: float
    rows: int

    def most(self, vehicle_samples: int) -> int:
        """The most samples of one vehicle in a version with so many from vehicles."""
        return math.floor(self.share * max(vehicle_samples, self.rows) + 1e-9)

    def room(self, vehicle_samples: int, samples: int) -> int:
        """How many more samples a vehicle may gain that has `samples` of them, when no other vehicle gains any."""
        if self.share >= 1:
            return _NO_BOUND
        of_rows = self.share * self.rows - samples
        of_all = (self.share * vehicle_samples - samples) / (1 - self.share)
        return max(0, math.floor(max(of_rows, of_all) + 1e-9))


def from_vehicles(counts: Mapping[str, int]) -> int:
    """Samples that vehicles recorded; those of vehicle "" were imported."""
    return sum(count for vehicle, count in counts.items() if vehicle)


class Recorded(Protocol):
    """What a vehicle recorded."""

    @property
    def vehicle_id(self) -> str: ...


R = TypeVar("R", bound=Recorded)


def within_share(waiting: Sequence[R], counts: Mapping[str, int], bound: ShareBound) -> list[R]:
    """Those samples that may join a version: as many as fit, of each vehicle the first ones.

    `counts` has the samples of each vehicle in the version before. The bound depends on how many join, so samples are
    left out until the rest fits.
    """
    joining = list(waiting)
    while True:
        most = bound.most(from_vehicles(counts) + sum(bool(each.vehicle_id) for each in joining))
        reached = Counter(counts)
        fitting = []
        for each in joining:
            if not each.vehicle_id or reached[each.vehicle_id] < most:
                reached[each.vehicle_id] += 1
                fitting.append(each)
        if len(fitting) == len(joining):
            return fitting
        joining = fitting


def set_digest(samples: Sequence[Sample]) -> str:
    """Digest of what a set would add to an examination: its samples with pixels, answers, slices and places."""
    rows = sorted(
        (each.sample_id, each.content_sha256, each.task, each.choice, each.slice, each.place, answers)
        for each in samples
        for answers in [json.dumps(each.answers, sort_keys=True)]
    )
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()


def check_selector(rows: RowSelector) -> None:
    """Raises InvalidArgumentError unless exactly one property selects the rows."""
    if sum(map(bool, (rows.vehicle_id, rows.clip_id, rows.trigger, rows.label_source))) != 1:
        raise InvalidArgumentError("name exactly one of vehicle_id, clip_id, trigger and label_source", "rows")
    if rows.trigger_version and not rows.trigger:
        raise InvalidArgumentError("name the trigger whose version it is", "rows.trigger")
    if rows.label_source and rows.label_source not in LABEL_SOURCES:
        raise InvalidArgumentError(f"name one of {', '.join(LABEL_SOURCES)}", "rows.label_source")


def selects(rows: RowSelector, moment: LabelledMoment) -> bool:
    """True when a labelled moment is of the selected origin."""
    if rows.trigger:
        return moment.trigger == rows.trigger and rows.trigger_version in (0, moment.trigger_version)
    if rows.vehicle_id:
        return moment.vehicle_id == rows.vehicle_id
    return moment.clip_id == rows.clip_id if rows.clip_id else moment.label_source == rows.label_source


def is_retracted(moment: LabelledMoment, rules: Iterable[RetractionRule]) -> bool:
    """True when a retraction refuses this moment: its origin was retracted, and not readmitted before its detection.

    The time of detection is the detector's, so that no vehicle can choose it.
    """
    return any(
        selects(rule.rows, moment)
        and (not rule.readmitted_at_utc_ns or moment.detected_at_utc_ns <= rule.readmitted_at_utc_ns)
        for rule in rules
    )


def plan_commit(
    candidates: Sequence[Sample],
    known_digests: Collection[str],
    test_digests: Collection[str],
    neighbours_of: Callable[[Sample], Sequence[Neighbour]],
    bounds: LikenessBounds,
) -> Plan:
    """Decide on each candidate in turn; those admitted before it count as part of the dataset."""
    admitted: list[Sample] = []
    refused: dict[str, RefusalReason] = {}
    seen: set[str] = set()
    for sample in candidates:
        reason = _refusal(sample, known_digests, test_digests, seen, admitted, neighbours_of, bounds)
        if reason is None:
            admitted.append(sample)
            seen.add(sample.content_sha256)
        else:
            refused[sample.sample_id] = reason
    return Plan(admitted, refused)


def _refusal(
    sample: Sample,
    known_digests: Collection[str],
    test_digests: Collection[str],
    seen: Collection[str],
    admitted: Sequence[Sample],
    neighbours_of: Callable[[Sample], Sequence[Neighbour]],
    bounds: LikenessBounds,
) -> RefusalReason | None:
    if sample.content_sha256 in test_digests:
        return RefusalReason.IN_TEST_SET
    if sample.content_sha256 in known_digests or sample.content_sha256 in seen:
        return RefusalReason.EXACT_DUPLICATE
    neighbours = [*neighbours_of(sample), *_among(sample, admitted)]
    if any(n.frozen and n.similarity >= bounds.test_set for n in neighbours):
        return RefusalReason.IN_TEST_SET
    if any(n.same_answer and not n.frozen and n.similarity >= bounds.near_duplicate for n in neighbours):
        return RefusalReason.NEAR_DUPLICATE
    return None


def _among(sample: Sample, others: Sequence[Sample]) -> list[Neighbour]:
    alike = [other for other in others if other.trunk == sample.trunk]
    if not alike:
        return []
    similarities = np.stack([other.embedding for other in alike]) @ sample.embedding
    return [
        Neighbour(other.sample_id, float(similarity), other.answers == sample.answers, frozen=False)
        for other, similarity in zip(alike, similarities, strict=True)
    ]
