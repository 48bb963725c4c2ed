"""The Kafka shell: Faust agents over firings and clips, each event in one transaction, acknowledged after it.

The agents follow the rules of fleetloop.kit.messaging.faust_app: one message at a time, no exception leaves an agent,
no gap in acknowledgements.
What follows from an event leaves through the outbox, so an acknowledged event is one whose effects are kept.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import faust

from fleetloop.domain.messages import parse
from fleetloop.domain.topics import CLIP, TRIGGER
from fleetloop.kit.messaging.events import event_id_of, traceparent_of
from fleetloop.kit.messaging.faust_app import build_app, handled
from fleetloop.kit.messaging.producer import KafkaPublisher, Record, UnreadableMessageError
from fleetloop.kit.process.clock import Clock
from fleetloop.kit.process.tracing import span
from fleetloop.kit.storage.database import Database, Transaction
from fleetloop.protos.clip.v1 import clip_pb2
from fleetloop.protos.trigger.v1 import trigger_pb2
from label_router import transactions
from label_router.model import Routing
from label_router.settings import LabelRouterSettings

Effect = Callable[[Transaction, Record], None]


def build_router(
    settings: LabelRouterSettings, routing: Routing, database: Database, publisher: KafkaPublisher, clock: Clock
) -> faust.App:
    """The Faust app with its two agents."""
    app = build_app(transactions.SERVICE, settings)

    def on_firing(tx: Transaction, record: Record) -> None:
        fired = parse(trigger_pb2.TriggerFired, record)
        if not fired.event_id or not fired.provenance.vehicle_id:
            raise UnreadableMessageError("event_id and provenance.vehicle_id must be set in a TriggerFired")
        transactions.take_firing(tx, fired, routing, clock.now_utc_ns())

    def on_clip(tx: Transaction, record: Record) -> None:
        transactions.take_clip(tx, parse(clip_pb2.ClipStored, record), routing, clock.now_utc_ns())

    async def take(record: Record, effect: Effect) -> str:
        event_id = event_id_of(record.headers)
        if not event_id:
            raise UnreadableMessageError("the header ce_id is missing: send CloudEvents in Kafka's binary mode")

        def once(tx: Transaction) -> str:
            if not tx.first_time(event_id, clock.now_utc_ns()):
                return "repeat"
            effect(tx, record)
            return "handled"

        with span(f"{transactions.SERVICE} {record.topic}", parent=traceparent_of(record.headers)):
            return await database.run(once)

    @app.agent(app.topic(TRIGGER, key_type=bytes, value_type=bytes), name="firings")
    async def firings(stream: Any) -> None:
        async for event in stream.noack().events():
            await handled(event, lambda record: take(record, on_firing), publisher, transactions.SERVICE)

    @app.agent(app.topic(CLIP, key_type=bytes, value_type=bytes), name="clips")
    async def clips(stream: Any) -> None:
        async for event in stream.noack().events():
            await handled(event, lambda record: take(record, on_clip), publisher, transactions.SERVICE)

    return app
