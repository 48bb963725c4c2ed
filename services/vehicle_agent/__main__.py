"""The composition root of vehicle_agent: `python -m vehicle_agent --help`."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from fleetloop.domain.clips import ClipError, read_drive
from fleetloop.domain.signals import CatalogueError, load_catalogue
from fleetloop.domain.tasks import TaskSchema, TaskSchemaError, load_task_schema
from fleetloop.kit.process.clock import SystemClock
from fleetloop.kit.process.exit_codes import EXIT_USAGE
from fleetloop.kit.process.logs import configure_logs, get_logger
from fleetloop.kit.rpc import open_channel
from fleetloop.worlds.recorded import RecordedDrive
from vehicle_agent.link import Limits, VehicleLink
from vehicle_agent.model import AgentError, ModelUnusableError
from vehicle_agent.model_loader import ModelLoader
from vehicle_agent.process import AgentProcess
from vehicle_agent.settings import VehicleAgentSettings
from vehicle_agent.updater import ModelCache

if TYPE_CHECKING:
    from fleetloop.worlds.world import Fleet
    from vehicle_agent.ports import Outputs, Runner

log = get_logger(__name__)
_BOOT_BYTES = 8


class OnnxModels:
    """Models on ONNX Runtime with one thread each; implements `ports.Models`."""

    def __init__(self, schema: TaskSchema) -> None:
        from fleetloop.domain import onnx_runner  # a recorded drive needs no ONNX Runtime

        self._runner = onnx_runner
        self._schema = schema

    def load(self, folder: Path) -> Runner:
        """Load the model in a folder. Raises ModelUnusableError."""
        try:
            return self._runner.OnnxRunner.load(folder, self._schema, threads=1)
        except self._runner.ModelError as error:
            raise ModelUnusableError(str(error)) from error

    def perceived(self, outputs: Outputs, prefix: str) -> Mapping[str, float | str]:
        """Return outputs as signals below `prefix`."""
        return self._runner.perceived_signals(self._schema, outputs, prefix)


class Town:
    """Builds this process's vehicles of the simulated town; implements `ports.Worlds`."""

    def __init__(self, schema: TaskSchema, settings: VehicleAgentSettings) -> None:
        self._schema = schema
        self._settings = settings

    def __call__(self, seed: int) -> Fleet:
        """Return the vehicles. The same seed gives the same routes."""
        from fleetloop.worlds.town.fleet import TownFleet

        settings = self._settings
        return TownFleet(self._schema, settings.vehicles, seed, settings.town_seed, first=settings.first)


async def run(settings: VehicleAgentSettings) -> None:
    """Assemble the process and run it to its end, or until SIGTERM.

    Raises AgentError, ClipError, CatalogueError, TaskSchemaError or OSError.
    """
    clock, stopping = SystemClock(), asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    catalogue = load_catalogue(settings.config_dir / "signals.yaml")
    schema = load_task_schema(settings.config_dir / "tasks.yaml")
    limits = Limits(
        settings.spool_bytes, settings.clips_bytes, settings.ring_s, settings.update_poll_s, settings.chunk_pause_s
    )
    clips_thread, update_threads = ThreadPoolExecutor(1, "clips"), ThreadPoolExecutor(2, "updates")
    async with AsyncExitStack() as stack:
        # Run last, and not on the event loop: a thread may wait for a call that ends with its channel.
        stack.push_async_callback(asyncio.to_thread, update_threads.shutdown, cancel_futures=True)
        stack.push_async_callback(asyncio.to_thread, clips_thread.shutdown)
        links = []
        models = OnnxModels(schema) if settings.world == "town" else None
        loader = ModelLoader(models, update_threads) if models is not None else None
        store = ModelCache(settings.state_dir / "models")
        for name in settings.names():
            identity = settings.identities / name
            if not (identity / "cert.pem").exists():
                raise AgentError(f"{identity}: no certificate; issue one with `fleetloop vehicles enrol {name}`")
            files = (identity / "ca.pem", identity / "cert.pem", identity / "key.pem")
            gateway = await stack.enter_async_context(
                open_channel("telemetry-gateway", settings.telemetry_gateway_address, *files)
            )
            folder = settings.state_dir / name
            link = VehicleLink(settings.fleet_id, name, folder, gateway, clock, clips_thread, limits)
            if settings.rollout_controller_address and loader is not None and settings.trust is not None:
                rollout = await stack.enter_async_context(
                    open_channel("rollout-controller", settings.rollout_controller_address, *files)
                )
                link.equip_from(rollout, settings.trust, store, loader, update_threads)
            links.append(link)
        agent = AgentProcess(settings, links, catalogue, clock, lambda: os.urandom(_BOOT_BYTES), stopping)
        if settings.world == "drive":
            assert settings.drive is not None
            content = settings.drive.read_bytes()
            recorded = RecordedDrive(read_drive(content), settings.frames_per_batch)
            work = agent.run_drive(recorded, hashlib.sha256(content).hexdigest())
        else:
            assert models is not None
            work = agent.run_town(schema, models, Town(schema, settings))
        await _run_with_links(work, links)


async def _run_with_links(work: object, links: Sequence[VehicleLink]) -> None:
    """Run the links until the work is done. A link that fails ends the work."""
    main = asyncio.ensure_future(work)  # type: ignore[call-overload]
    tasks = [asyncio.create_task(link.run()) for link in links]
    try:
        done, _ = await asyncio.wait([main, *tasks], return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in (main, *tasks):
            task.cancel()
        for task in (main, *tasks):
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await task


def main(arguments: Sequence[str]) -> int:
    """Run the command. Returns 0 if it is done, 1 if it failed, 2 if settings are wrong."""
    try:
        settings = VehicleAgentSettings(_cli_parse_args=list(arguments), _cli_prog_name="python -m vehicle_agent")
    except ValidationError as error:
        for problem in error.errors():
            option = "--" + "-".join(str(part) for part in problem["loc"]).replace("_", "-")
            sys.stderr.write(f"{option}: {problem['msg']}\n")
        return EXIT_USAGE
    configure_logs("vehicle-agent", settings.log_format, settings.log_level)
    try:
        asyncio.run(run(settings))
    except (AgentError, ClipError, CatalogueError, TaskSchemaError, OSError) as error:
        log.error("agent_failed", error=str(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
