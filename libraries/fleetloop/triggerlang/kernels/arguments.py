"""What the kernels are given: groups of arrays, so that what belongs together is one argument.

Numba compiles a function for the exact types of its arguments, and types a NamedTuple by its fields. So each of these
is built in one place (``Machine``, ``Reader``), with the types below and C-contiguous arrays; other types would
compile everything a second time. Scalars that change during a run are in arrays, since a NamedTuple's fields cannot
be set.
"""

from __future__ import annotations

from typing import NamedTuple

from fleetloop.triggerlang.kernels import Bytes, Flags, Int32s, Ints, Numbers, Truths


class Log(NamedTuple):
    """The batches of a run, and the segments that they form. Written by ``Machine.run`` for each run."""

    data: Bytes
    """All batches' bytes, end to end; read-only."""
    pieces: Ints
    """(batches, columns, PIECE_WIDTH) where each column's bytes are, from ``scan``."""
    start_ns: Ints
    """(batches,) monotonic time of the start."""
    utc_ns: Ints
    """(batches,) UTC of the start."""
    append_ms: Ints
    """(batches,) the broker's UTC in milliseconds."""
    frame_at: Ints
    """(batches,) position in ``data`` of the frames' offsets."""
    batches: Ints
    """(batches of all segments,) row of each in the arrays above, segment after segment, in the order of time."""
    segment_first: Ints
    """(segments + 1,) position in ``batches`` of each segment's first."""
    end_ns: Ints
    """(segments,) monotonic time of the last instant of any column."""
    forget_ns: Ints
    """(segments,) remembered points up to here are forgotten; -1 for none."""
    late: Flags
    """(segments,) whether nothing of it is remembered."""
    memory: Bytes
    """What is remembered of all segments, end to end, as ``remembered`` describes; read-only."""
    memory_at: Ints
    """(segments,) position in ``memory`` of each."""
    memory_size: Ints
    """(segments,) bytes of each; 0 where nothing is remembered."""


class Program(NamedTuple):
    """The instructions and what they refer to. Written once by ``lowering``.

    Columns are what is read from the wire: first the scalar signals, then each track group's Id and fields. Sources
    are the scalar signals, then the track groups: source i is column i for a signal, and source ``scalars`` + g is
    group g.
    """

    kinds: Ints
    """(columns,) ``opcodes.Kind``."""
    scalars: int
    """How many of the columns are scalar signals."""
    group_first: Ints
    """(groups + 1,) column of each group's Id."""
    reach_ns: Ints
    """(sources,) how long before the last instant points are remembered."""
    instructions: Ints
    """(instructions, INSTRUCTION_WIDTH)."""
    part_first: Ints
    """(triggers + 2,) first instruction of each part: part 0 decides, part t + 1 is what trigger t's firings report.
    """
    number_writer: Ints
    """(number registers,) the instruction that writes each."""
    truth_writer: Ints
    """(truth registers,) the instruction that writes each."""
    unions: Ints
    """Sources of all unions, end to end."""
    union_first: Ints
    """(unions + 1,) position in ``unions`` of each."""
    constants: Numbers
    """(constants,) the first three are the truth values."""
    decisions: Ints
    """(triggers, 2) see ``tables``."""
    named_first: Ints
    """(triggers + 1,) position in ``named`` of each trigger's."""
    named: Ints
    """Truth registers of the named conditions."""
    evidence_first: Ints
    """(triggers + 1,) row in ``evidence`` of each trigger's first."""
    evidence: Ints
    """(reported values, 2) see ``tables``."""


class Rules(NamedTuple):
    """When a trigger whose condition is true fires; arrays of (triggers,). Written by the caller of ``Machine``."""

    always: Flags
    """In every slot while the condition is true, not only where it turns true."""
    fenced: Flags
    """Only within a geofence: then every moment is reported, since a later one of a slot may be inside."""
    interval_ns: Ints
    """Length of a slot; only the first moment of a slot is reported."""
    from_ns: Ints
    """UTC from which on the trigger is in force."""
    until_ns: Ints
    """UTC until which it is in force; 0 for no end."""
    memory_s: int
    """For how many seconds it is remembered that a condition was false."""


class Pools(NamedTuple):
    """The room in which one vehicle after the other is evaluated. ``Tables.tops`` says how much of each is in use.

    ``numbers`` and ``truths`` begin with a page of each constant: a register that is constant points there.
    """

    times: Ints
    """Instants in ns of monotonic time, and track ids; written while reading and by ``unions``."""
    numbers: Numbers
    """Values of signals and of number registers, NaN where unknown; written while reading and by ``execution``."""
    truths: Truths
    """The same of conditions, as truth values."""
    positions: Ints
    """Positions within the other pools, lengths and scratch; written by all."""
    sums: Numbers
    """(10, longest timeline) scratch of windows."""
    page: int
    """Elements of a page, which no query may exceed."""
    constants: int
    """Elements at the beginning of ``numbers`` and of ``truths`` that are pages of constants."""


class Tables(NamedTuple):
    """What is known of the vehicle that is being evaluated. Columns are described in ``tables``."""

    tops: Ints
    """(TOPS,) how far the pools and tables are filled."""
    timelines: Ints
    """(timelines, TL_WIDTH)."""
    cadences: Ints
    """(cadences, CAD_WIDTH)."""
    new_unions: Ints
    """(unions + 1, members + 2) unions of cadences that are known."""
    full_unions: Ints
    """(unions + 1, members + 2) unions of timelines that are known."""
    members: Ints
    """(sources,) scratch of ``unions``."""
    source_timeline: Ints
    """(sources,) timeline of each source, -1 where the vehicle has no point of it; written by ``points``."""
    source_at: Ints
    """(scalars,) position in ``numbers`` or ``truths`` of each signal's values; written by ``points``."""
    known_at: Ints
    """(scalars,) position in ``positions`` of the last known value before each; -1 until ``held_values`` needs it."""
    groups: Ints
    """(groups, G_WIDTH)."""
    field_at: Ints
    """(columns,) position of a field's values by track; written by ``track_lists``."""
    listed_at: Ints
    """(columns,) position of a field's values by list; written by ``track_lists``."""
    queries: Ints
    """(queries, Q_WIDTH)."""
    number_at: Ints
    """(number registers,) position in ``numbers``; written by ``execution``."""
    truth_at: Ints
    """(truth registers,) position in ``truths``; written by ``execution``, and by ``demand`` where one value is all.
    """
    source_ranges: Numbers
    """(scalars, 4) range of each signal; for a condition R_LEAST is its one truth value or VARIES."""
    field_ranges: Numbers
    """(columns, 4) the same of each field."""
    number_ranges: Numbers
    """(number registers, 3)."""
    truth_ranges: Ints
    """(truth registers,) the one truth value that a register has throughout, or VARIES."""
    needed: Truths
    """(instructions,) NOT_NEEDED, NEEDED or COMPUTED; written by ``demand`` and ``execution``."""
    memo: Ints
    """(MEMO_SLOTS + 1, MEMO_WIDTH)."""
    false_s: Int32s
    """(triggers,) second of monotonic time at which the condition was last false; -1 for not since it was true."""
    false_append_s: Int32s
    """(triggers,) the broker's second of that batch."""


class Output(NamedTuple):
    """What a run finds. Written by ``vehicles``."""

    candidates: Ints
    """(room, CANDIDATE_WIDTH)."""
    details: Numbers
    """What the candidates report."""
    packed: Bytes
    """What each segment leaves to be remembered, end to end."""
    packed_at: Ints
    """(segments + 1,) position in ``packed`` of each."""
    counts: Ints
    """(2,) FOUND and DETAILS."""
    need: Ints
    """(2,) ROOM and SCRATCH_ROOM, set where something was full."""


class ExpectedColumns(NamedTuple):
    """The columns that are read, and the catalogue's limits for them; arrays of (columns,). Written by ``Reader``."""

    names: Bytes
    """The columns' signal paths, end to end."""
    name_at: Ints
    """(columns + 1,) position in ``names`` of each."""
    dictionaries: Bytes
    """The enums' dictionaries as they are on the wire, end to end."""
    dictionary_at: Ints
    """(columns + 1,) position in ``dictionaries`` of each."""
    dictionary_size: Ints
    """Words of each dictionary."""
    kinds: Ints
    """``opcodes.Kind``."""
    value_types: Ints
    """``opcodes.ValueType``."""
    value_bytes: Ints
    """Bytes per value."""
    ragged: Flags
    """Whether every instant has a list of values."""
    least: Numbers
    """Smallest value that the catalogue allows."""
    most: Numbers
    """Largest value that the catalogue allows."""
    nan_allowed: Flags
    """Whether the catalogue allows NaN."""
    group_of: Ints
    """First column of the track group; -1 for a scalar signal."""
    max_frames: int
    """Most instants per column."""
    max_values: int
    """Most values per column."""
    max_span_ns: int
    """Longest time from a batch's start to its last instant."""


class ColumnOrder(NamedTuple):
    """Which column was where in the batch before; the next one's order is usually the same. Written by ``scan``."""

    columns: Ints
    """(positions,) column at each position; NOT_READ for one that is not read, -2 where nothing is known."""
    names: Ints
    """(positions, 2) position in the data and size of the name that was there."""
