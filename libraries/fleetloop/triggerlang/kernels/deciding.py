"""Where a trigger fires, once its condition's truth values are known."""

from __future__ import annotations

import numpy as np

from fleetloop.triggerlang.kernels import Ints, Truths, inlined, kernel
from fleetloop.triggerlang.kernels.arguments import Log, Rules, Tables
from fleetloop.triggerlang.kernels.opcodes import FALSE, UNKNOWN
from fleetloop.triggerlang.kernels.tables import NS_PER_S

MS_PER_S = 1000


@kernel
def batch_at(t: int, low: int, high: int, start_ns: Ints, batches: Ints) -> int:
    """Position of the last of batches[low:high] that starts at or before an instant; the first where none does."""
    k = high - 1
    while k > low and start_ns[batches[k]] > t:
        k -= 1
    return k


@inlined
def note_false(trigger: int, t: int, low: int, high: int, log: Log, tables: Tables) -> None:
    """Remembers that a trigger's condition was false at the last instant t."""
    batch = log.batches[batch_at(t, low, high, log.start_ns, log.batches)]
    tables.false_s[trigger] = t // NS_PER_S
    tables.false_append_s[trigger] = log.append_ms[batch] // MS_PER_S


@kernel
def all_false(truths: Truths) -> bool:
    """Whether all are FALSE, which is 0: collecting bits without leaving the loop compares several at once."""
    bits = np.int8(FALSE)
    for i in range(len(truths)):
        bits |= truths[i]
    return bool(bits == FALSE)


@kernel
def onsets(
    trigger: int, truths: Truths, times: Ints, low: int, high: int, log: Log, rules: Rules, tables: Tables,
    found: Ints, found_batch: Ints,
) -> int:  # fmt: skip
    """Finds where a trigger fires among its instants, at most once in each slot unless it is fenced.

    It turns true where it is known to be true and was last known to be false, both within the memory by event time
    and by the broker's clock. Unknown in between changes nothing. Updates ``false_s`` and ``false_append_s``.

    Args:
        trigger: The trigger.
        truths: (n,) its condition's truth values.
        times: (n,) their instants, rising.
        low: Position in ``Log.batches`` of the vehicle's first new batch.
        high: The position after the last.
        log: The batches.
        rules: How triggers fire.
        tables: When each trigger was last false.
        found: Filled with the onsets in ns.
        found_batch: Filled with the position in ``Log.batches`` of each onset's batch.

    Returns:
        How many there are.
    """
    always, fenced = rules.always[trigger], rules.fenced[trigger]
    false_s, false_append_s = tables.false_s, tables.false_append_s
    count = 0
    k = low
    slot = -1
    for i in range(len(truths)):
        truth = truths[i]
        if truth == UNKNOWN:
            continue
        t = times[i]
        while k + 1 < high and log.start_ns[log.batches[k + 1]] <= t:
            k += 1
        b = log.batches[k]
        second, append_second = t // NS_PER_S, log.append_ms[b] // MS_PER_S
        if truth == FALSE:
            if not always:
                false_s[trigger], false_append_s[trigger] = second, append_second
            continue
        if not always:
            turned = (
                false_s[trigger] >= 0
                and second - false_s[trigger] <= rules.memory_s
                and append_second - false_append_s[trigger] <= rules.memory_s
            )
            false_s[trigger] = false_append_s[trigger] = -1
            if not turned:
                continue
        utc = t + log.utc_ns[b] - log.start_ns[b]
        if utc < rules.from_ns[trigger] or (rules.until_ns[trigger] > 0 and utc >= rules.until_ns[trigger]):
            continue
        if not fenced:
            if count > 0 and t // rules.interval_ns[trigger] == slot:
                continue
            slot = t // rules.interval_ns[trigger]
        found[count], found_batch[count] = t, k
        count += 1
    return count
