"""What the detector remembers: per vehicle for a large fleet, and over a long time.

A vehicle's windows are the points, values and instants in their own types, that the triggers look back at; instants
that several signals share count once.
"""

from __future__ import annotations

import gc
from typing import Any

import numpy as np
import psutil
from tests.bench.detector.workload import CATALOGUE, FRAMES, batches, renumbered

from fleetloop.domain.frames import FrameBatch
from fleetloop.domain.telemetry_codec import encode_batch
from fleetloop.kit.messaging.producer import Record
from trigger_detector.partition import Partition, process_records
from trigger_detector.plan import Plan

FLEET = 100_000
LONG_FRAMES = 10_000_000


def measure(plan: Plan) -> dict[str, Any]:
    """State and window bytes per vehicle at ``FLEET`` vehicles, and resident memory over ``LONG_FRAMES`` frames."""
    return large_fleet(plan) | long_run(plan)


def window_bytes(plan: Plan, batch: FrameBatch) -> int:
    """Of the vehicle that sent this batch and before it one like it."""
    program = plan.program
    end_ns = batch.start_monotonic_ns + max(
        int(c.offsets_ns[-1]) if c.offsets_ns is not None else int(batch.frame_offsets_ns[-1])
        for c in batch.columns.values()
    )
    total = 0
    instants: dict[bytes, int] = {}
    sources: list[tuple[str, tuple[str, ...], int]] = [(p, (p,), reach) for p, reach in program.signals.items()]
    sources += [
        (f"{g}.Id", tuple(f"{g}.{n}" for n in ("Id", *names)), program.group_reach_ns[g])
        for g, names in program.groups.items()
    ]
    for path, columns, reach_ns in sources:
        own = batch.columns[path].offsets_ns
        times = batch.start_monotonic_ns + (batch.frame_offsets_ns if own is None else own)
        # what is within reach, and the point before it, which is what is known where the reach begins
        rows = min(len(times), int((times > end_ns - reach_ns).sum()) + 1)
        key = times.tobytes()
        instants[key] = max(instants.get(key, 0), rows)
        for name in columns:
            column = batch.columns[name]
            if column.splits is None:
                total += rows * column.values.dtype.itemsize
            else:
                entries = int(column.splits[-1]) - int(column.splits[-1 - rows])
                total += entries * column.values.dtype.itemsize + (4 * rows if name == path else 0)
    return total + 8 * sum(instants.values())


def large_fleet(plan: Plan) -> dict[str, Any]:
    """Two batches of each of many vehicles, which differ only in their ids."""
    few = list(batches(20, 2, 5))
    raws = [encode_batch(b).SerializeToString() for b in few]
    windows = [window_bytes(plan, b) for b in few[20:]]
    partition = Partition(0)
    gc.collect()
    before = psutil.Process().memory_info().rss
    records: list[Record] = []
    for number in (0, 1):
        for vehicle in range(FLEET):
            raw = raws[20 * number + vehicle % 20].replace(
                b"vehicle-%06d" % (vehicle % 20), b"vehicle-%06d" % vehicle, 1
            )
            records.append(_record(len(records), raw, 10_000 * number))
            if len(records) == 500:
                _advance(partition, records, plan)
    gc.collect()
    grown = psutil.Process().memory_info().rss - before
    state = partition.state.nbytes() / len(partition.state.vehicles)
    return {
        "state_vehicles": len(partition.state.vehicles),
        "state_bytes_per_vehicle": state,
        "window_bytes_per_vehicle": float(np.mean(windows)),
        "state_over_windows": state / float(np.mean(windows)),
        "resident_bytes_per_vehicle": grown / len(partition.state.vehicles),
    }


def long_run(plan: Plan) -> dict[str, Any]:
    """Resident memory after a tenth and after all of a long run of 200 vehicles."""
    first = [(b.vehicle_id, encode_batch(b).SerializeToString()) for b in batches(200, 5, 6)]
    partition = Partition(0)
    seen, early = 0, 0
    number = 0
    while seen < LONG_FRAMES:
        messages = renumbered(first, number)
        records: list[Record] = []
        for position, (_, raw) in enumerate(messages):
            sequence = number * 5 + position // 200
            records.append(_record(position, raw, 10_000 * sequence))
            if len(records) == 500:
                _advance(partition, records, plan)
                seen += 500 * FRAMES
        number += 1
        if not early and seen >= LONG_FRAMES / 10:
            gc.collect()
            early = psutil.Process().memory_info().rss
    gc.collect()
    late = psutil.Process().memory_info().rss
    return {"frames_of_long_run": seen, "resident_growth_after_a_tenth": late / early}


def _record(offset: int, raw: bytes, append_ms: int) -> Record:
    return Record("bench", 0, offset, b"", raw, (), 1_700_000_000_000 + append_ms)


def _advance(partition: Partition, records: list[Record], plan: Plan) -> None:
    outcome = process_records(partition, records, plan, CATALOGUE)
    assert not outcome.unreadable
    records.clear()
