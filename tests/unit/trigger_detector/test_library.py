"""Every trigger of the library fires on what it hunts, not on what nearly is it, and on no calm or flawless drive."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np
import pytest
import yaml
from tests.unit.trigger_detector.library_cases import CASES
from tests.unit.trigger_detector.synthetic_drives import synthetic_drive

from fleetloop.domain.clips import read_drive
from fleetloop.domain.frames import FrameBatch
from fleetloop.domain.signals import load_catalogue
from fleetloop.domain.tasks import load_task_schema
from fleetloop.triggerlang.trigger import parse_trigger
from fleetloop.worlds.comma2k19 import convert, find_comma2k19
from fleetloop.worlds.recorded import RecordedDrive
from fleetloop.worlds.town.fleet import TownFleet
from trigger_detector.core import DetectorState, evaluate_batches_in_place
from trigger_detector.model import Appended, CampaignRevision, Firing, Limits
from trigger_detector.plan import make_plan
from vehicle_agent.batches import BatchBuilder

ROOT = Path(__file__).parents[3]
CONFIG = ROOT / "config"
CATALOGUE = load_catalogue(CONFIG / "signals.yaml")
SCHEMA = load_task_schema(CONFIG / "tasks.yaml")
RUNNING = {p.stem: parse_trigger(p.read_text()) for p in sorted((CONFIG / "triggers").glob("*.yaml"))}
LIBRARY = {p.stem: parse_trigger(p.read_text()) for p in sorted((CONFIG / "triggers" / "library").glob("*.yaml"))}
PLAN, PROBLEMS = make_plan([(CampaignRevision("library", 1, True, tuple(LIBRARY.values())), 0)], CATALOGUE, Limits())
KINDS = {
    "flicker": ["flicker", "lead_vehicle_flicker", "traffic_light_flicker"],
    "map": ["map_disagreement", "stop_sign_missed_at_night", "traffic_light_map_missed"],
    "human driver": ["human_disagreement", "traffic_light_driven_through", "traffic_light_halt_at_green"],
    "intervention": ["driver_intervention", "lead_vehicle_takeover_unseen", "traffic_light_takeover"],
    "sensor against vision": ["lead_vehicle_radar_unseen", "lead_vehicle_radar_empty", "lead_vehicle_distance_off"],
    "shadow against active": [
        "stop_sign_shadow_disagrees", "lead_vehicle_shadow_disagrees", "traffic_light_shadow_disagrees",
    ],
    "low confidence": ["stop_sign_low_confidence", "lead_vehicle_low_confidence", "traffic_light_low_confidence"],
    "late detection": ["stop_sign_late_detection", "lead_vehicle_late_detection", "traffic_light_late_detection"],
    "detection that vanishes": ["stop_sign_vanishes", "lead_vehicle_vanishes", "traffic_light_vanishes"],
    "braking without a seen reason": ["lead_vehicle_braked_unseen", "lead_vehicle_phantom_braking"],
    "tracks that changed and came back": ["stop_sign_track_flickers", "lead_vehicle_track_flickers"],
}  # fmt: skip


def fired(batches: Iterable[FrameBatch]) -> list[Firing]:
    state, found = DetectorState(), list[Firing]()
    for batch in batches:
        result = evaluate_batches_in_place(state, [Appended(batch, batch.start_monotonic_ns // 10**6)], PLAN)
        found += result.firings
    return found


def names(firings: Iterable[Firing]) -> Counter[str]:
    return Counter(firing.trigger.name for firing in firings)


def test_the_library_compiles_and_every_kind_and_task_has_its_triggers() -> None:
    assert PROBLEMS == ()
    assert len(LIBRARY) >= 30
    assert [name for kind in KINDS.values() for name in kind if name not in LIBRARY | RUNNING] == []
    assert {trigger.task for trigger in LIBRARY.values()} == {task.name for task in SCHEMA.tasks}
    assert set(CASES) == set(LIBRARY)
    assert not set(LIBRARY) & set(RUNNING)


def test_the_guide_lists_them_all() -> None:
    guide = (ROOT / "docs" / "triggers.md").read_text()
    assert [name for name in LIBRARY if f"| `{name}` |" not in guide] == []
    assert f"lists the {len(LIBRARY)} triggers of the library" in guide


@pytest.mark.parametrize("name", LIBRARY)
def test_a_trigger_says_what_it_hunts_and_what_it_may_cost(name: str) -> None:
    trigger = LIBRARY[name]
    assert trigger.name == name
    assert name.startswith(trigger.task)
    assert len(trigger.description) > 60
    assert trigger.description.endswith(".")
    assert trigger.quota_labels > 0
    assert trigger.min_interval_s >= 10
    assert 4 <= trigger.pre_s + trigger.post_s <= 15
    assert trigger.evidence
    routing = yaml.safe_load((CONFIG / "routing.yaml").read_text())["projects"]
    project = routing[trigger.project_hint]
    assert project["task"] == trigger.task
    assert any(fnmatchcase(name, glob) for glob in project["triggers"]), "config/routing.yaml would drop its firings"


@pytest.mark.parametrize("name", CASES)
def test_it_fires_once_on_what_it_hunts_and_not_on_what_nearly_is_it(name: str) -> None:
    hunted, near = CASES[name]
    assert names(fired(synthetic_drive(hunted, CATALOGUE)))[name] == 1
    assert names(fired(synthetic_drive(near, CATALOGUE)))[name] == 0


def test_a_calm_drive_fires_nothing() -> None:
    assert fired(synthetic_drive({}, CATALOGUE)) == []


def test_the_real_minute_fires_nothing_since_no_model_ran_in_it(tmp_path: Path) -> None:
    """comma2k19's minute has radar, speed and steering: a trigger that needs a model must not fire without one."""
    segment = find_comma2k19()
    if segment is None:
        pytest.skip("no recording of comma2k19 is there: see docs/drives.md")
    convert(segment, tmp_path / "minute.mcap")
    drive = RecordedDrive(read_drive(tmp_path / "minute.mcap"))
    batches = [stretch.batch for stretch in drive.stretches("f", "v", b"12345678")]
    assert sum(batch.frames() for batch in batches) > 5000
    assert names(fired(batches)) == {}


def test_a_flawless_model_in_the_town_is_left_nearly_alone() -> None:
    """Twelve minutes of six vehicles whose model says what is there: nearly nothing is left to hunt."""
    fleet = TownFleet(SCHEMA, 6, 3, 9)
    builders = [BatchBuilder("f", v.vehicle_id, b"12345678", CATALOGUE, 100) for v in fleet.vehicles]
    found: Counter[str] = Counter()
    states = [DetectorState() for _ in builders]
    ticks = 7200
    for tick in range(ticks):
        answers = []
        for index, (vehicle, builder) in enumerate(zip(fleet.vehicles, builders, strict=True)):
            truth = vehicle.truth
            sign = float(truth.answers.get("stop_sign") in ("plain", "occluded", "held", "placard"))
            perceived = {"StopSign.IsSign": sign, "StopSign.Applies": float(truth.must_stop)}
            lead = truth.heads.get("lead_vehicle", {})
            perceived["LeadVehicle.Present"] = float(lead.get("present") or 0)  # type: ignore[arg-type]
            answers.append(perceived)
            signals = dict(vehicle.signals())
            if tick % 5 == 0:
                said = dict(perceived) | {"TrafficLight.StateScore": 1.0}
                light = truth.heads.get("traffic_light", {}).get("state", "none")
                for prefix in ("Perception", "Shadow"):
                    signals |= {f"{prefix}.{path}": value for path, value in said.items()}
                    signals[f"{prefix}.TrafficLight.State"] = str(light)
            for batch in builder.add(tick * 10**8, tick * 10**8, signals, ("a" * 64, "b" * 64)):
                result = evaluate_batches_in_place(states[index], [Appended(batch, tick * 100)], PLAN)
                found += names(result.firings)
        fleet.act_all(answers)
    hours = ticks / 36_000 * len(builders)
    often = {name: round(count / hours, 1) for name, count in found.items() if count / hours > 12}
    assert often == {}, dict(found)


def test_telemetry_without_an_instant_more_than_once_a_second_is_no_trouble() -> None:
    """Sparse producers: whatever cannot be known does not fire."""
    slow = synthetic_drive({}, CATALOGUE)
    thin = [
        FrameBatch(
            b.fleet_id, b.vehicle_id, b.boot_id, b.sequence, b.start_monotonic_ns, b.start_utc_ns, b.utc_source,
            b.frame_offsets_ns[:1], {}, "", "",
        )
        for b in slow
    ]  # fmt: skip
    assert fired(thin) == []
    assert np.all([batch.frames() == 1 for batch in thin])
