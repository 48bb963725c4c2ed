"""Second pass over a program: the values themselves, of what the ranges left open."""

from __future__ import annotations

from fleetloop.triggerlang.kernels import kernel
from fleetloop.triggerlang.kernels.arguments import Pools, Program, Tables
from fleetloop.triggerlang.kernels.held_values import hold_field, hold_signal, hold_track_condition
from fleetloop.triggerlang.kernels.opcodes import Op, is_arithmetic, is_comparison, is_logic
from fleetloop.triggerlang.kernels.pointwise import compare, compute, join
from fleetloop.triggerlang.kernels.tables import (
    COMPUTED,
    I_A,
    I_B,
    I_OP,
    I_QUERY,
    I_RESULT,
    I_WHAT,
    NEEDED,
    Q_LEN,
    TOP_NUMBERS,
    TOP_TRUTHS,
    allocate,
)
from fleetloop.triggerlang.kernels.windows import roll


@kernel
def execute(begin: int, end: int, program: Program, pools: Pools, tables: Tables) -> None:
    """Runs those of instructions[begin:end] that are NEEDED, for one vehicle, and marks them COMPUTED.

    Results are put at the top of the pools; ``number_at`` and ``truth_at`` say where a register's values are.
    """
    numbers, truths = pools.numbers, pools.truths
    number_at, truth_at, tops = tables.number_at, tables.truth_at, tables.tops
    for pc in range(begin, end):
        if tables.needed[pc] != NEEDED:
            continue
        tables.needed[pc] = COMPUTED
        row = program.instructions[pc]
        op, result, a, b = row[I_OP], row[I_RESULT], row[I_A], row[I_B]
        query = tables.queries[row[I_QUERY]]
        n = query[Q_LEN]
        other = b if b >= 0 else a  # what takes one argument ignores the second
        if is_arithmetic(op):
            x, y, to = number_at[a], number_at[other], allocate(tops, TOP_NUMBERS, n)
            number_at[result] = to
            compute(op, numbers[x : x + n], numbers[y : y + n], numbers[to : to + n])
        elif is_comparison(op):
            x, y, to = number_at[a], number_at[other], allocate(tops, TOP_TRUTHS, n)
            truth_at[result] = to
            compare(op, numbers[x : x + n], numbers[y : y + n], truths[to : to + n])
        elif is_logic(op):
            x, y, to = truth_at[a], truth_at[other], allocate(tops, TOP_TRUTHS, n)
            truth_at[result] = to
            join(op, truths[x : x + n], truths[y : y + n], truths[to : to + n])
        elif op == Op.CONST_NUMBER:
            number_at[result] = row[I_WHAT] * pools.page
        elif op == Op.CONST_TRUTH:
            truth_at[result] = row[I_WHAT] * pools.page
        elif op == Op.SUFFIX_NUMBER:
            # New instants are the last ones of the timeline's.
            number_at[result] = number_at[a] + tables.queries[b, Q_LEN] - n
        elif op == Op.SUFFIX_TRUTH:
            truth_at[result] = truth_at[a] + tables.queries[b, Q_LEN] - n
        elif op == Op.HOLD_NUMBER or op == Op.HOLD_TRUTH or op == Op.HOLD_KNOWN:
            hold_signal(row, query, pools, tables)
        elif op == Op.FIELD_NUMBER or op == Op.FIELD_TRUTH:
            hold_field(row, query, pools, tables)
        elif op == Op.ANY_TRACK or op == Op.COUNT_TRACKS:
            hold_track_condition(row, query, program, pools, tables)
        else:
            roll(row, query, pools, tables)
