from __future__ import annotations

import json
import zlib
from dataclasses import asdict, fields, replace
from pathlib import Path

import numpy as np

from fleet_monitor.codec import from_bytes, to_bytes
from fleet_monitor.core import PAST_BOOTS
from fleet_monitor.model import SumKey, Sums, VehicleRecord
from fleet_monitor.settings import FleetMonitorSettings
from fleetloop.kit.messaging.topics import load_topics

TOPICS = Path(__file__).parents[3] / "protos" / "topics.yaml"
COUNTS = [field.name for field in fields(Sums) if field.type == "int"]


def driven_around_the_clock() -> VehicleRecord:
    """A window of every kept ten minutes, with sums that differ."""
    settings = FleetMonitorSettings(kafka_bootstrap_servers="nowhere:1")
    chance = np.random.default_rng(1)
    windows = {}
    for number in range(round(settings.keep_s / settings.window_s)):
        km, p99 = (float(value) for value in chance.uniform(0, 20, 2))
        counts = {name: int(chance.integers(0, 10_000)) for name in COUNTS}
        where = SumKey("a3" * 32, "b7" * 32, "c1" * 16, 2, round(number * settings.window_s) * 10**9)
        sums = Sums(autopilot_km=km, inference_p99_ms_max=p99, faults={"clip_gone": number})
        windows[where] = replace(sums, **counts)  # type: ignore[arg-type]
    past = {day: chance.bytes(4 * PAST_BOOTS // 32) for day in range(20_000, 20_032)}
    return VehicleRecord(boot="b" * 32, sequence=1, windows=windows, past=past)


def test_a_vehicle_that_drives_around_the_clock_fits_into_the_changelog() -> None:
    record = driven_around_the_clock()
    raw = to_bytes(record)
    assert len(COUNTS) == 10
    assert len(raw) < load_topics(TOPICS)["fleet-monitor-windows-changelog"].max_bytes / 2
    assert from_bytes(raw) == record


def test_a_record_from_before_packing_is_read() -> None:
    record = VehicleRecord(
        boot="b1", sequence=3, seen_at_utc_ns=9, windows={SumKey("m", "", "r", 1, 0): Sums(1.5, 2, added_at_utc_ns=7)}
    )
    text = zlib.decompress(to_bytes(record))
    assert json.loads(text)["boot"] == "b1"
    assert from_bytes(text) == record


def test_a_record_that_names_each_value_is_read() -> None:
    where, sums = SumKey("m", "s", "r", 1, 600), Sums(1.5, 2, faults={"clip_gone": 3}, added_at_utc_ns=6)
    named = {name: value for name, value in asdict(sums).items() if name != "added_at_utc_ns"}
    old = {
        "boot": "b1", "sequence": 3, "earlier": {"b0": 7}, "latest": asdict(where), "reported_until_utc_ns": 5,
        "seen_at_utc_ns": 6, "windows": [[asdict(where), named]],
    }  # fmt: skip
    record = VehicleRecord("b1", 3, {"b0": 7}, where, 5, 6, {where: sums})
    assert from_bytes(zlib.compress(json.dumps(old).encode())) == record
    assert from_bytes(to_bytes(record)) == record
