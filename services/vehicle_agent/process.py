"""The process of several vehicles: their links on one event loop, the simulation in a thread, and the pace of
both.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from fleetloop.domain.clips import DriveInfo
from fleetloop.domain.signals import SignalCatalogue
from fleetloop.domain.tasks import TaskSchema
from fleetloop.kit.process.clock import Clock, ns_to_seconds, seconds_to_ns
from fleetloop.kit.process.logs import get_logger
from fleetloop.worlds.recorded import RecordedDrive
from vehicle_agent.control import Control, GroundTruthLog, Phase, write_or_log
from vehicle_agent.link import VehicleLink
from vehicle_agent.ports import Models, Worlds
from vehicle_agent.ring_buffer import CameraFrame
from vehicle_agent.settings import VehicleAgentSettings
from vehicle_agent.simulation import FleetSimulation, StepResult

log = get_logger(__name__)
_TICKS_AT_ONCE = 5
_TICK_S = 0.1
_PROGRESS_S = 0.5
_DAY_NS = seconds_to_ns(86_400)
_ROOM_POLL_S = 0.01
_IDLE_POLL_S = 0.1
_PHASE_GAP_NS = seconds_to_ns(60)


class Pace:
    """Limits simulated time to `rate` simulated seconds per second; 0 does not limit it."""

    def __init__(self, rate: float, clock: Clock) -> None:
        self._rate = rate
        self._clock = clock
        self._began_ns = clock.monotonic_ns()
        self._simulated_s = 0.0

    async def passed(self, seconds: float) -> None:
        """Add simulated time that has passed, and wait until it may have. A delay of over a second is not made up."""
        self._simulated_s += seconds
        if not self._rate:
            return
        ahead_s = self._simulated_s / self._rate - ns_to_seconds(self._clock.monotonic_ns() - self._began_ns)
        if ahead_s > 0:
            await asyncio.sleep(ahead_s)
        elif ahead_s < -1:
            self._began_ns += seconds_to_ns(-ahead_s)


class AgentProcess:
    """Drives, records and sends. Run `run_town` or `run_drive` beside the tasks of the links."""

    def __init__(
        self,
        settings: VehicleAgentSettings,
        links: Sequence[VehicleLink],
        catalogue: SignalCatalogue,
        clock: Clock,
        new_boot: Callable[[], bytes],
        stopping: asyncio.Event,
    ) -> None:
        self._settings = settings
        self._links = {link.vehicle_id: link for link in links}
        self._catalogue = catalogue
        self._clock = clock
        self._new_boot = new_boot
        self._stopping = stopping
        self._control = Control(settings.control, f"{settings.first:03d}") if settings.control else None
        self._truth = GroundTruthLog(settings.truth_file)
        self._world_thread = ThreadPoolExecutor(1, "world")
        self._simulation: FleetSimulation | None = None
        self._boots: Mapping[str, bytes] = {}
        self._inferences = 0
        self._done_totals: dict[str, float] = {}
        self._last_progress_ns = 0

    async def run_town(self, schema: TaskSchema, models: Models, worlds: Worlds) -> None:
        """Drive one phase after the other, or one drive of `duration_s`. Returns when it is over."""
        settings, phase_id, next_utc_ns = self._settings, "", settings_start(self._settings, self._clock)
        try:
            while not self._stopping.is_set():
                phase = await self._next_phase(phase_id)
                if phase is None or phase.stop:
                    break
                phase_id = phase.phase
                start_utc_ns = phase.start_utc_ns or next_utc_ns
                self._boots = {name: self._new_boot() for name in self._links}
                build = partial(self._build, schema, models, worlds, phase.seed, start_utc_ns)
                self._simulation = await self._in_world(build)
                next_utc_ns = await self._drive(self._simulation, phase) + _PHASE_GAP_NS
                if self._control is None:
                    break
            await self._drain(settings.drain_s, settings.linger_s, phase_id)
        finally:
            self._truth.close()
            self._world_thread.shutdown()

    def _build(
        self, schema: TaskSchema, models: Models, worlds: Worlds, seed: int, start_utc_ns: int
    ) -> FleetSimulation:
        return FleetSimulation(
            worlds(seed),
            schema,
            self._catalogue,
            models,
            self._settings.fleet_id,
            self._boots,
            start_utc_ns,
            self._settings.frames_per_batch,
        )

    async def _next_phase(self, after: str) -> Phase | None:
        """Wait for another phase. Meanwhile the standing vehicles change their models and report it."""
        if self._control is None:
            return Phase("drive", self._settings.duration_s or 10**7, self._settings.seed)
        while not self._stopping.is_set():
            phase = self._control.next_phase(after)
            if phase is not None:
                return phase
            if self._simulation is not None:
                await self._step(self._simulation, 0)
            self._progress(after, "done" if all(link.settled() for link in self._links.values()) else "sending")
            await _pause(_IDLE_POLL_S)
        return None

    async def _drive(self, simulation: FleetSimulation, phase: Phase) -> int:
        """Drive one phase. Returns simulated UTC at its end, in ns."""
        for name, link in self._links.items():
            link.begin(self._boots[name], simulation.info(name))
        pace = Pace(self._settings.rate, self._clock)
        log.info("phase_begins", phase=phase.phase, seconds=phase.seconds, seed=phase.seed)
        while simulation.ticks * _TICK_S < phase.seconds and not self._stopping.is_set():
            await self._wait_for_room(simulation)
            await self._step(simulation, _TICKS_AT_ONCE)
            await pace.passed(_TICKS_AT_ONCE * _TICK_S)
            self._progress(phase.phase, "driving")
        for result in await self._in_world(simulation.finish):
            self._keep(result)
        for name, link in self._links.items():
            link.end(self._boots[name])
        for counters in simulation.counters().values():
            for counter, amount in counters.items():
                self._done_totals[counter] = self._done_totals.get(counter, 0.0) + float(amount)
        self._inferences += simulation.inferences
        if simulation.unknown_signals:
            log.warning("signals_not_in_the_catalogue", signals=sorted(simulation.unknown_signals))
        log.info("phase_ends", phase=phase.phase, simulated_s=simulation.ticks * _TICK_S)
        self._progress(phase.phase, "sending", now=True)
        return simulation.last_utc_ns

    async def _wait_for_room(self, simulation: FleetSimulation) -> None:
        """Wait while a vehicle has too many unacknowledged batches, or simulated time would overtake the clock."""
        bound = self._settings.max_unacknowledged
        while not self._stopping.is_set():
            full = any(len(link.spool) >= bound for link in self._links.values())
            if not full and simulation.last_utc_ns < self._clock.now_utc_ns():
                return
            await _pause(_ROOM_POLL_S)

    async def _step(self, simulation: FleetSimulation, ticks: int) -> None:
        for name, link in self._links.items():
            for fault, times in link.faults.items():
                simulation.fault(name, fault, times)
            link.faults.clear()
        models = {name: link.loaded for name, link in self._links.items()}
        for result in await self._in_world(partial(simulation.step, ticks, models)):
            self._keep(result)

    def _keep(self, result: StepResult) -> None:
        link, boot = self._links[result.vehicle_id], self._boots[result.vehicle_id]
        link.record(boot, result.batches, result.camera_frames)
        for report in result.reports:
            link.report(boot, report)
        self._truth.append(result.truths)

    async def _in_world(self, work: Callable[[], Any]) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._world_thread, work)

    async def run_drive(self, world: RecordedDrive, digest: str) -> None:
        """Replay a drive once, continuing where an earlier start of this agent stopped. Returns when it is over."""
        (link,) = self._links.values()
        mark = link.folder / "replay.json"
        boot, first = self._resume(mark, digest)
        info = world.drive.info
        base = DriveInfo(
            link.vehicle_id,
            info.drive_id,
            utc_source=info.utc_source,
            fleet_id=self._settings.fleet_id,
            boot_id=boot,
            source=info.source,
        )
        link.begin(boot, base)
        pace = Pace(self._settings.rate, self._clock)
        start_utc_ns = self._settings.start_utc_ns or None
        frames = 0
        for stretch in world.stretches(
            self._settings.fleet_id, link.vehicle_id, boot, first=first, start_utc_ns=start_utc_ns
        ):
            while len(link.spool) >= self._settings.max_unacknowledged and not self._stopping.is_set():
                await _pause(_ROOM_POLL_S)
            if self._stopping.is_set():
                break
            camera_frames = [
                CameraFrame(image.time_ns, cameras=(camera,), packed=image) for camera, image in stretch.images
            ]
            link.record(boot, [stretch.batch], camera_frames)
            write_or_log(mark, {"drive": digest, "boot": boot.hex(), "next": stretch.batch.sequence + 1})
            frames += stretch.batch.frames()
            self._drive_progress(link, world, frames, "driving")
            await pace.passed(ns_to_seconds(stretch.batch.end_monotonic_ns() - stretch.batch.start_monotonic_ns))
        link.end(boot)
        await self._drain(self._settings.drain_s, self._settings.linger_s, "drive")
        if not self._stopping.is_set():
            mark.unlink(missing_ok=True)
        self._drive_progress(link, world, frames, "done", now=True)
        self._world_thread.shutdown()

    def _resume(self, mark: Path, digest: str) -> tuple[bytes, int]:
        """Return (boot, first batch). A restarted agent continues in the boot in which it was killed."""
        try:
            raw = json.loads(mark.read_text())
            if raw["drive"] == digest:
                return bytes.fromhex(raw["boot"]), int(raw["next"])
        except (OSError, ValueError, KeyError, TypeError):
            pass
        boot = self._new_boot()
        write_or_log(mark, {"drive": digest, "boot": boot.hex(), "next": 0})
        return boot, 0

    async def _drain(self, drain_s: float, linger_s: float, phase_id: str) -> None:
        """Listen for commands for `linger_s` seconds, then wait up to `drain_s` seconds until nothing is in
        flight.
        """
        began = time.monotonic()
        while time.monotonic() - began < linger_s and not self._stopping.is_set():
            await _pause(_IDLE_POLL_S)
        began = time.monotonic()
        while time.monotonic() - began < drain_s and not all(link.settled() for link in self._links.values()):
            await _pause(_IDLE_POLL_S)
        left = sum(len(link.spool) for link in self._links.values())
        log.info("settled", unacknowledged=left)
        self._progress(phase_id, "ended", now=True)

    def _drive_progress(
        self, link: VehicleLink, world: RecordedDrive, frames: int, state: str, now: bool = False
    ) -> None:
        if self._control is not None and self._is_due(now):
            self._control.report(
                {
                    "state": state,
                    "vehicle": link.vehicle_id,
                    "source": world.drive.info.source,
                    "drive_frames": world.frames,
                    "drive_batches": len(world),
                    "frames_recorded": frames,
                    "batches_stored": link.telemetry.stored,
                    "batches_rejected": link.telemetry.rejected,
                    "batches_deferred": link.telemetry.deferred,
                    "batches_dropped": link.spool.dropped,
                    "clips_uploaded": link.uploader.uploaded,
                    "faults": dict(link.faults),
                    "cpu_s": time.process_time(),
                }
            )

    def _progress(self, phase_id: str, state: str, now: bool = False) -> None:
        if self._control is None or not self._is_due(now):
            return
        if self._simulation is None:
            self._control.report({"phase": "", "state": "waiting", "cpu_s": time.process_time(), "vehicles": {}})
            return
        counters = self._simulation.counters()
        ended = state != "driving"
        totals = dict(self._done_totals)
        for vehicle in () if ended else counters.values():
            for counter, amount in vehicle.items():
                totals[counter] = totals.get(counter, 0.0) + float(amount)
        vehicles = {}
        for name, link in self._links.items():
            active, shadow = link.loaded.digests()
            vehicles[name] = {
                **{counter: float(amount) for counter, amount in counters[name].items()},
                "active": active,
                "shadow": shadow,
                "cohort": link.loaded.assignment.cohort,
                "rollout_id": link.loaded.assignment.rollout_id,
                "unacknowledged": len(link.spool),
                "batches_stored": link.telemetry.stored,
                "batches_rejected": link.telemetry.rejected,
                "batches_deferred": link.telemetry.deferred,
                "batches_dropped": link.spool.dropped,
                "clips_uploaded": link.uploader.uploaded,
                "clips_waiting": len(link.clips.waiting()),
            }
        self._control.report(
            {
                "phase": phase_id,
                "state": state,
                "simulated_s": self._simulation.ticks * _TICK_S,
                "utc_ns": self._simulation.last_utc_ns,
                "inferences": self._inferences + (0 if ended else self._simulation.inferences),
                "totals": totals,
                "cpu_s": time.process_time(),
                "vehicles": vehicles,
            }
        )

    def _is_due(self, now: bool) -> bool:
        at_ns = self._clock.monotonic_ns()
        if not now and at_ns - self._last_progress_ns < seconds_to_ns(_PROGRESS_S):
            return False
        self._last_progress_ns = at_ns
        return True


def settings_start(settings: VehicleAgentSettings, clock: Clock) -> int:
    """Return UTC of the first drive in ns: a day ago, so that simulated time can run ahead without overtaking now."""
    return settings.start_utc_ns or clock.now_utc_ns() - _DAY_NS


async def _pause(seconds: float) -> None:
    """Sleep between polls of a condition over several vehicles, for which there is no single event."""
    await asyncio.sleep(seconds)
