"""One sample through the whole loop: from a frame on a vehicle to a model that every vehicle attests.

Real services, a real Kafka, real vehicles in the simulated town, real training. The sample is followed by its trace
through every topic; where many samples become one commit, the commit's span links to the sample's trace.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import lance
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from tests.kafka import all_rights

from fleetloop.api.campaigns import apply_files, read_triggers
from fleetloop.api.datasets import import_labelled
from fleetloop.api.enrolment import Enrolment
from fleetloop.demo.loop_client import LoopClient
from fleetloop.demo.plan import MORE_ENV, DemoPlan
from fleetloop.demo.preparation import enrol_vehicles, export_labelled, vehicle_names, write_config
from fleetloop.demo.vehicles import ChildProcess, TownFleet, start_process
from fleetloop.domain import topics as names
from fleetloop.embedded.run import EmbeddedRun, embedded_run
from fleetloop.kit.messaging.events import header
from fleetloop.kit.security.identity import IdentityKind
from fleetloop.protos.campaign.v1 import campaign_pb2
from fleetloop.protos.dataset.v1 import dataset_pb2
from fleetloop.protos.rollout.v1 import rollout_pb2
from fleetloop.protos.training.v1 import training_pb2

PLAN = DemoPlan(vehicles=6, agent_processes=1, plain_samples=900, test_samples=240, labellers=2, wrong_answers=0.0)
ENOUGH_SAMPLES = 15
EXAMPLES = Path(__file__).parents[2] / "examples"
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Message:
    """A message of any topic with what it says of itself."""

    topic: str
    event_id: str
    trace_id: str
    value: bytes


@dataclass(frozen=True, slots=True)
class Loop:
    """A loop that has turned once, and everything that was said meanwhile."""

    committed: dataset_pb2.DatasetCommitted
    messages: dict[str, list[Message]]
    spans: list[dict[str, Any]]
    models: list[rollout_pb2.ModelChanged]
    attested: int
    folder: Path
    """Of the run, which is still up."""


def until(what: str, ask: Callable[[], T | None], within_s: float) -> T:
    """The answer once there is one."""
    deadline = time.monotonic() + within_s
    while (answer := ask()) is None:
        assert time.monotonic() < deadline, f"{what} did not happen within {within_s:.0f} s"
        time.sleep(0.5)
    return answer


@pytest.fixture(scope="module")
def loop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loop]:
    folder = tmp_path_factory.mktemp("e2e")
    config = write_config(folder)
    curation = config / "curation.yaml"
    curation.write_text(curation.read_text().replace("commit_samples: 150", f"commit_samples: {ENOUGH_SAMPLES}"))
    with embedded_run(folder, now=datetime.now(UTC), config_dir=config, more_env=MORE_ENV) as run:
        yield _turn_once(run, folder, config)


def _turn_once(run: EmbeddedRun, folder: Path, config: Path) -> Loop:
    watch, fleet = LoopClient(run.fleet), TownFleet(PLAN, run.fleet, folder, config)
    helpers = []
    try:
        apply_files(folder, read_triggers([config / "triggers"]))
        enrol_vehicles(run.layout, run.fleet.fleet_id, vehicle_names(PLAN), folder / "vehicles")
        plain, test = export_labelled(folder, config, PLAN)
        import_labelled(folder, "town", plain, "plain cases", frozen=False)
        helpers.append(_labellers(run, folder, fleet))
        fleet.start()
        for drive in range(6):  # without a model the drivers do everything, and take over often
            fleet.drive(f"drive-{drive}", 60, drive, lambda share: None)
            if len(watch.versions()) > 1:
                break

        def grown() -> dataset_pb2.DatasetCommitted | None:
            newest = watch.versions()[0]
            return newest if newest.version != "v1" else None

        committed = until("a commit of labels", grown, 60)
        # With the test set the first run becomes due, on the version that holds the fleet's samples.
        import_labelled(folder, "town-test", test, "frozen test set", frozen=True)

        def examined() -> training_pb2.RunChanged | None:
            runs = watch.runs()
            assert not runs or runs[0].state != training_pb2.RUN_STATE_FAILED, list(runs[0].reasons)
            return runs[0] if runs and runs[0].state == training_pb2.RUN_STATE_EVALUATED else None

        run_changed = until("an examined run", examined, 400)
        assert run_changed.verdict == training_pb2.VERDICT_PASSED, list(run_changed.reasons)
        until("a released model", lambda: watch.state().rollouts or None, 60)
        fleet.drive("with-the-model", 30, 99, lambda share: None)
        rollouts = until(
            "the last vehicle's word",
            lambda: [r for r in watch.state().rollouts if r.last_attested_at_utc_ns] or None,
            60,
        )
        versions = {version.version: version for version in watch.versions() if version.dataset == "town"}
        assert run_changed.dataset_version in versions and committed.version in versions
        messages = asyncio.run(_everything_said(all_rights(run.fleet)))
        models = list(watch.state().models)
    finally:
        for child in helpers:
            child.end()
        fleet.stop()
        watch.close()
    traces = "".join(path.read_text() for path in (folder / "traces").glob("*.jsonl"))
    spans = [json.loads(line) for line in traces.splitlines()]
    return Loop(versions[run_changed.dataset_version], messages, spans, models, rollouts[0].attested, folder)


def _labellers(run: EmbeddedRun, folder: Path, fleet: TownFleet) -> ChildProcess:
    enrolment = Enrolment(run.layout, run.fleet.fleet_id)
    for number in range(PLAN.labellers):
        name, out = f"labeller-{number}", folder / "labellers" / f"labeller-{number}"
        enrolment.enrol(name, kind=IdentityKind.USER, roles=["labeller"], now=datetime.now(UTC), out=out)
    arguments = ["fleetloop.demo.labellers", "--desk", run.fleet.address("label_desk"), "--wrong", "0"]
    arguments += ["--identities", str(folder / "labellers"), "--truth", *map(str, fleet.truth_files)]
    return start_process("labellers", arguments, folder / "logs")


async def _everything_said(options: dict[str, Any]) -> dict[str, list[Message]]:
    said: dict[str, list[Message]] = defaultdict(list)
    consumer = AIOKafkaConsumer(**options, auto_offset_reset="earliest")
    await consumer.start()
    try:
        wanted = [v for k, v in vars(names).items() if k.isupper() and isinstance(v, str)]
        partitions = [TopicPartition(t, p) for t in wanted for p in consumer.partitions_for_topic(t) or ()]
        if not partitions:
            await consumer._client.force_metadata_update()
            partitions = [TopicPartition(t, p) for t in wanted for p in consumer.partitions_for_topic(t) or ()]
        consumer.assign(partitions)
        while polled := await consumer.getmany(timeout_ms=1500):
            for messages in polled.values():
                for m in messages:
                    trace = (header(m.headers, "ce_traceparent") or "--").split("-")[1]
                    said[m.topic].append(Message(m.topic, header(m.headers, "ce_id") or "", trace, m.value or b""))
    finally:
        await consumer.stop()
    return said


@pytest.mark.timeout(900)
def test_every_hop_of_one_sample_is_in_its_trace(loop: Loop) -> None:
    table = lance.dataset(loop.committed.table_address, version=loop.committed.lance_tag)
    columns = ["sample_id", "firing_id", "clip_id"]
    wanted = f"sample_id = '{loop.committed.added_sample_ids[0]}'"
    (row,) = table.to_table(filter=wanted, columns=columns).to_pylist()

    (fired,) = {m.event_id: m for m in loop.messages[names.TRIGGER] if m.event_id == row["firing_id"]}.values()
    trace = fired.trace_id
    assert any(m.trace_id == trace for m in loop.messages[names.TELEMETRY]), "the batch that the trigger fired on"
    assert any(m.trace_id == trace for m in loop.messages[names.COMMAND]), "the vehicle was asked for the clip"
    assert any(row["clip_id"].encode() in m.value for m in loop.messages[names.CLIP]), "the clip was stored"
    assert any(m.trace_id == trace for m in loop.messages[names.LABEL_TASK]), "a question was asked"
    assert any(m.trace_id == trace for m in loop.messages[names.LABEL]), "it was answered"

    commits = [s for s in loop.spans if s["service"] == "dataset-curator" and trace in s["links"]]
    assert len(commits) == 1, "exactly one commit took the sample in"
    later = commits[0]["trace_id"]
    committed = [m for m in loop.messages[names.DATASET] if m.trace_id == later]
    assert len({m.event_id for m in committed}) == 1
    runs = [training_pb2.RunChanged.FromString(m.value) for m in loop.messages[names.TRAINING] if m.trace_id == later]
    states = {run.state for run in runs}
    assert {training_pb2.RUN_STATE_QUEUED, training_pb2.RUN_STATE_RUNNING, training_pb2.RUN_STATE_EVALUATED} <= states
    changes = [
        rollout_pb2.ModelChanged.FromString(m.value) for m in loop.messages[names.MODEL] if m.trace_id == later
    ]
    stages = [change.stage for change in changes]
    assert stages == [rollout_pb2.MODEL_STAGE_REGISTERED, rollout_pb2.MODEL_STAGE_RELEASED]
    services = {s["service"] for s in loop.spans if s["trace_id"] in (trace, later)}
    assert {"trigger-detector", "label-router", "label-desk", "dataset-curator", "training-orchestrator",
            "rollout-controller"} <= services  # fmt: skip


@pytest.mark.timeout(900)
def test_every_vehicle_attests_the_released_model(loop: Loop) -> None:
    assert loop.attested == PLAN.vehicles
    assert [model.stage for model in loop.models] == [rollout_pb2.MODEL_STAGE_RELEASED]


@pytest.mark.timeout(900)
def test_nothing_was_buried_and_every_event_has_an_id(loop: Loop) -> None:
    for topic, messages in loop.messages.items():
        assert all(message.event_id for message in messages), topic
    campaign = campaign_pb2.Campaign.FromString(loop.messages[names.CAMPAIGN][0].value)
    assert campaign.state == campaign_pb2.CAMPAIGN_STATE_RUNNING


def _example(name: str, loop: Loop, tmp_path: Path, ends: str) -> str:
    """What an example prints beside the run, up to the line that has ``ends`` in it, or within 8 s."""
    home = tmp_path / ".fleetloop"
    if not home.exists():
        home.symlink_to(loop.folder)
    command = [sys.executable, "-u", str(EXAMPLES / f"{name}.py")]
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    printed = []
    with subprocess.Popen(command, cwd=tmp_path, env=environ, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        silence = threading.Timer(60 if ends else 8, running.send_signal, (signal.SIGINT,))
        silence.start()
        for line in running.stdout:
            printed.append(line)
            if ends and ends in line:
                time.sleep(0.5)  # what it does after the line
                running.send_signal(signal.SIGINT)
                break
        silence.cancel()
    return "".join(printed)


@pytest.mark.timeout(900)
def test_the_example_producer_hears_what_became_of_its_batches(loop: Loop, tmp_path: Path) -> None:
    printed = _example("producer", loop, tmp_path, "batch 9").splitlines()
    assert printed == [f"batch {n}: stored; dropped as unknown: Vehicle.Wish" for n in range(10)]


@pytest.mark.timeout(900)
def test_the_example_subscriber_hears_of_the_model_once(loop: Loop, tmp_path: Path) -> None:
    (model,) = loop.models
    first = _example("subscriber", loop, tmp_path, "is released")
    assert f"{model.model_version} is released" in first
    assert (tmp_path / "models.seen").exists()
    assert _example("subscriber", loop, tmp_path, "") == ""
