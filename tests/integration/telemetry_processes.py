"""Runs the real gateway and archiver as processes against the session's broker, with certificates of their own CA."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from random import Random

import numpy as np

from fleetloop.domain.frames import Column, FrameBatch
from fleetloop.embedded.tcp_ports import free_ports
from fleetloop.kit.security.admission import admit, revoke
from fleetloop.kit.security.identity import Identity, IdentityKind
from fleetloop.kit.security.pki import CertificateAuthority, Credentials

ROOT = Path(__file__).parents[2]


@dataclass
class Service:
    """A running process of a service, to be killed and started again on the same ports."""

    package: str
    env: Mapping[str, str]
    grpc_port: int
    http_port: int
    log: Path
    process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.grpc_port}"

    def launch(self) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen([sys.executable, "-m", self.package], env=self.env, stderr=log)
        return self.process

    def start(self, ready_within_s: float = 60.0) -> None:
        process = self.launch()
        deadline = time.monotonic() + ready_within_s
        while not self.ready():
            assert process.poll() is None and time.monotonic() < deadline, self.log.read_text()[-3000:]
            time.sleep(0.05)

    def ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.http_port}/readyz", timeout=1):
                return True
        except (OSError, urllib.error.URLError):
            return False

    def kill(self) -> None:
        """SIGKILL, as the kernel would do it."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(10)

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        assert self.process is not None
        self.process.terminate()
        return self.process.wait(20)


@dataclass
class Fleet:
    """A fleet of its own: authority, admission list, object store."""

    folder: Path
    bootstrap: str
    fleet_id: str
    services: list[Service] = field(default_factory=list)

    @property
    def admission_list(self) -> Path:
        return self.folder / "admission.json"

    @property
    def authority(self) -> CertificateAuthority:
        return CertificateAuthority.open(self.folder / "authority", fleet=self.fleet_id, now=datetime.now(UTC))

    def enrol(self, vehicle: str) -> Credentials:
        now = datetime.now(UTC)
        issued = self.authority.issue(IdentityKind.VEHICLE, vehicle, self.folder / "vehicles" / vehicle, now=now)
        admit(self.admission_list, issued.identity, issued.serial, now=now)
        return issued

    def person(self, role: str) -> Credentials:
        now = datetime.now(UTC)
        issued = self.authority.issue(IdentityKind.USER, role, self.folder / "users" / role, now=now)
        admit(self.admission_list, issued.identity, issued.serial, now=now, roles=[role])
        return issued

    def revoke(self, vehicle: str) -> None:
        who = Identity(self.fleet_id, IdentityKind.VEHICLE, vehicle)
        revoke(self.admission_list, who, now=datetime.now(UTC), reason="stolen")

    def service(self, package: str, name: str = "", **more: str) -> Service:
        """A service that has not been started; `more` are settings in lower case."""
        label = package.replace("_", "-")
        identity = self.authority.issue(
            IdentityKind.SERVICE, label, self.folder / "services" / package, now=datetime.now(UTC)
        )
        admit(self.admission_list, identity.identity, "", now=datetime.now(UTC))
        grpc_port, http_port = free_ports(2, Random())
        state = self.folder / "state" / (name or package)
        settings = {
            "fleet_id": self.fleet_id,
            "kafka_bootstrap_servers": self.bootstrap,
            "grpc_listen": f"127.0.0.1:{grpc_port}",
            "http_listen": f"127.0.0.1:{http_port}",
            "tls_ca": str(identity.ca),
            "tls_cert": str(identity.cert),
            "tls_key": str(identity.key),
            "state_dir": str(state),
            "config_dir": str(ROOT / "config"),
            "objects_url": (self.folder / "objects").as_uri(),
            "admission_list": str(self.admission_list),
            "instance_id": f"{self.fleet_id}-{name or package}",
            **more,
        }
        env = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
            **{f"FLEETLOOP_{key.upper()}": value for key, value in settings.items()},
        }
        made = Service(package, env, grpc_port, http_port, self.folder / f"{name or package}.log")
        self.services.append(made)
        return made


@contextmanager
def fleet_of(folder: Path, bootstrap: str, fleet_id: str) -> Iterator[Fleet]:
    """A fleet whose processes are gone when the block is left."""
    fleet = Fleet(folder, bootstrap, fleet_id)
    try:
        yield fleet
    finally:
        for service in fleet.services:
            if service.process is not None and service.process.poll() is None:
                service.kill()


def batch_of(fleet: str, vehicle: str, sequence: int, boot: bytes = b"boot-0001", frames: int = 20) -> FrameBatch:
    """A batch as a vehicle sends it: two clocks, a ragged pair, an enum, a bool."""
    chance = np.random.default_rng([sequence, len(vehicle)])
    offsets = np.sort(chance.integers(0, 10**9, frames)).astype(np.int64)
    own = np.sort(chance.integers(0, 10**9, 7)).astype(np.int64)
    counts = chance.integers(0, 4, 7)
    splits = np.concatenate([[0], np.cumsum(counts)]).astype(np.uint32)
    total = int(splits[-1])
    return FrameBatch(
        fleet,
        vehicle,
        boot,
        sequence,
        sequence * 10**9,
        1_700_000_000_000_000_000 + sequence * 10**9,
        "simulated",
        offsets,
        {
            "Vehicle.Speed": Column(chance.uniform(0, 100, frames).astype(np.float32)),
            "Autopilot.Engaged": Column(chance.integers(0, 2, frames).astype(np.bool_)),
            "Map.Feature": Column(
                chance.integers(0, 3, frames).astype(np.uint16), dictionary=("none", "stop_sign", "traffic_light")
            ),
            "Radar.Object.Id": Column(chance.integers(0, 99, total), own, splits),
            "Radar.Object.Distance": Column(chance.uniform(0, 99, total).astype(np.float32), own, splits),
            "Perception.LeadVehicle.Distance": Column(np.array([np.nan] * 7, np.float32), own),
        },
        "a" * 64,
    )
