"""The columns of the tables that the kernels share, and the codes that they return.

Nothing is allocated while a vehicle is evaluated. Registers are stretches of the pools (``arguments.Pools``), which
are filled from the bottom for every vehicle. What does not fit is reported as one of the ``FULL_`` codes, and the
caller runs again with more room.
"""

from __future__ import annotations

from typing import Any

import numpy.typing as npt

from fleetloop.triggerlang.kernels import Ints, kernel

# --- Log.pieces: one row per batch and column, written by `scan_column`. --------------------------------------------
PIECE_VALUES = 0
"""Position in ``Log.data`` of the column's values; -1 where the batch has no such column."""
PIECE_ROWS = 1
"""Instants of the column."""
PIECE_OFFSETS = 2
"""Position of the column's own offsets in ns; -1 where they are the frames'. Equal offsets have one position."""
PIECE_SPLITS = 3
"""Position of a ragged column's splits (uint32, rows + 1); -1 where every instant has one value."""
PIECE_WIDTH = 4

# --- Batch heads: one row per batch, written by `scan`. -------------------------------------------------------------
START_NS = 0
"""Monotonic time of offset 0."""
UTC_NS = 1
"""UTC of offset 0."""
SEQUENCE = 2
"""The batch's number within its boot."""
END_NS = 3
"""Monotonic time of the last instant of any column."""
FRAMES = 4
"""The batch's own instants."""
FRAME_AT = 5
"""Position in ``Log.data`` of the frames' offsets."""
KEY_END = 6
"""How many of the first bytes name fleet, vehicle and boot."""
HEAD_WIDTH = 7

# --- Program.instructions: one row per instruction, written by `lowering`. ------------------------------------------
I_OP = 0
"""``opcodes.Op``."""
I_RESULT = 1
"""The query or register that the instruction writes."""
I_A = 2
"""First argument: a register."""
I_B = 3
"""Second argument: a register, -1 for none; for a window and a suffix the query of the first argument's values."""
I_QUERY = 4
"""The query at whose instants the result is computed."""
I_WHAT = 5
"""A source, a track group, a union, a constant or another query, as the instruction needs."""
I_SPAN = 6
"""A window's length, a shift, or for how long a value stays known, in ns."""
I_FIELD = 7
"""The column of a track group's field."""
INSTRUCTION_WIDTH = 8

# --- Program.decisions: one row per trigger, written by `lowering`. -------------------------------------------------
D_REGISTER = 0
"""The truth register that decides."""
D_QUERY = 1
"""The query at whose instants it is decided."""

# --- Program.evidence: one row per reported value, written by `lowering`. -------------------------------------------
E_IS_TRUTH = 0
"""1 where the value is a condition, 0 where it is a number."""
E_REGISTER = 1
"""Its register."""

# --- Tables.timelines: one row per list of instants, written by `timelines` and `unions`. ---------------------------
TL_AT = 0
"""Position in ``Pools.times`` of the first instant."""
TL_LEN = 1
"""Instants: what is remembered, then what is new."""
TL_NEW = 2
"""How many of them are remembered: the position of the first new one within the timeline."""
TL_KEEP = 3
"""Position in ``Pools.positions`` of the points that stay where instants repeat; -1 where all stay."""
TL_RAW = 4
"""Points before repeats of an instant are dropped."""
TL_COLUMN = 5
"""A column that has these instants; -1 for a union."""
TL_TAIL = 6
"""Which remembered timeline it continues; -1 for none, -2 for a union."""
TL_ROWS = 7
"""How many of its instants are remembered; -2 for a union."""
TL_CADENCE = 8
"""The cadence that its new instants are; -1 for a union."""
TL_GAP = 9
"""Longest time between two neighbouring instants in ns; -1 until `lookups` needs it."""
TL_WIDTH = 10

# --- Tables.cadences: one row per list of new instants, written by `timelines` and `unions`. ------------------------
CAD_AT = 0
"""Position in ``Pools.times`` of the first instant."""
CAD_LEN = 1
"""Instants."""
CAD_ID = 2
"""Unique among the lists of instants of one vehicle."""
CAD_COLUMN = 3
"""A column that has these instants; -1 for a union."""
CAD_WIDTH = 4

# --- Tables.queries: one row per list of instants at which values are computed, written by `value_ranges`. ----------
Q_AT = 0
"""Position in ``Pools.times`` of the first instant."""
Q_LEN = 1
"""Instants."""
Q_SHIFT = 2
"""Values are those at so many ns before each instant."""
Q_ID = 3
"""Queries with the same instants have the same id."""
Q_GROUP = 4
"""The track group whose entries it is, -1 for none. A group's instants rise within each track only."""
Q_TIMELINE = 5
"""The timeline that it is; -1 for none."""
Q_CADENCE = 6
"""The cadence that it is; -1 for none."""
Q_WIDTH = 7
DETAIL_QUERY = 0
"""The query of the onsets whose details are reported."""

# --- Tables.groups: one row per track group, written by `track_lists`. ----------------------------------------------
G_LISTS = 0
"""Lists, of which each belongs to one instant of the group's timeline."""
G_FIRST = 1
"""Position in ``Pools.positions`` of (lists + 1,) first entries of the lists."""
G_IDS = 2
"""Position in ``Pools.times`` of the entries' track ids, list after list."""
G_ENTRIES = 3
"""Entries by track; an id counts once per list."""
G_TIMES = 4
"""Position in ``Pools.times`` of the entries' instants, track after track."""
G_BEGINS = 5
"""Position in ``Pools.positions`` of (tracks + 1,) first entries of the tracks."""
G_TRACKS = 6
"""Tracks."""
G_OWNER = 7
"""Position in ``Pools.positions`` of each entry's list."""
G_ORDER = 8
"""Position in ``Pools.positions`` of where each entry is in the lists' order."""
G_ID = 9
"""Unique among the lists of instants of one vehicle."""
G_WIDTH = 10

# --- Ranges: number_ranges, source_ranges and field_ranges, written by `value_ranges`; see `bounds`. ----------------
R_LEAST = 0
R_MOST = 1
R_KNOWN = 2
"""``ALWAYS_KNOWN``, ``NEVER_KNOWN``, or ``PERHAPS_KNOWN``."""
R_FILLED = 3
"""1.0 once a source's or field's range was computed for this vehicle; a register's has no such column."""
ALWAYS_KNOWN, PERHAPS_KNOWN, NEVER_KNOWN = 1.0, 0.0, -1.0
VARIES = -1
"""Instead of a truth value: the values are not all the same, or that was not found out."""

# --- Tables.memo: an open-addressing hash table from a query and a timeline to positions, written by `lookups`. -----
MEMO_GENERATION = 0
"""Which vehicle the row belongs to: counting up empties the table without writing it."""
MEMO_TIMELINE = 1
MEMO_QUERY = 2
MEMO_SHIFT = 3
MEMO_AT = 4
"""Position in ``Pools.positions`` of the answer."""
MEMO_WIDTH = 5
MEMO_SLOTS = 4096
"""Rows of the table, a power of two. The row after them holds the current generation and how many rows it uses."""
MEMO_USED = 1

# --- Tables.new_unions and full_unions: known unions, written by `unions`. ------------------------------------------
U_COUNT = 0
"""Members of a union; in row 0 the number of unions that are known."""
U_RESULT = 1
U_MEMBERS = 2
"""The first member; the others follow."""

# --- Tables.tops: how much of each pool is used, and the next free numbers. -----------------------------------------
TOP_TIMES = 0
TOP_NUMBERS = 1
TOP_TRUTHS = 2
TOP_POSITIONS = 3
NEXT_ID = 4
TIMELINES = 5
CADENCES = 6
TOPS = 7

# --- Tables.needed: states of an instruction. -----------------------------------------------------------------------
NOT_NEEDED, NEEDED, COMPUTED = 0, 1, 2

# --- Output.candidates: one row per onset, written by `onsets`. -----------------------------------------------------
C_SEGMENT = 0
C_BATCH = 1
"""Position in ``Log.batches``."""
C_TRIGGER = 2
C_ONSET_NS = 3
C_DETAILS = 4
"""Position in ``Output.details`` of the named conditions' truth values, then of the evidence."""
CANDIDATE_WIDTH = 5

# --- Output.counts and Output.need. ---------------------------------------------------------------------------------
FOUND, DETAILS = 0, 1
"""How many rows of ``candidates``, and how many ``details``, are filled."""
ROOM, SCRATCH_ROOM = 0, 1
"""How much of what was full is needed, and how long a row of ``Pools.sums`` must be."""

# --- Status of a run. -----------------------------------------------------------------------------------------------
DONE = 0
FULL_CANDIDATES, FULL_DETAILS, FULL_PACKED, FULL_POOLS, FULL_PAGE = -1, -2, -3, -4, -5
"""Which part of the output or the pools was too small."""

FAR_PAST_NS, FAR_FUTURE_NS = -(2**62), 2**62
"""Before and after every instant; sums with spans still fit into 64 bits."""
HASH_FACTOR = -7046029254386353131
"""2**64 divided by the golden ratio, as a signed number: multiplying by it spreads neighbouring keys."""
NS_PER_S = 1_000_000_000


@kernel
def copy(values: npt.NDArray[Any], to: npt.NDArray[Any]) -> None:
    """Copies elements one by one. Assigning an array to a slice would need room for a copy in between."""
    for i in range(len(values)):
        to[i] = values[i]


@kernel
def allocate(tops: Ints, pool: int, size: int) -> int:
    """Reserves ``size`` elements at the top of a pool and returns where they begin."""
    at: int = tops[pool]
    tops[pool] += size
    return at
