"""Vehicles in the town get their models from the real rollout: the first at once, the second stage by stage.

Only the training run is made up: a row in the orchestrator's database says that it passed, so that its real signature
can be had. Gateway, monitor, orchestrator and rollout are real processes, and so is the agent.
"""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from datetime import UTC, datetime
from pathlib import Path
from shutil import copytree
from typing import Any

import pytest
import yaml
from tests.integration.telemetry_processes import ROOT
from tests.integration.test_telemetry_gateway import read_all
from tests.kafka import all_rights
from tests.unit.vehicle_agent.tiny_model import write_model

from fleetloop.api.enrolment import Enrolment
from fleetloop.domain.artifacts import VEHICLE_FILES, sha256_hex
from fleetloop.domain.clips import read_drive
from fleetloop.domain.messages import event_of
from fleetloop.domain.tasks import load_task_schema
from fleetloop.domain.telemetry_codec import decode_batch
from fleetloop.domain.topics import CLIP, COMMAND, HEALTH, TELEMETRY, TRAINING
from fleetloop.embedded.run import EmbeddedRun, embedded_run
from fleetloop.kit.messaging.producer import KafkaPublisher
from fleetloop.kit.storage.objects import Objects
from fleetloop.protos.clip.v1 import clip_pb2
from fleetloop.protos.command.v1 import command_pb2
from fleetloop.protos.health.v1 import health_pb2
from fleetloop.protos.telemetry.v1 import telemetry_pb2
from fleetloop.protos.training.v1 import training_pb2

SERVICES = ["telemetry_gateway", "training_orchestrator", "fleet_monitor", "rollout_controller"]
VEHICLES = [f"vehicle-{number:03d}" for number in range(4)]
NEVER: dict[str, float] = {}
NEARLY = {"stop_sign.is_sign": 0.2, "stop_sign.applies": 0.2}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedRun]:
    folder = tmp_path_factory.mktemp("models")
    config = Path(copytree(ROOT / "config", folder / "config"))
    plan = yaml.safe_load((config / "rollout.yaml").read_text())
    plan |= {
        # Two models that never stop are equally bad, and the fleet drives a few hundred metres.
        "shadow_margin": 0.9,
        "false_release": 0.8,
        "false_rollback": 0.000001,
        "compare_every_km": 0.01,
        "vehicle_time_rate": 100,
        "shadow_percent": 50,
        "canary_percents": [50],
    }
    (config / "rollout.yaml").write_text(yaml.safe_dump(plan))
    now = datetime.now(UTC)
    with embedded_run(folder / "run", now=now, services=SERVICES, config_dir=config, ready_within_s=90) as running:
        for vehicle in VEHICLES:
            Enrolment(running.layout, "demo").enrol(vehicle, now=now)
        yield running


async def pass_model(run: EmbeddedRun, folder: Path, says: dict[str, float], name: str) -> str:
    """A model that passed, as a run of the orchestrator leaves it; its digest."""
    schema = load_task_schema(ROOT / "config" / "tasks.yaml")
    digest = write_model(folder, schema, says, name)
    objects, files = Objects(run.layout.objects.as_uri()), {}
    for file in VEHICLE_FILES:
        content = (folder / file).read_bytes()
        objects.put_once(f"demo/models/{name}/{file}", content)
        files[file] = [len(content), sha256_hex(content)]
    message = training_pb2.RunChanged(
        event_id=f"event-{name}",
        run_id=f"run-{name}",
        state=training_pb2.RUN_STATE_EVALUATED,
        verdict=training_pb2.VERDICT_PASSED,
        dataset="town",
        model_digest=digest,
        artifact_address=f"demo/models/{name}",
    )
    database = run.layout.service_state("training_orchestrator") / "state.db"
    with closing(sqlite3.connect(database, timeout=20)) as connection, connection:
        number = connection.execute("select coalesce(max(number), 0) + 1 from runs").fetchone()[0]
        connection.execute(
            "insert into runs (run_id, number, dataset, samples, state, attempts, passed_digest, files, message)"
            " values (?, ?, 'town', 1, 'evaluated', 1, ?, ?, ?)",
            (message.run_id, number, digest, json.dumps(files), message.SerializeToString()),
        )
    key = run.layout.event_keys / "training-orchestrator.pem"
    settings = run.fleet.kafka_settings("training-orchestrator").model_copy(update={"event_key": key})
    publisher = KafkaPublisher("test", settings)
    await publisher.start()
    await publisher.publish([event_of(TRAINING, message.run_id, message.event_id, message, time.time_ns())])
    await publisher.stop()
    return digest


@pytest.fixture
def agent(run: EmbeddedRun, tmp_path: Path) -> Iterator[Path]:
    """Four vehicles in the town; the folder that they are steered by."""
    options = {
        "world": "town",
        "vehicles": "4",
        "telemetry-gateway-address": run.fleet.address("telemetry_gateway"),
        "rollout-controller-address": run.fleet.address("rollout_controller"),
        "identities": str(run.layout.identities / "vehicles"),
        "trust": str(run.layout.trust),
        "state-dir": str(tmp_path / "vehicles"),
        "config-dir": str(ROOT / "config"),
        "control": str(tmp_path / "control"),
        "truth-file": str(tmp_path / "truth.jsonl"),
        "rate": "0",
        "update-poll-s": "300",
    }
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with (tmp_path / "agent.log").open("wb") as log:
        command = [sys.executable, "-m", "vehicle_agent", *(f"--{name}={value}" for name, value in options.items())]
        process = subprocess.Popen(command, env=env, stderr=log)
    try:
        yield tmp_path / "control"
        process.terminate()
        assert process.wait(60) == 0, (tmp_path / "agent.log").read_text()[-3000:]
    finally:
        process.kill()
        process.wait(10)


def begin(control: Path, phase: str, seconds: float) -> None:
    control.mkdir(exist_ok=True)
    draft = control / "phase.tmp"
    draft.write_text(json.dumps({"phase": phase, "seconds": seconds, "seed": 7}))
    draft.replace(control / "phase.json")


def until(control: Path, reached: Any, within_s: float = 90) -> dict[str, Any]:
    """The progress once `reached(progress)`."""
    deadline, progress = time.monotonic() + within_s, {}
    while True:
        with suppress(FileNotFoundError):
            progress = json.loads((control / "progress-000.json").read_text())
        if progress and reached(progress):
            return progress
        assert time.monotonic() < deadline, (progress, (control.parent / "agent.log").read_text()[-3000:])
        time.sleep(0.1)


def active(progress: dict[str, Any]) -> list[str]:
    return [vehicle["active"] for vehicle in progress["vehicles"].values()]


async def test_a_fleet_takes_its_first_model_and_follows_the_second_through_every_stage(
    run: EmbeddedRun, agent: Path, tmp_path: Path
) -> None:
    begin(agent, "first", 10_000_000)
    until(agent, lambda progress: progress.get("simulated_s", 0) > 5)
    first = await pass_model(run, tmp_path / "first", NEVER, "first")
    until(agent, lambda progress: active(progress) == [first] * 4)
    second = await pass_model(run, tmp_path / "second", NEARLY, "second")
    shadowing = until(agent, lambda p: sum(v["shadow"] == second for v in p["vehicles"].values()) > 0)
    assert active(shadowing) == [first] * 4
    until(agent, lambda progress: 0 < active(progress).count(second) < 4)
    done = until(agent, lambda progress: active(progress) == [second] * 4, within_s=150)
    assert done["inferences"] > 0 and done["totals"]["distance_km"] > 0.05
    values = {vehicle: await read_all(all_rights(run.fleet), HEALTH, vehicle) for vehicle in VEHICLES}
    for vehicle, messages in values.items():
        reports = [health_pb2.VehicleReport.FromString(value) for _, value in messages]
        attested = [digest for i, r in enumerate(reports) if not i or r.model_digest != reports[i - 1].model_digest
                    for digest in [r.model_digest]]  # fmt: skip
        assert attested in (["", first, second], [first, second], ["", first]), vehicle
        assert not any(report.faults for report in reports)
    batches = [
        decode_batch(telemetry_pb2.TelemetryBatch.FromString(value))
        for _, value in await read_all(all_rights(run.fleet), TELEMETRY, VEHICLES[0])
    ]
    assert [batch.sequence for batch in batches] == list(range(len(batches)))
    ticks = [t for b in batches for t in (b.frame_offsets_ns + b.start_monotonic_ns).tolist()]
    assert ticks == list(range(0, len(ticks) * 10**8, 10**8))  # no gap, whatever changed
    for batch in batches:
        if batch.model_digest:
            assert len(batch.columns["Perception.StopSign.IsSign"].values) == -(-batch.frames() // 5)
    truths = [json.loads(line) for line in (tmp_path / "truth.jsonl").read_text().splitlines()]
    assert {truth["vehicle"] for truth in truths} == set(VEHICLES)


async def test_a_clip_of_the_town_waits_for_its_last_second_and_shows_what_the_net_saw(
    run: EmbeddedRun, agent: Path, tmp_path: Path
) -> None:
    begin(agent, "clip", 10_000_000)
    vehicle, bootstrap = VEHICLES[1], all_rights(run.fleet)
    until(agent, lambda progress: progress["vehicles"] and progress["vehicles"][vehicle]["batches_stored"] > 0)
    stored = await read_all(bootstrap, TELEMETRY, vehicle)
    newest = telemetry_pb2.TelemetryBatch.FromString(stored[-1][1])
    onset_ns = newest.start_monotonic_ns + 30 * 10**9  # not driven yet
    now_ns = time.time_ns()
    command = command_pb2.VehicleCommand(
        command_id="town-clip",
        fleet_id="demo",
        vehicle_id=vehicle,
        issued_at_utc_ns=now_ns,
        expires_at_utc_ns=now_ns + 120 * 10**9,
        send_clip=command_pb2.SendClip(
            firing_id="town-firing",
            boot_id=newest.boot_id,
            start_monotonic_ns=onset_ns - 5 * 10**9,
            end_monotonic_ns=onset_ns + 5 * 10**9,
            onset_monotonic_ns=onset_ns,
            trigger="map_disagreement",
        ),
    )
    publisher = KafkaPublisher("test", run.fleet.kafka_settings("rollout-controller"))
    await publisher.start()
    await publisher.publish([event_of(COMMAND, vehicle, "town-clip-0", command, now_ns)])
    await publisher.stop()
    deadline = time.monotonic() + 60
    while not (clips := await read_all(bootstrap, CLIP, vehicle)):
        assert time.monotonic() < deadline, (tmp_path / "agent.log").read_text()[-3000:]
    announced = clip_pb2.ClipStored.FromString(clips[0][1])
    assert (announced.command_id, announced.provenance.firing_id) == ("town-clip", "town-firing")
    drive = read_drive(Objects(run.layout.objects.as_uri()).get(announced.address))
    assert (drive.info.onset_monotonic_ns, drive.info.trigger) == (onset_ns, "map_disagreement")
    assert drive.span_ns() == (onset_ns - 5 * 10**9, onset_ns + 5 * 10**9)
    schema = load_task_schema(ROOT / "config" / "tasks.yaml")
    cameras = [camera.name for camera in schema.cameras]
    frames = drive.frames_at(cameras, onset_ns, schema.frames.count, 0.5)
    assert frames.shape == (3, 8, 32, 32, 3)
    assert frames.std() > 5
    assert len(drive.signals["Vehicle.Speed"].values) == 101
