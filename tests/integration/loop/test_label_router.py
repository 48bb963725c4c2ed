"""The router on a real Kafka: repeats, SIGKILLs and clips that come before their firing change nothing."""

from __future__ import annotations

import asyncio
import time
from uuid import uuid4

from tests.integration.loop.kills import kill_when_ready
from tests.integration.loop.topics import Topics

from fleetloop.domain.messages import event_of
from fleetloop.domain.topics import CLIP, COMMAND, LABEL_TASK, TRIGGER
from fleetloop.embedded.run import EmbeddedRun
from fleetloop.kit.ids import causal_id
from fleetloop.kit.messaging.events import Event
from fleetloop.protos.clip.v1 import clip_pb2
from fleetloop.protos.command.v1 import command_pb2
from fleetloop.protos.common.v1 import provenance_pb2
from fleetloop.protos.label.v1 import label_pb2
from fleetloop.protos.trigger.v1 import trigger_pb2

NOW_NS = time.time_ns()


def firing(vehicle: str, number: int, trigger: str = "map_disagreement") -> Event:
    event_id = causal_id("test-firing", vehicle, number)
    message = trigger_pb2.TriggerFired(
        event_id=event_id,
        provenance=provenance_pb2.Provenance(
            fleet_id="demo", vehicle_id=vehicle, boot_id=b"12345678", trigger=trigger, trigger_version=1, campaign="c"
        ),
        onset_monotonic_ns=number * 10**9,
        onset_utc_ns=NOW_NS + number * 10**9,
        pre_s=5,
        post_s=5,
        task="stop_sign",
        evidence={"Vehicle.Speed": 30.0},
        detected_at_utc_ns=NOW_NS,
        place=provenance_pb2.Place(latitude_deg=47.0 + number * 0.01, longitude_deg=-122.0),
    )
    return event_of(TRIGGER, vehicle, event_id, message, NOW_NS)


def clip(vehicle: str, fired: Event) -> Event:
    sha = causal_id("clip", fired.event_id) * 2
    message = clip_pb2.ClipStored(
        event_id=causal_id("stored", fired.event_id),
        provenance=provenance_pb2.Provenance(vehicle_id=vehicle, clip_id=sha, firing_id=fired.event_id),
        address=f"demo/clips/2026-01-01/{sha}.mcap",
        sha256=sha,
        size_bytes=1000,
    )
    return event_of(CLIP, vehicle, message.event_id, message, NOW_NS)


async def test_a_firing_asks_for_its_clip_and_the_clip_becomes_one_question(topics: Topics) -> None:
    vehicle = f"car-{uuid4().hex[:8]}"
    fired = firing(vehicle, 1)
    await topics.write(fired, times=3)
    commands = await topics.read(COMMAND, vehicle, 1)
    assert len(commands) == 1
    command = command_pb2.VehicleCommand.FromString(commands[0].value)
    assert command.send_clip.firing_id == fired.event_id
    assert command.send_clip.end_monotonic_ns - command.send_clip.start_monotonic_ns == 10 * 10**9

    await topics.write(clip(vehicle, fired), times=3)
    tasks = await tasks_of(topics, [fired])
    assert len(tasks) == 1
    assert (tasks[0].project, tasks[0].dataset, tasks[0].task) == ("stop-signs", "town", "stop_sign")


async def tasks_of(
    topics: Topics, fired: list[Event], at_least: int | None = None
) -> list[label_pb2.LabelTaskCreated]:
    """The label tasks of some firings, read by the samples that they must have.

    By event id: a relay that dies between publishing and noting it publishes again, under the same id.
    """
    wanted = {event.event_id for event in fired}
    deadline = time.monotonic() + 40
    while True:
        found = {}
        for event in fired:
            sha = causal_id("clip", event.event_id) * 2
            onset = trigger_pb2.TriggerFired.FromString(event.payload).onset_utc_ns
            sample = causal_id("sample", sha, onset, "stop_sign")
            for message in await topics.read(LABEL_TASK, sample, 1, within_s=3, settle_s=0.25):
                found[dict(message.headers)["ce_id"]] = message.value
        tasks = [label_pb2.LabelTaskCreated.FromString(value) for value in found.values()]
        assert {task.provenance.firing_id for task in tasks} <= wanted
        if len(tasks) >= len(fired) or time.monotonic() > deadline:
            return tasks


async def test_a_clip_that_comes_before_its_firing_is_kept_for_it(topics: Topics) -> None:
    vehicle = f"car-{uuid4().hex[:8]}"
    fired = firing(vehicle, 2)
    await topics.write(clip(vehicle, fired))
    await asyncio.sleep(1)
    await topics.write(fired)
    assert len(await tasks_of(topics, [fired])) == 1
    assert await topics.read(COMMAND, vehicle, 0, within_s=1) == []


async def test_sigkills_lose_nothing_and_double_nothing(topics: Topics, run: EmbeddedRun) -> None:
    vehicle = f"car-{uuid4().hex[:8]}"
    fired = [firing(vehicle, number) for number in range(10, 22)]
    for index, event in enumerate(fired):
        await topics.write(event, clip(vehicle, event), times=2)
        if index in (3, 7):
            await kill_when_ready(run, "label_router")
    tasks = await tasks_of(topics, fired)
    assert sorted(task.provenance.firing_id for task in tasks) == sorted(event.event_id for event in fired)


async def test_bytes_that_are_no_firing_go_to_the_dead_letters(topics: Topics) -> None:
    vehicle = f"car-{uuid4().hex[:8]}"
    good = firing(vehicle, 3)
    await topics.write(Event(TRIGGER, vehicle, uuid4().hex, "fleet.trigger.v1.TriggerFired", b"\xff\xff", NOW_NS))
    await topics.write(good)
    dead = await topics.read(f"{TRIGGER}.dlq", vehicle, 2)
    mine = [
        m for m in dead if dict(m.headers)["dead_lettered_by"] == b"label-router"
    ]  # the keeper sends it there as well
    assert len(mine) == 1
    headers = dict(mine[0].headers)
    assert headers["origin_topic"] == TRIGGER.encode()
    assert b"not a fleet.trigger.v1.TriggerFired" in headers["error"]
    assert len(await topics.read(COMMAND, vehicle, 1)) == 1  # the good one after it was not held up
