"""A message that cannot be decoded ends its batch and nothing else."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import REGISTRY

from fleetloop.kit.messaging import undecodable
from fleetloop.kit.messaging.undecodable import TolerantRecords


class Batch:
    """A batch as aiokafka's: iterating raises at the first message that is not good."""

    def __init__(self, base_offset: int, good: list[bool]) -> None:
        self.base_offset, self.next_offset = base_offset, base_offset + len(good)
        self.is_control_batch = False
        self._good = good

    def __iter__(self) -> object:
        for number, good in enumerate(self._good):
            if not good:
                raise UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte")
            yield SimpleNamespace(offset=self.base_offset + number)


class Records:
    def __init__(self, batches: list[Batch]) -> None:
        self._batches = batches

    def size_in_bytes(self) -> int:
        return 1

    def has_next(self) -> bool:
        return bool(self._batches)

    def next_batch(self) -> Batch | None:
        return self._batches.pop(0) if self._batches else None


def passed_over() -> float:
    return REGISTRY.get_sample_value("fleetloop_undecodable_messages_total") or 0


@given(st.lists(st.lists(st.booleans(), min_size=1, max_size=5), max_size=6))
def test_the_other_batches_and_what_came_before_in_its_own_are_read(goods: list[list[bool]]) -> None:
    batches, expected, offset, lost = [], [], 0, 0
    for good in goods:
        batches.append(Batch(offset, good))
        until = good.index(False) if False in good else len(good)
        expected += [offset + number for number in range(until)]
        lost += len(good) - until
        offset += len(good)
    before = passed_over()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(undecodable, "MemoryRecords", lambda data: Records(batches))
        records, read = TolerantRecords(b""), []
        while records.has_next():
            batch = records.next_batch()
            assert batch is not None and batch.is_control_batch is False
            read += [record.offset for record in batch]
    assert read == expected
    assert passed_over() - before == lost


def test_an_error_that_is_not_about_the_bytes_is_raised() -> None:
    class Broken(Batch):
        def __iter__(self) -> object:
            yield from ()
            raise MemoryError

    batch = undecodable._Batch(Broken(0, [True]))
    with pytest.raises(MemoryError):
        list(batch)
