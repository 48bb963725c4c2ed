"""The services' users, rights and quotas in the broker of a run, and what a nemesis may do to them.

`python -m tests.chaos.access BOOTSTRAP_SERVERS FOLDER` sets them once, as `fleetloop up` does. Here the
node's own listener has no logins: the harness uses it, and may do everything.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from fleetloop.embedded.broker.users import KafkaUsers
from fleetloop.embedded.service_table import SERVICES
from fleetloop.kit.messaging.granting import grant
from fleetloop.kit.messaging.permissions import load_quotas, rules
from fleetloop.kit.messaging.topics import load_topics
from fleetloop.shipped import topic_catalogue

LABELS = {entry.package: entry.label for entry in SERVICES}
"""Package -> name of its user."""


@dataclass(frozen=True, slots=True)
class Access:
    """Who may do what in the broker of a run."""

    bootstrap_servers: str
    """The listener without logins."""
    users: KafkaUsers

    def environment(self, package: str) -> dict[str, str]:
        """The variables with which a service logs in."""
        return {
            "FLEETLOOP_KAFKA_USERNAME": LABELS[package],
            "FLEETLOOP_KAFKA_PASSWORD": self.users.password(LABELS[package]),
            "FLEETLOOP_KAFKA_TLS": "false",
        }

    async def restore(self) -> None:
        """Give every user its password, its rights and its quotas."""
        await self._set(self._passwords())

    async def change_password(self, package: str) -> None:
        """Give the user of a service a password that the service does not know. Open connections stay open."""
        await self._set({**self._passwords(), LABELS[package]: "not-the-password-of-the-service"})

    async def withdraw_rights(self, package: str) -> None:
        """Take all rights from the user of a service, at once."""
        await self._set(self._passwords(), without_rights=LABELS[package])

    async def limit(self, package: str, quotas: Mapping[str, float]) -> None:
        """Set the quotas of a service's user."""
        await self._set(self._passwords(), {LABELS[package]: quotas})

    def _passwords(self) -> dict[str, str]:
        return {label: self.users.password(label) for label in LABELS.values()}

    async def _set(
        self,
        passwords: Mapping[str, str],
        quotas: Mapping[str, Mapping[str, float]] | None = None,
        without_rights: str = "",
    ) -> None:
        catalogue = topic_catalogue()
        granted = [each for each in rules(load_topics(catalogue), LABELS.values()) if each.user != without_rights]
        limits = {**load_quotas(catalogue), **(quotas or {})}
        await grant({"bootstrap_servers": self.bootstrap_servers}, passwords, granted, limits)


if __name__ == "__main__":
    asyncio.run(Access(sys.argv[1], KafkaUsers(Path(sys.argv[2]))).restore())
