"""The run in a folder as its clients see it: where things listen, and certificates to talk to them with.

What runs on a cluster is no run of this machine. Its folder has the authority and `cluster.json`, which says where
the services are reached: {"fleet_id": "demo", "campaign_keeper_grpc": "localhost:9001"} (docs/kubernetes.md).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from fleetloop.errors import UserError
from fleetloop.kit.security.identity import IdentityKind, PkiError
from fleetloop.kit.security.pki import CertificateAuthority, Credentials
from fleetloop.layout import RunLayout
from fleetloop.supervisor.state import RunState, StateError, read_state


def recorded_run(layout: RunLayout) -> RunState | None:
    """What the state file says, also of a run whose supervisor is gone. UserError if it cannot be read."""
    try:
        return read_state(layout.state_file)
    except StateError as error:
        raise UserError(f"{error}.", f"Remove {layout.state_file} once nothing runs there any more.") from error


def _cluster_info(path: Path) -> Mapping[str, str]:
    wanted = 'a JSON object such as {"fleet_id": "demo", "campaign_keeper_grpc": "localhost:9001"}'
    try:
        info = json.loads(path.read_text())
    except ValueError as error:
        raise UserError(f"{path} is not JSON: {error}.", f"It wants {wanted}.") from error
    texts = isinstance(info, dict) and all(isinstance(value, str) for value in info.values())
    if not texts or "fleet_id" not in info:
        raise UserError(f"{path} names no fleet_id, or something that is no text.", f"It wants {wanted}.")
    return dict(info)


@dataclass(frozen=True, slots=True)
class RunningFleet:
    layout: RunLayout
    info: Mapping[str, str]
    state: RunState | None = None
    """None for what runs on a cluster."""

    @classmethod
    def open(cls, folder: Path | str) -> RunningFleet:
        """The run in `folder`, or the installation that its cluster.json names; UserError if there is neither."""
        layout = RunLayout.at(folder)
        state = recorded_run(layout)
        if state is not None and state.supervised:
            return cls(layout, state.info, state)
        if layout.cluster_file.exists():
            return cls(layout, _cluster_info(layout.cluster_file))
        raise UserError(f"Nothing is up in {layout.root}.", "Start it with `fleetloop up`, or give --dir.")

    @property
    def fleet_id(self) -> str:
        return self.info["fleet_id"]

    @property
    def kafka_bootstrap_servers(self) -> str:
        return self.info["kafka_bootstrap_servers"]

    def address(self, service: str, port: str = "grpc") -> str:
        """host:port of a service's `grpc`, `http` or other port; UserError if this run does not have it."""
        try:
            return self.info[f"{service.replace('-', '_')}_{port}"]
        except KeyError as error:
            raise UserError(
                f"{service} is not part of the run in {self.layout.root}.", "See `fleetloop status`."
            ) from error

    def credentials(self, role: str, now: datetime) -> Credentials:
        """A person's certificate (labeller, engineer, subscriber), as the run's authority issues it."""
        try:
            authority = CertificateAuthority.open(self.layout.identities / "authority", fleet=self.fleet_id, now=now)
            return authority.issue(IdentityKind.USER, role, self.layout.identities / "users" / role, now=now)
        except PkiError as error:
            raise UserError(f"{error}.", f"The identities of this run lie in {self.layout.identities}.") from error
