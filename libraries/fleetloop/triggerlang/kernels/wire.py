"""Small pieces of protobuf's wire format, read from bytes."""

from __future__ import annotations

import numpy as np

from fleetloop.triggerlang.kernels import Bytes, int64, kernel

_LONGEST_TEXT = 128
"""Characters that the gateway allows in the names of a fleet and a vehicle."""
_DIGEST_DIGITS = 64
_ZERO, _NINE, _A, _F = ord("0"), ord("9"), ord("a"), ord("f")
_FIRST_PRINTABLE, _LAST_PRINTABLE = ord(" "), ord("~")


@kernel
def varint(data: Bytes, at: int, end: int) -> tuple[int, int]:
    """A varint below 2**63 and where it ends; -1 where it is cut short or too long."""
    value = 0
    shift = 0
    while at < end and shift < 63:
        byte = int64(data[at])
        at += 1
        # Seven bits of the number per byte, the lowest first; the eighth says whether more bytes follow.
        value |= (byte & 127) << shift
        if byte < 128:
            # Each value must have one spelling, or the same vehicle could have several keys.
            if byte == 0 and shift > 0:
                return -1, at
            return value, at
        shift += 7
    return -1, at


@kernel
def int64_at(data: Bytes, at: int) -> int:
    """The eight bytes from a position as a number."""
    number: int = data[at : at + 8].view(np.int64)[0]
    return number


@kernel
def uint32_at(data: Bytes, at: int) -> int:
    """The four bytes from a position as a number."""
    number: int = int64(data[at : at + 4].view(np.uint32)[0])
    return number


@kernel
def same_bytes(data: Bytes, a: int, b: int, n: int) -> bool:
    """Whether two stretches of n bytes are equal."""
    for i in range(n):
        if data[a + i] != data[b + i]:
            return False
    return True


@kernel
def rises(data: Bytes, at: int, n: int, longest_ns: int) -> bool:
    """Whether n int64 offsets never fall and lie between 0 and the longest."""
    offsets = data[at : at + 8 * n].view(np.int64)
    fine: bool = n == 0 or (offsets[0] >= 0 and offsets[n - 1] <= longest_ns)
    # Counting without leaving the loop lets the compiler compare several at once; offsets rarely fall.
    falls = 0
    for i in range(1, n):
        falls += offsets[i] < offsets[i - 1]
    return fine and falls == 0


@kernel
def printable(data: Bytes, at: int, n: int) -> bool:
    """Whether 1 to 128 bytes are printable ASCII."""
    if n < 1 or n > _LONGEST_TEXT:
        return False
    for i in range(n):
        if data[at + i] < _FIRST_PRINTABLE or data[at + i] > _LAST_PRINTABLE:
            return False
    return True


@kernel
def hex_digest(data: Bytes, at: int, n: int) -> bool:
    """Whether n bytes are a lower-case SHA-256: 64 hex digits."""
    if n != _DIGEST_DIGITS:
        return False
    for i in range(n):
        byte = data[at + i]
        digit = byte >= _ZERO and byte <= _NINE
        letter = byte >= _A and byte <= _F
        if not digit and not letter:
            return False
    return True


@kernel
def ascii_only(data: Bytes, at: int, n: int) -> bool:
    """Whether n bytes are ASCII, so that no decoder can refuse them as text."""
    bits = np.uint8(0)
    for i in range(n):
        bits |= data[at + i]
    return bool(bits < 128)
