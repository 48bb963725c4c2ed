"""The numbers that compiled code compares: instructions, kinds of values, truth values and protobuf fields.

Numba compiles IntEnum members and module constants to literals, so a name costs nothing at run time.
"""

from __future__ import annotations

from enum import IntEnum

from fleetloop.triggerlang.kernels import kernel

FALSE, UNKNOWN, TRUE = 0, 1, 2
"""Truth values of conditions. Their order makes *and* the minimum, *or* the maximum and *not* ``TRUE - value``."""


class Op(IntEnum):
    """Instructions. Numbers live in number registers (NaN: unknown), truth values in condition registers.

    Members of one group are neighbours; the functions below test for a group by its first and last member.
    """

    # Queries: the instants at which values are computed.
    NEW = 0
    """The new instants of a union of sources."""
    FULL = 1
    """All instants of a union of sources, remembered ones included."""
    SHIFTED = 2
    """Another query's instants, with the values of a span earlier."""
    TRACKS = 3
    """The entries of a track group, track after track."""
    # Values that are read.
    CONST_NUMBER = 10
    CONST_TRUTH = 11
    SUFFIX_NUMBER = 12
    """The last values of a register that holds a whole timeline."""
    SUFFIX_TRUTH = 13
    HOLD_NUMBER = 14
    """A signal's last value at or before each instant."""
    HOLD_TRUTH = 15
    HOLD_KNOWN = 16
    """A signal's last value that is not NaN."""
    FIELD_NUMBER = 17
    """A field of a track group."""
    FIELD_TRUTH = 18
    ANY_TRACK = 19
    COUNT_TRACKS = 20
    # Arithmetic: numbers to numbers.
    NEG = 30
    ABS = 31
    ADD = 32
    SUB = 33
    MUL = 34
    DIV = 35
    LOWER_OF = 36
    HIGHER_OF = 37
    # Comparisons: numbers to truth values.
    LT = 50
    LE = 51
    EQ = 52
    EXISTS_NUMBER = 53
    # Logic: truth values to truth values.
    EXISTS_TRUTH = 54
    AND = 60
    OR = 61
    NOT = 62
    # Windows over numbers.
    MIN = 70
    MAX = 71
    MEAN = 72
    FIRST = 73
    SLOPE = 74
    # Windows over conditions.
    ANY = 80
    ALL = 81
    COUNT = 82


@kernel
def makes_a_query(op: int) -> bool:
    """Whether an instruction makes instants; all others make values."""
    return op <= Op.TRACKS


@kernel
def is_arithmetic(op: int) -> bool:
    """Whether an instruction computes numbers from numbers at the same instants."""
    return op >= Op.NEG and op <= Op.HIGHER_OF


@kernel
def is_comparison(op: int) -> bool:
    """Whether an instruction computes truth values from numbers at the same instants."""
    return op >= Op.LT and op <= Op.EXISTS_NUMBER


@kernel
def is_logic(op: int) -> bool:
    """Whether an instruction computes truth values from truth values at the same instants."""
    return op >= Op.EXISTS_TRUTH and op <= Op.NOT


@kernel
def rolls_numbers(op: int) -> bool:
    """Whether an instruction is a window over numbers."""
    return op >= Op.MIN and op <= Op.SLOPE


@kernel
def rolls_conditions(op: int) -> bool:
    """Whether an instruction is a window over conditions."""
    return op >= Op.ANY and op <= Op.COUNT


class Kind(IntEnum):
    """How the values of a column lie in bytes, little-endian."""

    BOOL = 0
    INT32 = 1
    INT64 = 2
    FLOAT32 = 3
    FLOAT64 = 4
    ENUM = 5
    """A uint16 position in the signal's dictionary."""


@kernel
def bytes_of(kind: int) -> int:
    """Bytes per value of a kind."""
    if kind == Kind.BOOL:
        return 1
    if kind == Kind.INT32 or kind == Kind.FLOAT32:
        return 4
    return 2 if kind == Kind.ENUM else 8


class Wire(IntEnum):
    """How protobuf encodes a field; the low three bits of its tag."""

    VARINT = 0
    FIXED64 = 1
    LENGTH = 2
    """A length and that many bytes."""


TAG_BITS = 3
"""A tag is ``number << TAG_BITS | wire``."""


class BatchField(IntEnum):
    """Field numbers of ``fleet.telemetry.v1.TelemetryBatch``."""

    FLEET_ID = 1
    VEHICLE_ID = 2
    BOOT_ID = 3
    SEQUENCE = 4
    START_MONOTONIC_NS = 5
    START_UTC_NS = 6
    UTC_SOURCE = 7
    FRAME_OFFSETS_NS = 8
    COLUMNS = 9
    MODEL_DIGEST = 10
    SHADOW_MODEL_DIGEST = 11


class ColumnField(IntEnum):
    """Field numbers of ``fleet.telemetry.v1.Column``."""

    SIGNAL = 1
    TYPE = 2
    VALUES = 3
    OFFSETS_NS = 4
    SPLITS = 5
    DICTIONARY = 6


class ValueType(IntEnum):
    """The numbers of ``fleet.telemetry.v1.ValueType``, which says how a column is encoded."""

    BOOL = 1
    INT32 = 2
    INT64 = 3
    FLOAT32 = 4
    FLOAT64 = 5
    ENUM = 6


class UtcSource(IntEnum):
    """The numbers of ``fleet.telemetry.v1.UtcSource``, which says what set the clock."""

    GNSS = 1
    NTP = 2
    LOCAL = 3
    SIMULATED = 4
