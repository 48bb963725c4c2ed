"""The load of a run: vehicles of both kinds and labellers, in one task group."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any

from tests.chaos.history import Recorder
from tests.chaos.labellers import LABELLERS, label
from tests.chaos.system import System
from tests.chaos.vehicle import Rates, S, Vehicle, batch_id

from fleetloop.api.enrolment import Enrolment
from fleetloop.domain.clips import read_drive
from fleetloop.domain.frames import FrameBatch
from fleetloop.domain.tasks import load_task_schema
from fleetloop.kit.security.identity import IdentityKind
from fleetloop.worlds.comma2k19 import convert, find_comma2k19
from fleetloop.worlds.recorded import RecordedDrive

DIRECT_SHARE = 4
"""Every fourth vehicle writes its batches to Kafka itself."""
RECORDED_SHARE, RECORDED_FIRST = 6, 1
"""Every sixth vehicle from the second on sends a recorded drive, where one is found: of twelve one in each way."""
_RECORDED_FRAMES = 90
"""Frames of a recorded batch: less than a second of the fastest sensor, 104 Hz, so that batches do not overlap."""


@dataclass(slots=True)
class Load:
    """The senders at work."""

    recorder: Recorder
    driving: asyncio.Event
    vehicles: list[Vehicle]
    late: Vehicle
    """A vehicle that sends only what a nemesis makes it send, of yesterday, but obeys commands like the others."""
    hostile_clips: list[str] = field(default_factory=list)
    """Names of the contents, as in `HOSTILE`, that the next clips have which are asked for."""
    failures: list[str] = field(default_factory=list)
    """Senders that ended, which none of them ever should."""

    def drive(self) -> None:
        """Let the vehicles make new batches and reports."""
        self.driving.set()

    def rest(self) -> None:
        """Let them make no new ones; what was made is still sent, clips are uploaded and tasks answered."""
        self.driving.clear()

    def all_acknowledged(self) -> bool:
        """Whether everything that was sent so far is acknowledged or refused."""
        history = self.recorder.history
        waiting = len(history.sent) - len(history.acknowledged) - len(history.refused)
        return waiting == 0 and len(history.reports_sent) == len(history.reports_acknowledged)

    def acknowledged_by_all_since(self, sequences: dict[str, int]) -> bool:
        """Whether every vehicle has a batch acknowledged that it made after it had these sequence numbers."""
        known = self.recorder.history.acknowledged
        return all(
            any(
                batch_id(each.name, each.boot_id, number) in known
                for number in range(sequences[each.name], each.sequence)
            )
            for each in self.vehicles
        )

    def sequences(self) -> dict[str, int]:
        """The sequence number of each vehicle's next batch."""
        return {each.name: each.sequence for each in self.vehicles}


def read_recording(folder: Path) -> list[FrameBatch]:
    """The whole batches of the real minute of comma2k19; none where it is not found. Converts it in `folder`."""
    segment = find_comma2k19()
    if segment is None:
        return []
    target = folder / "comma2k19.mcap"
    convert(segment, target)
    world = RecordedDrive(read_drive(target), _RECORDED_FRAMES)
    whole = [each.batch for each in world.stretches("", "", b"")]
    return whole[1:-1]  # the first and the last also have what lies outside all frames


@asynccontextmanager
async def running_load(
    system: System, recorder: Recorder, vehicles: int, rates: Rates, rng: Random
) -> AsyncIterator[Load]:
    """Run vehicles and labellers while a block lasts. The vehicles rest until `drive`."""
    schema = load_task_schema(system.config / "tasks.yaml")
    driving = asyncio.Event()
    enrolment = Enrolment(system.run.layout, system.fleet_id)
    hostile_clips: list[str] = []

    recording = await asyncio.to_thread(read_recording, system.folder.parent) if rates.batch_s >= 1 else []

    def vehicle(name: str, direct: bool, began_utc_ns: int, recorded: Sequence[FrameBatch] = ()) -> Vehicle:
        return Vehicle(
            fleet=system.fleet_id,
            name=name,
            boot_id=rng.randbytes(12),
            gateway=system.address("telemetry_gateway"),
            credentials=enrolment.enrol(name, now=datetime.now(UTC)),
            recorder=recorder,
            driving=driving,
            rates=rates,
            schema=schema,
            rollout_id=system.rollout_id,
            bootstrap_servers=system.bootstrap_servers if direct else "",
            began_utc_ns=began_utc_ns,
            hostile_clips=hostile_clips,
            recording=recorded,
        )

    now_ns = time.time_ns()
    fleet = [
        vehicle(
            f"chaos-{number:03d}",
            number % DIRECT_SHARE == DIRECT_SHARE - 1,
            now_ns,
            recording if number % RECORDED_SHARE == RECORDED_FIRST else (),
        )
        for number in range(vehicles)
    ]
    late = vehicle("chaos-late", True, now_ns - 86_400 * S)
    load = Load(recorder, driving, fleet, late, hostile_clips)

    async def watched(what: str, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except Exception as error:  # it is part of the result, not of the harness
            causes = error.exceptions if isinstance(error, ExceptionGroup) else (error,)
            load.failures += [f"{what}: {cause!r}" for cause in causes]
            recorder.add("note", text=load.failures[-1])

    tasks = [asyncio.create_task(watched(each.name, each.run())) for each in fleet]
    tasks.append(asyncio.create_task(watched(late.name, late.only_obey())))
    for number in range(LABELLERS):
        name = f"labeller-{number}"
        person = enrolment.enrol(name, kind=IdentityKind.USER, roles=["labeller"], now=datetime.now(UTC))
        work = label(system.address("label_desk"), person, number, recorder)
        tasks.append(asyncio.create_task(watched(name, work)))
    try:
        yield load
    finally:
        for task in tasks:
            task.cancel()
        with suppress(asyncio.CancelledError):
            await asyncio.gather(*tasks, return_exceptions=True)
