"""A backtest finds what the live detector found, in any stretch of time, and holds one file at a time."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.unit.trigger_detector.library_cases import CASES
from tests.unit.trigger_detector.synthetic_drives import synthetic_drive

from fleetloop.domain.archive_files import Footer, VehicleTotals, address_of, write_file
from fleetloop.domain.frames import Column, FrameBatch
from fleetloop.domain.replay_progress import ReplayProgress
from fleetloop.domain.signals import load_catalogue
from fleetloop.kit.storage.objects import Objects
from trigger_detector.backtest import Request, plan_of, replay, run
from trigger_detector.core import DetectorState, evaluate_batches_in_place
from trigger_detector.model import Appended

CONFIG = Path(__file__).parents[3] / "config"
CATALOGUE = load_catalogue(CONFIG / "signals.yaml")
CHOSEN = sorted(CASES)[::3]
LIBRARY = [(CONFIG / "triggers" / "library" / f"{name}.yaml").read_text() for name in CHOSEN]
DAY_NS = 86_400 * 10**9
NOON_NS = 1_700_000_000 * 10**9
Log = list[tuple[int, int, FrameBatch]]
"""(offset, broker's ms, batch)"""


def a_log(rng: np.random.Generator) -> Log:
    """Synthetic drives of many vehicles in the order of arrival; some batches are late, one vehicle pauses."""
    log: Log = []
    waiting = {}
    for number, (hunted, near) in enumerate(CASES[name] for name in CHOSEN):
        for changes, name in ((hunted, f"h{number}"), (near, f"n{number}")):
            batches = synthetic_drive(changes, CATALOGUE)
            if number % 7 == 3:
                batches[1], batches[2] = batches[2], batches[1]  # late
            waiting[name] = [
                replace(b, vehicle_id=name, start_utc_ns=NOON_NS + b.start_monotonic_ns) for b in batches
            ]
    at_ms = NOON_NS // 10**6
    while waiting:
        name = str(rng.choice(sorted(waiting)))
        at_ms += 100_000 if name == "h5" else int(rng.integers(0, 40))  # h5: longer than the detector remembers
        log.append((2 * len(log), at_ms, waiting[name].pop(0)))
        if not waiting[name]:
            del waiting[name]
    return log


def store(objects: Objects, log: Log, cuts: list[int], partition: int = 0) -> None:
    for low, high in zip([0, *cuts], [*cuts, len(log)], strict=True):
        part = log[low:high]
        totals: dict[str, VehicleTotals] = {}
        for _, _, batch in part:
            begin = batch.start_utc_ns
            known = totals.get(batch.vehicle_id, VehicleTotals(0, 0, begin, begin))
            end = begin + batch.end_monotonic_ns() - batch.start_monotonic_ns
            totals[batch.vehicle_id] = VehicleTotals(
                1, 1, min(known.first_utc_ns, begin), max(known.last_utc_ns, end)
            )
        footer = Footer(part[0][0], part[-1][0], part[0][1], part[-1][1], 0, 0, totals)
        content = write_file([(o, b) for o, _, b in part], footer, {o: ms for o, ms, _ in part})
        objects.put_once(address_of("f", partition, part[0][0]), content)


@pytest.fixture(scope="module")
def archived(tmp_path_factory: pytest.TempPathFactory) -> tuple[Objects, Log]:
    objects, log = Objects(tmp_path_factory.mktemp("objects").as_uri()), a_log(np.random.default_rng(3))
    store(objects, log, [30, 31, 80])
    return objects, log


def request(objects: Objects, **more: object) -> Request:
    given = {"objects_url": objects.url, "fleet_id": "f", "signals": str(CONFIG / "signals.yaml")}
    return Request(**{**given, "campaigns": {"": LIBRARY}, **more})  # type: ignore[arg-type]


def found(asked: Request) -> list[tuple[str, int]]:
    plan, problems = plan_of(asked, CATALOGUE)
    assert problems == []
    return [(f.firing_id, f.onset_utc_ns) for f in replay(asked, plan, CATALOGUE, ReplayProgress()) if f is not None]


def live(log: Log, asked: Request) -> list[tuple[str, int]]:
    """The detector's own way through the log, one batch at a time."""
    plan, _ = plan_of(asked, CATALOGUE)
    state, firings = DetectorState(), []
    for _, ms, batch in log:
        result = evaluate_batches_in_place(state, [Appended(batch, ms)], plan)
        firings += [(f.firing_id, f.onset_utc_ns) for f in result.firings]
    return firings


def test_it_finds_exactly_what_the_detector_found(archived: tuple[Objects, Log]) -> None:
    objects, log = archived
    expected = live(log, request(objects))
    assert len(expected) > 10
    at_once = [(offset, log[0][1], batch) for offset, _, batch in log]
    assert live(at_once, request(objects)) != expected, "the broker's times must matter here"
    assert found(request(objects)) == expected


def test_a_stretch_of_time_and_some_vehicles_are_what_is_left_of_the_whole(archived: tuple[Objects, Log]) -> None:
    objects, log = archived
    low, high = NOON_NS + 20 * 10**9, NOON_NS + 21 * 10**9
    expected = [f for f in live(log, request(objects)) if low <= f[1] < high]
    assert 2 < len(expected) < len(CHOSEN)
    assert found(request(objects, from_utc_ns=low, until_utc_ns=high)) == expected
    few = [(o, ms, b) for o, ms, b in log if b.vehicle_id.startswith("h1")]
    assert found(request(objects, vehicles=("h1*",))) == live(few, request(objects))


def test_the_output_is_lines_of_firings_progress_and_what_was_driven(archived: tuple[Objects, Log]) -> None:
    objects, log = archived
    out = io.StringIO()
    assert run(request(objects), out) == 0
    lines = [json.loads(line) for line in out.getvalue().splitlines()]
    assert sum("firing" in line for line in lines) == len(live(log, request(objects)))
    assert [line["progress"]["files"] for line in lines if "progress" in line] == [1, 2, 3, 4]
    done = lines[-1]["done"]
    assert done["batches"] == len(log)
    assert sum(seconds for _, _, seconds in done["driven"]) == pytest.approx(40 * 2 * len(CHOSEN))


@pytest.mark.parametrize("damage", [b"", b"no parquet", None])
def test_a_damaged_file_is_counted_and_the_others_are_replayed(tmp_path: Path, damage: bytes | None) -> None:
    """None cuts the file in half."""
    objects, log = Objects(tmp_path.as_uri()), a_log(np.random.default_rng(3))
    store(objects, log, [30, 60])
    address = address_of("f", 0, log[30][0])
    content = objects.get(address)
    objects.put(address, content[: len(content) // 2] if damage is None else damage)
    out = io.StringIO()
    assert run(request(objects), out) == 0
    lines = [json.loads(line) for line in out.getvalue().splitlines()]
    done = lines[-1]["done"]
    assert (done["damaged_files"], done["batches"]) == (1, len(log) - 30)
    firings = [line["firing"]["firing_id"] for line in lines if "firing" in line]
    assert firings == [firing_id for firing_id, _ in live(log[:30] + log[60:], request(objects))]


def test_a_trigger_that_is_wrong_ends_it_with_its_name(archived: tuple[Objects, Log]) -> None:
    out = io.StringIO()
    wrong = "name: odd\nversion: 1\nexpression: Vehicle.Sped > 3 km/h\n"
    assert run(request(archived[0], campaigns={"": [wrong]}), out) == 2
    assert "Vehicle.Sped" in out.getvalue()


def test_more_telemetry_than_memory_is_no_trouble(tmp_path: Path) -> None:
    """Three times as many files need no more memory, though each is some MB of columns."""

    def peak_mb(files: int) -> float:
        objects = Objects((tmp_path / str(files)).as_uri())
        offsets = np.arange(3000, dtype=np.int64) * 10**7
        for number in range(files):
            log: Log = []
            for index in range(40):
                sequence = number * 40 + index
                start_ns = sequence * 30 * 10**9
                speed = Column(np.full(3000, 50.0, np.float32))
                columns = {"Vehicle.Speed": speed, "Autopilot.Engaged": Column(np.ones(3000, np.bool_))}
                batch = FrameBatch("f", "v", b"12345678", sequence, start_ns, start_ns, "gnss", offsets, columns)
                log.append((sequence, start_ns // 10**6, batch))
            store(objects, log, [])
        asked = {
            "objects_url": objects.url,
            "fleet_id": "f",
            "signals": str(CONFIG / "signals.yaml"),
            "campaigns": {"": ["name: a\nversion: 1\nexpression: max(Vehicle.Speed, 30 s) > 90 km/h"]},
        }
        process = subprocess.Popen(
            [sys.executable, "-m", "trigger_detector.backtest"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps(asked).encode())
        process.stdin.close()
        last = process.stdout.read().splitlines()[-1]
        process.stdout.close()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        assert process.returncode == 0
        assert json.loads(last)["done"]["frames"] == files * 40 * 3000
        return usage.ru_maxrss / 1024

    few, many = peak_mb(4), peak_mb(12)
    assert many < few + 40
