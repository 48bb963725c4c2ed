"""Takes one vehicle after the other through a program: read, find ranges, compute, decide, pack.

A vehicle's points stay in the processor's cache while all triggers are evaluated on them.
"""

from __future__ import annotations

from fleetloop.triggerlang.kernels import inlined, kernel
from fleetloop.triggerlang.kernels.arguments import Log, Output, Pools, Program, Rules, Tables
from fleetloop.triggerlang.kernels.deciding import all_false, note_false, onsets
from fleetloop.triggerlang.kernels.demand import need_arguments, need_truth
from fleetloop.triggerlang.kernels.details import report
from fleetloop.triggerlang.kernels.execution import execute
from fleetloop.triggerlang.kernels.opcodes import FALSE, UNKNOWN
from fleetloop.triggerlang.kernels.packing import pack
from fleetloop.triggerlang.kernels.points import read_vehicle
from fleetloop.triggerlang.kernels.remembered import read_edges
from fleetloop.triggerlang.kernels.tables import (
    CADENCES,
    D_QUERY,
    D_REGISTER,
    DONE,
    FULL_PAGE,
    FULL_POOLS,
    G_ENTRIES,
    MEMO_GENERATION,
    MEMO_SLOTS,
    MEMO_USED,
    NEXT_ID,
    NOT_NEEDED,
    PIECE_ROWS,
    PIECE_SPLITS,
    PIECE_VALUES,
    Q_AT,
    Q_LEN,
    R_FILLED,
    ROOM,
    SCRATCH_ROOM,
    TIMELINES,
    TL_LEN,
    TOP_NUMBERS,
    TOP_POSITIONS,
    TOP_TIMES,
    TOP_TRUTHS,
    U_COUNT,
)
from fleetloop.triggerlang.kernels.value_ranges import find_ranges
from fleetloop.triggerlang.kernels.wire import uint32_at


@kernel
def clear(pools: Pools, tables: Tables) -> None:
    """Forgets the vehicle before."""
    tops = tables.tops
    tops[TOP_TIMES], tops[TOP_POSITIONS] = 0, 0
    tops[TOP_NUMBERS] = tops[TOP_TRUTHS] = pools.constants
    tops[NEXT_ID] = tops[TIMELINES] = tops[CADENCES] = 0
    tables.memo[MEMO_SLOTS, MEMO_GENERATION] += 1
    tables.memo[MEMO_SLOTS, MEMO_USED] = 0
    tables.new_unions[0, U_COUNT] = tables.full_unions[0, U_COUNT] = 0
    tables.known_at[:] = -1
    tables.source_ranges[:, R_FILLED] = tables.field_ranges[:, R_FILLED] = 0.0
    tables.needed[:] = NOT_NEEDED


@kernel
def values_of(segment: int, log: Log, program: Program) -> int:
    """A bound on how many values and instants a segment has; a remembered one takes at least a byte."""
    groups = len(program.group_first) - 1
    total = log.memory_size[segment]
    for k in range(log.segment_first[segment], log.segment_first[segment + 1]):
        pieces = log.pieces[log.batches[k]]
        for c in range(program.scalars):
            if pieces[c, PIECE_VALUES] >= 0:
                total += pieces[c, PIECE_ROWS]
        for g in range(groups):
            c = program.group_first[g]
            if pieces[c, PIECE_VALUES] >= 0:
                rows = pieces[c, PIECE_ROWS]
                entries = uint32_at(log.data, pieces[c, PIECE_SPLITS] + 4 * rows)
                total += rows + (program.group_first[g + 1] - c) * entries
    return int(total)


@kernel
def room_to_read(segment: int, log: Log, program: Program, pools: Pools, output: Output) -> bool:
    """Whether a segment's points fit into the pools.

    16 elements per value are more than any pool needs: hash tables of track ids have 4 slots of 2 elements per id.
    """
    room = 16 * values_of(segment, log, program) + 64
    fits: bool = (
        room <= len(pools.times)
        and pools.constants + room <= len(pools.numbers)
        and pools.constants + room <= len(pools.truths)
        and room <= len(pools.positions)
    )
    if not fits:
        output.need[ROOM] = 2 * room
    return fits


@kernel
def room_to_compute(program: Program, pools: Pools, tables: Tables, output: Output) -> bool:
    """Whether what the instructions compute fits into the pools: no list of instants is longer than all together."""
    tops = tables.tops
    longest = 1
    for j in range(tops[TIMELINES]):
        longest += tables.timelines[j, TL_LEN]
    for g in range(len(program.group_first) - 1):
        longest = max(longest, tables.groups[g, G_ENTRIES] + 1)
    instructions = len(program.instructions)
    # Times hold two unions of each set of sources and each trigger's onsets; positions at most two lists per
    # instruction, of begins and ends, each with scratch as long.
    times = longest * (2 * len(program.union_first) + len(program.decisions) + 2)
    positions = longest * (4 * instructions + 16)
    fits: bool = (
        tops[TOP_TIMES] + times <= len(pools.times)
        and tops[TOP_NUMBERS] + longest * len(tables.number_at) <= len(pools.numbers)
        and tops[TOP_TRUTHS] + longest * len(tables.truth_at) <= len(pools.truths)
        and tops[TOP_POSITIONS] + positions <= len(pools.positions)
        and longest + 2 <= pools.sums.shape[1]
    )
    if not fits:
        top = max(max(tops[TOP_TIMES], tops[TOP_NUMBERS]), max(tops[TOP_TRUTHS], tops[TOP_POSITIONS]))
        output.need[ROOM] = 2 * (top + longest * (instructions + 4) * 4)
        output.need[SCRATCH_ROOM] = 2 * longest + 2
    return fits


@inlined
def compute_conditions(first_start: int, program: Program, pools: Pools, tables: Tables) -> int:
    """Finds all ranges, and computes the conditions that they leave open; returns 0 or the page that is needed."""
    begin, end = program.part_first[0], program.part_first[1]
    page = find_ranges(begin, end, first_start, program, pools, tables)
    if page == 0:
        for trigger in range(len(program.decisions)):
            register = program.decisions[trigger, D_REGISTER]
            if tables.truth_ranges[register] != FALSE:
                need_truth(
                    register, program.truth_writer, tables.truth_ranges, pools.page, tables.truth_at, tables.needed
                )
        need_arguments(begin, end, program, pools, tables)
        execute(begin, end, program, pools, tables)
    return page


@inlined
def decide(
    segment: int, log: Log, program: Program, rules: Rules, pools: Pools, tables: Tables, output: Output
) -> int:
    """Finds the onsets of all triggers, and what they report; returns a status of ``tables``."""
    low, high = log.segment_first[segment], log.segment_first[segment + 1]
    first_start = log.start_ns[log.batches[low]]
    status = DONE
    for trigger in range(len(program.decisions)):
        register = program.decisions[trigger, D_REGISTER]
        query = tables.queries[program.decisions[trigger, D_QUERY]]
        n, truth = query[Q_LEN], tables.truth_ranges[register]
        if n == 0 or truth == UNKNOWN:
            continue
        times = pools.times[query[Q_AT] : query[Q_AT] + n]
        at = tables.truth_at[register]
        if truth == FALSE or all_false(pools.truths[at : at + n]):
            if not rules.always[trigger]:
                note_false(trigger, times[n - 1], low, high, log, tables)
            continue
        # Found onsets stay where they are put: the query of their details points there.
        found = pools.times[tables.tops[TOP_TIMES] : tables.tops[TOP_TIMES] + n]
        found_batch = pools.positions[tables.tops[TOP_POSITIONS] : tables.tops[TOP_POSITIONS] + n]
        number = onsets(trigger, pools.truths[at : at + n], times, low, high, log, rules, tables, found, found_batch)
        if number > 0:
            status = report(
                segment, trigger, found[:number], found_batch[:number], first_start, program, pools, tables, output
            )  # fmt: skip
            if status != DONE:
                break
    return status


@inlined
def evaluate(
    segment: int, log: Log, program: Program, rules: Rules, pools: Pools, tables: Tables, output: Output
) -> int:
    """Evaluates one segment; returns a status of ``tables``."""
    if not room_to_read(segment, log, program, pools, output):
        return FULL_POOLS
    clear(pools, tables)
    points_at = read_edges(
        log.memory, log.memory_at[segment], log.memory_size[segment], tables.false_s, tables.false_append_s
    )
    read_vehicle(segment, points_at, log, program, pools, tables)
    if not room_to_compute(program, pools, tables, output):
        return FULL_POOLS
    page = compute_conditions(log.start_ns[log.batches[log.segment_first[segment]]], program, pools, tables)
    if page > 0:
        output.need[ROOM] = page
        return FULL_PAGE
    status = decide(segment, log, program, rules, pools, tables, output)
    if status != DONE:
        return status
    return pack(segment, log, program, pools, tables, output)


@kernel
def run(log: Log, program: Program, rules: Rules, pools: Pools, tables: Tables, output: Output) -> int:
    """Runs the program over all segments.

    Returns:
        DONE, or which part of the pools or the output was too small: then ``Output.need`` says how much is needed,
        and the run has to be repeated from the beginning.
    """
    output.packed_at[0] = 0
    output.counts[:] = 0
    for segment in range(len(log.segment_first) - 1):
        status = evaluate(segment, log, program, rules, pools, tables, output)
        if status != DONE:
            return status
    return DONE
