"""Run an exported model as a vehicle does, and print what it costs as JSON: `python -m perception.on_vehicle`.

Imports neither torch nor anything else that a vehicle does not load.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np
import psutil

from fleetloop.domain.onnx_runner import OnnxRunner
from fleetloop.domain.tasks import load_task_schema

INFERENCES = 200
_WARMUP = 10


def main() -> None:
    """Print `p99_ms` and `memory_mb`."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--model", type=Path, required=True, help="folder with the exported files")
    parser.add_argument("--schema", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    schema = load_task_schema(given.schema)
    camera = schema.cameras[0]
    shape = (16, 1, len(schema.cameras), camera.height, camera.width, 3)
    frames = np.random.default_rng(1).integers(0, 256, shape, np.uint8)
    process = psutil.Process()
    before = most = process.memory_info().rss
    runner = OnnxRunner.load(given.model, schema, given.threads)
    took_ms = []
    for number in range(_WARMUP + INFERENCES):
        began = time.process_time()
        runner.infer(["vehicle"], frames[number % len(frames)])
        if number >= _WARMUP:
            took_ms.append(1000 * (time.process_time() - began) / given.threads)
        most = max(most, process.memory_info().rss)
    cost = {"p99_ms": float(np.percentile(took_ms, 99)), "memory_mb": (most - before) / 1e6}
    sys.stdout.write(json.dumps(cost) + "\n")


if __name__ == "__main__":
    main()
