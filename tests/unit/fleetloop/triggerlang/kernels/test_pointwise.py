"""Operations on values at the same instants, with everything that can be unknown."""

from __future__ import annotations

import numpy as np
import pytest

from fleetloop.triggerlang.kernels.opcodes import Op
from fleetloop.triggerlang.kernels.pointwise import compare, compute, join

NAN = float("nan")


@pytest.mark.parametrize(
    ("op", "expected"),
    [
        (Op.NEG, [-6, -NAN, -4, 0]), (Op.ABS, [6, NAN, 4, 0]), (Op.ADD, [8, NAN, NAN, 0]), (Op.SUB, [4, NAN, NAN, 0]),
        (Op.MUL, [12, NAN, NAN, 0]), (Op.DIV, [3, NAN, NAN, NAN]), (Op.LOWER_OF, [2, NAN, NAN, 0]),
        (Op.HIGHER_OF, [6, NAN, NAN, 0]),
    ],
)  # fmt: skip
def test_arithmetic(op: Op, expected: list[float]) -> None:
    a, b, out = np.array([6, NAN, 4, 0.0]), np.array([2, 3, NAN, 0.0]), np.zeros(4)
    compute(op, a, b, out)
    np.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize(
    ("op", "expected"),
    [
        (Op.LT, [2, 0, 0, 1, 1]),
        (Op.LE, [2, 2, 0, 1, 1]),
        (Op.EQ, [0, 2, 0, 1, 1]),
        (Op.EXISTS_NUMBER, [2, 2, 2, 0, 2]),
    ],
)
def test_comparisons(op: Op, expected: list[int]) -> None:
    a, b, out = np.array([1, 2, 3, NAN, 5]), np.array([2, 2, 2, 2, NAN]), np.zeros(5, np.int8)
    compare(op, a, b, out)
    assert out.tolist() == expected


@pytest.mark.parametrize(
    ("op", "expected"),
    [
        (Op.AND, [0, 0, 0, 0, 1, 1, 0, 1, 2]), (Op.OR, [0, 1, 2, 1, 1, 2, 2, 2, 2]),
        (Op.NOT, [2, 2, 2, 1, 1, 1, 0, 0, 0]), (Op.EXISTS_TRUTH, [2, 2, 2, 0, 0, 0, 2, 2, 2]),
    ],
)  # fmt: skip
def test_logic_has_three_values(op: Op, expected: list[int]) -> None:
    a, b = (np.array(x, np.int8) for x in ([0, 0, 0, 1, 1, 1, 2, 2, 2], [0, 1, 2] * 3))
    out = np.zeros(9, np.int8)
    join(op, a, b, out)
    assert out.tolist() == expected
