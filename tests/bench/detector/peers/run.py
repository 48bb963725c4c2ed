"""One peer, in the peers' environment: reads a topic from its beginning, decides, writes what fired, prints its rate.

    python run.py NAME BOOTSTRAP TOPIC MESSAGES FOLDER

FOLDER holds ``frames_code.py`` and ``nodes.json``. A message is one frame as JSON, or a column batch where NAME
ends in ``-columns``. The clock runs from the first message's arrival to the last one's decision.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson

OUT = "bench.fired"
Decide = Callable[[bytes], list[bytes]]


class Clock:
    """Ends the process when all messages were seen."""

    def __init__(self, name: str, messages: int) -> None:
        self.name, self.messages = name, messages
        self.seen = self.fired = 0
        self.began = 0.0

    def tick(self, fired: int, messages: int = 1) -> None:
        if not self.seen:
            self.began = time.perf_counter()
        self.seen += messages
        self.fired += fired
        if self.seen >= self.messages:
            took_s = time.perf_counter() - self.began
            result = {"peer": self.name, "messages_per_s": self.seen / took_s, "fired": self.fired}
            # Faust takes the ordinary stdout for its log
            print(json.dumps(result), file=sys.__stdout__, flush=True)
            os._exit(0)


def decide_frames(folder: Path) -> Decide:
    """Rows: one state per vehicle, in memory."""
    sys.path.insert(0, str(folder))
    import frames_code  # type: ignore[import-not-found]

    states: dict[str, Any] = {}

    def decide(value: bytes) -> list[bytes]:
        row = orjson.loads(value)
        state = states.get(row["vehicle"])
        if state is None:
            state = states[row["vehicle"]] = frames_code.new_state()
        return [orjson.dumps({"vehicle": row["vehicle"], "trigger": n}) for n in frames_code.step(state, row)]

    return decide


def decide_columns(folder: Path) -> Decide:
    """Column batches."""
    sys.path[:0] = [str(Path(__file__).parents[4] / "protos"), str(Path(__file__).parent)]
    import columns  # type: ignore[import-not-found]

    nodes, triggers = json.loads((folder / "nodes.json").read_text())
    return lambda value: [orjson.dumps({"trigger": n}) for n in columns.fired(nodes, triggers, value)]


def faust(name: str, bootstrap: str, topic: str, decide: Decide, clock: Clock, folder: Path) -> None:
    """One by one, or ``noack_take`` of up to 500."""
    import faust as framework

    app = framework.App(
        f"bench-{name}-{os.getpid()}", broker=f"kafka://{bootstrap}", web_enabled=False, topic_disable_leader=True,
        consumer_auto_offset_reset="earliest", datadir=str(folder / "faust"), topic_allow_declare=False,
        broker_max_poll_records=2000, value_serializer="raw", key_serializer="raw",
    )  # fmt: skip
    source, sink = app.topic(topic, value_serializer="raw"), app.topic(OUT, value_serializer="raw")

    if "take" in name or "columns" in name:

        @app.agent(source)
        async def decide_many(stream: Any) -> None:
            async for events in stream.noack_take(500, within=0.05):
                fired = [out for event in events for out in decide(event.value)]
                for out in fired:
                    await sink.send(value=out)
                for event in events:
                    event.ack()
                clock.tick(len(fired), len(events))

    else:

        @app.agent(source)
        async def decide_one(stream: Any) -> None:
            async for value in stream:
                fired = decide(value)
                for out in fired:
                    await sink.send(value=out)
                clock.tick(len(fired))

    framework.Worker(app, loglevel="error").execute_from_commandline()


def quixstreams(name: str, bootstrap: str, topic: str, decide: Decide, clock: Clock, folder: Path) -> None:
    """A streaming data frame of raw bytes."""
    from quixstreams import Application

    app = Application(
        broker_address=bootstrap, consumer_group=f"bench-{name}-{os.getpid()}", auto_offset_reset="earliest",
        state_dir=str(folder / "quix"), auto_create_topics=False, loglevel="ERROR",
    )  # fmt: skip
    source = app.topic(topic, value_deserializer="bytes", key_deserializer="bytes")
    sink = app.topic(OUT, value_serializer="bytes")

    def apply(value: bytes) -> list[bytes]:
        fired = decide(value)
        clock.tick(len(fired))
        return fired

    app.dataframe(source).apply(apply, expand=True).to_topic(sink)
    app.run()


def bytewax(name: str, bootstrap: str, topic: str, decide: Decide, clock: Clock, folder: Path) -> None:
    """A dataflow of one worker, a thousand messages a batch."""
    import bytewax.operators as op
    from bytewax.connectors.kafka import KafkaSink, KafkaSinkMessage, KafkaSource
    from bytewax.dataflow import Dataflow
    from bytewax.testing import run_main

    flow = Dataflow("bench")
    source = op.input("in", flow, KafkaSource([bootstrap], [topic], tail=True, batch_size=1000))

    def apply(message: Any) -> list[Any]:
        fired = decide(message.value)
        clock.tick(len(fired))
        return [KafkaSinkMessage(None, out) for out in fired]

    op.output("out", op.flat_map("decide", source, apply), KafkaSink([bootstrap], OUT))
    run_main(flow)


def main() -> None:
    name, bootstrap, topic, messages, folder_name = sys.argv[1:]
    folder = Path(folder_name)
    decide = decide_columns(folder) if name.endswith("-columns") else decide_frames(folder)
    sys.argv = sys.argv[:1]
    framework = {"faust": faust, "quixstreams": quixstreams, "bytewax": bytewax}[name.split("-")[0]]
    framework(name, bootstrap, topic, decide, Clock(name, int(messages)), folder)


if __name__ == "__main__":
    main()
