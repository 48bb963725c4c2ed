"""Pure decisions of the curator: what may join, and when a commit is due.

A sample is refused when its pixels are there already, when it looks almost like one that has the same answer (it
would teach nothing), or when it looks almost like one of a frozen test set, whatever its answer (it would make the
examination a memory test). Almost alike with another answer is kept: that is where the boundary runs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dataset_curator.model import Neighbour, Plan, Refusal, Sample


@dataclass(frozen=True, slots=True)
class CommitPolicy:
    """When labelled samples become a version."""

    samples: int
    """As soon as so many wait."""
    wait_s: float
    """Or when the oldest has waited so long."""

    def is_due(self, waiting: int, oldest_waits_s: float) -> bool:
        """True when a commit should be made now."""
        return waiting >= self.samples or (waiting > 0 and oldest_waits_s >= self.wait_s)


@dataclass(frozen=True, slots=True)
class LikenessBounds:
    """Cosine similarities from which two samples count as almost alike."""

    near_duplicate: float
    test_set: float


def content_digest(frames: NDArray[np.uint8]) -> str:
    """SHA-256 over the shape and the pixels."""
    digest = hashlib.sha256(repr(frames.shape).encode())
    digest.update(np.ascontiguousarray(frames).tobytes())
    return digest.hexdigest()


def plan_commit(
    candidates: Sequence[Sample],
    known_digests: Collection[str],
    test_digests: Collection[str],
    neighbours_of: Callable[[Sample], Sequence[Neighbour]],
    bounds: LikenessBounds,
) -> Plan:
    """Decides for each candidate in turn; those admitted before it count as being there."""
    admitted: list[Sample] = []
    refused: dict[str, Refusal] = {}
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
) -> Refusal | None:
    if sample.content_sha256 in test_digests:
        return Refusal.IN_TEST_SET
    if sample.content_sha256 in known_digests or sample.content_sha256 in seen:
        return Refusal.EXACT_DUPLICATE
    neighbours = [*neighbours_of(sample), *_among(sample, admitted)]
    if any(n.frozen and n.similarity >= bounds.test_set for n in neighbours):
        return Refusal.IN_TEST_SET
    if any(n.same_answer and not n.frozen and n.similarity >= bounds.near_duplicate for n in neighbours):
        return Refusal.NEAR_DUPLICATE
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
