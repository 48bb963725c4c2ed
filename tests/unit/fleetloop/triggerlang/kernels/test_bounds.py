"""A range holds everything that would be computed from values within the arguments' ranges."""

from __future__ import annotations

from itertools import pairwise, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleetloop.triggerlang.kernels import bounds
from fleetloop.triggerlang.kernels.opcodes import FALSE, TRUE, UNKNOWN, Op
from fleetloop.triggerlang.kernels.pointwise import compare, compute, join
from fleetloop.triggerlang.kernels.tables import ALWAYS_KNOWN, NEVER_KNOWN, PERHAPS_KNOWN, VARIES

ARITHMETIC = [Op.NEG, Op.ABS, Op.ADD, Op.SUB, Op.MUL, Op.DIV, Op.LOWER_OF, Op.HIGHER_OF]
VALUES = st.lists(st.floats(-1e30, 1e30) | st.sampled_from([0.0, -0.0, 1.0]), min_size=1, max_size=5)


def ranges_of(*columns: list[float]) -> np.ndarray:
    table = np.zeros((len(columns) + 1, 3))
    for row, values in zip(table, columns, strict=False):
        bounds.range_of_numbers(np.array(values, np.float64), row)
    return table


@settings(deadline=None)
@given(st.sampled_from(ARITHMETIC), VALUES, VALUES)
def test_arithmetic_stays_within_its_range(op: Op, first: list[float], second: list[float]) -> None:
    table = ranges_of(first, second)
    bounds.arithmetic_range(op, table, 0, 1, 2)
    a, b = (np.array(x) for x in zip(*product(first, second), strict=True))
    out = np.zeros(len(a))
    compute(op, a, b, out)
    least, most, known = table[2]
    assert not (out < least).any()
    assert not (out > most).any()
    assert known != ALWAYS_KNOWN or not np.isnan(out).any()


@settings(deadline=None)
@given(st.sampled_from([Op.LT, Op.LE, Op.EQ]), VALUES, VALUES)
def test_a_comparison_that_is_decided_by_ranges_is_so_for_all_values(
    op: Op, first: list[float], second: list[float]
) -> None:
    decided = bounds.comparison_range(op, ranges_of(first, second), 0, 1)
    a, b = (np.array(x) for x in zip(*product(first, second), strict=True))
    out = np.zeros(len(a), np.int8)
    compare(op, a, b, out)
    assert decided == VARIES or set(out.tolist()) == {decided}


@pytest.mark.parametrize(
    ("op", "first", "second", "expected"),
    [
        (Op.LT, [1, 2], [3], TRUE), (Op.LT, [3, 4], [3], FALSE), (Op.LT, [2, 4], [3], VARIES),
        (Op.LE, [1, 3], [3], TRUE), (Op.LE, [4], [3], FALSE), (Op.EQ, [1], [2], FALSE), (Op.EQ, [2], [2], TRUE),
        (Op.EQ, [1, 3], [2], VARIES),
    ],
)  # fmt: skip
def test_ranges_decide_what_they_can(op: Op, first: list[float], second: list[float], expected: int) -> None:
    assert bounds.comparison_range(op, ranges_of(first, second), 0, 1) == expected


def test_what_is_known_only_perhaps_decides_nothing() -> None:
    table = ranges_of([1, np.nan], [3], [3])
    assert table[0].tolist() == [1, 1, PERHAPS_KNOWN]
    assert bounds.comparison_range(Op.LT, table, 0, 1) == VARIES
    bounds.set_range(table[0], -np.inf, np.inf, NEVER_KNOWN)
    assert bounds.comparison_range(Op.LT, table, 0, 1) == UNKNOWN
    assert ranges_of([])[0, 2] == PERHAPS_KNOWN


@pytest.mark.parametrize("op", [Op.AND, Op.OR, Op.NOT, Op.EXISTS_TRUTH])
def test_logic_is_decided_where_it_is_the_same_for_all(op: Op) -> None:
    every = (FALSE, UNKNOWN, TRUE)
    for a, b in product((VARIES, *every), repeat=2):
        decided = bounds.logic_range(op, a, b)
        results = set()
        for x, y in product(every if a == VARIES else [a], every if b == VARIES else [b]):
            out = np.zeros(1, np.int8)
            join(op, np.array([x], np.int8), np.array([y], np.int8), out)
            results.add(int(out[0]))
        assert decided == VARIES or results == {decided}
        assert decided != VARIES or len(results) > 1


def test_a_common_truth_is_that_of_all() -> None:
    assert bounds.common_truth(np.array([2, 2], np.int8)) == TRUE
    assert bounds.common_truth(np.array([0, 2], np.int8)) == VARIES
    assert bounds.common_truth(np.array([1, 0], np.int8)) == VARIES
    assert bounds.common_truth(np.zeros(0, np.int8)) == VARIES


@pytest.mark.parametrize(
    ("points", "instants", "shift", "span", "expected"),
    [
        ([0, 4, 8], [1, 9], 0, 5, True),
        ([0, 5, 8], [1, 9], 0, 5, False),
        ([2, 4, 8], [1, 9], 0, 5, False),
        ([0, 4, 8], [1, 13], 0, 5, False),
        ([0, 4, 8], [3, 16], 3, 5, False),
        ([0, 4, 8], [3, 12], 3, 5, True),
    ],
)
def test_instants_are_covered_when_each_has_a_point_less_than_the_span_before(
    points: list[int], instants: list[int], shift: int, span: int, expected: bool
) -> None:
    gap = bounds.longest_gap(np.array(points))
    assert gap == max(b - a for a, b in pairwise(points))
    assert bounds.covered(points[0], points[-1], gap, instants[0], instants[-1], shift, span) == expected
