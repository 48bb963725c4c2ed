"""Each batch is archived exactly once, whenever an archiver dies or two of them own the same partition."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from fleetloop.domain.archive_files import Footer, list_files, read_file
from fleetloop.domain.frames import Column, FrameBatch
from fleetloop.domain.validation import BatchError
from fleetloop.kit.storage.objects import Objects
from telemetry_archiver.core import GapError, OpenFile, check_log, check_shape, known_batches, next_offset
from telemetry_archiver.model import Arrival, SeenBatches
from telemetry_archiver.store import Archive

HOUR_MS = 3_600_000


def batch(sequence: int, vehicle: str = "v", kind: str = "f4") -> FrameBatch:
    speed = Column(np.array([sequence % 7, 1], kind))
    offsets = np.array([0, 5], np.int64)
    return FrameBatch("f", vehicle, b"12345678", sequence, 9, sequence * 100, "gnss", offsets, {"Speed": speed})


@dataclass
class Archiver:
    """A process, as far as one partition goes: reads from where storage says, and may die at any step."""

    archive: Archive
    log: list[Arrival]
    file: OpenFile | None = None
    position: int = 0

    def start(self) -> None:
        self.file = self.archive.begin(0)
        self.position = self.file.first_offset

    def read(self, count: int) -> None:
        assert self.file is not None
        for arrival in [each for each in self.log if each.offset >= self.position][:count]:
            if not self.file.fits(arrival) and not self.close():
                return
            self.file.add(arrival)
            self.position = arrival.offset + 1

    def close(self) -> bool:
        assert self.file is not None
        if self.file.empty:
            return True
        if self.archive.create(0, self.file, self.archive.encode(self.file)) is None:
            self.start()
            return False
        self.file = self.file.successor(HOUR_MS)
        return True


LOGS = st.lists(
    st.tuples(
        st.sampled_from("ab"), st.integers(0, 12), st.integers(1, 3), st.sampled_from(["f4", "f4", "f4", "f8"])
    ),
    max_size=40,
)
STEPS = st.lists(st.tuples(st.sampled_from([0, 1]), st.sampled_from(["read", "close", "die"]), st.integers(1, 9)))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(LOGS, STEPS)
def test_two_archivers_that_die_at_will_archive_each_batch_once(
    tmp_path_factory: pytest.TempPathFactory,
    log: list[tuple[str, int, int, str]],
    steps: list[tuple[int, str, int]],
) -> None:
    objects = Objects(tmp_path_factory.mktemp("archive").as_uri())
    arrivals, offset = [], 0
    for vehicle, sequence, gap, kind in log:  # offsets have gaps, batches repeat, a type changes
        offset += gap
        arrivals.append(Arrival(offset, offset * 1000, 10, batch(sequence, vehicle, kind)))

    def fresh() -> Archiver:
        made = Archiver(Archive(objects, "f", HOUR_MS), arrivals)
        made.start()
        return made

    both = [fresh(), fresh()]
    for who, what, count in steps:
        if what == "die":
            both[who] = fresh()
        elif what == "read":
            both[who].read(count)
        else:
            both[who].close()
    last = fresh()
    last.read(1000)
    while not last.close():
        last.read(1000)

    files = [list(read_file(objects, address)) for address in list_files(objects, "f", 0)]
    archived = [(found.vehicle_id, found.sequence) for file in files for _, found in file]
    assert sorted(archived) == sorted({(vehicle, sequence) for vehicle, sequence, _, _ in log})
    footers = list(last.archive.footers())
    for before, after in itertools.pairwise(footers):
        assert after.first_offset == before.last_offset + 1
    assert sum(footer.repeats for footer in footers) == len(log) - len(archived)


@given(st.lists(st.integers(0, 30)))
def test_seen_batches_know_exactly_what_was_added(sequences: list[int]) -> None:
    seen, plain = SeenBatches(), set[int]()
    for sequence in sequences:
        assert seen.add("v", "b", sequence, sequence, 5) == (sequence not in plain)
        plain.add(sequence)
    ranges = seen.ranges().get("v", {}).get("b", [])
    assert {number for low, high in ranges for number in range(low, high + 1)} == plain
    assert all(low > before[1] + 1 for before, (low, _) in itertools.pairwise(ranges))
    seen.prune_before(6)
    assert seen.ranges() == {}


def test_an_archive_of_another_log_is_refused_and_a_shorter_log_is_read_from_its_begin() -> None:
    assert next_offset(None) == 0
    assert check_log(0, 10, 10, 3) == 10
    assert check_log(7, 10, 5, 3) == 7
    with pytest.raises(GapError, match="partition 3 reaches offset 10"):
        check_log(0, 10, 11, 3)


def test_repeats_are_known_as_long_as_the_bound_says() -> None:
    def footer(first: int, appended_ms: int) -> Footer:
        return Footer(first, first, appended_ms, appended_ms, 0, 0, {}, {"v": {"62": [(first, first)]}})

    asked: list[int] = []

    def newest_first() -> object:
        for number in (3, 2, 1, 0):
            asked.append(number)
            yield footer(number, number * 1000)

    seen = known_batches(newest_first(), 1500)  # type: ignore[arg-type]
    assert seen.ranges() == {"v": {"62": [(2, 3)]}}
    assert asked == [3, 2, 1]


def test_batches_that_cannot_be_rows_are_refused() -> None:
    good = batch(0)
    check_shape(good)
    for column in (
        Column(np.zeros(3, np.float32)),
        Column(np.zeros(3, np.float32), splits=np.array([0, 2, 2], np.uint32)),
        Column(np.array([0, 2], np.uint16), dictionary=("a", "b")),
    ):
        with pytest.raises(BatchError, match=r"columns\[Speed\]"):
            check_shape(FrameBatch("f", "v", b"12345678", 0, 0, 0, "gnss", good.frame_offsets_ns, {"Speed": column}))
