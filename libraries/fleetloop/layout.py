"""Where an embedded run keeps its things: everything lies below one folder, so that removing it removes all."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

DEFAULT_FOLDER = Path(".fleetloop")


@dataclass(frozen=True, slots=True)
class RunLayout:
    """The paths below one run's folder. It only names them; whoever writes makes the folder."""

    root: Path
    """Absolute; `.fleetloop` in the working directory unless told otherwise."""

    @classmethod
    def at(cls, folder: Path | str) -> RunLayout:
        return cls(Path(folder).expanduser().resolve())

    @property
    def state_file(self) -> Path:
        """What runs here: written by the supervisor, read by `status`, `down` and every client command."""
        return self.root / "run.json"

    @property
    def cluster_file(self) -> Path:
        """Where the services of an installation on a cluster are reached, by the names of the state file's info."""
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
    def vehicle_register(self) -> Path:
        """Which vehicles may speak; the gateway reads it again whenever it changes."""
        return self.identities / "vehicles.json"

    @property
    def signing(self) -> Path:
        """Keys and trust of this run's signing ceremony."""
        return self.root / "signing"

    @property
    def trust(self) -> Path:
        """The roots that vehicles are born with: models/1.root.json and director/1.root.json."""
        return self.signing / "trust"

    @property
    def kafka(self) -> Path:
        return self.root / "kafka"

    @property
    def objects(self) -> Path:
        return self.root / "objects"

    def service_state(self, service: str) -> Path:
        return self.root / "state" / service
