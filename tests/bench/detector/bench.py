"""The detector end to end, from topic to topic, beside its peers and a consumer that only fetches and parses.

    python -m tests.bench.detector.bench [--batches 20000] [--events 0.002] [--without-peers]

All read the same telemetry from the same broker, one after the other. The detector is the real service in its own
process. Rates are frames a second, a frame being one vehicle's signals at one instant, taken between a tenth and nine
tenths of the way. Prints a table and writes ``.fleetloop/bench/results.json``.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import pickle
import platform
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import psutil
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import CommitFailedError
from aiokafka.structs import OffsetAndMetadata
from tests.bench.detector import memory, workload
from tests.bench.detector.peers.frames import source_of
from tests.bench.detector.workload import BATCH_S, CATALOGUE, FRAMES, S, batches, renumbered, rows_of, triggers
from tests.integration.telemetry_processes import ROOT, Fleet, Service, fleet_of

from fleetloop.domain.messages import event_of
from fleetloop.domain.telemetry_codec import encode_batch
from fleetloop.domain.topics import CAMPAIGN, TELEMETRY, TRIGGER
from fleetloop.embedded.broker import running_broker
from fleetloop.kit.ids import causal_id
from fleetloop.kit.messaging.events import to_headers
from fleetloop.kit.messaging.producer import KafkaPublisher
from fleetloop.kit.messaging.topics import create_topics, load_topics
from fleetloop.protos.campaign.v1 import campaign_pb2
from fleetloop.protos.telemetry.v1 import telemetry_pb2
from fleetloop.protos.trigger.v1 import trigger_pb2
from fleetloop.triggerlang.definition import to_definition
from fleetloop.triggerlang.nodes import Node
from trigger_detector.model import CampaignRevision, Limits
from trigger_detector.plan import Plan, make_plan
from trigger_detector.settings import TriggerDetectorSettings

RESULTS = Path(".fleetloop/bench/results.json")
PEERS = Path(".fleetloop/bench/peers")
VEHICLES = 200
REPEATS = 3
"""Of each rate; the median counts. The bare consumer is measured after each of them."""
REPLAY_S = 15
FRAMES_TOPIC, FIRED_TOPIC, PARTITIONS = "bench.frames", "bench.fired", 4
PER_FRAME = ("faust", "faust-take", "quixstreams", "bytewax")
COLUMNS = ("faust-columns", "quixstreams-columns", "bytewax-columns")


class Latency(NamedTuple):
    """Rising delays, and how many batches a second were really sent."""

    delays_ms: list[float]
    batches_per_s: float


def plan_of(count: int) -> Plan:
    plan, problems = make_plan([(CampaignRevision("bench", 1, True, tuple(triggers(count))), 0)], CATALOGUE, Limits())
    assert not problems, problems[0].message
    return plan


async def make_topics(bootstrap: str) -> None:
    topics = load_topics(ROOT / "protos" / "topics.yaml")
    await create_topics(bootstrap, {name: topic for name, topic in topics.items() if name != TELEMETRY})
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        own = {"message.timestamp.type": "LogAppendTime", "max.message.bytes": "1048576"}
        await admin.create_topics(
            [NewTopic(name, PARTITIONS, 1, topic_configs=own) for name in (TELEMETRY, FRAMES_TOPIC, FIRED_TOPIC)]
        )
    finally:
        await admin.close()


async def produce(bootstrap: str, topic: str, messages: Sequence[tuple[str, bytes]]) -> None:
    producer = AIOKafkaProducer(
        bootstrap_servers=bootstrap, linger_ms=5, max_batch_size=524288, max_request_size=1048576
    )
    await producer.start()
    try:
        pending = []
        for number, (vehicle, raw) in enumerate(messages):
            headers = to_headers(event_headers(vehicle, number), "bench")
            pending.append(await producer.send(topic, raw, key=vehicle.encode(), headers=headers))
            if len(pending) == 2000:
                await asyncio.gather(*pending)
                pending.clear()
        await asyncio.gather(*pending)
    finally:
        await producer.stop()


def event_headers(vehicle: str, number: int) -> Any:
    """What every message of the log carries beside its value."""
    return event_of(TELEMETRY, vehicle, causal_id("b", vehicle, number), telemetry_pb2.TelemetryBatch(), 0)


async def bare(bootstrap: str, total: int) -> float:
    """Frames a second of a consumer that fetches and parses, and does nothing."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap, auto_offset_reset="earliest", max_partition_fetch_bytes=4 * 1024 * 1024
    )
    await consumer.start()
    try:
        consumer.assign([TopicPartition(TELEMETRY, p) for p in range(PARTITIONS)])
        seen, frames, begin, begin_frames = 0, 0, 0.0, 0
        while seen < 0.9 * total:
            for records in (await consumer.getmany(timeout_ms=200, max_records=500)).values():
                for record in records:
                    message = telemetry_pb2.TelemetryBatch.FromString(record.value)
                    frames += len(message.frame_offsets_ns) // 8
                seen += len(records)
            if not begin and seen >= 0.1 * total:
                begin, begin_frames = time.perf_counter(), frames
        return (frames - begin_frames) / (time.perf_counter() - begin)
    finally:
        await consumer.stop()


async def announce(settings: TriggerDetectorSettings, count: int, revision: int) -> None:
    publisher = KafkaPublisher("bench", settings)
    await publisher.start()
    message = campaign_pb2.Campaign(
        campaign="bench", revision=revision, state=campaign_pb2.CAMPAIGN_STATE_RUNNING,
        triggers=[to_definition(t) for t in triggers(count)],
    )  # fmt: skip
    await publisher.publish([event_of(CAMPAIGN, "bench", causal_id("c", "bench", revision), message, 0)])
    await publisher.stop()


async def rewind(bootstrap: str, offsets: dict[TopicPartition, int]) -> None:
    """Sets what the detectors have committed."""
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, group_id="trigger-detector", enable_auto_commit=False)
    await consumer.start()
    try:
        consumer.assign(list(offsets))
        for attempt in range(30):
            try:
                await consumer.commit({tp: OffsetAndMetadata(o, "") for tp, o in offsets.items()})
                return
            except CommitFailedError:  # the one before is still a member
                if attempt == 29:
                    raise
                await asyncio.sleep(1)
    finally:
        await consumer.stop()


def frames_of(service: Service) -> float:
    """A detector's own count."""
    import urllib.request

    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{service.http_port}/metrics", timeout=2) as answer:
            text = answer.read().decode()
    except OSError:
        return 0.0
    lines = (line for line in text.splitlines() if line.startswith("fleetloop_detector_frames_total"))
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines)


async def detectors(
    fleet: Fleet, count: int, processes: int, attempt: int, total_frames: int, bootstrap: str
) -> dict[str, float]:
    """Frames a second of so many detector processes that begin at the log's beginning."""
    revision = 100 * count + 10 * processes + attempt
    await announce(TriggerDetectorSettings(kafka_bootstrap_servers=bootstrap), count, revision)
    await rewind(bootstrap, {TopicPartition(TELEMETRY, p): 0 for p in range(PARTITIONS)})
    made = [fleet.service("trigger_detector", f"d{revision}-{i}", instance_id="") for i in range(processes)]
    for service in made:
        service.launch()
    begin = begin_frames = cpu = 0.0
    # two processes share out the partitions on the way, and replay what they take over
    first = 0.1 if processes == 1 else 0.5
    try:
        deadline = time.monotonic() + 600
        while True:
            await asyncio.sleep(0.2)
            now, frames = time.perf_counter(), sum(map(frames_of, made))
            assert time.monotonic() < deadline, made[0].log.read_text()[-2000:]
            if not begin and frames >= first * total_frames:
                begin, begin_frames, cpu = now, frames, cpu_of(made)
            if begin and frames >= 0.9 * total_frames:
                rate = (frames - begin_frames) / (now - begin)
                return {"fps": rate, "cpus": (cpu_of(made) - cpu) / (now - begin)}
    finally:
        for service in made:
            service.stop()


def cpu_of(services: Sequence[Service]) -> float:
    return sum(sum(psutil.Process(s.process.pid).cpu_times()[:2]) for s in services if s.process is not None)


async def latency(
    fleet: Fleet, count: int, rate: float, messages: list[tuple[str, bytes]], bootstrap: str
) -> Latency:
    """How long after a batch's acknowledgement each trigger in it is received, at so many batches a second."""
    consumer = AIOKafkaConsumer(TRIGGER, bootstrap_servers=bootstrap, auto_offset_reset="latest")
    await consumer.start()
    await consumer.seek_to_end()
    ends = await consumer.end_offsets([TopicPartition(TELEMETRY, p) for p in range(PARTITIONS)])
    await announce(TriggerDetectorSettings(kafka_bootstrap_servers=bootstrap), count, 100_000)
    await rewind(bootstrap, ends)
    detector = fleet.service("trigger_detector", "latency", instance_id="")
    await asyncio.to_thread(detector.start, 120.0)
    await asyncio.sleep(REPLAY_S)  # it replays the log first
    received: dict[tuple[str, int], list[float]] = defaultdict(list)

    async def receive() -> None:
        async for record in consumer:
            fired = trigger_pb2.TriggerFired.FromString(record.value)
            received[fired.provenance.vehicle_id, fired.onset_monotonic_ns // (BATCH_S * S)].append(time.monotonic())

    receiving = asyncio.create_task(receive())
    source, out = fleet.folder / "to_send.pickle", fleet.folder / "acknowledged.json"
    rows = []
    for vehicle, raw in messages:
        sequence = telemetry_pb2.TelemetryBatch.FromString(raw).sequence
        rows.append((vehicle, sequence, to_headers(event_headers(vehicle, sequence), "bench"), raw))
    source.write_bytes(pickle.dumps(rows))
    try:
        script = Path(__file__).parent / "peers" / "send.py"
        command = [str(peers_environment()), str(script), bootstrap, TELEMETRY, str(rate), str(source), str(out)]
        sending = await asyncio.create_subprocess_exec(*command)
        await sending.wait()
        await asyncio.sleep(3)
    finally:
        receiving.cancel()
        await consumer.stop()
        detector.stop()
    sent = json.loads(out.read_text())
    delays = [
        1000 * (at - acknowledged)
        for vehicle, sequence, acknowledged in sent["acknowledged"]
        for at in received.get((vehicle, sequence), ())
    ]
    return Latency(sorted(delays), sent["per_s"])


def nodes_of(plan: Plan) -> tuple[list[list[Any]], list[int]]:
    """The typed expressions as a list, each after its arguments, and each trigger's place in it."""
    places: dict[int, int] = {}
    rows: list[list[Any]] = []

    def place(node: Node) -> int:
        if id(node) not in places:
            args = [place(a) for a in node.args]
            own_span = node.span_ns if node.op not in ("signal", "field", "any_track", "count_tracks") else 0
            rows.append([node.op, args, node.number, node.path, node.name, own_span, node.tracked])
            places[id(node)] = len(rows) - 1
        return places[id(node)]

    return rows, [place(t.condition) for t in plan.program.triggers]


def peers_environment() -> Path:
    """The peers' own environment, made at the first use."""
    python = PEERS / "bin" / "python"
    if not python.exists():
        print("  making the peers' environment", flush=True)
        subprocess.run([sys.executable, "-m", "venv", str(PEERS)], check=True)
        pins = Path(__file__).parent / "peers" / "requirements.txt"
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", "-r", str(pins)], check=True)
    return python.absolute()


def peer(name: str, bootstrap: str, topic: str, messages: int, folder: Path, limit_s: float = 120) -> float | None:
    """Messages a second of a peer, None where it did not come to an end."""
    script = Path(__file__).parent / "peers" / "run.py"
    command = [str(peers_environment()), str(script), name, bootstrap, topic, str(messages), str(folder)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=limit_s, check=False)
        return float(json.loads(done.stdout.strip().splitlines()[-1])["messages_per_s"])
    except (subprocess.TimeoutExpired, IndexError, ValueError) as error:
        print(f"  {name}: {type(error).__name__}", flush=True)
        return None


async def main(batch_count: int, with_peers: bool) -> None:
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    first = [(b.vehicle_id, encode_batch(b).SerializeToString()) for b in batches(VEHICLES, 10, 1)]
    rounds = max(1, batch_count // len(first))
    total = rounds * len(first)
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as temporary, running_broker(Path(temporary) / "kafka") as bootstrap:
        folder = Path(temporary)
        await make_topics(bootstrap)
        print(f"writing {total} batches of {len(first[0][1]) / 1000:.0f} kB", flush=True)
        for number in range(rounds):
            await produce(bootstrap, TELEMETRY, renumbered(first, number))
        floors = [await bare(bootstrap, total)]
        with fleet_of(folder, bootstrap, "bench") as fleet:
            for count, processes in ((64, 1), (221, 1), (64, 2), (221, 2)):
                rates, cpus = [], []
                for attempt in range(REPEATS):
                    found = await detectors(fleet, count, processes, attempt, total * FRAMES, bootstrap)
                    rates.append(found["fps"])
                    cpus.append(found["cpus"])
                    floors.append(await bare(bootstrap, total))
                name = f"fps_{count}" if processes == 1 else f"fps_{count}_two_processes"
                figures[name], figures[name.replace("fps", "cpus")] = median(rates), median(cpus)
                shown = ", ".join(f"{rate:,.0f}" for rate in rates)
                print(f"  {count} triggers, {processes} process(es): {shown} frames/s", flush=True)
            figures = {"fps_bare_consumer": median(floors)} | figures
            print("  bare consumer: " + ", ".join(f"{rate:,.0f}" for rate in floors) + " frames/s", flush=True)
            # The sender and the broker share the machine: half of the detector's own rate is about what they all
            # carry together, if the delay stays bounded. Half of that is half load.
            carried = figures["fps_221"] / FRAMES / 2
            further = rounds
            for name, rate in (("carried_load", carried), ("half_load", carried / 2)):
                repeats = int(rate * 15) // len(first) + 1
                numbers = range(further, further + repeats)
                more = [m for n in numbers for m in renumbered(first, n)][: int(rate * 15)]
                further += repeats
                timed = await latency(fleet, 221, rate, more, bootstrap)
                delays = timed.delays_ms
                figures[f"p50_ms_{name}"] = delays[len(delays) // 2]
                figures[f"p99_ms_{name}"] = p99 = delays[int(len(delays) * 0.99)]
                figures[f"{name}_batches_per_s"], figures[f"{name}_triggers"] = timed.batches_per_s, len(delays)
                print(f"  p99 at {timed.batches_per_s:.0f} batches/s: {p99:.0f} ms", flush=True)
        if with_peers:
            figures |= await compare(bootstrap, folder, first, total)
    figures |= memory.measure(plan_of(221))
    report(figures)


async def compare(bootstrap: str, folder: Path, first: list[tuple[str, bytes]], total: int) -> dict[str, Any]:
    """The peers with 221 triggers."""
    plan = plan_of(221)
    (folder / "frames_code.py").write_text(source_of(plan.program))
    (folder / "nodes.json").write_text(json.dumps(nodes_of(plan)))
    rows = rows_of(batches(VEHICLES, 1, 1))
    await produce(bootstrap, FRAMES_TOPIC, rows)
    found: dict[str, Any] = {}
    for name in PER_FRAME:
        rate = peer(name, bootstrap, FRAMES_TOPIC, len(rows), folder)
        found[f"fps_{name.replace('-', '_')}{'_per_frame' if name == 'faust' else ''}"] = rate
        print(f"  {name}, frame by frame: {rate or 0:,.0f} frames/s", flush=True)
    best = 0.0
    for name in COLUMNS:
        rate = peer(name, bootstrap, TELEMETRY, min(total, 2000), folder)
        found[f"fps_{name.replace('-', '_')}"] = fps = rate * FRAMES if rate else None
        best = max(best, fps or 0.0)
        print(f"  {name}: {fps or 0:,.0f} frames/s", flush=True)
    return found | {"fps_best_peer_columns": best}


def report(figures: dict[str, Any]) -> None:
    bare_fps = figures["fps_bare_consumer"]
    print(f"\n{'':34}{'frames/s':>12}{'of the floor':>14}")
    for name, value in figures.items():
        if name.startswith("fps_") and value:
            print(f"{name[4:].replace('_', ' '):34}{value:12,.0f}{value / bare_fps:14.2f}")
    for name, value in figures.items():
        if not name.startswith("fps_"):
            print(f"{name.replace('_', ' '):34}{value:12,.2f}")
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    known = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    rounded = {k: round(v, 3) if isinstance(v, float) else v for k, v in figures.items()}
    RESULTS.write_text(json.dumps(known | {"detector": rounded}, indent=2) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batches", type=int, default=20_000)
    parser.add_argument("--events", type=float, default=workload.EVENT_SHARE, help="share of batches and signals")
    parser.add_argument("--without-peers", action="store_true")
    given = parser.parse_args()
    workload.EVENT_SHARE = given.events
    asyncio.run(main(given.batches, not given.without_peers))
