"""What one service accepts, every service behind it can store and compute with, on SQLite and on Postgres.

The messages are at the extremes of their declared bounds. An effect may refuse one for what it says, by a typed
refusal. Any other exception is a fault, although the consumer would survive it and set the message aside.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.message import Message
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.messages import messages

from fleetloop.domain.messages import event_of
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
from fleetloop.kit.messaging.events import EventTooLargeError
from fleetloop.kit.messaging.producer import Record, UnreadableMessageError
from fleetloop.kit.refusal import RefusedError
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
