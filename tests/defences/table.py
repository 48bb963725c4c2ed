"""All defences of SECURITY.md, table by table."""

from __future__ import annotations

from tests.defences.defence import Defence
from tests.defences.rows.console import CONSOLE
from tests.defences.rows.logins import LOGINS
from tests.defences.rows.models import MODELS
from tests.defences.rows.network import NETWORK
from tests.defences.rows.people import PEOPLE
from tests.defences.rows.services import SERVICES
from tests.defences.rows.sessions import SESSIONS
from tests.defences.rows.vehicles import VEHICLES

DEFENCES: tuple[Defence, ...] = (*NETWORK, *VEHICLES, *MODELS, *PEOPLE, *CONSOLE, *LOGINS, *SESSIONS, *SERVICES)
"""Several for a threat whose defence has parts that can be removed independently."""
