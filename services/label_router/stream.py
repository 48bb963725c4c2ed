"""The Kafka shell: Faust agents over firings and clips. Each event is one transaction, and is acknowledged after it.

The agents follow the rules of fleetloop.kit.messaging.faust_app: one message at a time, no exception leaves an agent,
no gap in acknowledgements. What follows from an event leaves through the outbox, so the effects of an acknowledged
event are stored.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import faust

from fleetloop.domain.topics import CLIP, TRIGGER
from fleetloop.kit.messaging.faust_app import build_app, handled
from fleetloop.kit.messaging.faust_order import guard_of
from fleetloop.kit.messaging.producer import KafkaPublisher, Record
from fleetloop.kit.process.clock import Clock
from fleetloop.kit.storage.database import Database, Transaction
from fleetloop.kit.storage.inbox import Effect, Inbox
from label_router import transactions
from label_router.codec import clip_in, firing_in
from label_router.model import Routing
from label_router.settings import LabelRouterSettings


def effects(routing: Routing, clock: Clock) -> Mapping[str, Effect]:
    """What each topic's events do."""

    def on_firing(tx: Transaction, record: Record) -> None:
        """A trigger fired."""
        transactions.record_firing(tx, firing_in(record), routing, clock.now_utc_ns())

    def on_clip(tx: Transaction, record: Record) -> None:
        """A clip was stored."""
        transactions.record_clip(tx, clip_in(record), routing, clock.now_utc_ns())

    return {TRIGGER: on_firing, CLIP: on_clip}


def build_router(
    settings: LabelRouterSettings, routing: Routing, database: Database, publisher: KafkaPublisher, clock: Clock
) -> faust.App:
    """The Faust app with its two agents."""
    app = build_app(transactions.SERVICE, settings)
    order = guard_of(transactions.SERVICE, settings)
    inbox = Inbox(transactions.SERVICE, database, publisher, clock, effects(routing, clock))

    @app.agent(app.topic(TRIGGER, key_type=bytes, value_type=bytes), name="firings")
    async def firings(stream: Any) -> None:
        async for event in stream.noack().events():
            await handled(event, inbox.take_effect, publisher, transactions.SERVICE, order)

    @app.agent(app.topic(CLIP, key_type=bytes, value_type=bytes), name="clips")
    async def clips(stream: Any) -> None:
        async for event in stream.noack().events():
            await handled(event, inbox.take_effect, publisher, transactions.SERVICE, order)

    return app
