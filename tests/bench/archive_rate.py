"""How fast telemetry becomes archive files, and files become batches again: what bounds the archiver and a backtest.

    python -m tests.bench.archive_rate [--batches 2000]

Batches are 100 frames of 20 float signals. One process, no Kafka. Prints one JSON line.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from tests.bench.gateway_rate import FRAMES, batch_for

from fleetloop.domain.archive_files import list_files, read_archive, scan_archive
from fleetloop.domain.frames import Column, FrameBatch
from fleetloop.domain.telemetry_codec import decode_batch, encode_batch
from fleetloop.kit.storage.objects import Objects
from fleetloop.protos.telemetry.v1 import telemetry_pb2
from telemetry_archiver.core import check_shape
from telemetry_archiver.model import Arrival
from telemetry_archiver.store import Archive


def main(batches: int) -> None:
    """Writes `batches` in files of 1,000 and reads them back, whole and two signals of them."""
    first = batch_for("bench", "v1")
    chance = np.random.default_rng(1)

    def batch_with(sequence: int) -> FrameBatch:  # values that compress as sensors' do: a walk, in steps of 1/64
        walks = 0.5 + np.cumsum(chance.integers(-2, 3, (len(first.columns), FRAMES)), axis=1) / 64
        columns = {path: Column(walk.astype(np.float32)) for path, walk in zip(first.columns, walks, strict=True)}
        return replace(first, sequence=sequence, columns=columns)

    payloads = [encode_batch(batch_with(number)).SerializeToString() for number in range(batches)]
    with tempfile.TemporaryDirectory() as folder:
        objects = Objects(Path(folder).as_uri())
        archive = Archive(objects, "bench", 3_600_000)
        began = time.perf_counter()
        file = archive.begin(0)
        for offset, payload in enumerate(payloads):
            batch = decode_batch(telemetry_pb2.TelemetryBatch.FromString(payload))
            check_shape(batch)
            file.add(Arrival(offset, offset, len(payload), batch))
            if len(file.batches) == 1000 or offset == batches - 1:
                archive.create(0, file, archive.encode(file))
                file = file.successor(3_600_000)
        wrote_s = time.perf_counter() - began
        size = sum((objects.path_of(address) or Path()).stat().st_size for address in list_files(objects, "bench"))
        began = time.perf_counter()
        assert sum(1 for _ in read_archive(objects, "bench")) == batches
        read_s = time.perf_counter() - began
        two = set(list(first.columns)[:2])
        began = time.perf_counter()
        assert all(set(batch.columns) == two for batch in read_archive(objects, "bench", signals=two))
        read_two_s = time.perf_counter() - began
        began = time.perf_counter()
        assert scan_archive(Path(folder)).collect().height == batches * FRAMES
        polars_s = time.perf_counter() - began
        print(
            json.dumps(
                {
                    "written_batches_per_s": round(batches / wrote_s),
                    "read_batches_per_s": round(batches / read_s),
                    "read_two_signals_batches_per_s": round(batches / read_two_s),
                    "read_two_signals_frames_per_s": round(batches * FRAMES / read_two_s),
                    "polars_rows_per_s": round(batches * FRAMES / polars_s),
                    "bytes_per_frame": round(size / batches / FRAMES, 1),
                    "message_bytes_per_frame": round(len(payloads[0]) / FRAMES, 1),
                    "load_average": round(os.getloadavg()[0], 1),
                }
            )
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batches", type=int, default=2000)
    main(parser.parse_args().batches)
