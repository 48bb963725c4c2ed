"""From a labelled set to a model on every vehicle while orchestrator, job and rollout are killed: one story.

The jobs are the real ones, under torchrun, on a tiny net. Each model is examined once, announced once at each stage,
and no vehicle is ever sent back.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
import sqlite3
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, TypeVar

import grpc
import psutil
import pytest
from tests.integration.loop.assigned_vehicles import AssignedVehicles
from tests.integration.loop.small_training import DATASET, TEST_SET, labelled_set
from tests.integration.loop.topics import Topics

from fleetloop.api.datasets import import_labelled
from fleetloop.domain.tasks import load_task_schema
from fleetloop.domain.topics import COMMAND, MODEL, TRAINING
from fleetloop.embedded.run import EmbeddedRun
from fleetloop.kit.messaging.events import event_id_of
from fleetloop.kit.rpc import open_channel
from fleetloop.protos.command.v1 import command_pb2
from fleetloop.protos.rollout.v1 import rollout_pb2, rollout_pb2_grpc
from fleetloop.protos.training.v1 import training_pb2, training_pb2_grpc
from fleetloop.shipped import config_folder

SCHEMA = load_task_schema(config_folder() / "tasks.yaml")
T = TypeVar("T")
S = rollout_pb2


async def until(what: str, ask: Callable[[], Awaitable[T | None]], within_s: float) -> T:
    """The answer once there is one; while a service is away there is none."""
    deadline = time.monotonic() + within_s
    while True:
        with suppress(grpc.aio.AioRpcError):
            answer = await ask()
            if answer is not None:
                return answer
        assert time.monotonic() < deadline, f"{what} did not happen within {within_s:.0f} s"
        await asyncio.sleep(0.1)


class Story:
    """What the tests below share: the run, a person's channels, the vehicles."""

    def __init__(self, run: EmbeddedRun, topics: Topics) -> None:
        self.run, self.topics = run, topics
        person = run.fleet.credentials()
        files = (person.ca, person.cert, person.key)
        self._channels = [open_channel(name, run.fleet.address(name), *files) for name in ("training_orchestrator",
                          "rollout_controller")]  # fmt: skip
        self.training = training_pb2_grpc.TrainingServiceStub(self._channels[0])
        self.rollouts = rollout_pb2_grpc.RolloutServiceStub(self._channels[1])

    async def close(self) -> None:
        for channel in self._channels:
            await channel.close()

    def kill(self, service: str) -> None:
        self.run.supervisor.kill(service, signal.SIGKILL)

    async def ready(self) -> None:
        await asyncio.to_thread(self.run.supervisor.wait_ready, 60)

    def job(self, run_id: str) -> Path:
        return self.run.layout.service_state("training_orchestrator") / "runs" / run_id

    def workers(self, run_id: str) -> list[psutil.Process]:
        """The processes of a run: torchrun and what it started."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                if process.cmdline()[-1:] == [str(self.job(run_id))]:
                    found.append(process)
        return found

    def progress(self, run_id: str) -> list[dict[str, Any]]:
        path = self.job(run_id) / "progress.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    async def latest_run(self) -> training_pb2.RunChanged | None:
        listed = await self.training.ListRuns(training_pb2.ListRunsRequest(), timeout=5)
        return next((run for run in listed.runs if run.dataset == DATASET), None)

    async def trains(self, number: int) -> str:
        """Waits until the job of the dataset's run with this number is in its training loop."""

        async def ask() -> str | None:
            run = await self.latest_run()
            if run is None or int(run.run_id.split("-")[1]) != number:
                return None
            return run.run_id if any(line["stage"] == "train" for line in self.progress(run.run_id)) else None

        return await until("training", ask, 180)

    async def examined(self, run_id: str) -> training_pb2.RunChanged:
        async def ask() -> training_pb2.RunChanged | None:
            run = await self.latest_run()
            return run if run and run.state >= training_pb2.RUN_STATE_EVALUATED else None

        run = await until("an examined run", ask, 240)
        assert run.run_id == run_id
        log = (self.job(run_id) / "job.log").read_text()[-2000:]
        assert run.verdict == training_pb2.VERDICT_PASSED, (list(run.reasons), log)
        return run

    async def events_of(self, topic: str, key: str) -> dict[str, bytes]:
        """What was said of a key, by event id: repeats have the same."""
        return {event_id_of(m.headers) or "": m.value for m in await self.topics.read(topic, key, 1, settle_s=0.5)}

    async def rollout(self, digest: str) -> rollout_pb2.Rollout | None:
        listed = await self.rollouts.ListRollouts(rollout_pb2.ListRolloutsRequest(), timeout=5)
        return next((each for each in listed.rollouts if each.model_digest == digest), None)

    async def stages(self, digest: str) -> list[tuple[int, int]]:
        """(stage, percent) of a model's announcements in sequence."""
        said = await self.events_of(MODEL, digest)
        changes = sorted((S.ModelChanged.FromString(value) for value in said.values()), key=lambda c: c.sequence)
        return [(change.stage, change.canary_percent) for change in changes]


@pytest.fixture
async def story(run: EmbeddedRun, topics: Topics) -> AsyncIterator[Story]:
    story = Story(run, topics)
    yield story
    await story.close()


def intent(run: EmbeddedRun) -> tuple[int, str, bool] | None:
    """(number, who co-signed, done) of the newest publication, as the rollout's database has it."""
    path = run.layout.service_state("rollout_controller") / "state.db"
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=20)) as connection:
        row = connection.execute("select number, cosigner, done from publications order by number desc").fetchone()
    return None if row is None else (row[0], row[1], bool(row[2]))


@pytest.mark.timeout(900)
async def test_killed_orchestrators_jobs_and_rollouts_make_each_model_once_and_send_no_vehicle_back(
    story: Story, tmp_path: Path
) -> None:
    run = story.run
    folder = run.layout.root
    scenes = labelled_set(tmp_path / "first", SCHEMA, {"none": 40, "plain": 40}, 1)
    exam = labelled_set(tmp_path / "exam", SCHEMA, {"none": 20, "plain": 20, "held": 20}, 2)
    more = labelled_set(tmp_path / "more", SCHEMA, {"none": 10, "held": 50}, 3)
    vehicles = AssignedVehicles(run, [f"assigned-{uuid.uuid4().hex[:6]}" for _ in range(6)])

    async def live(km: float = 0.0, decisions: int = 0) -> None:
        """The fleet goes on living: asks, obeys, reports."""
        await vehicles.ask()
        await story.topics.write(*vehicles.reports(km, decisions))

    # The publication of the first model cannot be completed for now: a folder lies where its snapshot belongs.
    published = run.layout.objects / "demo" / "tuf" / "models"
    obstacle = published / "1.snapshot.json"
    (obstacle / "in the way").mkdir(parents=True)
    await asyncio.to_thread(import_labelled, folder, DATASET, scenes, "coloured pictures", False)
    await asyncio.to_thread(import_labelled, folder, TEST_SET, exam, "frozen", True)

    # 1. The orchestrator is killed while its job trains: the job lives on, and its result is taken in.
    first_run = await story.trains(1)
    workers = {process.pid for process in story.workers(first_run)}
    story.kill("training_orchestrator")
    await story.ready()
    assert (
        workers == {process.pid for process in story.workers(first_run)}
        or (story.job(first_run) / "result.json").exists()
    )
    first = (await story.examined(first_run)).model_digest
    stages = Counter(line["stage"] for line in story.progress(first_run))
    assert (stages["read"], stages["done"]) == (1, 1), "the job was started once"

    # 2. The rollout dies between signing and publishing, again and again, and is killed there.
    async def signed() -> bool | None:
        return (intent(run) or (0, "", False))[1] != "" or None

    await until("a signed intent", signed, 40)
    signed_role = await until("the role's file", lambda: _bytes(published / "1.models.json"), 20)
    with suppress(ProcessLookupError):
        story.kill("rollout_controller")
    assert not (published / "timestamp.json").exists(), "what is not whole is not announced"
    shutil.rmtree(obstacle)

    async def released() -> bool | None:
        await live()
        return all(vehicle.history[-1:] == [(first, "")] for vehicle in vehicles.all) or None

    await until("the first model on every vehicle", released, 60)
    assert (published / "1.models.json").read_bytes() == signed_role
    assert await story.stages(first) == [(S.MODEL_STAGE_REGISTERED, 0), (S.MODEL_STAGE_RELEASED, 100)]

    # 3. Orchestrator and job are killed together: the job goes on from its checkpoint.
    await asyncio.to_thread(import_labelled, folder, DATASET, more, "a colour that it does not know", False)
    second_run = await story.trains(2)
    for process in story.workers(second_run):
        process.send_signal(signal.SIGSTOP)
    story.kill("training_orchestrator")
    await asyncio.sleep(5.2)  # a checkpoint is due every 5 s
    for process in story.workers(second_run):
        process.send_signal(signal.SIGCONT)
    await until("a checkpoint", lambda: _bytes(story.job(second_run) / "checkpoint" / "checkpoint.safetensors"), 20)
    story.kill("training_orchestrator")
    for process in story.workers(second_run):
        with suppress(psutil.NoSuchProcess):
            process.kill()
    second = (await story.examined(second_run)).model_digest
    lines = story.progress(second_run)
    again = max(line_number for line_number, line in enumerate(lines) if line["stage"] == "read")
    resumed = next(line["step"] for line in lines[again:] if line["stage"] == "train")
    assert again > 0 and resumed > lines[1]["step"], "it did not start from scratch"

    # 4. The rollout is killed in shadow and in canary; the vehicles go on living.
    async def at(stage: int) -> rollout_pb2.Rollout | None:
        await live()
        rollout = await story.rollout(second)
        return rollout if rollout and rollout.stage == stage else None

    await until("shadow", lambda: at(S.MODEL_STAGE_SHADOWING), 60)
    story.kill("rollout_controller")
    await live()
    await until("shadow again", lambda: at(S.MODEL_STAGE_SHADOWING), 60)
    assert any(vehicle.history[-1] == (first, second) for vehicle in vehicles.all)
    for _ in range(12):
        await live(decisions=2)
    await until("canary", lambda: at(S.MODEL_STAGE_CANARY), 60)
    await live()
    story.kill("rollout_controller")
    await until("canary again", lambda: at(S.MODEL_STAGE_CANARY), 60)
    canaries = [vehicle.name for vehicle in vehicles.all if vehicle.history[-1] == (second, "")]
    assert 0 < len(canaries) < len(vehicles.all)
    await live(km=0.1)
    story.kill("rollout_controller")

    async def done() -> rollout_pb2.Rollout | None:
        await live(km=0.1)
        rollout = await story.rollout(second)
        attested = all(vehicle.history[-1] == (second, "") for vehicle in vehicles.all)
        return rollout if rollout and attested and rollout.attested >= len(vehicles.all) else None

    finished = await until("the second model on every vehicle", done, 90)
    assert finished.state == rollout_pb2.ROLLOUT_STATE_COMPLETED
    await vehicles.close()

    # What was said of it all, each once.
    for run_id in (first_run, second_run):
        said = [training_pb2.RunChanged.FromString(v) for v in (await story.events_of(TRAINING, run_id)).values()]
        assert sorted(each.state for each in said) == [
            training_pb2.RUN_STATE_QUEUED, training_pb2.RUN_STATE_RUNNING, training_pb2.RUN_STATE_EVALUATED,
        ]  # fmt: skip
    assert await story.stages(second) == [
        (S.MODEL_STAGE_REGISTERED, 0), (S.MODEL_STAGE_SHADOWING, 0), (S.MODEL_STAGE_CANARY, 50),
        (S.MODEL_STAGE_RELEASED, 100),
    ]  # fmt: skip
    forward = [[("", ""), (first, ""), (first, second), (second, "")], [("", ""), (first, ""), (second, "")]]
    everything = await asyncio.gather(*(story.events_of(COMMAND, vehicle.name) for vehicle in vehicles.all))
    for vehicle, commands in zip(vehicles.all, everything, strict=True):
        assert [runs for runs in vehicle.history if runs != ("", "")] in [way[1:] for way in forward], vehicle.name
        told = [command_pb2.VehicleCommand.FromString(value) for value in commands.values()]
        assert len({command.command_id for command in told}) == len(told) == vehicle.version - 1


async def _bytes(path: Path) -> bytes | None:
    return await asyncio.to_thread(lambda: path.read_bytes() if path.is_file() else None)
