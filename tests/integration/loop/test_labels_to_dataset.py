"""From questions to a dataset version while desk and curator are killed: nothing lost, nothing twice."""

from __future__ import annotations

import asyncio
import hashlib
import io
import signal
import time
import uuid
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import grpc
import lance
import numpy as np
from tests.integration.loop.topics import Topics

from fleetloop.api.enrolment import Enrolment
from fleetloop.domain.clips import DriveInfo, DriveWriter
from fleetloop.domain.messages import event_of
from fleetloop.domain.tasks import load_task_schema
from fleetloop.domain.topics import DATASET, LABEL, LABEL_TASK
from fleetloop.embedded.run import EmbeddedRun
from fleetloop.kit.ids import causal_id
from fleetloop.kit.messaging.events import Event
from fleetloop.kit.rpc import open_channel
from fleetloop.kit.security.identity import IdentityKind
from fleetloop.kit.storage.objects import Objects
from fleetloop.protos.common.v1 import provenance_pb2
from fleetloop.protos.dataset.v1 import dataset_pb2, dataset_pb2_grpc
from fleetloop.protos.label.v1 import label_pb2, label_pb2_grpc
from fleetloop.shipped import config_folder

SCHEMA = load_task_schema(config_folder() / "tasks.yaml")
S = 10**9
T = TypeVar("T")
CHOICES = ["plain", "held", "none"]


def clip(number: int) -> bytes:
    """Three seconds of random pictures: no two clips alike."""
    chance = np.random.default_rng(number)
    target = io.BytesIO()
    with DriveWriter(target, DriveInfo("car", f"drive-{number}")) as writer:
        for tick in range(6):
            for camera in SCHEMA.cameras:
                pixels = chance.integers(0, 256, (camera.height, camera.width, 3), dtype=np.uint8)
                writer.image(camera.name, tick * S // 2, pixels)
    return target.getvalue()


def question(objects: Objects, dataset: str, number: int) -> Event:
    content = clip(number)
    sha = hashlib.sha256(content).hexdigest()
    address = f"demo/clips/2026-01-01/{sha}.mcap"
    objects.put_once(address, content)
    sample_id = causal_id("sample", dataset, number)
    task_id = causal_id("labeltask", sample_id)
    message = label_pb2.LabelTaskCreated(
        task_id=task_id,
        provenance=provenance_pb2.Provenance(
            vehicle_id="car",
            clip_id=sha,
            sample_id=sample_id,
            trigger="flicker",
            trigger_version=1,
            firing_id=f"f{number}",
        ),
        project=dataset,
        dataset=dataset,
        task="stop_sign",
        sources=[label_pb2.LABEL_SOURCE_HINDSIGHT, label_pb2.LABEL_SOURCE_HUMAN],
        clip_address=address,
        moment_utc_ns=5 * S // 2,
        moment_monotonic_ns=5 * S // 2,
        agreement=2,
        created_at_utc_ns=time.time_ns(),
        detected_at_utc_ns=time.time_ns(),
    )
    return event_of(LABEL_TASK, sample_id, task_id, message, time.time_ns())


async def patiently(call: Callable[[], Awaitable[T]], deadline: float) -> T:
    """The same request again until the desk answers, as a client does whose connection broke."""
    while True:
        try:
            return await call()
        except grpc.aio.AioRpcError as error:
            if error.code() not in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
                raise
            assert time.monotonic() < deadline, error.details()
            await asyncio.sleep(0.5)


async def label_all(run: EmbeddedRun, name: str, project: str, right: dict[str, str], kills: list[int]) -> int:
    """One labeller answers every task of a project; the desk is SIGKILLed after the answers numbered in `kills`."""
    person = Enrolment(run.layout, "demo").enrol(
        name, kind=IdentityKind.USER, roles=["labeller"], now=datetime.now(UTC)
    )
    answered = 0
    async with open_channel(
        "label-desk", run.fleet.address("label_desk"), person.ca, person.cert, person.key
    ) as channel:
        desk = label_pb2_grpc.LabelServiceStub(channel)
        ask = label_pb2.LeaseTaskRequest(project=project, lease_s=30)
        deadline = time.monotonic() + 90
        while answered < len(right):
            assert time.monotonic() < deadline, f"{name} answered {answered} of {len(right)}"
            leased = await patiently(lambda: desk.LeaseTask(ask, timeout=5), deadline)
            if not leased.assignment.lease_id:
                await asyncio.sleep(0.2)
                continue
            task = leased.assignment.task
            request = label_pb2.SubmitLabelRequest(
                request_id=uuid.uuid4().hex,
                task_id=task.task_id,
                lease_id=leased.assignment.lease_id,
                answers={"stop_sign": right[task.provenance.sample_id]},
            )
            for _ in range(2):  # a repeat of a request has no further effect
                await patiently(lambda: desk.SubmitLabel(request, timeout=5), deadline)  # noqa: B023
            answered += 1
            if answered in kills:
                await asyncio.to_thread(run.supervisor.wait_ready, 60)
                run.supervisor.kill("label_desk", signal.SIGKILL)
    return answered


async def test_killing_desk_and_curator_loses_and_doubles_nothing(topics: Topics, run: EmbeddedRun) -> None:
    dataset = f"set-{uuid.uuid4().hex[:8]}"
    objects = Objects(run.layout.objects.as_uri())
    questions = [question(objects, dataset, number) for number in range(12)]
    right = {event.key: CHOICES[index % 3] for index, event in enumerate(questions)}
    await topics.write(*questions, times=2)
    await asyncio.gather(
        label_all(run, "ann", dataset, right, kills=[4]), label_all(run, "ben", dataset, right, kills=[9])
    )
    run.supervisor.kill("dataset_curator", signal.SIGKILL)
    await asyncio.sleep(2.5)
    await asyncio.to_thread(run.supervisor.wait_ready, 60)
    run.supervisor.kill("dataset_curator", signal.SIGKILL)  # about when it commits

    committed = await topics.read(DATASET, dataset, 1, within_s=60)
    assert len({dict(message.headers)["ce_id"] for message in committed}) == 1
    version = dataset_pb2.DatasetCommitted.FromString(committed[0].value)
    assert (version.version, version.samples, version.added, dict(version.refused)) == ("v1", 12, 12, {})
    assert [(row.trigger, row.samples) for row in version.by_trigger] == [("flicker", 12)]

    table = lance.dataset(version.table_address, version=version.lance_tag).to_table(columns=["sample_id", "choice"])
    assert {row["sample_id"]: row["choice"] for row in table.to_pylist()} == right
    assert table.num_rows == 12
    for sample_id in right:
        labels = await topics.read(LABEL, sample_id, 1, within_s=5, settle_s=0.25)
        assert len({dict(message.headers)["ce_id"] for message in labels}) == 1
        votes = label_pb2.SampleLabelled.FromString(labels[0].value).votes
        assert {vote.author for vote in votes if vote.source == label_pb2.LABEL_SOURCE_HUMAN} == {"ann", "ben"}


async def test_killing_the_curator_while_it_retracts_loses_and_doubles_nothing(
    topics: Topics, run: EmbeddedRun
) -> None:
    """The rows of one clip are removed while the curator is SIGKILLed; the caller tries again with the same id."""
    dataset = f"set-{uuid.uuid4().hex[:8]}"
    questions = [question(Objects(run.layout.objects.as_uri()), dataset, number) for number in range(20, 32)]
    right = {event.key: CHOICES[index % 3] for index, event in enumerate(questions)}
    await topics.write(*questions)
    await asyncio.gather(*(label_all(run, name, dataset, right, kills=[]) for name in ("ann", "ben")))
    (first, *_) = await topics.read(DATASET, dataset, 1, within_s=60)
    before = dataset_pb2.DatasetCommitted.FromString(first.value)
    forged = label_pb2.LabelTaskCreated.FromString(questions[3].payload).provenance
    credentials = run.fleet.credentials()
    files = (credentials.ca, credentials.cert, credentials.key)
    request = dataset_pb2.RetractRowsRequest(
        request_id=uuid.uuid4().hex,
        dataset=dataset,
        rows=dataset_pb2.RowSelector(clip_id=forged.clip_id),
        reason="forged",
    )
    async with open_channel("dataset-curator", run.fleet.address("dataset_curator"), *files) as channel:
        curator = dataset_pb2_grpc.DatasetServiceStub(channel)
        for delay_s in (0.02, 0.1):
            attempt = asyncio.ensure_future(curator.RetractRows(request, timeout=10))
            await asyncio.sleep(delay_s)
            run.supervisor.kill("dataset_curator", signal.SIGKILL)
            await asyncio.gather(attempt, return_exceptions=True)
            await asyncio.sleep(1)
            await asyncio.to_thread(run.supervisor.wait_ready, 60)
        deadline = time.monotonic() + 60
        answer = await patiently(lambda: curator.RetractRows(request, timeout=10), deadline)
    assert (answer.committed.version, answer.committed.samples, answer.committed.changed) == ("v2", 11, 1)
    assert answer.committed.retraction.first_version == before.version == "v1"
    committed = await topics.read(DATASET, dataset, 2, within_s=30)
    assert len({dict(message.headers)["ce_id"] for message in committed}) == 2, "v1 and v2, each announced once"
    table = lance.dataset(before.table_address, version="v2").to_table(columns=["sample_id"])
    assert set(table["sample_id"].to_pylist()) == set(right) - {forged.sample_id}


async def test_a_labelled_set_is_imported_once_and_damage_names_its_place(run: EmbeddedRun, tmp_path: Path) -> None:
    credentials = run.fleet.credentials()
    files = (credentials.ca, credentials.cert, credentials.key)
    (tmp_path / "samples.parquet").write_bytes(b"not parquet")
    async with open_channel("dataset-curator", run.fleet.address("dataset_curator"), *files) as channel:
        curator = dataset_pb2_grpc.DatasetServiceStub(channel)
        request = dataset_pb2.ImportDatasetRequest(
            request_id=uuid.uuid4().hex, dataset="damaged", source_address=str(tmp_path), reason="test"
        )
        await asyncio.to_thread(run.supervisor.wait_ready, 60)
        try:
            await curator.ImportDataset(request, timeout=30)
        except grpc.aio.AioRpcError as error:
            assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
            assert "samples.parquet" in (error.details() or "")
        else:
            raise AssertionError("a damaged set was imported")
        listed = await curator.ListVersions(dataset_pb2.ListVersionsRequest(dataset="damaged"), timeout=10)
        assert list(listed.versions) == []
