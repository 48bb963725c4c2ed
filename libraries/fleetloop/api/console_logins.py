"""Ways to log in to the console of a run on this machine: passwords of local accounts, and one-time links."""

from __future__ import annotations

from datetime import datetime
from urllib.parse import urlencode

from fleetloop.api.installation import recorded_run
from fleetloop.errors import UserError
from fleetloop.kit.refusal import RefusedError
from fleetloop.kit.security.admission import AdmissionList
from fleetloop.kit.security.identity import Identity, IdentityKind, PkiError
from fleetloop.kit.security.passwords import Accounts, Links
from fleetloop.layout import RunLayout


class ConsoleLogins:
    """Writes what the console reads. All methods raise UserError with a remedy.

    Args:
        layout: The run's folder.
        fleet_id: Fleet of a folder without a recorded run.
    """

    def __init__(self, layout: RunLayout, fleet_id: str) -> None:
        self._layout = layout
        state = recorded_run(layout)
        self._info = state.info if state is not None else {}
        self._fleet_id = self._info.get("fleet_id", fleet_id)

    def check(self, name: str) -> None:
        """Only a person who is enrolled can log in: the admission list has the roles."""
        remedy = f"Enrol the person with `fleetloop users enrol {name} --role ROLE`."
        try:
            who = Identity(self._fleet_id, IdentityKind.USER, name)
            AdmissionList(self._layout.admission_list).admitted(who)
        except (PkiError, RefusedError) as error:
            raise UserError(f"{error}.", remedy) from error

    def set_password(self, name: str, password: str) -> None:
        """Create or replace the account of an enrolled person."""
        self.check(name)
        try:
            Accounts(self._layout.accounts).set(name, password)
        except PkiError as error:
            raise UserError(f"{error}.", "No password was changed.") from error

    def link(self, name: str, now: datetime) -> str:
        """An address that logs an enrolled person in once. Anyone who has it can log in: never write it to a log."""
        self.check(name)
        address = self._info.get("fleet_console_page")
        if address is None:
            raise UserError(f"No console is running in {self._layout.root}.", "Start it with `fleetloop up`.")
        secret = Links(self._layout.links).make(name, now.timestamp())
        return f"http://{address}/login/link?{urlencode({'secret': secret})}"
