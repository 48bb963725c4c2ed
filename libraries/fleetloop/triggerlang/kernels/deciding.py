"""Where a trigger fires, once its condition's codes are known."""

from __future__ import annotations

import numpy as np

from fleetloop.triggerlang.kernels import kernel
from fleetloop.triggerlang.kernels.opcodes import FALSE, UNKNOWN


@kernel
def onsets(
    codes, times, always, fenced, interval_ns, from_ns, until_ns, memory_s, batches, low, high, start_ns, utc_ns,
    append_ms, false_s, false_append_s, found, found_batch,
):  # fmt: skip
    """Where a trigger fires among its instants; returns how many, at most one in each slot unless fenced.

    It turns true where it is known to be true and was last known to be false, both within the memory by event
    time and by the broker's clock. Unknown in between changes nothing. ``false_s`` and ``false_append_s`` are
    (1,): when it was last false, -1 for not since it was last true.
    """
    n = len(codes)
    if n == 0:
        return 0
    some = np.int8(FALSE)
    for i in range(n):
        some |= codes[i]
    if some == FALSE:
        if always:
            return 0
        k = high - 1
        while k > low and start_ns[batches[k]] > times[n - 1]:
            k -= 1
        false_s[0], false_append_s[0] = times[n - 1] // 1_000_000_000, append_ms[batches[k]] // 1000
        return 0
    count = 0
    k = low
    slot = np.int64(-1)
    for i in range(n):
        c = codes[i]
        if c == UNKNOWN:
            continue
        t = times[i]
        while k + 1 < high and start_ns[batches[k + 1]] <= t:
            k += 1
        b = batches[k]
        if c == FALSE:
            if not always:
                false_s[0], false_append_s[0] = t // 1_000_000_000, append_ms[b] // 1000
            continue
        fires = always
        if not always:
            fires = (
                false_s[0] >= 0
                and t // 1_000_000_000 - false_s[0] <= memory_s
                and append_ms[b] // 1000 - false_append_s[0] <= memory_s
            )
            false_s[0] = false_append_s[0] = -1
        if not fires:
            continue
        utc = t + utc_ns[b] - start_ns[b]
        if utc < from_ns or (until_ns > 0 and utc >= until_ns):
            continue
        if not fenced:
            if count > 0 and t // interval_ns == slot:
                continue
            slot = t // interval_ns
        found[count], found_batch[count] = t, k
        count += 1
    return count
