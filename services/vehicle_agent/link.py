"""One vehicle's link to its fleet: send what was recorded, carry out commands, and update models."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Coroutine, Iterable, Sequence
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import grpc

from fleetloop.domain.clips import DriveInfo
from fleetloop.domain.frames import FrameBatch
from fleetloop.kit.process.clock import Clock, seconds_to_ns
from fleetloop.kit.process.logs import get_logger
from fleetloop.kit.process.pausing import pause
from fleetloop.protos.command.v1 import command_pb2
from vehicle_agent.clips import ClipStore
from vehicle_agent.codec import batch_bytes, clip_request, is_batch, is_report, report_bytes
from vehicle_agent.commands import ClipRequests, CommandOutcome
from vehicle_agent.model import ClipRequest, ModelRefusedError, ModelUnusableError, Report
from vehicle_agent.model_loader import ModelLoader
from vehicle_agent.ports import LoadedModels, Runner
from vehicle_agent.ring_buffer import CameraFrame, RingBuffer
from vehicle_agent.senders import CommandListener, ReportSender, TelemetrySender
from vehicle_agent.spool import Spool
from vehicle_agent.tuf_fetcher import RolloutFetcher
from vehicle_agent.updater import ModelCache, ModelUpdater, UnreachableError
from vehicle_agent.uploader import ClipUploader

log = get_logger(__name__)
_KEPT_BOOTS = 2
_RETRY_S = 2.0


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of what a vehicle stores, and its polling periods."""

    spool_bytes: int = 64 * 1024 * 1024
    """Unacknowledged batches on disk; beyond it the oldest are dropped."""
    clips_bytes: int = 256 * 1024 * 1024
    """Clips on disk; beyond it those of the lowest priority are dropped."""
    ring_s: float = 240.0
    """Seconds of frames and pictures in memory."""
    update_poll_s: float = 30.0
    """Seconds between checks for another model."""
    chunk_pause_s: float = 0.0
    """Pause between chunks of an upload, to simulate a slow network."""


class VehicleLink:
    """The part of one vehicle that runs on the event loop."""

    def __init__(
        self,
        fleet_id: str,
        vehicle_id: str,
        folder: Path,
        gateway: grpc.aio.Channel,
        clock: Clock,
        clips_executor: Executor,
        limits: Limits,
    ) -> None:
        self.vehicle_id = vehicle_id
        self.folder = folder
        self._fleet_id = fleet_id
        self._clock = clock
        self._clips_executor = clips_executor
        self._limits = limits
        self.spool = Spool(folder / "batches", limits.spool_bytes, is_batch)
        self.reports = Spool(folder / "reports", limits.spool_bytes, is_report)
        self.clips = ClipStore(folder / "clips", limits.clips_bytes)
        self.telemetry = TelemetrySender(vehicle_id, gateway, self.spool)
        self._report_sender = ReportSender(vehicle_id, gateway, self.reports)
        self.uploader = ClipUploader(fleet_id, vehicle_id, gateway, self.clips, limits.chunk_pause_s)
        self.commands = CommandListener(fleet_id, vehicle_id, gateway, self._on_command)
        self.rings: dict[bytes, RingBuffer] = {}
        self._infos: dict[bytes, DriveInfo] = {}
        self._ended: dict[bytes, bool] = {}
        self._requests = ClipRequests()
        self._cutting: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.faults: Counter[str] = Counter()
        """Faults since the last report, by name."""
        self._damaged = 0
        self.loaded = LoadedModels()
        self._update_wanted = asyncio.Event()
        self._updater: ModelUpdater | None = None
        self._loader: ModelLoader | None = None
        self._update_executor: Executor | None = None
        self._refusal = ""

    def equip_from(
        self, rollout: grpc.aio.Channel, trust: Path, store: ModelCache, loader: ModelLoader, executor: Executor
    ) -> None:
        """Enable model updates. Call it on the event loop, before `run`.

        Args:
            rollout: Channel to the rollout controller.
            trust: Folder with the TUF roots.
            store: Models on disk, shared by all vehicles of the process.
            loader: Loaded models, shared by all vehicles of the process.
            executor: Threads for TUF and file access.
        """
        loop = asyncio.get_running_loop()
        self._updater = ModelUpdater(
            self.vehicle_id, trust, self.folder / "tuf", store, partial(RolloutFetcher, rollout, loop)
        )
        self._loader, self._update_executor = loader, executor
        self._update_wanted.set()

    async def run(self) -> None:
        """Run until cancelled. An unexpected exception in one part ends all parts."""
        parts: list[Coroutine[None, None, None]] = [
            self.telemetry.run(),
            self._report_sender.run(),
            self.uploader.run(),
            self.commands.run(),
        ]
        if self._updater is not None:
            parts.append(self._keep_updated())
        async with asyncio.TaskGroup() as group:
            for part in parts:
                group.create_task(part)

    def begin(self, boot_id: bytes, info: DriveInfo) -> None:
        """Begin a new boot. Requests for the boot before it can still be answered."""
        for boot in self._ended:
            self._ended[boot] = True
        self.rings[boot_id] = RingBuffer(seconds_to_ns(self._limits.ring_s))
        self._infos[boot_id], self._ended[boot_id] = info, False
        for boot in list(self.rings)[:-_KEPT_BOOTS]:
            del self.rings[boot], self._infos[boot], self._ended[boot]
        self.look()

    def end(self, boot_id: bytes) -> None:
        """End a boot. Clips that wait for its last second are cut with what was recorded."""
        self._ended[boot_id] = True
        self.look()

    def record(
        self,
        boot_id: bytes,
        batches: Sequence[FrameBatch],
        camera_frames: Iterable[CameraFrame],
        until_ns: int | None = None,
    ) -> None:
        """Store batches in the spool, and batches and pictures in memory for clips."""
        ring = self.rings[boot_id]
        for frame in camera_frames:
            ring.add_camera_frame(frame)
        for batch in batches:
            ring.add_batch(batch, until_ns)
            dropped = self.spool.put((batch.boot_id, batch.sequence), batch_bytes(batch))
            if dropped:
                self.faults["batches_dropped"] += dropped
        if batches:
            self.look()

    def report(self, boot_id: bytes, report: Report) -> None:
        """Queue a report."""
        content = report_bytes(self._fleet_id, self.vehicle_id, boot_id, report)
        self.faults["reports_dropped"] += self.reports.put((boot_id, report.sequence), content)
        damaged = self.spool.damaged + self.reports.damaged + self.clips.damaged
        self.faults["files_damaged"] += damaged - self._damaged
        self._damaged = damaged

    def settled(self) -> bool:
        """Return True if nothing waits for the network."""
        busy = self._requests.waiting or self._cutting or self._tasks
        return not (len(self.spool) or len(self.reports) or busy or self.clips.waiting())

    def look(self) -> None:
        """Cut the clips whose last second has been recorded."""
        requests, gone = self._requests.ready(self.rings, self._clock.now_utc_ns(), self._ended)
        for command_id in gone:
            self._gone(command_id)
        for request in requests:
            self._cutting.add(request.command_id)
            self._spawn(self._cut(request))

    def _on_command(self, command: command_pb2.VehicleCommand) -> None:
        if command.WhichOneof("action") == "fetch_model":
            self._update_wanted.set()
        elif command.WhichOneof("action") == "send_clip":
            self._consider(clip_request(command))

    def _consider(self, request: ClipRequest) -> None:
        if request.command_id in self._cutting:
            return
        known = request.command_id in self._requests.gone
        progress = self.clips.progress(request.command_id)
        answer = self._requests.receive(request, progress, self.rings, self._clock.now_utc_ns())
        if answer is CommandOutcome.GONE and not known:
            self._gone(request.command_id)
        elif answer is CommandOutcome.VERIFY:
            self._spawn(self._verify(request))
        elif answer is CommandOutcome.KNOWN:
            self.uploader.wake()
        elif answer is CommandOutcome.WAITS:
            self.look()

    def _gone(self, command_id: str) -> None:
        self.faults["clip_gone"] += 1
        log.warning("clip_gone", vehicle=self.vehicle_id, command=command_id)

    async def _cut(self, request: ClipRequest) -> None:
        try:
            cut = self.rings[request.boot_id].cut(request, self._infos[request.boot_id])
            loop, before = asyncio.get_running_loop(), self.clips.dropped
            await loop.run_in_executor(self._clips_executor, self.clips.write, cut, request.priority)
            self.clips.make_room()
            self.faults["clips_dropped"] += self.clips.dropped - before
            self.uploader.wake()
        finally:
            self._cutting.discard(request.command_id)

    async def _verify(self, request: ClipRequest) -> None:
        """Handle a request for a clip that was stored: cut it again only if the fleet no longer has it."""
        with suppress(grpc.aio.AioRpcError):
            digest = self.clips.stored_digest(request.command_id)
            if not digest or not await self.uploader.is_stored(digest):
                self.clips.unmark_stored(request.command_id)
                self._consider(request)

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._over)

    def _over(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self.faults["clip_failed"] += 1
            log.error("clip_failed", vehicle=self.vehicle_id, error=repr(task.exception()))

    async def _keep_updated(self) -> None:
        wait_s = self._limits.update_poll_s
        while True:
            await pause(self._update_wanted, wait_s)
            self._update_wanted.clear()
            wait_s = self._limits.update_poll_s
            try:
                await self._update()
                self._refusal = ""
            except UnreachableError as error:
                log.info("update_delayed", vehicle=self.vehicle_id, error=str(error))
                wait_s = _RETRY_S
            except OSError as error:  # the disk is full or fails; the vehicle keeps its models
                self.faults["update_failed"] += 1
                log.error("update_failed", vehicle=self.vehicle_id, error=str(error))
            except (ModelRefusedError, ModelUnusableError) as error:
                if str(error) != self._refusal:
                    name = "model_unusable" if isinstance(error, ModelUnusableError) else "model_refused"
                    self.faults[name] += 1
                    log.error(name, vehicle=self.vehicle_id, error=str(error))
                self._refusal = str(error)

    async def _update(self) -> None:
        """Load the models that the director assigns. On any error the vehicle keeps its current ones."""
        assert self._updater is not None and self._loader is not None
        loop = asyncio.get_running_loop()
        assignment = await loop.run_in_executor(self._update_executor, self._updater.assignment)
        coming = {assignment.active, assignment.shadow} - {""}
        kept = self._loader.retain(self.vehicle_id, coming.union(self.loaded.digests()))
        await loop.run_in_executor(self._update_executor, self._updater.prune, kept)
        active = await self._fetch(assignment.active)
        shadow = await self._fetch(assignment.shadow)
        wanted = LoadedModels(active, shadow, assignment)
        if wanted.digests() != self.loaded.digests() or assignment != self.loaded.assignment:
            log.info("loaded", vehicle=self.vehicle_id, active=assignment.active, shadow=assignment.shadow)
            self.loaded = wanted
        self._loader.retain(self.vehicle_id, coming)

    async def _fetch(self, digest: str) -> Runner | None:
        if not digest:
            return None
        assert self._updater is not None and self._loader is not None
        loop = asyncio.get_running_loop()
        folder = await loop.run_in_executor(self._update_executor, self._updater.model, digest)
        return await self._loader.runner(digest, folder)
