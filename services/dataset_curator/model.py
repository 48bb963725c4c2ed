"""What the curator speaks of: samples that want to join, why some may not, and commits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray


class Refusal(StrEnum):
    """Why a sample does not join."""

    EXACT_DUPLICATE = "exact_duplicate"
    NEAR_DUPLICATE = "near_duplicate"
    IN_TEST_SET = "in_test_set"
    UNREADABLE_CLIP = "unreadable_clip"


@dataclass(frozen=True, slots=True)
class Sample:
    """A labelled moment, ready to be kept."""

    sample_id: str
    task: str
    choice: str
    """The answer, as the task schema names it; empty when `answers` says more than one choice can."""
    answers: Mapping[str, Mapping[str, object]]
    """task -> head -> value."""
    frames: NDArray[np.uint8]
    """[frames, cameras, height, width, 3], the oldest first."""
    content_sha256: str
    embedding: NDArray[np.float32]
    """[width], of unit length."""
    trunk: str
    """Name of the frozen trunk that made the embedding."""
    slice: str = ""
    place: str = ""
    moment_utc_ns: int = 0
    vehicle_id: str = ""
    clip_id: str = ""
    clip_address: str = ""
    firing_id: str = ""
    trigger: str = ""
    trigger_version: int = 0
    campaign: str = ""
    model_digest: str = ""
    label_source: str = ""
    label_confidence: float = 1.0
    labelled_at_utc_ns: int = 0
    detected_at_utc_ns: int = 0


@dataclass(frozen=True, slots=True)
class Neighbour:
    """The most alike sample that is there already."""

    sample_id: str
    similarity: float
    """Cosine of the embeddings."""
    same_answer: bool
    frozen: bool
    """True when it belongs to a frozen test set."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a commit will do, decided before anything is written."""

    admitted: Sequence[Sample]
    refused: Mapping[str, Refusal]
    """Sample id -> why."""


@dataclass(frozen=True, slots=True)
class Version:
    """A version of a dataset."""

    dataset: str
    number: int
    samples: int
    frozen: bool = False
    refused: Mapping[str, int] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """As people say it."""
        return f"v{self.number}"
