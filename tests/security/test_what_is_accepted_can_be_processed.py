"""What one service accepts, every service behind it can store and compute with, on SQLite and on Postgres.

The messages are at the extremes of their declared bounds. An effect may refuse one for what it says, by a typed
refusal. Any other exception is a fault, although the consumer would survive it and set the message aside.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.callers import policy_of
from tests.messages import messages

from fleetloop.domain.messages import event_of, parse
from fleetloop.domain.topics import (
    CAMPAIGN,
    CLIP,
    COMMAND,
    DATASET,
    HEALTH,
    LABEL,
    LABEL_TASK,
    MODEL,
    TRAINING,
    TRIGGER,
)
from fleetloop.kit.bounds import OutOfBoundsError
from fleetloop.kit.messaging.events import EventTooLargeError
from fleetloop.kit.messaging.producer import Record, UnreadableMessageError
from fleetloop.kit.process.settings import ServiceSettings
from fleetloop.kit.refusal import RefusedError
from fleetloop.kit.rpc import RpcServer
from fleetloop.kit.security.access import Rule
from fleetloop.kit.storage.database import Database, Transaction
from fleetloop.kit.testing import ManualClock
from fleetloop.protos.campaign.v1 import campaign_pb2
from fleetloop.protos.clip.v1 import clip_pb2
from fleetloop.protos.command.v1 import command_pb2
from fleetloop.protos.dataset.v1 import dataset_pb2
from fleetloop.protos.health.v1 import health_pb2
from fleetloop.protos.label.v1 import label_pb2
from fleetloop.protos.rollout.v1 import rollout_pb2
from fleetloop.protos.training.v1 import training_pb2
from fleetloop.protos.trigger.v1 import trigger_pb2

CONFIG = Path(__file__).parents[2] / "config"
WRONG = {
    FieldDescriptor.TYPE_STRING: "a\0b",
    FieldDescriptor.TYPE_UINT32: 2**32 - 1,
    FieldDescriptor.TYPE_UINT64: 2**64 - 1,
    FieldDescriptor.TYPE_DOUBLE: math.inf,
    FieldDescriptor.TYPE_FLOAT: math.inf,
}
"""A value by type that is outside the bounds of every field."""
ANY_METHOD = {"test.v1.Test/*": Rule(services=("insecure",))}
Effect = Callable[[Transaction, Record], None]
KINDS: Mapping[str, type[Message]] = {
    CAMPAIGN: campaign_pb2.Campaign,
    CLIP: clip_pb2.ClipStored,
    COMMAND: command_pb2.VehicleCommand,
    DATASET: dataset_pb2.DatasetCommitted,
    HEALTH: health_pb2.VehicleReport,
    LABEL: label_pb2.SampleLabelled,
    LABEL_TASK: label_pb2.LabelTaskCreated,
    MODEL: rollout_pb2.ModelChanged,
    TRAINING: training_pb2.RunChanged,
    TRIGGER: trigger_pb2.TriggerFired,
}


def _effects(service: str, clock: ManualClock) -> Mapping[str, Effect]:
    stream = importlib.import_module(f"{service}.stream")
    if service == "label_router":
        settings, tasks = (
            importlib.import_module("label_router.settings"),
            importlib.import_module("fleetloop.domain.tasks"),
        )
        schema = tasks.load_task_schema(CONFIG / "tasks.yaml")
        routing = replace(settings.load_routing(CONFIG / "routing.yaml"), task_schema_version=f"{schema.name}-1")
        return stream.effects(routing, clock)  # type: ignore[no-any-return]
    if service == "rollout_controller":
        plan = importlib.import_module("rollout_controller.settings").load_plan(CONFIG / "rollout.yaml")
        return stream.effects("demo", plan, clock)  # type: ignore[no-any-return]
    if hasattr(stream, "EFFECTS"):
        return stream.EFFECTS  # type: ignore[no-any-return]
    return stream.effects(clock)  # type: ignore[no-any-return]


SERVICES = (
    "campaign_keeper",
    "dataset_curator",
    "label_desk",
    "label_router",
    "rollout_controller",
    "training_orchestrator",
)
CASES = [(service, topic) for service in SERVICES for topic in sorted(_effects(service, ManualClock()))]


@pytest.fixture(params=CASES, ids=lambda case: f"{case[0]}-{case[1]}")
def reader(request: pytest.FixtureRequest, database_url: str) -> Iterator[tuple[Database, str, Effect]]:
    service, topic = request.param
    base = importlib.import_module(f"{service}.store").Base
    database = Database(database_url, base)
    base.metadata.create_all(database.engine)
    yield database, topic, _effects(service, ManualClock())[topic]
    database.close()


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(data=st.data())
def test_an_event_that_can_be_made_can_be_processed(reader: tuple[Database, str, Effect], data: Any) -> None:
    database, topic, effect = reader
    message = data.draw(messages(KINDS[topic]))
    try:
        event = event_of(topic, "key", "0" * 32, message, 1)
    except EventTooLargeError:
        return  # its maker gets the error
    record = Record(topic, 0, 0, b"key", event.payload, [("ce_id", b"e")], 0)
    try:
        database.run_now(lambda tx: effect(tx, record))
    except (UnreadableMessageError, RefusedError) as refusal:
        assert str(refusal)


@pytest.mark.parametrize("topic", sorted(KINDS))
def test_an_event_outside_its_bounds_is_neither_made_nor_read(topic: str) -> None:
    kind = KINDS[topic]
    fields = [each for each in kind.DESCRIPTOR.fields if each.type in WRONG and not each.is_repeated]
    assert len(fields) >= 3
    for field in fields:
        message = kind()
        setattr(message, field.name, WRONG[field.type])
        with pytest.raises(OutOfBoundsError) as caught:
            event_of(topic, "key", "0" * 32, message, 1)
        assert caught.value.field == field.name
        with pytest.raises(UnreadableMessageError, match=field.name):
            parse(kind, Record(topic, 0, 0, b"key", message.SerializeToString(), [], 0))


@pytest.mark.parametrize("streams", [False, True], ids=["request", "stream of requests"])
async def test_a_request_outside_its_bounds_reaches_no_handler(streams: bool) -> None:
    reached: list[Message] = []

    async def unary(request: label_pb2.ReleaseTaskRequest, context: object) -> bytes:
        reached.append(request)
        return b""

    async def stream(requests: AsyncIterator[label_pb2.ReleaseTaskRequest], context: object) -> bytes:
        reached.extend([request async for request in requests])
        return b""

    read = label_pb2.ReleaseTaskRequest.FromString
    handler = (
        grpc.stream_unary_rpc_method_handler(stream, request_deserializer=read)
        if streams
        else grpc.unary_unary_rpc_method_handler(unary, request_deserializer=read)
    )
    server = RpcServer("test", ServiceSettings(kafka_bootstrap_servers="none:1"), policy_of(ANY_METHOD))
    handlers = grpc.method_handlers_generic_handler("test.v1.Test", {"Release": handler})
    server.server.add_generic_rpc_handlers((handlers,))
    await server.start([])
    good, bad = (label_pb2.ReleaseTaskRequest(task_id=name).SerializeToString() for name in ("t1", "a\0b"))
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as opened:

            async def send(content: bytes) -> None:
                method = "/test.v1.Test/Release"
                await (
                    opened.stream_unary(method)(iter([content])) if streams else opened.unary_unary(method)(content)
                )

            await send(good)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await send(bad)
    finally:
        await server.stop(0)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert len(reached) == 1


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_number_without_declared_bounds_is_finite(value: float) -> None:
    firing = trigger_pb2.TriggerFired(evidence={"Vehicle.Speed": value})
    run = training_pb2.RunChanged(metrics=[training_pb2.Metric(value=value)])
    messages: dict[str, Message] = {TRIGGER: firing, TRAINING: run}
    for topic, message in messages.items():
        with pytest.raises(OutOfBoundsError, match="is not a finite number"):
            event_of(topic, "key", "0" * 32, message, 1)
