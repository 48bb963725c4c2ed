"""How many batches a second the gateway validates, has acknowledged by Kafka, and acknowledges, over mTLS.

    python -m tests.bench.gateway_rate [--vehicles 8] [--batches 20000] [--spans-per-s 50]

Starts a broker and one gateway as processes; the client is this process. Prints one JSON line.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
from tests.integration.telemetry_processes import ROOT, fleet_of

from fleetloop import connect_producer
from fleetloop.domain.frames import Column, FrameBatch
from fleetloop.domain.signals import load_catalogue
from fleetloop.embedded.broker import running_broker
from fleetloop.kit.messaging.topics import create_topics, load_topics

FRAMES, SIGNALS = 100, 20


def batch_for(fleet: str, vehicle: str) -> FrameBatch:
    """100 frames of 20 float signals, as in the figures that this is compared with."""
    catalogue = load_catalogue(ROOT / "config" / "signals.yaml")
    paths = [
        path
        for path, signal in catalogue.signals.items()
        if signal.kind == "float32" and not signal.ragged and signal.minimum <= 0 and signal.maximum >= 1
    ]
    values = np.random.default_rng(0).uniform(0, 1, (SIGNALS, FRAMES)).astype(np.float32)
    columns = {path: Column(values[row]) for row, path in enumerate(paths[:SIGNALS])}
    offsets = np.arange(FRAMES, dtype=np.int64) * 10_000_000
    start_ns = time.time_ns() - 3600 * 10**9
    return FrameBatch(fleet, vehicle, os.urandom(8), 0, 0, start_ns, "simulated", offsets, columns)


async def main(vehicles: int, batches: int, spans_per_s: int) -> None:
    """Sends `batches` over the streams of `vehicles` and prints the rate."""
    with tempfile.TemporaryDirectory() as folder, running_broker(Path(folder) / "kafka") as bootstrap:
        await create_topics(bootstrap, load_topics(ROOT / "protos" / "topics.yaml"))
        with fleet_of(Path(folder), bootstrap, "bench") as fleet:
            gateway = fleet.service(
                "telemetry_gateway",
                batch_spans_per_s=str(spans_per_s),
                trace_file=str(Path(folder) / "spans.jsonl"),
            )
            await asyncio.to_thread(gateway.start)
            each = batches // vehicles

            async def drive(vehicle: str, count: int) -> int:
                credentials = fleet.enrol(vehicle)
                first = batch_for("bench", vehicle)
                async with connect_producer(gateway.address, credentials) as producer:
                    answers = [await producer.send(replace(first, sequence=number)) for number in range(count)]
                    return sum(answer.stored for answer in await asyncio.gather(*answers))

            await asyncio.gather(*(drive(f"warm{number}", 300) for number in range(vehicles)))
            assert gateway.process is not None
            process = psutil.Process(gateway.process.pid)
            cpu = sum(process.cpu_times()[:2])
            own = time.process_time()
            began = time.perf_counter()
            stored = sum(await asyncio.gather(*(drive(f"v{number}", each) for number in range(vehicles))))
            took_s = time.perf_counter() - began
            print(
                json.dumps(
                    {
                        "batches_per_s": round(stored / took_s),
                        "frames_per_s": round(stored * FRAMES / took_s),
                        "batches": stored,
                        "gateway_cpu_us_per_batch": round((sum(process.cpu_times()[:2]) - cpu) / stored * 1e6),
                        "client_cpu_us_per_batch": round((time.process_time() - own) / stored * 1e6),
                        "vehicles": vehicles,
                        "spans_per_s": spans_per_s,
                        "load_average": round(os.getloadavg()[0], 1),
                    }
                )
            )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--vehicles", type=int, default=8)
    parser.add_argument("--batches", type=int, default=20_000)
    parser.add_argument("--spans-per-s", type=int, default=50)
    given = parser.parse_args()
    asyncio.run(main(given.vehicles, given.batches, given.spans_per_s))
