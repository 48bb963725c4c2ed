"""Finding instants in rising lists of instants."""

from __future__ import annotations

from fleetloop.triggerlang.kernels import Ints, kernel


@kernel
def upper_bound(times: Ints, first: int, last: int, t: int) -> int:
    """The position after the last of times[first:last] that is at or before t; first where there is none."""
    while first < last:
        middle = (first + last) // 2
        if times[middle] <= t:
            first = middle + 1
        else:
            last = middle
    return first


@kernel
def upper_bounds(
    times: Ints, first: int, last: int, instants: Ints, begin: int, end: int, shift: int, out: Ints
) -> None:
    """``upper_bound`` of each of the instants instants[begin:end] - shift, which rise, into out[begin:end].

    One search by halving finds the first; from there on both lists are walked together.
    """
    i = first
    if begin < end:
        i = upper_bound(times, first, last, instants[begin] - shift)
    for k in range(begin, end):
        t = instants[k] - shift
        while i < last and times[i] <= t:
            i += 1
        out[k] = i
