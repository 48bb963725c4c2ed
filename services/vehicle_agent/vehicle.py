"""One vehicle's link to its fleet: what was recorded goes out, commands come in, models change."""

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
from vehicle_agent.clips import ClipShelf
from vehicle_agent.codec import batch_bytes, clip_request, report_bytes
from vehicle_agent.commands import Answer, CommandDesk
from vehicle_agent.fetching import RolloutFetcher
from vehicle_agent.garage import Garage
from vehicle_agent.model import ClipRequest, ModelRefusedError, Report
from vehicle_agent.ports import Equipped, Runner
from vehicle_agent.ring_buffer import RingBuffer, Shot
from vehicle_agent.sending import CommandListener, ReportSender, TelemetrySender
from vehicle_agent.spool import Spool
from vehicle_agent.updater import ModelShelf, ModelUpdater, UnreachableError
from vehicle_agent.uploader import ClipUploader

log = get_logger(__name__)
_KEPT_BOOTS = 2
_RETRY_S = 2.0


@dataclass(frozen=True, slots=True)
class Limits:
    """How much a vehicle keeps."""

    spool_bytes: int = 64 * 1024 * 1024
    clips_bytes: int = 256 * 1024 * 1024
    ring_s: float = 240.0
    update_poll_s: float = 30.0
    chunk_pause_s: float = 0.0


class VehicleLink:
    """Everything of one vehicle that lives on the event loop. `run` keeps it going until cancelled."""

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
        self.spool = Spool(folder / "batches", limits.spool_bytes)
        self.reports = Spool(folder / "reports", limits.spool_bytes)
        self.clips = ClipShelf(folder / "clips", limits.clips_bytes)
        self.telemetry = TelemetrySender(vehicle_id, gateway, self.spool)
        self._report_sender = ReportSender(vehicle_id, gateway, self.reports)
        self.uploader = ClipUploader(fleet_id, vehicle_id, gateway, self.clips, limits.chunk_pause_s)
        self.commands = CommandListener(fleet_id, vehicle_id, gateway, self._obey)
        self.rings: dict[bytes, RingBuffer] = {}
        self._infos: dict[bytes, DriveInfo] = {}
        self._ended: dict[bytes, bool] = {}
        self._desk = CommandDesk()
        self._cutting: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.faults: Counter[str] = Counter()
        """What went wrong since the last report took it."""
        self.equipped = Equipped()
        self._update_wanted = asyncio.Event()
        self._updater: ModelUpdater | None = None
        self._garage: Garage | None = None
        self._update_executor: Executor | None = None
        self._refusal = ""

    def equip_from(
        self, rollout: grpc.aio.Channel, trust: Path, shelf: ModelShelf, garage: Garage, executor: Executor
    ) -> None:
        """Where models come from. Call it on the loop, before `run`."""
        loop = asyncio.get_running_loop()
        self._updater = ModelUpdater(
            self.vehicle_id, trust, self.folder / "tuf", shelf, partial(RolloutFetcher, rollout, loop)
        )
        self._garage, self._update_executor = garage, executor
        self._update_wanted.set()

    async def run(self) -> None:
        """Until cancelled. What a bug raises ends all of it."""
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
        """A new boot; requests for the one before it can still be answered."""
        for boot in self._ended:
            self._ended[boot] = True
        self.rings[boot_id] = RingBuffer(seconds_to_ns(self._limits.ring_s))
        self._infos[boot_id], self._ended[boot_id] = info, False
        for boot in list(self.rings)[:-_KEPT_BOOTS]:
            del self.rings[boot], self._infos[boot], self._ended[boot]
        self.look()

    def end(self, boot_id: bytes) -> None:
        """The boot records no more: what waits for its last second is cut with what there is."""
        self._ended[boot_id] = True
        self.look()

    def record(
        self, boot_id: bytes, batches: Sequence[FrameBatch], shots: Iterable[Shot], until_ns: int | None = None
    ) -> None:
        """Keeps what happened, for the fleet and for a while in memory."""
        ring = self.rings[boot_id]
        for shot in shots:
            ring.add_shot(shot)
        for batch in batches:
            ring.add_batch(batch, until_ns)
            dropped = self.spool.put((batch.boot_id, batch.sequence), batch_bytes(batch))
            if dropped:
                self.faults["batches_dropped"] += dropped
        if batches:
            self.look()

    def report(self, boot_id: bytes, report: Report) -> None:
        """Puts a report on its way."""
        self.reports.put((boot_id, report.sequence), report_bytes(self._fleet_id, self.vehicle_id, boot_id, report))

    def settled(self) -> bool:
        """True when nothing waits for the network."""
        busy = self._desk.waiting or self._cutting or self._tasks
        return not (len(self.spool) or len(self.reports) or busy or self.clips.waiting())

    def look(self) -> None:
        """Cuts the clips whose last second has been recorded."""
        requests, gone = self._desk.ready(self.rings, self._clock.now_utc_ns(), self._ended)
        for command_id in gone:
            self._gone(command_id)
        for request in requests:
            self._cutting.add(request.command_id)
            self._spawn(self._cut(request))

    def _obey(self, command: command_pb2.VehicleCommand) -> None:
        if command.WhichOneof("action") == "fetch_model":
            self._update_wanted.set()
        elif command.WhichOneof("action") == "send_clip":
            self._consider(clip_request(command))

    def _consider(self, request: ClipRequest) -> None:
        if request.command_id in self._cutting:
            return
        known = request.command_id in self._desk.gone
        standing = self.clips.standing(request.command_id)
        answer = self._desk.take(request, standing, self.rings, self._clock.now_utc_ns())
        if answer is Answer.GONE and not known:
            self._gone(request.command_id)
        elif answer is Answer.VERIFY:
            self._spawn(self._verify(request))
        elif answer is Answer.KNOWN:
            self.uploader.wake()
        elif answer is Answer.WAITS:
            self.look()

    def _gone(self, command_id: str) -> None:
        self.faults["clip_gone"] += 1
        log.warning("clip_gone", vehicle=self.vehicle_id, command=command_id)

    async def _cut(self, request: ClipRequest) -> None:
        try:
            cut = self.rings[request.boot_id].cut(request, self._infos[request.boot_id])
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(self._clips_executor, self.clips.write, cut, request.priority)
            self.faults["clips_dropped"] += self.clips.make_room()
            self.uploader.wake()
        finally:
            self._cutting.discard(request.command_id)

    async def _verify(self, request: ClipRequest) -> None:
        """The fleet asks for a clip that was stored: cut it again only if it is not there any more."""
        with suppress(grpc.aio.AioRpcError):
            digest = self.clips.stored_digest(request.command_id)
            if digest and not await self.uploader.is_stored(digest):
                self.clips.forget_stored(request.command_id)
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
            except ModelRefusedError as error:
                if str(error) != self._refusal:
                    self.faults["model_refused"] += 1
                    log.error("model_refused", vehicle=self.vehicle_id, error=str(error))
                self._refusal = str(error)

    async def _update(self) -> None:
        """Equips the vehicle with what its director names; on any error it keeps what it has."""
        assert self._updater is not None and self._garage is not None
        loop = asyncio.get_running_loop()
        assignment = await loop.run_in_executor(self._update_executor, self._updater.assignment)
        coming = {assignment.active, assignment.shadow} - {""}
        self._garage.wants(self.vehicle_id, coming.union(self.equipped.digests()))
        active = await self._fetch(assignment.active)
        silent = await self._fetch(assignment.shadow)
        wanted = Equipped(active, silent, assignment)
        if wanted.digests() != self.equipped.digests() or assignment != self.equipped.assignment:
            log.info("equipped", vehicle=self.vehicle_id, active=assignment.active, shadow=assignment.shadow)
            self.equipped = wanted
        self._garage.wants(self.vehicle_id, coming)

    async def _fetch(self, digest: str) -> Runner | None:
        if not digest:
            return None
        assert self._updater is not None and self._garage is not None
        loop = asyncio.get_running_loop()
        folder = await loop.run_in_executor(self._update_executor, self._updater.model, digest)
        return await self._garage.runner(digest, folder)
