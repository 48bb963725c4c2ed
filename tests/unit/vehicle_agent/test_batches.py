"""Ticks become batches that the gateway takes, whatever the world says, and nothing but the unsendable is missing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from fleetloop.domain.frames import FrameBatch
from fleetloop.domain.signals import load_catalogue
from fleetloop.domain.telemetry_codec import decode_batch, encode_batch
from fleetloop.domain.validation import validate
from vehicle_agent.batches import BatchBuilder

CATALOGUE = load_catalogue(Path(__file__).parents[3] / "config" / "signals.yaml")


def builder(frames: int = 10) -> BatchBuilder:
    return BatchBuilder("f", "v", b"12345678", CATALOGUE, frames)


def values_of(batches: list[FrameBatch], path: str) -> list[tuple[int, Any]]:
    found = []
    for batch in batches:
        column = batch.columns.get(path)
        if column is None:
            continue
        offsets = batch.frame_offsets_ns if column.offsets_ns is None else column.offsets_ns
        rows: list[Any] = column.values.tolist()
        if column.splits is not None:
            rows = [part.tolist() for part in np.split(column.values, column.splits[1:-1])]
        found += list(zip((offsets + batch.start_monotonic_ns).tolist(), rows, strict=True))
    return found


NUMBERS = st.floats(allow_nan=True, allow_infinity=True, width=32)
TICKS = st.lists(
    st.fixed_dictionaries(
        {"Vehicle.TraveledDistance": st.floats(0, 1e6)},
        optional={
            "Vehicle.Speed": NUMBERS,
            "Perception.LeadVehicle.Distance": NUMBERS,
            "Autopilot.Engaged": st.booleans(),
            "Map.Feature": st.sampled_from(["none", "stop_sign", "mermaid", 2, 7]),
            "Radar.Object.Distance": st.lists(st.floats(-60, 400, width=32), max_size=3).map(np.array),
            "Radar.Object.Id": st.lists(st.integers(-1, 9), max_size=3).map(np.array),
            "Not.Known": st.just(1.0),
        },
    ),
    min_size=1,
    max_size=25,
)


@given(TICKS, st.integers(1, 12))
@settings(max_examples=150, deadline=None)
def test_every_batch_is_taken_and_every_lawful_value_is_in_it(ticks: list[dict[str, Any]], size: int) -> None:
    maker = builder(size)
    batches: list[FrameBatch] = []
    for number, signals in enumerate(ticks):
        batches += maker.add(number * 10**8, 10**18 + number * 10**8, signals)
    batches += maker.flush()
    assert [batch.sequence for batch in batches] == list(range(len(batches)))
    assert sum(batch.frames() for batch in batches) == len(ticks)
    for batch in batches:
        checked = validate(decode_batch(encode_batch(batch)), CATALOGUE, 2 * 10**18)
        assert checked.dropped == ()
    distances = [(n * 10**8, tick["Vehicle.TraveledDistance"]) for n, tick in enumerate(ticks)]
    assert values_of(batches, "Vehicle.TraveledDistance") == distances
    lawful = [
        (n * 10**8, t["Vehicle.Speed"]) for n, t in enumerate(ticks) if -50 <= t.get("Vehicle.Speed", 999) <= 400
    ]
    assert values_of(batches, "Vehicle.Speed") == lawful
    codes = {"none": 0, "stop_sign": 1, 2: 2}
    features = [(n * 10**8, codes[t["Map.Feature"]]) for n, t in enumerate(ticks) if t.get("Map.Feature") in codes]
    assert values_of(batches, "Map.Feature") == features
    complete = [
        (n * 10**8, t["Radar.Object.Id"].tolist())
        for n, t in enumerate(ticks)
        if all(i >= 0 for i in t.get("Radar.Object.Id", [-1]))
        and all(-50 <= d <= 400 for d in t.get("Radar.Object.Distance", []))
        and len(t.get("Radar.Object.Distance", t["Radar.Object.Id"])) == len(t["Radar.Object.Id"])
    ]
    assert values_of(batches, "Radar.Object.Id") == complete
    assert maker.unknown == ({"Not.Known"} if any("Not.Known" in tick for tick in ticks) else set())


def test_a_change_of_model_ends_a_batch_so_that_each_names_one() -> None:
    maker = builder(100)
    done = []
    for number in range(6):
        done += maker.add(number, number, {"Vehicle.Speed": 1.0}, ("a" if number < 4 else "b", "" if number else "s"))
    done += maker.flush()
    assert [(b.frames(), b.model_digest, b.shadow_digest) for b in done] == [
        (1, "a", "s"),
        (3, "a", ""),
        (2, "b", ""),
    ]


def test_values_that_are_left_out_are_counted() -> None:
    maker = builder()
    maker.add(0, 0, {"Vehicle.Speed": 401.0, "Map.Feature": "mermaid", "Perception.LeadVehicle.Distance": np.nan})
    assert maker.out_of_range == 2
    (batch,) = maker.flush()
    assert set(batch.columns) == {"Perception.LeadVehicle.Distance"}
