"""Checks a batch against the catalogue. Consumers of the telemetry topic need not validate it again.

The gateway runs this for every batch of the fleet, so that its speed matters: the columns of one type are
concatenated and reduced together, and twenty signals cost about as many array operations as one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from fleetloop.domain.frames import Column, FrameBatch
from fleetloop.domain.signals import BatchLimits, Signal, SignalCatalogue
from fleetloop.kit.process.clock import ns_to_seconds, seconds_to_ns

_DTYPES: dict[str, Any] = {"bool": np.bool_, "int32": np.int32, "int64": np.int64,
                           "float32": np.float32, "float64": np.float64}  # fmt: skip
_MAX_NS = 2**62
"""In the year 2116, far from the end of a signed 64-bit number."""
_MAX_SEQUENCE = 2**63 - 1
_LONGEST_NAME = 128
_LONGEST_WORD = 256
_MOST_WORDS = 4096
_DIGEST = re.compile(r"(?:[0-9a-f]{64})?")


class BatchError(ValueError):
    """A batch that must not reach Kafka.

    ``code`` is one of ``identity, length, type, nan, range, time, future, size``; ``field`` is the path of the
    field at fault, such as ``columns[Vehicle.Speed].values``; the message says what is wrong and what to do.
    """

    def __init__(self, code: str, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.code = code
        self.field = field


@dataclass(frozen=True, slots=True)
class CheckedBatch:
    """A batch that passed the check."""

    batch: FrameBatch
    """The batch without the dropped columns."""
    dropped: tuple[str, ...]
    """Names of the dropped columns."""


def validate(batch: FrameBatch, catalogue: SignalCatalogue, now_utc_ns: int) -> CheckedBatch:
    """Check a batch and convert its columns to the catalogue's types and codes.

    Unknown signals, and enum columns with a value that the catalogue does not list, are dropped: a vehicle with
    newer firmware must still be able to send. NaN is refused unless the catalogue allows it; infinity is always
    refused.

    Args:
        batch: The batch as decoded.
        catalogue: The signals and limits to check against.
        now_utc_ns: The receiver's clock, nanoseconds UTC.

    Raises:
        BatchError: Anything else is wrong.
    """
    limits = catalogue.limits
    _check_identity(batch)
    _check_clock(batch, limits, now_utc_ns)
    if len(batch.columns) > limits.max_columns:
        raise BatchError("size", "columns", f"{len(batch.columns)} columns, at most {limits.max_columns}")
    kept: dict[str, Column] = {}
    dropped: list[str] = []
    changed = False
    timed: list[tuple[str, npt.NDArray[np.int64]]] = [("frame_offsets_ns", batch.frame_offsets_ns)]
    frames = len(batch.frame_offsets_ns)
    groups: dict[str, tuple[str, Column]] = {}
    by_type: dict[tuple[str, bool], list[tuple[Signal, npt.NDArray[Any]]]] = {}
    for path, column in batch.columns.items():
        signal = catalogue.signals.get(path)
        if signal is None:
            _check_name(path)
            dropped.append(path)
            continue
        known = _with_catalogue_values(signal, column)
        if known is None:
            dropped.append(path)
            continue
        changed = changed or known is not column
        _check_shape(signal, known, frames, limits)
        if known.offsets_ns is not None:
            timed.append((f"columns[{path}].offsets_ns", known.offsets_ns))
        if known.splits is not None:
            _check_group(groups, signal, known)
        if len(known.values) and signal.kind not in ("enum", "string"):
            key = ("uint8" if signal.kind == "bool" else signal.kind, signal.nan_allowed)
            by_type.setdefault(key, []).append((signal, known.values))
        kept[path] = known
    _check_groups_have_ids(groups, kept, catalogue)
    _check_times(timed, limits)
    for (kind, nan_allowed), entries in by_type.items():
        _check_ranges(kind, nan_allowed, entries)
    if dropped or changed:
        batch = replace(batch, columns=kept)
    return CheckedBatch(batch, tuple(dropped))


def _check_identity(batch: FrameBatch) -> None:
    for field, text in (("fleet_id", batch.fleet_id), ("vehicle_id", batch.vehicle_id)):
        if not 0 < len(text) <= 128 or not text.isprintable():
            raise BatchError("identity", field, "must be 1 to 128 printable characters")
    if not 8 <= len(batch.boot_id) <= 16:
        raise BatchError("identity", "boot_id", f"has {len(batch.boot_id)} bytes; send 8 to 16 random ones per start")
    if not 0 <= batch.sequence <= _MAX_SEQUENCE:
        raise BatchError("identity", "sequence", f"is not 0 to {_MAX_SEQUENCE}; count the batches of a boot from 0")
    for field, digest in (("model_digest", batch.model_digest), ("shadow_model_digest", batch.shadow_digest)):
        if not _DIGEST.fullmatch(digest):
            raise BatchError("identity", field, "must be empty or 64 lower-case hex digits, a SHA-256")


def _check_clock(batch: FrameBatch, limits: BatchLimits, now_utc_ns: int) -> None:
    frames = len(batch.frame_offsets_ns)
    if frames == 0:
        raise BatchError("length", "frame_offsets_ns", "is empty; a batch has at least one frame")
    if frames > limits.max_frames:
        raise BatchError(
            "size", "frame_offsets_ns", f"{frames} frames, at most {limits.max_frames}: send more batches"
        )
    if not 0 <= batch.start_monotonic_ns < _MAX_NS:
        raise BatchError("time", "start_monotonic_ns", "must be a monotonic clock's nanoseconds, not negative")
    if not 0 <= batch.start_utc_ns < _MAX_NS:
        raise BatchError("time", "start_utc_ns", "must be nanoseconds since 1970, before the year 2116")
    ahead_ns = batch.start_utc_ns + int(batch.frame_offsets_ns[-1]) - now_utc_ns
    if ahead_ns > seconds_to_ns(limits.max_future_s):
        raise BatchError("future", "start_utc_ns", f"the batch ends {ns_to_seconds(ahead_ns):.1f} "
            "s in the future, at most "
                           f"{limits.max_future_s:g} s is accepted: correct the vehicle's clock")  # fmt: skip


def _check_name(path: str) -> None:
    """Check the name of a column that the catalogue does not have: the answer and a metric repeat it."""
    if not 0 < len(path) <= _LONGEST_NAME or not path.isprintable():
        raise BatchError("size", "columns", f"a signal's name has 1 to {_LONGEST_NAME} printable characters")


def _check_groups_have_ids(
    groups: Mapping[str, tuple[str, Column]], kept: Mapping[str, Column], catalogue: SignalCatalogue
) -> None:
    """Check that every track group that the batch has comes with its `Id`, without which no list has a meaning."""
    for group, (path, _) in groups.items():
        identity = f"{group}.Id"
        if identity in catalogue.signals and identity not in kept:
            raise BatchError(
                "length", f"columns[{identity}]", f"is missing, but {path} is there: send both, or neither"
            )


def _with_catalogue_values(signal: Signal, column: Column) -> Column | None:
    """Return the column in the catalogue's type or codes; None when an enum value is unknown."""
    values = column.values
    if signal.kind in ("enum", "string"):
        field = f"columns[{signal.path}]"
        words = column.dictionary or signal.values
        if values.dtype.kind != "u" or not words:
            raise BatchError("type", field, f"a {signal.kind} is unsigned codes and a dictionary")
        if len(values) and int(values.max()) >= len(words):
            raise BatchError("range", f"{field}.values", "has a code beyond its dictionary")
        if column.dictionary == signal.values:
            return column
        if len(words) > _MOST_WORDS or any(len(word) > _LONGEST_WORD or not word.isprintable() for word in words):
            raise BatchError(
                "size",
                f"{field}.dictionary",
                f"at most {_MOST_WORDS} words of {_LONGEST_WORD} printable characters",
            )
        if signal.kind == "string":
            return column
        if not column.dictionary:
            return replace(column, dictionary=signal.values)
        if not set(column.dictionary) <= set(signal.values):
            return None
        codes = np.array([signal.values.index(word) for word in column.dictionary], values.dtype)
        return replace(column, values=codes[values], dictionary=signal.values)
    if column.dictionary:
        where = f"columns[{signal.path}].dictionary"
        raise BatchError("type", where, f"is for words, and the catalogue says {signal.kind}: leave it out")
    wanted = _DTYPES[signal.kind]
    if values.dtype == wanted:
        return column
    numeric = signal.kind != "bool" and values.dtype.kind in "iuf"
    if not numeric or not np.can_cast(values.dtype, wanted, "same_kind"):
        raise BatchError("type", f"columns[{signal.path}]", f"is {values.dtype}, the catalogue says {signal.kind}")
    if values.dtype.kind in "iu" and len(values) and signal.kind in ("int32", "int64"):
        info = np.iinfo(wanted)
        if int(values.min()) < info.min or int(values.max()) > info.max:
            raise BatchError("range", f"columns[{signal.path}].values", f"does not fit {signal.kind}")
    with np.errstate(over="ignore"):  # too large a float becomes infinite, which the range check refuses
        return replace(column, values=values.astype(wanted))


def _check_shape(signal: Signal, column: Column, frames: int, limits: BatchLimits) -> None:
    field = f"columns[{signal.path}]"
    splits = column.splits
    if signal.ragged != (splits is not None):
        raise BatchError("length", f"{field}.splits", "must be given for a list-valued signal and for no other")
    if len(column.values) > limits.max_values:
        raise BatchError("size", f"{field}.values", f"{len(column.values)} values, at most {limits.max_values}")
    total = len(column.values)
    if splits is not None and (
        len(splits) == 0 or splits[0] != 0 or splits[-1] != total or bool((splits[1:] < splits[:-1]).any())
    ):
        raise BatchError("length", f"{field}.splits", f"must rise from 0 to the number of values, {total}")
    rows = column.rows()
    expected = frames if column.offsets_ns is None else len(column.offsets_ns)
    if rows != expected:
        where = "the batch has frames" if column.offsets_ns is None else "the column has offsets"
        raise BatchError("length", f"{field}.values", f"has {rows} instants, but {where}: {expected}")
    if expected > limits.max_frames:
        raise BatchError("size", f"{field}.offsets_ns", f"{expected} instants, at most {limits.max_frames}")


def _check_group(groups: dict[str, tuple[str, Column]], signal: Signal, column: Column) -> None:
    """Check that the lists of one track group are parallel: same instants, same lengths.

    `groups` holds the first column of each group; this column is added when it is the first.
    """
    path, first = groups.setdefault(signal.group(), (signal.path, column))
    if first is column:
        return
    same_time = (first.offsets_ns is None) == (column.offsets_ns is None) and (
        first.offsets_ns is column.offsets_ns or np.array_equal(first.offsets_ns, column.offsets_ns)  # type: ignore[arg-type]
    )
    if not same_time or not np.array_equal(first.splits, column.splits):  # type: ignore[arg-type]
        raise BatchError("length", f"columns[{signal.path}].splits", f"must equal those of {path}: parallel lists")


def _check_times(timed: Sequence[tuple[str, npt.NDArray[np.int64]]], limits: BatchLimits) -> None:
    """Check that each array of offsets never decreases and stays between 0 and the longest span."""
    timed = [(field, offsets) for field, offsets in timed if len(offsets)]
    flat = timed[0][1] if len(timed) == 1 else np.concatenate([offsets for _, offsets in timed])
    lengths = [len(offsets) for _, offsets in timed]
    ends = np.cumsum(lengths)
    firsts, lasts = flat[ends - lengths], flat[ends - 1]
    longest_ns = seconds_to_ns(limits.max_span_s)
    if bool((firsts < 0).any()) or bool((lasts > longest_ns).any()):
        index = int(np.argmax((firsts < 0) | (lasts > longest_ns)))
        raise BatchError("time", timed[index][0], f"must lie between 0 and {limits.max_span_s:g} s from the start")
    back = flat[1:] < flat[:-1]
    back[ends[:-1] - 1] = False  # from the end of one array to the start of the next, time may go backwards
    if bool(back.any()):
        index = int(np.searchsorted(ends, int(np.argmax(back)), side="right"))
        raise BatchError("time", timed[index][0], "time runs backwards; send instants in their order")


def _check_ranges(kind: str, nan_allowed: bool, entries: Sequence[tuple[Signal, npt.NDArray[Any]]]) -> None:
    """Check minimum and maximum of all columns of one type, in one reduction.

    Without `nan_allowed`, a NaN makes its column's minimum and maximum NaN, which fails both comparisons.
    """
    arrays = (
        [values.view(np.uint8) for _, values in entries] if kind == "uint8" else [values for _, values in entries]
    )
    flat = arrays[0] if len(arrays) == 1 else np.concatenate(arrays)
    lengths = np.array([len(a) for a in arrays], np.intp)
    starts: npt.NDArray[np.intp] = np.cumsum(lengths) - lengths
    if nan_allowed:
        low, high = np.fmin.reduceat(flat, starts), np.fmax.reduceat(flat, starts)
    else:
        low, high = np.minimum.reduceat(flat, starts), np.maximum.reduceat(flat, starts)
    if kind == "uint8":
        if int(high.max()) > 1:
            signal = entries[int(np.argmax(high))][0]
            raise BatchError("range", f"columns[{signal.path}].values", "a bool is the byte 0 or 1")
        return
    for (signal, _), least, most in zip(entries, low.tolist(), high.tolist(), strict=True):
        if signal.minimum <= least and most <= signal.maximum and -np.inf < least and most < np.inf:
            continue
        field = f"columns[{signal.path}].values"
        if least != least:  # true only for NaN
            if nan_allowed:
                continue  # every value is NaN
            raise BatchError(
                "nan", field, "has NaN, which the catalogue does not allow: leave the column out instead"
            )
        if least == -np.inf or most == np.inf:
            raise BatchError("range", field, "has an infinite value")
        wrong = least if least < signal.minimum else most
        raise BatchError(
            "range", field, f"{wrong:g} {signal.unit} is outside {signal.minimum:g} to {signal.maximum:g}"
        )
