"""Trigger files: what is shipped can be used, what is wrong is refused by the field's name."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleetloop.domain.signals import load_catalogue
from fleetloop.triggerlang.errors import TriggerFileError
from fleetloop.triggerlang.trigger import Geofence, check_trigger, parse_trigger

CONFIG = Path(__file__).parents[4] / "config"
CATALOGUE = load_catalogue(CONFIG / "signals.yaml")
GOOD = (CONFIG / "triggers" / "flicker.yaml").read_text()


@pytest.mark.parametrize("path", sorted((CONFIG / "triggers").glob("*.yaml")), ids=lambda p: p.stem)
def test_what_is_shipped_can_be_used(path: Path) -> None:
    trigger = parse_trigger(path.read_text())
    assert trigger.name == path.stem
    assert trigger.description
    check_trigger(trigger, CATALOGUE, 60.0)


def test_every_field_is_read() -> None:
    trigger = parse_trigger("""
        {name: a1, version: 3, expression: x, mode: always, min_interval_s: 2, pre_s: 1, post_s: 0, cameras: [front],
         priority: -5, sampling_fraction: 0.25, geofence: {latitude_deg: 1, longitude_deg: 2, radius_m: 3},
         vehicles: ["car-*"], from: 2026-01-01T00:00:00Z, until: "2026-01-02T00:00:00+00:00", quota_labels: 7,
         bytes_per_vehicle_day: 8, project_hint: p, task: t, description: d, conditions: {b: y, a: z}, evidence: [s]}
    """)
    assert trigger.mode == "always"
    assert trigger.geofence == Geofence(1, 2, 3)
    assert (trigger.until_utc_ns - trigger.from_utc_ns) == 86400 * 10**9
    assert trigger.conditions == (("a", "z"), ("b", "y"))
    assert trigger.cameras + trigger.vehicles + trigger.evidence == ("front", "car-*", "s")


@pytest.mark.parametrize(
    ("field", "text"),
    [
        ("file", "a: ["),
        ("file", "- a"),
        ("name", "{version: 1, expression: x}"),
        ("name", "{name: Flicker, version: 1, expression: x}"),
        ("version", "{name: a, expression: x}"),
        ("version", "{name: a, version: 0, expression: x}"),
        ("version", "{name: a, version: 1.5, expression: x}"),
        ("expression", "{name: a, version: 1}"),
        ("expression", "{name: a, version: 1, expression: ' '}"),
        ("expression", "{name: a, version: 1, expression: true}"),
        ("mode", "{name: a, version: 1, expression: x, mode: falling}"),
        ("min_interval_s", "{name: a, version: 1, expression: x, min_interval_s: 0}"),
        ("sampling_fraction", "{name: a, version: 1, expression: x, sampling_fraction: 1.1}"),
        ("pre_s", "{name: a, version: 1, expression: x, pre_s: .nan}"),
        ("geofence", "{name: a, version: 1, expression: x, geofence: {radius_m: 3}}"),
        ("cameras", "{name: a, version: 1, expression: x, cameras: front}"),
        ("from", "{name: a, version: 1, expression: x, from: yesterday}"),
        ("until", "{name: a, version: 1, expression: x, from: 2026-01-02, until: 2026-01-01}"),
        ("conditions", "{name: a, version: 1, expression: x, conditions: [y]}"),
        ("cooldown", "{name: a, version: 1, expression: x, cooldown: 1}"),
    ],
)
def test_a_wrong_file_is_refused_by_its_field(field: str, text: str) -> None:
    with pytest.raises(TriggerFileError) as caught:
        parse_trigger(text)
    assert caught.value.field in (field, f"{field}_utc_ns")


@pytest.mark.parametrize(
    ("field", "text"),
    [
        ("expression", "expression: Vehicle.Sped > 1 km/h"),
        ("conditions.a", "expression: Vehicle.Speed > 1 km/h\nconditions: {a: Vehicle.Speed > 1 m}"),
        ("conditions.a", "expression: a\nconditions: {a: b, b: a}"),
        ("conditions.not", "expression: Vehicle.Speed > 1 km/h\nconditions: {not: Vehicle.Speed > 1 km/h}"),
        ("evidence", "expression: Vehicle.Speed > 1 km/h\nevidence: [Vehicle.Sped]"),
        ("evidence", "expression: Vehicle.Speed > 1 km/h\nevidence: [Radar.Object.Distance]"),
    ],
)
def test_what_cannot_be_compiled_is_refused_by_its_field(field: str, text: str) -> None:
    with pytest.raises(TriggerFileError) as caught:
        check_trigger(parse_trigger(f"name: t\nversion: 1\n{text}"), CATALOGUE, 60.0)
    assert caught.value.field == field


@given(st.integers(0, len(GOOD) - 1), st.integers(0, 40), st.text(max_size=6))
@settings(max_examples=1000, deadline=None)
def test_a_thousand_damaged_files_are_used_or_refused_and_nothing_else(at: int, cut: int, put: str) -> None:
    damaged = GOOD[:at] + put + GOOD[at + cut :]
    try:
        check_trigger(parse_trigger(damaged), CATALOGUE, 60.0)
    except TriggerFileError as error:
        assert str(error).startswith(f"{error.field}: ")
        assert len(str(error)) > len(error.field) + 10
