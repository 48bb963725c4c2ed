"""The folder of an embedded run. All files of the run are below it, so removing the folder removes everything."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

DEFAULT_FOLDER = Path(".fleetloop")
LOCAL_USER = "local"
"""The person who runs an embedded run: enrolled when it starts for the first time, with every role."""


@dataclass(frozen=True, slots=True)
class RunLayout:
    """The paths below a run's folder. This only names them; the code that writes creates the folders."""

    root: Path
    """Absolute path; `.fleetloop` in the working directory by default."""

    @classmethod
    def at(cls, folder: Path | str) -> RunLayout:
        """Return the layout of a folder, which may be relative or start with `~`."""
        return cls(Path(folder).expanduser().resolve())

    @property
    def state_file(self) -> Path:
        """State of the run: written by the supervisor, read by `status`, `down` and every client command."""
        return self.root / "run.json"

    @property
    def cluster_file(self) -> Path:
        """Addresses of an installation on a cluster, with the keys of the state file's `info`."""
        return self.root / "cluster.json"

    @property
    def lock_file(self) -> Path:
        return self.root / "supervisor.lock"

    @property
    def ports_file(self) -> Path:
        return self.root / "ports.json"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def identities(self) -> Path:
        return self.root / "identities"

    @property
    def admission_list(self) -> Path:
        """The list of admitted vehicles, people and services; every server reads it again when it changes."""
        return self.identities / "admission.json"

    @property
    def accounts(self) -> Path:
        """Stored passwords of people who log in to the console without a provider."""
        return self.identities / "accounts.json"

    @property
    def links(self) -> Path:
        """One file for each one-time link to the console that is not spent."""
        return self.identities / "links"

    @property
    def signing(self) -> Path:
        """Keys and trust that this run's signing ceremony created."""
        return self.root / "signing"

    @property
    def trust(self) -> Path:
        """The roots of trust that vehicles are provisioned with: models/1.root.json and director/1.root.json."""
        return self.signing / "trust"

    @property
    def kafka(self) -> Path:
        return self.root / "kafka"

    @property
    def event_keys(self) -> Path:
        """Keys that sign events, and the file with which readers verify them."""
        return self.signing / "events"

    @property
    def kafka_users(self) -> Path:
        """A file per Kafka user with its password, readable only by the person who runs the fleet."""
        return self.identities / "kafka"

    @property
    def objects(self) -> Path:
        return self.root / "objects"

    def service_state(self, service: str) -> Path:
        return self.root / "state" / service
