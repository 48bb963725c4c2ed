"""A minimal telemetry producer: one vehicle that sends ten batches and prints the outcome of each.

fleetloop up                       # in one terminal
python examples/producer.py        # in another
"""

from __future__ import annotations

import asyncio
import os
import time
from datetime import UTC, datetime

import numpy as np

from fleetloop import Enrolment, RunningFleet, connect_producer
from fleetloop.domain.frames import Column, FrameBatch

VEHICLE = "example-1"


async def main() -> None:
    fleet = RunningFleet.open(".fleetloop")
    # The same as `fleetloop vehicles enrol example-1`: each vehicle connects with its own certificate.
    credentials = Enrolment(fleet.layout, fleet.fleet_id).enrol(VEHICLE, now=datetime.now(UTC))
    boot_id = os.urandom(8)  # new at every start; with the sequence number it identifies a batch
    offsets_ns = np.arange(100, dtype=np.int64) * 10_000_000  # 100 frames in a second
    async with connect_producer(fleet.address("telemetry-gateway"), credentials) as producer:
        for sequence in range(10):
            speed = Column(np.full(100, 50, np.float32))
            batch = FrameBatch(
                fleet_id=fleet.fleet_id,
                vehicle_id=VEHICLE,
                boot_id=boot_id,
                sequence=sequence,
                start_monotonic_ns=sequence * 1_000_000_000,
                start_utc_ns=time.time_ns() - (10 - sequence) * 1_000_000_000,
                utc_source="ntp",
                frame_offsets_ns=offsets_ns,
                columns={"Vehicle.Speed": speed, "Vehicle.Wish": speed},
            )
            answer = await (await producer.send(batch))
            said = "stored" if answer.stored else answer.error
            print(f"batch {sequence}: {said}; dropped as unknown: {', '.join(answer.dropped_columns)}")


if __name__ == "__main__":
    asyncio.run(main())
