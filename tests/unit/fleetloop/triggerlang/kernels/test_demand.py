"""Only what the ranges leave open is computed."""

from __future__ import annotations

from tests.unit.fleetloop.triggerlang.evaluation import batch, machine_of, numbers, read, run

from fleetloop.triggerlang.kernels.opcodes import Op
from fleetloop.triggerlang.kernels.tables import COMPUTED, I_OP
from fleetloop.triggerlang.program import Condition


def computed(expression: str, *values: float) -> set[Op]:
    """The instructions that ran for a condition on one batch of X."""
    machine, reader = machine_of(Condition("c", expression, {}))
    run(machine, read(reader, batch({"X": numbers(*values)})))
    ran = machine._tables.needed[:-1] == COMPUTED
    return {Op(op) for op in machine.lowered.program.instructions[ran, I_OP]}


def test_a_condition_that_is_false_throughout_is_not_computed() -> None:
    assert computed("X > 4 and max(X + X, 1 s) > 9", 1, 2, 3) == set()


def test_an_open_condition_is_computed_with_all_that_it_reads() -> None:
    assert computed("X > 4 and max(X + X, 1 s) > 9", 1, 5, 3) == {
        Op.HOLD_NUMBER, Op.CONST_NUMBER, Op.ADD, Op.MAX, Op.LT, Op.AND, Op.SUFFIX_NUMBER,
    }  # fmt: skip


def test_a_part_whose_range_decides_it_is_not_computed_beside_an_open_one() -> None:
    ran = computed("X > 4 or max(X + X, 1 s) > 100", 1, 5, 3)
    assert Op.OR in ran
    assert not ran & {Op.MAX, Op.ADD}
