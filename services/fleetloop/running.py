"""The run in a folder as its clients see it: where things listen, and certificates to talk to them with."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from fleetkit.pki import CertificateAuthority, Credentials, IdentityKind, PkiError
from fleetloop.errors import UserError
from fleetloop.layout import RunLayout
from fleetloop.supervisor.state import RunState, StateError, read_state


def recorded_run(layout: RunLayout) -> RunState | None:
    """What the state file says, also of a run whose supervisor is gone. UserError if it cannot be read."""
    try:
        return read_state(layout.state_file)
    except StateError as error:
        raise UserError(f"{error}.", f"Remove {layout.state_file} once nothing runs there any more.") from error


@dataclass(frozen=True, slots=True)
class RunningFleet:
    layout: RunLayout
    state: RunState

    @classmethod
    def open(cls, folder: Path | str) -> RunningFleet:
        """The run in `folder`; UserError if nothing is up there."""
        layout = RunLayout.at(folder)
        state = recorded_run(layout)
        if state is None or not state.supervised:
            raise UserError(f"Nothing is up in {layout.root}.", "Start it with `fleetloop up`, or give --dir.")
        return cls(layout, state)

    @property
    def fleet_id(self) -> str:
        return self.state.info["fleet_id"]

    @property
    def kafka_bootstrap_servers(self) -> str:
        return self.state.info["kafka_bootstrap_servers"]

    def address(self, service: str, port: str = "grpc") -> str:
        """host:port of a service's `grpc`, `http` or other port; UserError if this run does not have it."""
        try:
            return self.state.info[f"{service.replace('-', '_')}_{port}"]
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
