"""Finds the columns in batches' bytes without making a Python object of any of them.

The wire format is that of ``fleet.telemetry.v1.TelemetryBatch``. A batch is *plain* if it is written as protobuf
writes it (fields in the order of their numbers, none unknown) and passes every check of
``fleetloop.domain.validation``. Batches that are not plain are only marked: the caller decodes them in the ordinary
way, which finds out what is wrong.
"""

from __future__ import annotations

from fleetloop.triggerlang.kernels import Bytes, Flags, Ints, kernel
from fleetloop.triggerlang.kernels.arguments import ColumnOrder, ExpectedColumns
from fleetloop.triggerlang.kernels.opcodes import TAG_BITS, BatchField, UtcSource, Wire
from fleetloop.triggerlang.kernels.scan_column import REFUSED, scan_column
from fleetloop.triggerlang.kernels.tables import (
    END_NS,
    FAR_FUTURE_NS,
    FRAME_AT,
    FRAMES,
    KEY_END,
    PIECE_OFFSETS,
    PIECE_ROWS,
    PIECE_SPLITS,
    PIECE_VALUES,
    SEQUENCE,
    START_NS,
    UTC_NS,
)
from fleetloop.triggerlang.kernels.wire import hex_digest, int64_at, printable, rises, same_bytes, varint

_REQUIRED = (
    1 << BatchField.FLEET_ID
    | 1 << BatchField.VEHICLE_ID
    | 1 << BatchField.BOOT_ID
    | 1 << BatchField.UTC_SOURCE
    | 1 << BatchField.FRAME_OFFSETS_NS
)
"""Bits of the fields that a batch must have; the others may be missing because they are 0 or empty."""
_BOOT_ID_LEAST, _BOOT_ID_MOST = 8, 16
"""Bytes of a boot id."""


@kernel
def scan_number(data: Bytes, at: int, end: int, number: int, wire: int, head: Ints) -> int:
    """Reads one of the fields that are numbers; returns where the next field begins, or REFUSED."""
    if number == BatchField.START_MONOTONIC_NS or number == BatchField.START_UTC_NS:
        if wire != Wire.FIXED64 or at + 8 > end:
            return REFUSED
        head[START_NS if number == BatchField.START_MONOTONIC_NS else UTC_NS] = int64_at(data, at)
        return at + 8
    value, at = varint(data, at, end)
    if wire != Wire.VARINT or value < 0:
        return REFUSED
    if number == BatchField.SEQUENCE:
        head[SEQUENCE] = value
    elif value < UtcSource.GNSS or value > UtcSource.SIMULATED:
        return REFUSED
    return at


@kernel
def text_fits(data: Bytes, at: int, size: int, number: int, checked: bool) -> bool:
    """Whether a name, the boot id or a digest can be what it has to be."""
    if number == BatchField.BOOT_ID:
        return _BOOT_ID_LEAST <= size <= _BOOT_ID_MOST
    if number == BatchField.FLEET_ID or number == BatchField.VEHICLE_ID:
        return checked or printable(data, at, size)
    return size == 0 or hex_digest(data, at, size)


@kernel
def groups_fit(data: Bytes, group_of: Ints, pieces: Ints) -> bool:
    """Whether the lists of each track group belong together: the same instants, and the same lengths of lists."""
    for column in range(len(group_of)):
        first = group_of[column]
        if first < 0 or pieces[column, PIECE_VALUES] < 0 or column == first:
            continue
        rows = pieces[column, PIECE_ROWS]
        if pieces[first, PIECE_VALUES] < 0 or pieces[first, PIECE_ROWS] != rows:
            return False
        if pieces[first, PIECE_OFFSETS] != pieces[column, PIECE_OFFSETS]:
            return False
        if not same_bytes(data, pieces[first, PIECE_SPLITS], pieces[column, PIECE_SPLITS], 4 * (rows + 1)):
            return False
    return True


@kernel
def scan_batch(
    data: Bytes,
    at: int,
    end: int,
    checked: bool,
    expected: ExpectedColumns,
    order: ColumnOrder,
    head: Ints,
    pieces: Ints,
) -> bool:
    """Fills the ``head`` and ``pieces`` of the batch that lies at data[at:end]; returns whether it is plain."""
    pieces[:, PIECE_VALUES] = -1
    head[:] = 0
    head[FRAME_AT] = -1
    begin, field, position, present, newest_ns = at, 0, 0, 0, 0
    while at < end:
        tag, at = varint(data, at, end)
        number, wire = tag >> TAG_BITS, tag & 7
        repeated = number == field and number != BatchField.COLUMNS
        if tag < 0 or number < field or repeated or number > BatchField.SHADOW_MODEL_DIGEST:
            return False
        field = number
        present |= 1 << number
        if number in (
            BatchField.START_MONOTONIC_NS, BatchField.START_UTC_NS, BatchField.SEQUENCE, BatchField.UTC_SOURCE
        ):  # fmt: skip
            at = scan_number(data, at, end, number, wire, head)
            if at == REFUSED:
                return False
            continue
        size, at = varint(data, at, end)
        if wire != Wire.LENGTH or size < 0 or at + size > end:
            return False
        if number == BatchField.COLUMNS:
            if head[FRAMES] == 0:
                return False
            own_ns = scan_column(data, at, at + size, position, head[FRAMES], checked, expected, order, pieces)
            if own_ns == REFUSED:
                return False
            newest_ns = max(newest_ns, own_ns)
            position += 1
        elif number == BatchField.FRAME_OFFSETS_NS:
            frames = size // 8
            if size % 8 or frames == 0 or frames > expected.max_frames:
                return False
            if not rises(data, at, frames, expected.max_span_ns):
                return False
            head[FRAMES], head[FRAME_AT] = frames, at
            newest_ns = int64_at(data, at + size - 8)
        elif not text_fits(data, at, size, number, checked):
            return False
        at += size
        if number == BatchField.BOOT_ID:
            head[KEY_END] = at - begin
    if present & _REQUIRED != _REQUIRED or head[FRAMES] == 0:
        return False
    if head[START_NS] < 0 or head[START_NS] >= FAR_FUTURE_NS or head[UTC_NS] < 0 or head[UTC_NS] >= FAR_FUTURE_NS:
        return False
    head[END_NS] = head[START_NS] + newest_ns
    return groups_fit(data, expected.group_of, pieces)


@kernel
def scan(
    data: Bytes, at: Ints, checked: Flags, expected: ExpectedColumns, order: ColumnOrder, heads: Ints, pieces: Ints,
    plain: Flags,
) -> None:  # fmt: skip
    """Scans batches that lie at data[at[i]:at[i + 1]].

    ``checked`` batches passed the catalogue before, so only their layout is checked. Fills ``heads``
    ((batches, HEAD_WIDTH)), ``pieces`` ((batches, columns, PIECE_WIDTH)) and ``plain`` ((batches,)).
    """
    order.columns[:] = -2
    order.names[:] = 0
    for i in range(len(at) - 1):
        plain[i] = scan_batch(data, at[i], at[i + 1], checked[i], expected, order, heads[i], pieces[i])
