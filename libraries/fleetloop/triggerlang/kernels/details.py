"""What a firing reports: which named conditions held at the onset, and the evidence's values."""

from __future__ import annotations

import numpy as np

from fleetloop.triggerlang.kernels import Ints, inlined, kernel
from fleetloop.triggerlang.kernels.arguments import Output, Pools, Program, Tables
from fleetloop.triggerlang.kernels.demand import need_arguments, need_number, need_truth
from fleetloop.triggerlang.kernels.execution import execute
from fleetloop.triggerlang.kernels.opcodes import TRUE, UNKNOWN
from fleetloop.triggerlang.kernels.tables import (
    C_BATCH,
    C_DETAILS,
    C_ONSET_NS,
    C_SEGMENT,
    C_TRIGGER,
    DETAIL_QUERY,
    DETAILS,
    DONE,
    E_IS_TRUTH,
    E_REGISTER,
    FOUND,
    FULL_CANDIDATES,
    FULL_DETAILS,
    FULL_PAGE,
    NEXT_ID,
    Q_AT,
    Q_CADENCE,
    Q_GROUP,
    Q_ID,
    Q_LEN,
    Q_SHIFT,
    Q_TIMELINE,
    ROOM,
    TOP_TIMES,
    allocate,
)
from fleetloop.triggerlang.kernels.value_ranges import find_ranges


@kernel
def need_details(trigger: int, program: Program, pools: Pools, tables: Tables) -> None:
    """Marks what writes the registers that a trigger's firings report."""
    for v in range(program.named_first[trigger], program.named_first[trigger + 1]):
        need_truth(
            program.named[v], program.truth_writer, tables.truth_ranges, pools.page, tables.truth_at, tables.needed
        )
    for v in range(program.evidence_first[trigger], program.evidence_first[trigger + 1]):
        register = program.evidence[v, E_REGISTER]
        if program.evidence[v, E_IS_TRUTH] == 1:
            need_truth(
                register, program.truth_writer, tables.truth_ranges, pools.page, tables.truth_at, tables.needed
            )
        else:
            need_number(register, program.number_writer, tables.needed)


@inlined
def compute_details(
    trigger: int, number: int, first_start: int, program: Program, pools: Pools, tables: Tables
) -> int:
    """Computes what a trigger reports at ``number`` onsets at the top of the times; returns 0 or the page needed."""
    query = tables.queries[DETAIL_QUERY]
    query[Q_AT], query[Q_LEN] = allocate(tables.tops, TOP_TIMES, number), number
    query[Q_SHIFT], query[Q_ID], query[Q_GROUP] = 0, allocate(tables.tops, NEXT_ID, 1), -1
    query[Q_TIMELINE] = query[Q_CADENCE] = -1
    deciding, begin, end = program.part_first[1], program.part_first[trigger + 1], program.part_first[trigger + 2]
    page = find_ranges(begin, end, first_start, program, pools, tables)
    if page == 0:
        need_details(trigger, program, pools, tables)
        need_arguments(begin, end, program, pools, tables)
        # Details may read registers of the deciding instructions that no condition needed.
        need_arguments(program.part_first[0], deciding, program, pools, tables)
        execute(program.part_first[0], deciding, program, pools, tables)
        execute(begin, end, program, pools, tables)
    return page


@kernel
def write_details(
    trigger: int, i: int, to: int, program: Program, pools: Pools, tables: Tables, output: Output
) -> int:
    """Writes what the i-th onset reports to details[to:]; returns where it ends."""
    for v in range(program.named_first[trigger], program.named_first[trigger + 1]):
        output.details[to] = pools.truths[tables.truth_at[program.named[v]] + i]
        to += 1
    for v in range(program.evidence_first[trigger], program.evidence_first[trigger + 1]):
        register = program.evidence[v, E_REGISTER]
        if program.evidence[v, E_IS_TRUTH] == 1:
            # A condition is reported as 0 and 1.
            truth = pools.truths[tables.truth_at[register] + i]
            output.details[to] = np.nan if truth == UNKNOWN else truth / TRUE
        else:
            output.details[to] = pools.numbers[tables.number_at[register] + i]
        to += 1
    return to


@inlined
def report(
    segment: int, trigger: int, found: Ints, found_batch: Ints, first_start: int, program: Program, pools: Pools,
    tables: Tables, output: Output,
) -> int:  # fmt: skip
    """Writes a trigger's onsets, which are at the top of the times, and their details; returns a status of
    ``tables``.
    """
    number = len(found)
    if number > pools.page:
        output.need[ROOM] = number
        return FULL_PAGE
    first, to = output.counts[FOUND], output.counts[DETAILS]
    size = program.named_first[trigger + 1] - program.named_first[trigger]
    size += program.evidence_first[trigger + 1] - program.evidence_first[trigger]
    if first + number > len(output.candidates):
        output.need[ROOM] = 2 * (first + number)
        return FULL_CANDIDATES
    if to + number * size > len(output.details):
        output.need[ROOM] = 2 * (to + number * size)
        return FULL_DETAILS
    # Computing the details overwrites the positions above the top, where the batches of the onsets are.
    for i in range(number):
        row = output.candidates[first + i]
        row[C_SEGMENT], row[C_BATCH], row[C_TRIGGER], row[C_ONSET_NS] = segment, found_batch[i], trigger, found[i]
        row[C_DETAILS] = to + i * size
    page = compute_details(trigger, number, first_start, program, pools, tables)
    if page > 0:
        output.need[ROOM] = page
        return FULL_PAGE
    for i in range(number):
        to = write_details(trigger, i, to, program, pools, tables, output)
    output.counts[FOUND], output.counts[DETAILS] = first + number, to
    return DONE
