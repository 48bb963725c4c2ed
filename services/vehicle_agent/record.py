"""Record a drive in the simulated town, as a recording to start with: `python -m vehicle_agent.record OUT.mcap`.

No model runs. A simulated person drives, and all pictures and signals are written, as in a clip of the whole drive.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from fleetloop.domain.signals import load_catalogue
from fleetloop.domain.tasks import load_task_schema
from fleetloop.kit.process.atomic_file import replacing
from fleetloop.kit.process.clock import seconds_to_ns
from fleetloop.worlds.town.fleet import TownFleet
from vehicle_agent.model import AgentError, ClipRequest
from vehicle_agent.ports import Outputs, Runner
from vehicle_agent.ring_buffer import RingBuffer, write_clip
from vehicle_agent.simulation import FleetSimulation

_BOOT = b"recorded"
_START_UTC_NS = seconds_to_ns(1_577_836_800)
_TICKS_A_SECOND = 10


class NoModels:
    """Models of vehicles that run none; implements `ports.Models`."""

    def load(self, folder: Path) -> Runner:
        """Raise AgentError: there is no model to load."""
        raise AgentError(f"{folder}: this vehicle runs no model")

    def perceived(self, outputs: Outputs, prefix: str) -> Mapping[str, float | str]:
        """Return no signals, because there are no outputs."""
        return {}


def record_town(target: Path, config_dir: Path, seconds: int, seed: int) -> None:
    """Write a drive of one vehicle. The same arguments give the same bytes."""
    schema, catalogue = load_task_schema(config_dir / "tasks.yaml"), load_catalogue(config_dir / "signals.yaml")
    name = f"town-{seed}"
    world = TownFleet(schema, 1, seed, 0)
    simulation = FleetSimulation(world, schema, catalogue, NoModels(), "", {name: _BOOT}, _START_UTC_NS, 100)
    ring = RingBuffer(seconds_to_ns(seconds + 1))
    for results in (*simulation.step(seconds * _TICKS_A_SECOND, {}), *simulation.finish()):
        for frame in results.camera_frames:
            ring.add_camera_frame(frame)
        for batch in results.batches:
            ring.add_batch(batch)
    everything = ClipRequest("", "", _BOOT, 0, ring.latest_ns, -1)
    with replacing(target) as draft, draft.open("wb") as file:
        write_clip(ring.cut(everything, simulation.info(name)), file)


def main(arguments: Sequence[str]) -> int:
    """Run the command. Returns the exit code."""
    parser = argparse.ArgumentParser(
        "python -m vehicle_agent.record", description="Record a drive in the simulated town."
    )
    parser.add_argument("target", type=Path)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--config-dir", type=Path, default=Path("config"))
    given = parser.parse_args(arguments)
    record_town(given.target, given.config_dir, given.seconds, given.seed)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
