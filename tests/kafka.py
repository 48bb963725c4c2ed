"""Kafka as tests use it."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaProducer

from fleetloop.api.installation import RunningFleet
from fleetloop.embedded.broker.users import KafkaUsers


def all_rights(fleet: RunningFleet) -> dict[str, Any]:
    """Options of a client that may read and write every topic of an embedded run, as no service may."""
    if "kafka_users" not in fleet.info:  # the run uses a broker that somebody named
        return {"bootstrap_servers": fleet.kafka_bootstrap_servers}
    return KafkaUsers(Path(fleet.info["kafka_users"])).node_options(fleet.kafka_bootstrap_servers)


async def bytes_per_second(producer: AIOKafkaProducer, topic: str, total: int = 4_000_000) -> float:
    """How fast one producer may write; it waits for each acknowledgement."""
    piece = bytes(200_000)
    async with producer:
        began = time.monotonic()
        for _ in range(total // len(piece)):
            await asyncio.wait_for(producer.send_and_wait(topic, piece, partition=0), 120)
        return total / (time.monotonic() - began)
