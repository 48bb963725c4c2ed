"""All nemeses by name. What comes after a slash is the process that is harmed; what comes before it selects all."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from tests.chaos.clocks import clocks_missing
from tests.chaos.infrastructure import BROKER, POSTGRES, postgres_is_installed
from tests.chaos.nemeses.access import NoRights, SmallQuota, WrongPassword
from tests.chaos.nemeses.clock_step import ClockStep
from tests.chaos.nemeses.delete_state import REBUILT, DeleteState
from tests.chaos.nemeses.disk_full import DiskFull
from tests.chaos.nemeses.health_watch import HealthWatch
from tests.chaos.nemeses.kill import Kill, KillEveryService
from tests.chaos.nemeses.open_transaction import OpenTransaction
from tests.chaos.nemeses.partition import Partition
from tests.chaos.nemeses.pause import Pause
from tests.chaos.nemeses.poison import Poisoner, PoisonLatency, PoisonLatencyEach
from tests.chaos.nemeses.protocol import Nemesis
from tests.chaos.nemeses.repeats import Repeats
from tests.chaos.nemeses.rolling_restart import RollingRestart
from tests.chaos.nemeses.scale import SCALABLE, Scale
from tests.chaos.nemeses.slow_link import SlowLink
from tests.chaos.sandbox import needs_sandbox
from tests.chaos.system import PACKAGES, SMALL_DISKS

Make = Callable[[str, int], Nemesis]
"""From a name and a seed."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One nemesis."""

    make: Make
    missing: Callable[[], str] = lambda: ""
    """Why it cannot work on this machine; empty if it can."""


def _needs_postgres() -> str:
    return "" if postgres_is_installed() else "Postgres is not installed: apt-get install postgresql"


def _for_each(
    name: str, kind: type, victims: Iterable[str], missing: Callable[[], str] = lambda: ""
) -> dict[str, Entry]:
    return {f"{name}/{victim}": Entry(partial(kind, victim=victim), missing) for victim in victims}


NEMESES: Mapping[str, Entry] = {
    **_for_each("kill_service", Kill, PACKAGES),
    "kill_every_service": Entry(KillEveryService),
    "kill_broker": Entry(partial(Kill, victim=BROKER)),
    "kill_postgres": Entry(partial(Kill, victim=POSTGRES), _needs_postgres),
    **_for_each("pause_service", Pause, PACKAGES),
    **_for_each("slow_link", SlowLink, PACKAGES),
    **_for_each("wrong_password", WrongPassword, PACKAGES),
    **_for_each("no_rights", NoRights, PACKAGES),
    **_for_each("small_quota", SmallQuota, PACKAGES),
    **_for_each("scale", Scale, SCALABLE),
    **_for_each("delete_state", DeleteState, REBUILT),
    **_for_each("partition", Partition, PACKAGES, lambda: needs_sandbox("nft", "nftables")),
    **_for_each("disk_full", DiskFull, SMALL_DISKS, lambda: needs_sandbox("mount", "mount")),
    **_for_each("clock_step", ClockStep, PACKAGES, clocks_missing),
    "rolling_restart": Entry(RollingRestart),
    "poison": Entry(Poisoner),
    "poison_latency/together": Entry(PoisonLatency),
    "poison_latency/each": Entry(PoisonLatencyEach),
    "open_transaction": Entry(OpenTransaction),
    "health_watch": Entry(HealthWatch),
    "repeats": Entry(Repeats),
}


def select(wanted: Sequence[str]) -> list[str]:
    """Return the names that are named, or whose first part is; all for none. Raises KeyError for an unknown one."""
    if not wanted:
        return list(NEMESES)
    found: list[str] = []
    for each in wanted:
        names = [name for name in NEMESES if name == each or name.split("/")[0] == each]
        if not names:
            raise KeyError(each)
        found += names
    return list(dict.fromkeys(found))
