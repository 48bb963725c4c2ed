"""A transaction that its producer leaves open on every topic, for longer than a stuck consumer may live."""

from __future__ import annotations

import asyncio
import random
import time
from contextlib import suppress

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from tests.chaos.load import Load
from tests.chaos.poison import POISON
from tests.chaos.system import System
from tests.chaos.topics import mark_of

LASTS_S = 75.0
"""Longer than the 60 s after which a consumer that commits nothing fails its liveness check."""


class OpenTransaction:
    """Writes what no service can read to each topic in one transaction, and aborts it only after `lasts_s`.

    Consumers read what is not committed yet, so each of them must set the message aside and go on, while it is open.
    """

    def __init__(self, name: str, seed: int, lasts_s: float = LASTS_S) -> None:
        self.name = name
        self.seed = seed
        self._lasts_s = lasts_s
        self._producer: AIOKafkaProducer | None = None

    async def start(self, system: System, load: Load) -> str:
        """Write the messages."""
        rng = random.Random(self.seed)
        self._producer = AIOKafkaProducer(
            bootstrap_servers=system.bootstrap_servers,
            transactional_id=f"chaos-{self.seed}-{time.time_ns()}",
            transaction_timeout_ms=round((self._lasts_s + 120) * 1000),
        )
        await self._producer.start()
        await self._producer.begin_transaction()
        written = [each for each in POISON if each.topic and each.name.startswith("bytes that are no message")]
        for poison in written:
            message = poison.make(rng, system.fleet_id, time.time_ns())
            load.recorder.add(
                "planted", mark=mark_of(message.key, message.value), input=f"{poison.name}, in an open transaction",
                topic=poison.topic, refused_by=sorted(poison.refused_by),
            )  # fmt: skip
            await self._producer.send_and_wait(poison.topic, message.value, key=message.key, headers=message.headers)
        return f"a transaction is open on {len(written)} topics for {self._lasts_s:.0f} s"

    async def stop(self, system: System, load: Load) -> None:
        """Abort it."""
        await asyncio.sleep(self._lasts_s)
        if self._producer is not None:
            with suppress(KafkaError):  # a broker that was killed meanwhile ends it after its time-out
                await self._producer.abort_transaction()
            await self._producer.stop()
