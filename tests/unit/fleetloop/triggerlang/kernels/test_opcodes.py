"""The named numbers agree with the protos, with the catalogue's kinds and with one another."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from google.protobuf.descriptor import Descriptor

from fleetloop.protos.telemetry.v1 import telemetry_pb2
from fleetloop.triggerlang.kernels import opcodes
from fleetloop.triggerlang.kernels.opcodes import BatchField, ColumnField, Kind, Op, UtcSource, ValueType, bytes_of
from fleetloop.triggerlang.lowering import KINDS

GROUPS: dict[Callable[[int], bool], set[Op]] = {
    opcodes.makes_a_query: {Op.NEW, Op.FULL, Op.SHIFTED, Op.TRACKS},
    opcodes.is_arithmetic: {Op.NEG, Op.ABS, Op.ADD, Op.SUB, Op.MUL, Op.DIV, Op.LOWER_OF, Op.HIGHER_OF},
    opcodes.is_comparison: {Op.LT, Op.LE, Op.EQ, Op.EXISTS_NUMBER},
    opcodes.is_logic: {Op.EXISTS_TRUTH, Op.AND, Op.OR, Op.NOT},
    opcodes.rolls_numbers: {Op.MIN, Op.MAX, Op.MEAN, Op.FIRST, Op.SLOPE},
    opcodes.rolls_conditions: {Op.ANY, Op.ALL, Op.COUNT},
}


@pytest.mark.parametrize("group", GROUPS, ids=lambda f: str(f.__name__))
def test_a_group_has_its_members_and_no_others(group: Callable[[int], bool]) -> None:
    assert {op for op in Op if group(op)} == GROUPS[group]


@pytest.mark.parametrize(
    ("numbers", "message"),
    [(BatchField, telemetry_pb2.TelemetryBatch.DESCRIPTOR), (ColumnField, telemetry_pb2.Column.DESCRIPTOR)],
)
def test_field_numbers_are_those_of_the_proto(numbers: type[BatchField], message: Descriptor) -> None:
    assert {f.name.lower(): f.value for f in numbers} == {f.name: f.number for f in message.fields}


def test_value_types_and_clocks_are_those_of_the_proto() -> None:
    assert {f"VALUE_TYPE_{t.name}": t.value for t in ValueType} == named(telemetry_pb2.ValueType.items())
    assert {f"UTC_SOURCE_{s.name}": s.value for s in UtcSource} == named(telemetry_pb2.UtcSource.items())


def named(pairs: Sequence[tuple[str, int]]) -> dict[str, int]:
    return {name: number for name, number in pairs if not name.endswith("UNSPECIFIED")}


@pytest.mark.parametrize(("kind", "size"), [("bool", 1), ("int32", 4), ("float32", 4), ("float64", 8), ("enum", 2)])
def test_a_kind_takes_as_many_bytes_as_on_the_wire(kind: str, size: int) -> None:
    assert bytes_of(KINDS[kind]) == size
    assert {Kind(k) for k in KINDS.values()} == set(Kind)
