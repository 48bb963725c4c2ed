"""The table of services is put in order, or refused with the reason."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetloop.supervisor.spec import ServiceSpec, in_start_order


def _spec(name: str, *needs: str) -> ServiceSpec:
    return ServiceSpec(name, ("true",), needs=needs)


@given(st.data(), st.integers(1, 12))
def test_everybody_stands_behind_what_it_needs(data: st.DataObject, count: int) -> None:
    specs = [
        _spec(str(n), *(str(need) for need in data.draw(st.sets(st.integers(0, n - 1))))) if n else _spec("0")
        for n in range(count)
    ]
    order = [spec.name for spec in in_start_order(data.draw(st.permutations(specs)))]
    assert sorted(order) == sorted(spec.name for spec in specs)
    for spec in specs:
        assert all(order.index(need) < order.index(spec.name) for need in spec.needs)


@pytest.mark.parametrize(
    "specs, reason",
    [
        ([_spec("a", "b"), _spec("b", "c"), _spec("c", "a")], "in a cycle: a -> b -> c -> a"),
        ([_spec("a", "a")], "in a cycle: a -> a"),
        ([_spec("a", "b")], "a needs b, which is not in the table"),
        ([_spec("a"), _spec("a")], "same name"),
    ],
)
def test_a_table_that_cannot_work_is_refused(specs: list[ServiceSpec], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        in_start_order(specs)
