"""Samples in memory, and which of them make up a batch.

Why it exists: what the fleet mined is rare beside the plain cases; it must weigh enough to be learnt, and the plain
cases must stay in, or the net forgets them.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import lance
import numpy as np
from numpy.typing import NDArray

from fleetloop.domain.tasks import TaskSchema, TaskSchemaError

_COLUMNS = ("sample_id", "frames", "frames_shape", "answers", "choice", "slice", "trigger")


class DatasetError(ValueError):
    """A dataset version cannot be used; the text names table, row and field."""


@dataclass(frozen=True, slots=True)
class Samples:
    """Rows of a dataset version, in parallel."""

    frames: NDArray[np.uint8]
    """[n, T, C, H, W, 3]"""
    targets: Mapping[str, NDArray[np.float32]]
    """Schema column -> [n, target width]; NaN is unknown."""
    slices: Sequence[str]
    groups: Sequence[str]
    """`trigger/choice` of rows that a trigger brought, otherwise empty."""

    def __len__(self) -> int:
        return len(self.frames)


def read_version(table: str, tag: str, schema: TaskSchema) -> Samples:
    """All rows of one version of a Lance table. Raises DatasetError."""
    try:
        rows = lance.dataset(table.removeprefix("file://"), version=tag).to_table(columns=list(_COLUMNS)).to_pylist()
    except (ValueError, OSError) as error:
        raise DatasetError(f"{table} has no readable version {tag!r}: {error}") from error
    if not rows:
        raise DatasetError(f"{table}: version {tag!r} has no rows")
    first = schema.cameras[0]
    wanted = (schema.frames.count, len(schema.cameras), first.height, first.width, 3)
    frames = np.empty((len(rows), *wanted), np.uint8)
    encoded: list[Mapping[str, NDArray[np.float32]]] = []
    for place, row in enumerate(rows):
        if tuple(row["frames_shape"] or ()) != wanted or len(row["frames"]) != frames[place].size:
            raise DatasetError(
                f"{table}: {row['sample_id']}: frames_shape is {row['frames_shape']}, but the schema wants {wanted}"
            )
        frames[place] = np.frombuffer(row["frames"], np.uint8).reshape(wanted)
        try:
            encoded.append(schema.encode(json.loads(row["answers"])))
        except (TaskSchemaError, ValueError, TypeError) as error:
            raise DatasetError(f"{table}: {row['sample_id']}: {error}") from error
    return Samples(
        frames,
        {column: np.stack([answers[column] for answers in encoded]) for column in schema.columns()},
        [row["slice"] or "" for row in rows],
        [f"{row['trigger']}/{row['choice']}" if row["trigger"] else "" for row in rows],
    )


class BatchDraw:
    """Chooses rows: `hard_fraction` of them from what triggers brought, rarer groups more often, the rest plain."""

    def __init__(self, groups: Sequence[str], hard_fraction: float) -> None:
        hard = np.array([bool(group) for group in groups])
        self._hard, self._plain = np.flatnonzero(hard), np.flatnonzero(~hard)
        self._fraction = hard_fraction if len(self._hard) and len(self._plain) else float(len(self._hard) > 0)
        _, group, counts = np.unique(np.array(groups)[self._hard], return_inverse=True, return_counts=True)
        # The square root: a group of three samples is not repeated a hundred times more often than one of 300.
        weights = 1.0 / np.sqrt(counts[group]) if len(self._hard) else np.empty(0)
        self._weights = weights / weights.sum() if len(weights) else weights

    def rows(self, size: int, rng: np.random.Generator) -> NDArray[np.int64]:
        """Row numbers of one batch."""
        hard = round(size * self._fraction)
        chosen = [rng.choice(self._hard, hard, p=self._weights)] if hard else []
        if size > hard:
            chosen.append(rng.choice(self._plain, size - hard))
        return np.concatenate(chosen)
