"""Sends batches at a steady rate, in the peers' environment, whose client is fast enough.

    python send.py BOOTSTRAP TOPIC RATE FILE OUT

FILE holds a pickled list of (vehicle, sequence, headers, bytes); OUT receives when each was acknowledged, by the
clock that all processes of a machine share.
"""

from __future__ import annotations

import json
import pickle
import sys
import time
from pathlib import Path
from typing import Any

from confluent_kafka import Producer


def main() -> None:
    bootstrap, topic, rate, source, out = sys.argv[1:]
    messages = pickle.loads(Path(source).read_bytes())  # noqa: S301 - written by the bench that starts this
    acknowledged: list[tuple[str, int, float]] = []
    producer = Producer(
        {"bootstrap.servers": bootstrap, "linger.ms": 2, "acks": "all", "message.max.bytes": 1_000_000}
    )

    def note(vehicle: str, sequence: int) -> Any:
        def delivered(error: Any, _: Any) -> None:
            if error is None:
                acknowledged.append((vehicle, sequence, time.monotonic()))

        return delivered

    began = time.monotonic()
    for number, (vehicle, sequence, headers, raw) in enumerate(messages):
        while (ahead := began + number / float(rate) - time.monotonic()) > 0:
            producer.poll(min(ahead, 0.001))
        producer.produce(topic, raw, vehicle.encode(), headers=headers, on_delivery=note(vehicle, sequence))
        producer.poll(0)
    producer.flush()
    took_s = time.monotonic() - began
    Path(out).write_text(json.dumps({"per_s": len(messages) / took_s, "acknowledged": acknowledged}))


if __name__ == "__main__":
    main()
