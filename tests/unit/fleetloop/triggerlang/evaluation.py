"""Evaluates conditions on batches with the compiled code, for tests of the kernels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fleetloop.domain.frames import Column, FrameBatch
from fleetloop.domain.signals import SignalCatalogue, load_catalogue, parse_catalogue
from fleetloop.domain.telemetry_codec import encode_batch
from fleetloop.triggerlang.lowering import lower
from fleetloop.triggerlang.machine import Machine, Outcome, Rules, Segment
from fleetloop.triggerlang.program import Condition, compile_program
from fleetloop.triggerlang.reading import Batches, Reader

SHIPPED = load_catalogue(Path(__file__).parents[4] / "config" / "signals.yaml")
SMALL = parse_catalogue("""
signals:
  X: {type: float32, nan_allowed: true, max_age_s: 1}
  Y: {type: float64, max_age_s: 1}
  F: {type: bool, max_age_s: 1}
  T.Id: {type: int64, ragged: true, max_age_s: 1}
  T.Score: {type: float32, ragged: true, max_age_s: 1}
  T.Seen: {type: bool, ragged: true, max_age_s: 1}
  T.Kind: {type: int32, ragged: true, max_age_s: 1}
""")
FALSE, UNKNOWN, TRUE = 0, 1, 2
START_NS, STEP_NS = 10**9, 100_000_000
NAN = float("nan")


def numbers(*values: float, offsets_ns: Sequence[int] | None = None) -> Column:
    """A column of float32, at 10 Hz unless it has offsets of its own."""
    own = None if offsets_ns is None else np.array(offsets_ns, np.int64)
    return Column(np.array(values, np.float32), own)


def flags(*values: bool) -> Column:
    """A column of bools at 10 Hz."""
    return Column(np.array(values, np.bool_))


def tracks(*lists: Mapping[int, tuple[float, bool]], seen: bool = True) -> dict[str, Column]:
    """The columns of the group T: for each instant a mapping of id to score and whether it is seen."""
    splits = np.cumsum([0, *map(len, lists)]).astype(np.uint32)
    entries = [(i, *values) for each in lists for i, values in each.items()]
    columns = {
        "T.Id": Column(np.array([i for i, _, _ in entries], np.int64), None, splits),
        "T.Score": Column(np.array([score for _, score, _ in entries], np.float32), None, splits),
    }
    if seen:
        columns["T.Seen"] = Column(np.array([s for _, _, s in entries], np.bool_), None, splits)
    return columns


def batch(columns: Mapping[str, Column], sequence: int = 0, start_ns: int = START_NS) -> FrameBatch:
    """A batch at 10 Hz, as long as its longest column."""
    rows = max(c.rows() for c in columns.values())
    offsets = np.arange(rows, dtype=np.int64) * STEP_NS
    placed = {
        path: replace(c, offsets_ns=offsets[: c.rows()]) if c.offsets_ns is None and c.rows() < rows else c
        for path, c in columns.items()
    }
    return FrameBatch("f", "v", b"12345678", sequence, start_ns, start_ns, "gnss", offsets, placed)


def machine_of(
    *conditions: Condition, catalogue: SignalCatalogue = SMALL, memory_s: float = 60
) -> tuple[Machine, Reader]:
    """A machine that reports every instant at which a condition is true, and its reader."""
    lowered = lower(compile_program(conditions, catalogue, memory_s), catalogue)
    count = len(conditions)
    none = np.zeros(count, np.int64)
    rules = Rules(
        np.ones(count, np.bool_), np.zeros(count, np.bool_), np.ones(count, np.int64), none, none, round(memory_s)
    )
    return Machine(lowered, rules), Reader(lowered, catalogue)


def read(reader: Reader, *batches: FrameBatch) -> Batches:
    found = reader.read([encode_batch(b).SerializeToString() for b in batches])
    assert found.plain.all()
    return found


def run(machine: Machine, batches: Batches, memory: bytes = b"") -> Outcome:
    """One run on one vehicle's batches."""
    append_ms: npt.NDArray[np.int64] = np.zeros(len(batches), np.int64)
    segment = Segment(memory, range(len(batches)), int(batches.end_ns.max()))
    return machine.run(batches, append_ms, [segment])


def truths(expression: str, columns: Mapping[str, Column], catalogue: SignalCatalogue = SMALL) -> list[int]:
    """The truth values of a condition at the frames of one batch."""
    conditions = [Condition("t", expression, {}), Condition("f", f"not ({expression})", {})]
    machine, reader = machine_of(*conditions, catalogue=catalogue)
    sent = batch(columns)
    result = [UNKNOWN] * sent.frames()
    for moment in run(machine, read(reader, sent)).moments:
        result[(moment.onset_ns - START_NS) // STEP_NS] = TRUE if moment.trigger == 0 else FALSE
    return result
