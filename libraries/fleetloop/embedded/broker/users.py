"""The users of an embedded broker: a file per user with its password, readable only by the person who runs it."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fleetloop.embedded.broker.node import NODE_USER
from fleetloop.errors import UserError
from fleetloop.kit.process.atomic_file import replace_text

_PASSWORD_BYTES = 24


@dataclass(frozen=True, slots=True)
class KafkaUsers:
    """The passwords below one folder."""

    folder: Path

    def create(self, names: Iterable[str]) -> None:
        """Give each user, and the node itself, a random password, unless it has one."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for name in (NODE_USER, *names):
            if not self._file(name).exists():
                replace_text(self._file(name), secrets.token_hex(_PASSWORD_BYTES), mode=0o600, sync=True)

    def password(self, name: str) -> str:
        """The password of a user. Raises UserError if it has none."""
        try:
            found = self._file(name).read_text()
        except OSError as error:
            raise UserError(
                f"The Kafka user {name} has no password: {error}.", f"`fleetloop up` creates {self._file(name)}."
            ) from error
        if not found:
            raise UserError(f"{self._file(name)} is empty.", "Remove it; `fleetloop up` creates it again.")
        return found

    def passwords(self) -> dict[str, str]:
        """The password of each user, without the node's own. Raises UserError if one cannot be read."""
        names = sorted(file.name for file in self.folder.glob("[!.]*") if file.name != NODE_USER)
        return {name: self.password(name) for name in names}

    def node_options(self, bootstrap_servers: str) -> dict[str, Any]:
        """The options of a client that connects as the node itself and has every right."""
        return {
            "bootstrap_servers": bootstrap_servers,
            "security_protocol": "SASL_PLAINTEXT",
            "sasl_mechanism": "PLAIN",
            "sasl_plain_username": NODE_USER,
            "sasl_plain_password": self.password(NODE_USER),
        }

    def _file(self, name: str) -> Path:
        return self.folder / name
