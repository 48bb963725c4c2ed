"""The triggers as numpy over one column batch: what an engineer would write who is given the same batches.

Runs in the peers' environment, on the expressions as a list (``nodes_of``). Signals are brought to the batch's
frames, every subexpression is one array, windows are reductions over ranges; a window ends where its batch begins.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fleetloop.protos.telemetry.v1 import telemetry_pb2

_DTYPES = {1: np.bool_, 2: np.int32, 3: np.int64, 4: np.float32, 5: np.float64, 6: np.uint16}


def fired(nodes: list[list[Any]], triggers: list[int], raw: bytes) -> list[int]:
    """Which triggers turn true within a batch."""
    message = telemetry_pb2.TelemetryBatch.FromString(raw)
    columns = {c.signal: c for c in message.columns}
    times = np.frombuffer(message.frame_offsets_ns, np.int64)
    values: list[Any] = []
    ranges: dict[int, Any] = {}
    with np.errstate(all="ignore"):
        for op, args, number, path, name, span_ns, per_track in nodes:
            if per_track:
                values.append(_per_track(op, args, path, name, values, columns))
            elif op == "const":
                values.append(number)
            elif op == "signal":
                values.append(_signal(columns[path], times))
            elif op in ("any_track", "count_tracks"):
                values.append(_tracks(op, values[args[0]], columns[path + ".Id"], times))
            elif op == "lag":
                values.append(values[args[0]][np.maximum(np.searchsorted(times, times - span_ns, "right") - 1, 0)])
            elif span_ns:
                if span_ns not in ranges:
                    ranges[span_ns] = np.searchsorted(times, times - span_ns, "right")
                values.append(_window(op, values[args[0]], ranges[span_ns], times))
            else:
                values.append(_pointwise(op, [values[a] for a in args]))
    return [n for n, number in enumerate(triggers) if bool((values[number][1:] & ~values[number][:-1]).any())]


def _signal(column: Any, times: Any) -> Any:
    array: Any = np.frombuffer(column.values, _DTYPES[column.type])
    if column.offsets_ns:
        own = np.frombuffer(column.offsets_ns, np.int64)
        array = array[np.maximum(np.searchsorted(own, times, "right") - 1, 0)]
    return array


def _per_track(op: str, args: list[int], path: str, name: str, values: list[Any], columns: Any) -> Any:
    if op == "field":
        column = columns[f"{path}.{name}"]
        return np.frombuffer(column.values, _DTYPES[column.type])
    return _pointwise(op, [values[a] for a in args])


def _tracks(op: str, truth: Any, column: Any, times: Any) -> Any:
    splits = np.frombuffer(column.splits, np.uint32).astype(np.int64)
    running = np.append(0, np.cumsum(truth))
    number = running[splits[1:]] - running[splits[:-1]]
    own = np.frombuffer(column.offsets_ns, np.int64)
    held = number[np.maximum(np.searchsorted(own, times, "right") - 1, 0)]
    return held > 0 if op == "any_track" else held


def _window(op: str, v: Any, low: Any, times: Any) -> Any:
    n = len(times)
    high = np.arange(1, n + 1)
    if op in ("min", "max"):
        pairs = np.empty(2 * n, np.int64)
        pairs[0::2], pairs[1::2] = low, high
        reduce = np.minimum if op == "min" else np.maximum
        return reduce.reduceat(np.append(v, v[-1]), pairs)[0::2]
    if op == "first":
        return v[low]
    if op == "slope":
        t = times / 1e9
        s, st, sv, stt = (_sum(x, low, high) for x in (t * v, t, v, t * t))
        count = high - low
        return (count * s - st * sv) / np.maximum(count * stt - st * st, 1e-9)
    total = _sum(v, low, high)
    return {"mean": total / (high - low), "count": total, "any": total > 0, "all": total == high - low}[op]


def _sum(v: Any, low: Any, high: Any) -> Any:
    running = np.append(0, np.cumsum(v))
    return running[high] - running[low]


def _pointwise(op: str, v: list[Any]) -> Any:
    match op:
        case "not":
            return ~v[0]
        case "neg":
            return -v[0]
        case "abs":
            return np.abs(v[0])
        case "and":
            return v[0] & v[1]
        case "or":
            return v[0] | v[1]
        case "add":
            return v[0] + v[1]
        case "sub":
            return v[0] - v[1]
        case "mul":
            return v[0] * v[1]
        case "div":
            return v[0] / v[1]
        case "lt":
            return v[0] < v[1]
        case "le":
            return v[0] <= v[1]
        case "eq":
            return v[0] == v[1]
        case "lower_of":
            return np.minimum(v[0], v[1])
        case "higher_of":
            return np.maximum(v[0], v[1])
    raise ValueError(f"no peer needs {op}")
