"""The running system, as `fleetloop up` starts it, and what a nemesis may do to its processes.

Only processes that this run has started are ever signalled: they are found by the supervisors' records.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from unittest.mock import patch

import yaml
from tests.chaos import sandbox
from tests.chaos.access import Access
from tests.chaos.clocks import Clocks
from tests.chaos.infrastructure import (
    BROKER,
    LINKS,
    POSTGRES,
    Infrastructure,
    postgres_is_installed,
    running_infrastructure,
)

from fleetloop.api.campaigns import apply_files
from fleetloop.api.channel import channel_to
from fleetloop.embedded.broker.choose import ADDRESS_VARIABLE
from fleetloop.embedded.run import EmbeddedRun, embedded_run
from fleetloop.embedded.service_table import SERVICES
from fleetloop.embedded.tcp_ports import free_ports
from fleetloop.protos.campaign.v1 import campaign_pb2, campaign_pb2_grpc
from fleetloop.shipped import config_folder
from fleetloop.supervisor.probes import http_ok
from fleetloop.supervisor.processes import RUN_ID_VARIABLE
from fleetloop.supervisor.state import Phase
from fleetloop.triggerlang.definition import to_definition
from fleetloop.triggerlang.trigger import parse_trigger

PACKAGES = tuple(each.package for each in SERVICES)
ON_POSTGRES = ("label_desk", "dataset_curator", "campaign_keeper")
"""Services with a database in Postgres, where it is installed; the others use SQLite, so each run tests both."""
CAMPAIGN = "chaos"
TRIGGERS = (
    """
name: stop_sign_chaos
version: 1
description: The vehicle is fast. Every firing of it is routed to a labelling project.
task: stop_sign
expression: Vehicle.Speed > 100 km/h
mode: rising_edge
min_interval_s: 5
pre_s: 1
post_s: 1
evidence: [Vehicle.Speed]
""",
    """
name: chaos_unrouted
version: 1
description: The vehicle is slow again. No project wants it, so every firing of it is dropped.
expression: Vehicle.Speed < 100 km/h and max(Vehicle.Speed, 3 s) > 100 km/h
mode: rising_edge
min_interval_s: 5
evidence: [Vehicle.Speed]
""",
)
SMALL_DISKS = {"state": 96, "objects": 768}
"""Folder of the run -> MiB of the file system that it gets where full disks are tested."""
_CONFIG = {
    "curation.yaml": {"commit_samples": 10, "commit_wait_s": 4, "most_vehicle_share": 1},
    "routing.yaml": {"repeat_s": 5, "per_cell": 1_000_000},
}
_MORE_ENV = {
    "telemetry_archiver": {"FLEETLOOP_CUT_AFTER_S": "3"},
    "label_desk": {"FLEETLOOP_UNDO_WINDOW_S": "0.5"},
}


@dataclass(slots=True)
class Replica:
    """A second or third process of a service."""

    package: str
    process: subprocess.Popen[bytes]
    http: str

    def ready(self) -> bool:
        """Whether it says that it is ready."""
        return http_ok(self.http, "/readyz")(1.0)


@dataclass(slots=True)
class System:
    """The running services with broker and Postgres."""

    run: EmbeddedRun
    infrastructure: Infrastructure
    config: Path
    rollout_id: str
    replicas: list[Replica] = field(default_factory=list)
    clocks: Clocks | None = None
    """None: all clocks are right, and stay so."""

    @property
    def fleet_id(self) -> str:
        return self.run.run_specs.info["fleet_id"]

    @property
    def bootstrap_servers(self) -> str:
        """The broker without a link in between."""
        return self.infrastructure.bootstrap_servers

    @property
    def access(self) -> Access:
        """Who may do what in the broker."""
        return self.infrastructure.access

    @property
    def folder(self) -> Path:
        return self.run.layout.root

    def address(self, package: str, port: str = "grpc") -> str:
        """host:port of a service."""
        return self.run.run_specs.info[f"{package}_{port}"]

    def database_url(self, package: str) -> str:
        """URL of a service's database."""
        spec = next(each for each in self.run.run_specs.specs if each.name == package)
        return spec.env["FLEETLOOP_DATABASE_URL"]

    def signal(self, name: str, number: signal.Signals) -> int:
        """Send a signal to the process of a service, of the broker or of Postgres. Returns its id.

        Raises ProcessLookupError if it does not run at the moment.
        """
        supervisor = self.infrastructure.supervisor if name in (BROKER, POSTGRES, LINKS) else self.run.supervisor
        return supervisor.kill(name, number)

    def not_ready(self) -> list[str]:
        """Names of what does not run or says that it is not ready."""
        statuses = [*self.infrastructure.supervisor.status(), *self.run.supervisor.status()]
        late = [each.name for each in statuses if each.phase not in (Phase.READY, Phase.DONE)]
        late += [
            name for name in PACKAGES if name not in late and not http_ok(self.address(name, "http"), "/readyz")(1.0)
        ]
        return late + [each.package for each in self.replicas if not each.ready()]

    def set_clock(self, package: str, offset_s: int) -> None:
        """Set the clock of a service wrong by so many seconds."""
        if self.clocks is None:
            raise ValueError("this system was started without clocks that can be set")
        self.clocks.set(package, offset_s)

    def start_replica(self, package: str, number: int) -> Replica:
        """Start another process of a service with the same settings, its own ports and its own state folder."""
        spec = next(each for each in self.run.run_specs.specs if each.name == package)
        grpc_port, http_port = free_ports(2, Random())
        state = self.folder / "state" / f"{package}-{number}"
        state.mkdir(parents=True, exist_ok=True)
        env = {
            **os.environ,
            **spec.env,
            "FLEETLOOP_GRPC_LISTEN": f"127.0.0.1:{grpc_port}",
            "FLEETLOOP_HTTP_LISTEN": f"127.0.0.1:{http_port}",
            "FLEETLOOP_STATE_DIR": str(state),
            "FLEETLOOP_INSTANCE_ID": str(number),
            "FLEETLOOP_TRACE_FILE": str(state / "traces.jsonl"),
            # If this harness is killed, the supervisor's guard ends the replica with everything else of the run.
            RUN_ID_VARIABLE: self.run.supervisor.run_id,
        }
        with (self.folder / "logs" / f"{package}-{number}.log").open("ab") as log:
            process = subprocess.Popen(
                spec.command, env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        replica = Replica(package, process, f"127.0.0.1:{http_port}")
        self.replicas.append(replica)
        return replica

    def stop_replica(self, replica: Replica) -> None:
        """Stop it as a roll-out does: SIGTERM, then SIGKILL after ten seconds."""
        self.replicas.remove(replica)
        replica.process.terminate()
        try:
            replica.process.wait(10)
        except subprocess.TimeoutExpired:
            replica.process.kill()
            replica.process.wait()


def write_config(folder: Path) -> Path:
    """Copy the shipped configuration with values that let a sample pass the loop in seconds."""
    target = folder / "config"
    shutil.copytree(config_folder(), target)
    for name, values in _CONFIG.items():
        path = target / name
        path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), **values}, sort_keys=False))
    return target


@contextmanager
def running_system(
    folder: Path, *, use_postgres: bool = True, wrong_clocks: bool = False, small_disks: bool = False
) -> Iterator[System]:
    """Run everything below `folder` while a block lasts, with the campaign of these tests in force.

    Args:
        folder: A new folder for all files of the run.
        use_postgres: Whether some services use a private Postgres, where it is installed.
        wrong_clocks: Run the services with clocks that can be set wrong.
        small_disks: Give state and objects small file systems of their own. Works only in the sandbox.
    """
    folder.mkdir(parents=True, exist_ok=True)
    config = write_config(folder)
    on_postgres = ON_POSTGRES if use_postgres and postgres_is_installed() else ()
    with ExitStack() as stack:
        infrastructure = stack.enter_context(running_infrastructure(folder / "infrastructure", PACKAGES, on_postgres))
        more = {package: dict(_MORE_ENV.get(package, {})) for package in PACKAGES}
        for package, port in infrastructure.link_ports.items():
            more[package]["FLEETLOOP_KAFKA_BOOTSTRAP_SERVERS"] = f"127.0.0.1:{port}"
            more[package].update(infrastructure.access.environment(package))
        clocks = Clocks(folder / "clocks") if wrong_clocks else None
        if clocks is not None:
            for package in PACKAGES:
                more[package].update(clocks.environment(package))
        for name, size in SMALL_DISKS.items() if small_disks else ():
            disk = folder / "run" / name
            sandbox.mount_small(disk, size)
            stack.callback(sandbox.unmount, disk)
        for package, url in infrastructure.databases.items():
            more[package]["FLEETLOOP_DATABASE_URL"] = url
        stack.enter_context(patch.dict(os.environ, {ADDRESS_VARIABLE: infrastructure.bootstrap_servers}))
        run = stack.enter_context(
            embedded_run(folder / "run", now=datetime.now(UTC), config_dir=config, more_env=more, fleet_id="chaos")
        )
        system = System(run, infrastructure, config, rollout_id=f"chaos-{time.time_ns()}", clocks=clocks)
        apply_files(run.layout.root, [to_definition(parse_trigger(text)) for text in TRIGGERS], CAMPAIGN)
        _wait_until_in_force(system)
        try:
            yield system
        finally:
            for replica in list(system.replicas):
                system.stop_replica(replica)


def _wait_until_in_force(system: System, within_s: float = 60.0) -> None:
    """Wait until the detector evaluates the campaign: batches before that would fire nothing."""
    deadline = time.monotonic() + within_s
    while True:
        with channel_to(system.folder, "campaign_keeper") as channel:
            answer = campaign_pb2_grpc.CampaignServiceStub(channel).GetInForce(
                campaign_pb2.GetInForceRequest(), timeout=10
            )
        if any(each.campaign == CAMPAIGN for process in answer.processes for each in process.report.campaigns):
            return
        if time.monotonic() > deadline:
            raise TimeoutError(f"the campaign is not in force after {within_s:.0f} s")
        time.sleep(0.5)
