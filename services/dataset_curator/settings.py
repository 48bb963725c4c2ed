"""Settings of dataset_curator, and the curation rules that users edit."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from dataset_curator.core import CommitPolicy, LikenessBounds, ShareBound
from fleetloop.kit.process.settings import ServiceSettings, load_edited


class DatasetCuratorSettings(ServiceSettings):
    """Settings of the curator, in addition to those of every service."""

    tables_url: str = Field("", description="Root of the Lance tables; empty: `datasets` below the object store.")
    clip_unpacked_bytes: int = Field(
        256 * 1024 * 1024, ge=1024 * 1024, description="Bytes of the largest clip that is read, unpacked."
    )
    tick_s: float = Field(1.0, gt=0, description="Seconds between two checks for commits that are due.")


class _CurationFile(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    commit_samples: int = Field(ge=1)
    commit_wait_s: float = Field(gt=0)
    commit_most: int = Field(ge=1)
    near_duplicate: float = Field(gt=0, le=1)
    test_set: float = Field(gt=0, le=1)
    most_vehicle_share: float = Field(0.2, gt=0, le=1)
    vehicle_share_rows: int = Field(500, ge=1)


class Curation(BaseModel):
    """The rules in config/curation.yaml."""

    model_config = ConfigDict(frozen=True, arbitrary_types_allowed=True)

    policy: CommitPolicy
    bounds: LikenessBounds
    commit_most: int
    share: ShareBound = ShareBound(1.0, 1)
    """By default a vehicle may have all samples."""


def load_curation(path: Path) -> Curation:
    """Read config/curation.yaml. Raises SettingsError that names the field."""
    raw = load_edited(path, _CurationFile)
    return Curation(
        policy=CommitPolicy(raw.commit_samples, raw.commit_wait_s),
        bounds=LikenessBounds(raw.near_duplicate, raw.test_set),
        commit_most=raw.commit_most,
        share=ShareBound(raw.most_vehicle_share, raw.vehicle_share_rows),
    )
