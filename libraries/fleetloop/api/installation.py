"""A running fleet as its clients see it: addresses of the services, and certificates to call them with.

For a run on this machine both come from the run's folder. For an installation on a cluster the folder has the
certificate of its user and a file `cluster.json` with the addresses, for example
{"fleet_id": "demo", "user": "ann", "campaign_keeper_grpc": "localhost:9001"} (docs/kubernetes.md).
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from fleetloop.embedded.broker.users import KafkaUsers
from fleetloop.errors import UserError
from fleetloop.kit.messaging.permissions import OPERATORS
from fleetloop.kit.process.settings import ServiceSettings
from fleetloop.kit.security.identity import Identity, IdentityKind, PkiError
from fleetloop.kit.security.pki import Credentials, load_credentials
from fleetloop.layout import RunLayout
from fleetloop.supervisor.state import RunState, StateError, read_state


def recorded_run(layout: RunLayout) -> RunState | None:
    """Return the recorded state of a run, even if its supervisor no longer runs; None if there is none.

    Raises UserError if the state file cannot be read.
    """
    try:
        return read_state(layout.state_file)
    except StateError as error:
        raise UserError(f"{error}.", f"Remove {layout.state_file} when no process of the run is left.") from error


def _cluster_info(path: Path) -> Mapping[str, str]:
    remedy = 'Write a JSON object such as {"fleet_id": "demo", "campaign_keeper_grpc": "localhost:9001"}.'
    try:
        info = json.loads(path.read_text())
    except ValueError as error:
        raise UserError(f"{path} is not JSON: {error}.", remedy) from error
    all_text = isinstance(info, dict) and all(isinstance(value, str) for value in info.values())
    if not all_text or "fleet_id" not in info:
        raise UserError(f"{path} has no fleet_id, or a value that is not text.", remedy)
    return dict(info)


@dataclass(frozen=True, slots=True)
class RunningFleet:
    """Addresses and credentials of a fleet's services. Get one from `RunningFleet.open`."""

    layout: RunLayout
    info: Mapping[str, str]
    state: RunState | None = None
    """The supervisor's record of the run; None for an installation on a cluster."""

    @classmethod
    def open(cls, folder: Path | str) -> RunningFleet:
        """Open the run in `folder`, or the installation that its cluster.json describes.

        Raises UserError if there is neither.
        """
        layout = RunLayout.at(folder)
        state = recorded_run(layout)
        if state is not None and state.supervised:
            return cls(layout, state.info, state)
        if layout.cluster_file.exists():
            return cls(layout, _cluster_info(layout.cluster_file))
        raise UserError(f"No fleet is running in {layout.root}.", "Start it with `fleetloop up`, or give --dir.")

    @property
    def fleet_id(self) -> str:
        return self.info["fleet_id"]

    @property
    def kafka_bootstrap_servers(self) -> str:
        return self.info["kafka_bootstrap_servers"]

    def kafka_settings(self, user: str = OPERATORS) -> ServiceSettings:
        """How a person reaches Kafka: as `user` of an embedded run's broker.

        Elsewhere FLEETLOOP_KAFKA_USERNAME, _PASSWORD and _CA name the user.
        """
        if not self.info.get("kafka_users"):
            return ServiceSettings(kafka_bootstrap_servers=self.kafka_bootstrap_servers)
        password = KafkaUsers(Path(self.info["kafka_users"])).password(user)
        return ServiceSettings(
            kafka_bootstrap_servers=self.kafka_bootstrap_servers,
            kafka_username=user,
            kafka_password=password,
            kafka_tls=False,
        )

    def address(self, service: str, port: str = "grpc") -> str:
        """Return the host:port of a service's `grpc`, `http` or other port.

        Raises UserError if the service is not part of this run.
        """
        try:
            return self.info[f"{service.replace('-', '_')}_{port}"]
        except KeyError as error:
            raise UserError(
                f"{service} is not part of the run in {self.layout.root}.", "See `fleetloop status`."
            ) from error

    def credentials(self, user: str = "") -> Credentials:
        """Return the certificate of an enrolled person, from `identities/users/<user>`.

        Without a name it is FLEETLOOP_USER, or `user` in the run's record or in cluster.json: for an embedded run the
        local user. No key of the certificate authority is needed.
        """
        name = user or os.environ.get("FLEETLOOP_USER", "") or self.info.get("user", "")
        if not name:
            raise UserError(
                f"{self.layout.cluster_file} names no user.",
                'Add "user": "<your name>" to it, or set FLEETLOOP_USER; `fleetloop users enrol` enrols you.',
            )
        try:
            who = Identity(self.fleet_id, IdentityKind.USER, name)
            found = load_credentials(self.layout.identities / "users" / name)
            if found.identity != who:
                raise PkiError(f"{found.cert} is the certificate of {found.identity.uri}, not of {who.uri}")
            if found.not_after <= datetime.now(UTC):
                raise PkiError(f"the certificate {found.cert} expired on {found.not_after:%Y-%m-%d}")
            return found
        except PkiError as error:
            raise UserError(
                f"{error}.", f"`fleetloop users enrol {name}` issues a certificate; an operator does so."
            ) from error
