"""Finds one column's values, offsets and splits in a batch's bytes, and checks them against the catalogue."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from fleetloop.triggerlang.kernels import Bytes, Ints, inlined, int64, kernel
from fleetloop.triggerlang.kernels.arguments import ColumnOrder, ExpectedColumns
from fleetloop.triggerlang.kernels.opcodes import TAG_BITS, ColumnField, Kind, Wire
from fleetloop.triggerlang.kernels.tables import PIECE_OFFSETS, PIECE_ROWS, PIECE_SPLITS, PIECE_VALUES
from fleetloop.triggerlang.kernels.wire import ascii_only, int64_at, rises, same_bytes, varint

REFUSED = -2
"""The batch is not plain."""
NOT_READ = -1
"""No instruction reads the column."""
_INT64_LIMIT = 2.0**62
"""Catalogue limits of int64 signals are cut to this: a larger float does not fit into an int64."""


class ColumnBytes(NamedTuple):
    """Where the fields of a column are, as positions in the data and sizes in bytes; 0 for a missing field."""

    well_formed: bool
    name: int
    name_size: int
    value_type: int
    values: int
    values_size: int
    offsets: int
    offsets_size: int
    splits: int
    splits_size: int
    dictionary: int
    dictionary_end: int


@kernel
def parse_column(data: Bytes, at: int, stop: int) -> ColumnBytes:
    """The fields of a column message that lies at data[at:stop]."""
    field = 0
    name = name_size = values = values_size = offsets = offsets_size = splits = splits_size = 0
    value_type = dictionary = dictionary_end = 0
    well_formed = True
    while at < stop:
        tag, at = varint(data, at, stop)
        number, wire = tag >> TAG_BITS, tag & 7
        repeated = number == field and number != ColumnField.DICTIONARY
        if tag < 0 or number < field or repeated or number > ColumnField.DICTIONARY:
            well_formed = False
            break
        field = number
        tag_at = at - 1  # the tags of all known fields are one byte
        amount, at = varint(data, at, stop)
        if number == ColumnField.TYPE:
            if wire != Wire.VARINT or amount < 0:
                well_formed = False
                break
            value_type = amount
            continue
        if wire != Wire.LENGTH or amount < 0 or at + amount > stop:
            well_formed = False
            break
        if number == ColumnField.SIGNAL:
            name, name_size = at, amount
        elif number == ColumnField.VALUES:
            values, values_size = at, amount
        elif number == ColumnField.OFFSETS_NS:
            offsets, offsets_size = at, amount
        elif number == ColumnField.SPLITS:
            splits, splits_size = at, amount
        else:
            dictionary = tag_at if dictionary == 0 else dictionary
            dictionary_end = at + amount
        at += amount
    return ColumnBytes(
        well_formed, name, name_size, value_type, values, values_size, offsets, offsets_size, splits, splits_size,
        dictionary, dictionary_end,
    )  # fmt: skip


@kernel
def is_name_of(data: Bytes, at: int, n: int, column: int, names: Bytes, name_at: Ints) -> bool:
    """Whether n bytes are the name of a column that is read."""
    begin = name_at[column]
    if name_at[column + 1] - begin != n:
        return False
    # Names of one kind begin alike (Vehicle., Perception.), so comparing from the end finds differences sooner.
    for i in range(n - 1, -1, -1):
        if data[at + i] != names[begin + i]:
            return False
    return True


@kernel
def which_column(
    data: Bytes, at: int, n: int, position: int, names: Bytes, name_at: Ints, columns: Ints, names_before: Ints
) -> int:
    """The column that has a name, NOT_READ if the program does not read it, or REFUSED where the name is not text.

    The column that was at the position in the batch before is tried first. A column that is not read is recognised by
    the bytes of its name in that batch.
    """
    remembered = position < len(columns)
    guess = columns[position] if remembered else -2
    if guess >= 0 and is_name_of(data, at, n, guess, names, name_at):
        column = guess
    elif guess == NOT_READ and names_before[position, 1] == n and same_bytes(data, names_before[position, 0], at, n):
        column = NOT_READ
    else:
        column = NOT_READ
        for c in range(len(name_at) - 1):
            if is_name_of(data, at, n, c, names, name_at):
                column = c
                break
        if column == NOT_READ and not ascii_only(data, at, n):
            return REFUSED
    if remembered:
        columns[position] = column
        names_before[position, 0], names_before[position, 1] = at, n
    return column


@kernel
def within(
    data: Bytes, at: int, n: int, kind: int, least: float, most: float, nan_allowed: bool, dictionary_size: int
) -> bool:
    """Whether n values are in the catalogue's range. Counting faults lets the compiler compare several at once."""
    wrong = 0
    if kind == Kind.FLOAT32:
        f4 = data[at : at + 4 * n].view(np.float32)
        if nan_allowed:
            for i in range(n):
                v = f4[i]
                # NaN fails every comparison, so it is not counted.
                wrong += (v < least) | (v > most) | (v == np.inf) | (v == -np.inf)
        else:
            for i in range(n):
                v = f4[i]
                wrong += not ((v >= least) & (v <= most) & (v > -np.inf) & (v < np.inf))
    elif kind == Kind.FLOAT64:
        f8 = data[at : at + 8 * n].view(np.float64)
        for i in range(n):
            v8 = f8[i]
            fits = (v8 >= least) & (v8 <= most) & (v8 > -np.inf) & (v8 < np.inf)
            # v != v holds for NaN only.
            wrong += not (fits | (nan_allowed & (v8 != v8)))
    elif kind == Kind.ENUM:
        u2 = data[at : at + 2 * n].view(np.uint16)
        for i in range(n):
            wrong += u2[i] >= dictionary_size
    elif kind == Kind.INT32:
        i4 = data[at : at + 4 * n].view(np.int32)
        for i in range(n):
            wrong += (i4[i] < least) | (i4[i] > most)
    elif kind == Kind.INT64:
        i8 = data[at : at + 8 * n].view(np.int64)
        low = int64(np.ceil(max(least, -_INT64_LIMIT)))
        high = int64(np.floor(min(most, _INT64_LIMIT)))
        for i in range(n):
            wrong += (i8[i] < low) | (i8[i] > high)
    else:
        for i in range(n):
            wrong += data[at + i] > 1  # a bool is a byte 0 or 1
    return wrong == 0


@kernel
def splits_fit(data: Bytes, at: int, size: int, rows: int, total: int) -> bool:
    """Whether ``size`` bytes are the rows + 1 positions that divide all values into one list per row."""
    if size != 4 * (rows + 1):
        return False
    ends = data[at : at + size].view(np.uint32)
    falls = 0
    for i in range(rows):
        falls += ends[i + 1] < ends[i]
    return bool(falls == 0 and ends[0] == 0 and ends[rows] == total)


@kernel
def dictionary_fits(data: Bytes, at: int, end: int, expected: Bytes, begin: int, size: int) -> bool:
    """Whether an enum's dictionary is the catalogue's; it may also be left out."""
    if end == 0:
        return True
    if end - at != size:
        return False
    for i in range(size):
        if data[at + i] != expected[begin + i]:
            return False
    return True


@kernel
def offsets_of(data: Bytes, at: int, rows: int, longest_ns: int, pieces: Ints) -> int:
    """Where a column's own offsets are: equal ones that another column has, or these; REFUSED where they fall."""
    for c in range(len(pieces)):
        other: int = pieces[c, PIECE_OFFSETS]
        as_many = pieces[c, PIECE_VALUES] >= 0 and other >= 0 and pieces[c, PIECE_ROWS] == rows
        if as_many and same_bytes(data, other, at, 8 * rows):
            return other
    return at if rises(data, at, rows, longest_ns) else REFUSED


@kernel
def layout_fits(found: ColumnBytes, value_type: int, value_bytes: int, ragged: bool, rows: int) -> bool:
    """Whether a column has the catalogue's type and as many values as instants."""
    if found.value_type != value_type or found.values_size % value_bytes:
        return False
    if ragged:
        return found.splits_size > 0
    return found.splits_size == 0 and found.values_size // value_bytes == rows


@inlined
def scan_column(
    data: Bytes, at: int, stop: int, position: int, frames: int, checked: bool, expected: ExpectedColumns,
    order: ColumnOrder, pieces: Ints,
) -> int:  # fmt: skip
    """Fills the row in ``pieces`` of the column message that lies at data[at:stop].

    ``position`` counts the batch's columns. Returns the column's newest own offset (0 where it has the frames'), or
    REFUSED where the batch is not plain.
    """
    found = parse_column(data, at, stop)
    if not found.well_formed:
        return REFUSED
    column = which_column(
        data, found.name, found.name_size, position, expected.names, expected.name_at, order.columns, order.names
    )
    if column == REFUSED:
        return REFUSED
    newest = 0
    if found.offsets_size > 0:
        if found.offsets_size % 8:
            return REFUSED
        newest = int64_at(data, found.offsets + found.offsets_size - 8)
        if newest < 0 or newest > expected.max_span_ns:
            return REFUSED
    if column == NOT_READ:
        plain = ascii_only(data, found.dictionary, found.dictionary_end - found.dictionary)
        return newest if plain else REFUSED
    rows = found.offsets_size // 8 if found.offsets_size > 0 else frames
    kind, value_bytes, ragged = expected.kinds[column], expected.value_bytes[column], expected.ragged[column]
    total = found.values_size // value_bytes
    if pieces[column, PIECE_VALUES] >= 0 or total > expected.max_values or rows > expected.max_frames:
        return REFUSED
    if not layout_fits(found, expected.value_types[column], value_bytes, ragged, rows):
        return REFUSED
    if ragged and not splits_fit(data, found.splits, found.splits_size, rows, total):
        return REFUSED
    if kind == Kind.ENUM:
        begin = expected.dictionary_at[column]
        size = expected.dictionary_at[column + 1] - begin
        if not dictionary_fits(data, found.dictionary, found.dictionary_end, expected.dictionaries, begin, size):
            return REFUSED
    elif found.dictionary_end > 0:
        return REFUSED
    # Of a checked batch only what the kernels use as a position or a truth value is checked again.
    if (not checked or kind == Kind.ENUM or kind == Kind.BOOL) and not within(
        data, found.values, total, kind, expected.least[column], expected.most[column], expected.nan_allowed[column],
        expected.dictionary_size[column],
    ):  # fmt: skip
        return REFUSED
    offsets = -1
    if found.offsets_size > 0:
        offsets = offsets_of(data, found.offsets, rows, expected.max_span_ns, pieces)
        if offsets == REFUSED:
            return REFUSED
    pieces[column, PIECE_VALUES], pieces[column, PIECE_ROWS] = found.values, rows
    pieces[column, PIECE_OFFSETS] = offsets
    pieces[column, PIECE_SPLITS] = found.splits if ragged else -1
    return newest
