"""Samples in memory, and the choice of samples for a batch.

Mined samples are rare beside the plain ones. They must weigh enough to be learnt, and the plain ones must stay in, or
the net forgets them.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import lance
import numpy as np
from numpy.typing import NDArray

from fleetloop.domain.dataset_digest import content_digest, dataset_digest
from fleetloop.domain.run_folder import VersionRef
from fleetloop.domain.tasks import TaskSchema, TaskSchemaError

_COLUMNS = ("sample_id", "frames", "frames_shape", "answers", "choice", "slice", "trigger")


class DatasetError(ValueError):
    """A dataset version cannot be used. The message names table, row and field."""


@dataclass(frozen=True, slots=True)
class Samples:
    """The n rows of a dataset version, as parallel arrays."""

    frames: NDArray[np.uint8]
    """[n, T, C, H, W, 3]: frames with the oldest first, cameras, height, width, RGB."""
    targets: Mapping[str, NDArray[np.float32]]
    """[n, target width] by schema column; NaN is unknown."""
    slices: Sequence[str]
    """Slice of each row; empty if it has none."""
    groups: Sequence[str]
    """`trigger/choice` of rows that a trigger collected, otherwise empty."""

    def __len__(self) -> int:
        return len(self.frames)


def read_version(version: VersionRef, schema: TaskSchema) -> Samples:
    """Read all rows of one version of a Lance table, and check that they are those that were committed.

    Args:
        version: Address of the table, and tag of the version in Lance.
        schema: The task schema, which determines the shape of frames and targets.

    Raises DatasetError if the version cannot be read, is empty, was changed, or does not match the schema.
    """
    table, tag = version.table, version.tag
    try:
        rows = lance.dataset(table.removeprefix("file://"), version=tag).to_table(columns=list(_COLUMNS)).to_pylist()
    except (ValueError, OSError) as error:
        raise DatasetError(f"{table} has no readable version {tag!r}: {error}") from error
    if not rows:
        raise DatasetError(f"{table}: version {tag!r} has no rows")
    first = schema.cameras[0]
    shape = (schema.frames.count, len(schema.cameras), first.height, first.width, 3)
    frames = np.empty((len(rows), *shape), np.uint8)
    encoded: list[Mapping[str, NDArray[np.float32]]] = []
    for number, row in enumerate(rows):
        if tuple(row["frames_shape"] or ()) != shape or len(row["frames"]) != frames[number].size:
            raise DatasetError(
                f"{table}: {row['sample_id']}: frames_shape is {row['frames_shape']}, the schema requires {shape}"
            )
        frames[number] = np.frombuffer(row["frames"], np.uint8).reshape(shape)
        try:
            encoded.append(schema.encode(json.loads(row["answers"])))
        except (TaskSchemaError, ValueError, TypeError) as error:
            raise DatasetError(f"{table}: {row['sample_id']}: {error}") from error
    if version.content_digest:
        found = dataset_digest(
            {**row, "content_sha256": content_digest(frames[number])} for number, row in enumerate(rows)
        )
        if found != version.content_digest:
            raise DatasetError(f"{table}: the rows of {tag!r} are not those of the commit; restore the table")
    return Samples(
        frames,
        {column: np.stack([answers[column] for answers in encoded]) for column in schema.columns()},
        [row["slice"] or "" for row in rows],
        [f"{row['trigger']}/{row['choice']}" if row["trigger"] else "" for row in rows],
    )


class BatchSampler:
    """Chooses the rows of a batch: a share from mined samples, rarer groups more often, and the rest from plain
    ones.
    """

    def __init__(self, groups: Sequence[str], hard_fraction: float) -> None:
        """Take each row's group, which is empty for plain ones, and the share of mined rows, 0 to 1."""
        hard = np.array([bool(group) for group in groups])
        self._hard, self._plain = np.flatnonzero(hard), np.flatnonzero(~hard)
        self._fraction = hard_fraction if len(self._hard) and len(self._plain) else float(len(self._hard) > 0)
        _, group, counts = np.unique(np.array(groups)[self._hard], return_inverse=True, return_counts=True)
        # Square root, so that a sample of a group of three is not drawn a hundred times as often as one of a group of
        # 300.
        weights = 1.0 / np.sqrt(counts[group]) if len(self._hard) else np.empty(0)
        self._weights = weights / weights.sum() if len(weights) else weights

    def rows(self, size: int, rng: np.random.Generator) -> NDArray[np.int64]:
        """Draw the row numbers of one batch, mined rows first."""
        hard = round(size * self._fraction)
        chosen = [rng.choice(self._hard, hard, p=self._weights)] if hard else []
        if size > hard:
            chosen.append(rng.choice(self._plain, size - hard))
        return np.concatenate(chosen)
