"""Which instructions have to run: those whose values something asks for that the ranges do not already tell."""

from __future__ import annotations

from fleetloop.triggerlang.kernels import Ints, Truths, kernel
from fleetloop.triggerlang.kernels.arguments import Pools, Program, Tables
from fleetloop.triggerlang.kernels.opcodes import (
    Op,
    is_arithmetic,
    is_comparison,
    is_logic,
    rolls_conditions,
    rolls_numbers,
)
from fleetloop.triggerlang.kernels.tables import I_A, I_B, I_OP, NEEDED, VARIES


@kernel
def need_number(register: int, writer: Ints, needed: Truths) -> None:
    """Marks the instruction that writes a number register, unless it ran before."""
    pc = writer[register]
    needed[pc] = max(needed[pc], NEEDED)


@kernel
def need_truth(register: int, writer: Ints, ranges: Ints, page: int, register_at: Ints, needed: Truths) -> None:
    """Marks the instruction that writes a truth register, or points the register to the page of its one value.

    Pages of the constants FALSE, UNKNOWN and TRUE are at 0, 1 and 2 times the page's length.
    """
    if ranges[register] != VARIES:
        register_at[register] = ranges[register] * page
    else:
        pc = writer[register]
        needed[pc] = max(needed[pc], NEEDED)


@kernel
def need_arguments(begin: int, end: int, program: Program, pools: Pools, tables: Tables) -> None:
    """Marks what the needed ones of instructions[begin:end] read. Arguments come before, so one pass backwards is
    enough.
    """
    needed, page = tables.needed, pools.page
    writer, ranges, register_at = program.truth_writer, tables.truth_ranges, tables.truth_at
    for pc in range(end - 1, begin - 1, -1):
        if needed[pc] != NEEDED:
            continue
        op, a, b = program.instructions[pc, I_OP], program.instructions[pc, I_A], program.instructions[pc, I_B]
        if is_arithmetic(op) or is_comparison(op):
            need_number(a, program.number_writer, needed)
            if b >= 0:
                need_number(b, program.number_writer, needed)
        elif is_logic(op):
            need_truth(a, writer, ranges, page, register_at, needed)
            if b >= 0:
                need_truth(b, writer, ranges, page, register_at, needed)
        elif rolls_numbers(op) or op == Op.SUFFIX_NUMBER:
            need_number(a, program.number_writer, needed)
        elif rolls_conditions(op) or op == Op.SUFFIX_TRUTH or op == Op.ANY_TRACK or op == Op.COUNT_TRACKS:
            need_truth(a, writer, ranges, page, register_at, needed)
