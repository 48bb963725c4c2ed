"""Finds the columns in batches' bytes without making an object of anything.

The wire format is that of ``fleet.telemetry.v1.TelemetryBatch``. A batch that is written as protobuf writes it
(fields in their order, nothing unknown) and that passes every check of ``fleetloop.domain.validation`` is *plain*;
of all others only that is said, and the caller decodes them in the ordinary way to say what is wrong.
"""

from __future__ import annotations

import numpy as np

from fleetloop.triggerlang.kernels import kernel
from fleetloop.triggerlang.kernels.opcodes import Kind

START_NS, UTC_NS, SEQUENCE, END_NS, FRAMES, FRAME_AT, KEY_END = range(7)
PLAIN, OTHER = 1, 0
_NEEDED = 1 << 1 | 1 << 2 | 1 << 3 | 1 << 7 | 1 << 8
"""Fleet, vehicle, boot, the source of UTC, frames."""


@kernel
def varint(data, at, end):
    """A varint below 2**63 and where it ends; -1 where it is cut short or too long."""
    value = np.int64(0)
    shift = 0
    while at < end and shift < 63:
        byte = np.int64(data[at])
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            # one value has one spelling, or a vehicle's name would have several
            if byte == 0 and shift > 0:
                return np.int64(-1), at
            return value, at
        shift += 7
    return np.int64(-1), at


@kernel
def same_bytes(data, a, b, n):
    """Whether two stretches are equal."""
    for i in range(n):
        if data[a + i] != data[b + i]:
            return False
    return True


@kernel
def rises(data, at, n, longest_ns):
    """Whether n int64 offsets never fall and lie between 0 and the longest."""
    offsets = data[at : at + 8 * n].view(np.int64)
    fine = n == 0 or (offsets[0] >= 0 and offsets[n - 1] <= longest_ns)
    falls = 0
    for i in range(1, n):
        falls += offsets[i] < offsets[i - 1]
    return fine and falls == 0


@kernel
def within(data, at, n, kind, least, most, nan_allowed, words):
    """Whether n values are in the catalogue's range."""
    wrong = 0
    if kind == Kind.FLOAT32:
        f4 = data[at : at + 4 * n].view(np.float32)
        if nan_allowed:
            for i in range(n):
                v = f4[i]
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
            wrong += not (fits | (nan_allowed & (v8 != v8)))
    elif kind == Kind.ENUM:
        u2 = data[at : at + 2 * n].view(np.uint16)
        for i in range(n):
            wrong += u2[i] >= words
    elif kind == Kind.INT32:
        i4 = data[at : at + 4 * n].view(np.int32)
        for i in range(n):
            wrong += (i4[i] < least) | (i4[i] > most)
    elif kind == Kind.INT64:
        i8 = data[at : at + 8 * n].view(np.int64)
        low = np.int64(np.ceil(max(least, -(2.0**62))))
        high = np.int64(np.floor(min(most, 2.0**62)))
        for i in range(n):
            wrong += (i8[i] < low) | (i8[i] > high)
    else:
        for i in range(n):
            wrong += data[at + i] > 1
    return wrong == 0


@kernel
def printable(data, at, n):
    """Whether 1 to 128 bytes are plain printable ASCII."""
    if n < 1 or n > 128:
        return False
    for i in range(n):
        if data[at + i] < 32 or data[at + i] > 126:
            return False
    return True


@kernel
def ascii_only(data, at, n):
    """Whether bytes are ASCII, so that no decoder can refuse them as text."""
    high = np.uint8(0)
    for i in range(n):
        high |= data[at + i]
    return high < 128


@kernel
def column_of(data, at, n, names, name_at, guess):
    """Which wanted column a name is, -1 for none. The one that stood here in the batch before is tried first."""
    if guess >= 0 and name_at[guess + 1] - name_at[guess] == n:
        begin = name_at[guess]
        same = True
        for i in range(n - 1, -1, -1):
            if data[at + i] != names[begin + i]:
                same = False
                break
        if same:
            return guess
    for c in range(len(name_at) - 1):
        begin = name_at[c]
        if name_at[c + 1] - begin != n:
            continue
        same = True
        for i in range(n - 1, -1, -1):
            if data[at + i] != names[begin + i]:
                same = False
                break
        if same:
            return c
    return -1


@kernel
def scan_batch(
    data, at, end, checked, names, name_at, words, word_at, word_count, kinds, types, sizes, ragged, least, most,
    nan_allowed, group_of, limits, head, pieces, guesses, guess_at,
):  # fmt: skip
    """Fills one batch's ``head`` and ``pieces``; returns whether it is plain.

    ``pieces`` are (columns, 4): where the values begin (-1: no such column), how many instants, where their
    offsets begin (-1: the frames'; columns with equal offsets have one place) and where the splits begin.
    ``checked``: the values passed the catalogue before, and only the layout is looked at.
    """
    pieces[:, 0] = -1
    max_frames, max_values, longest_ns = limits[0], limits[1], limits[2]
    begin, field, position, present = at, 0, 0, 0
    head[:] = 0
    head[FRAME_AT] = -1
    newest = np.int64(0)
    while at < end:
        tag, at = varint(data, at, end)
        number, wire = tag >> 3, tag & 7
        if tag < 0 or number < field or (number == field and number != 9) or number > 11:
            return OTHER
        field = number
        present |= 1 << number
        if number == 5 or number == 6:
            if wire != 1 or at + 8 > end:
                return OTHER
            value = data[at : at + 8].view(np.int64)[0]
            head[START_NS if number == 5 else UTC_NS] = value
            at += 8
            continue
        if number == 4 or number == 7:
            value, at = varint(data, at, end)
            if wire != 0 or value < 0:
                return OTHER
            if number == 4:
                head[SEQUENCE] = value
            elif value < 1 or value > 4:
                return OTHER
            continue
        size, at = varint(data, at, end)
        if wire != 2 or size < 0 or at + size > end:
            return OTHER
        if number <= 2:
            if not checked and not printable(data, at, size):
                return OTHER
        elif number >= 10:
            if not ascii_only(data, at, size):
                return OTHER
        elif number == 3:
            if size < 8 or size > 16:
                return OTHER
            head[KEY_END] = at + size - begin
        elif number == 8:
            frames = size // 8
            if size % 8 or frames == 0 or frames > max_frames or not rises(data, at, frames, longest_ns):
                return OTHER
            head[FRAMES], head[FRAME_AT] = frames, at
            newest = data[at + size - 8 : at + size].view(np.int64)[0]
        elif number == 9:
            if head[FRAMES] == 0:
                return OTHER
            # one column
            inner, stop, inner_field = at, at + size, 0
            name = name_size = values = values_size = offsets = offsets_size = splits = splits_size = np.int64(0)
            kind = words_begin = words_end = np.int64(0)
            while inner < stop:
                tag, inner = varint(data, inner, stop)
                number, wire = tag >> 3, tag & 7
                if tag < 0 or number < inner_field or (number == inner_field and number != 6) or number > 6:
                    return OTHER
                inner_field = number
                before = inner - 1
                amount, inner = varint(data, inner, stop)
                if amount < 0 or number == 0:
                    return OTHER
                if number == 2:
                    if wire != 0:
                        return OTHER
                    kind = amount
                    continue
                if wire != 2 or inner + amount > stop:
                    return OTHER
                if number == 1:
                    name, name_size = inner, amount
                elif number == 3:
                    values, values_size = inner, amount
                elif number == 4:
                    offsets, offsets_size = inner, amount
                elif number == 5:
                    splits, splits_size = inner, amount
                else:
                    words_begin = before if words_begin == 0 else words_begin
                    words_end = inner + amount
                inner += amount
            guess = guesses[position] if position < len(guesses) else np.int64(-2)
            # a column that nobody wants is known again by its name's place in the batch before
            again = guess == -1 and guess_at[position, 1] == name_size
            again = again and same_bytes(data, guess_at[position, 0], name, name_size)
            column = np.int64(-1) if again else column_of(data, name, name_size, names, name_at, guess)
            if column < 0 and not again and not ascii_only(data, name, name_size):
                return OTHER
            if position < len(guesses):
                guesses[position] = column
                guess_at[position, 0], guess_at[position, 1] = name, name_size
            position += 1
            if offsets_size > 0:
                if offsets_size % 8:
                    return OTHER
                last = data[offsets + offsets_size - 8 : offsets + offsets_size].view(np.int64)[0]
                if last < 0 or last > longest_ns:
                    return OTHER
                newest = max(newest, last)
            if column < 0:
                if not ascii_only(data, words_begin, words_end - words_begin):
                    return OTHER
                at += size
                continue
            if pieces[column, 0] >= 0 or kind != types[column] or values_size % sizes[column]:
                return OTHER
            total = values_size // sizes[column]
            rows = offsets_size // 8 if offsets_size > 0 else head[FRAMES]
            if total > max_values or rows > max_frames or (splits_size > 0) != ragged[column]:
                return OTHER
            if ragged[column]:
                if splits_size != 4 * (rows + 1):
                    return OTHER
                ends = data[splits : splits + splits_size].view(np.uint32)
                falls = 0
                for i in range(rows):
                    falls += ends[i + 1] < ends[i]
                if falls or ends[0] != 0 or ends[rows] != total:
                    return OTHER
            elif total != rows:
                return OTHER
            if kinds[column] == Kind.ENUM:
                size_of_words = words_end - words_begin
                if size_of_words > 0:
                    if size_of_words != word_at[column + 1] - word_at[column]:
                        return OTHER
                    for i in range(size_of_words):
                        if data[words_begin + i] != words[word_at[column] + i]:
                            return OTHER
            elif words_end > 0:
                return OTHER
            if (not checked or kinds[column] == Kind.ENUM or kinds[column] == Kind.BOOL) and not within(
                data, values, total, kinds[column], least[column], most[column], nan_allowed[column],
                word_count[column],
            ):  # fmt: skip
                return OTHER
            place = np.int64(-1)
            if offsets_size > 0:
                place = offsets
                for c in range(len(kinds)):
                    other = pieces[c, 2]
                    if pieces[c, 0] >= 0 and other >= 0 and pieces[c, 1] == rows:
                        if same_bytes(data, other, offsets, offsets_size):
                            place = other
                            break
                if place == offsets and not rises(data, offsets, rows, longest_ns):
                    return OTHER
            pieces[column, 0], pieces[column, 1], pieces[column, 2] = values, rows, place
            pieces[column, 3] = splits if ragged[column] else -1
        at += size
    # the lists of a track group belong together
    for column in range(len(kinds)):
        first = group_of[column]
        if first < 0 or pieces[column, 0] < 0 or column == first:
            continue
        rows = pieces[column, 1]
        if pieces[first, 0] < 0 or pieces[first, 1] != rows or pieces[first, 2] != pieces[column, 2]:
            return OTHER
        if not same_bytes(data, pieces[first, 3], pieces[column, 3], 4 * (rows + 1)):
            return OTHER
    if present & _NEEDED != _NEEDED or head[FRAMES] == 0 or head[START_NS] < 0 or head[START_NS] >= 2**62:
        return OTHER
    head[END_NS] = head[START_NS] + newest
    return PLAIN


@kernel
def scan(
    data, at, checked, names, name_at, words, word_at, word_count, kinds, types, sizes, ragged, least, most,
    nan_allowed, group_of, limits, heads, pieces, guesses, guess_at, plain,
):  # fmt: skip
    """Looks through batches that lie at data[at[i]:at[i + 1]]; fills ``heads``, ``pieces`` and ``plain``."""
    guesses[:] = -2
    guess_at[:] = 0
    for i in range(len(at) - 1):
        plain[i] = scan_batch(
            data, at[i], at[i + 1], checked[i], names, name_at, words, word_at, word_count, kinds, types, sizes,
            ragged, least, most, nan_allowed, group_of, limits, heads[i], pieces[i], guesses, guess_at,
        )  # fmt: skip
