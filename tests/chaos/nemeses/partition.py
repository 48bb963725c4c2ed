"""An asymmetric network partition: in one direction, every packet between a service and the broker is lost.

The packets are dropped by nftables in the run's own network namespace. Connections stay open, as far as both ends
know: what one end sends is repeated by TCP, and arrives after the partition or never.
"""

from __future__ import annotations

import asyncio
import random
import subprocess

from tests.chaos import sandbox
from tests.chaos.load import Load
from tests.chaos.system import System

LASTS_S = 90.0
_TABLE = "chaos_partition"


class Partition:
    """Cuts one direction between one service and the broker."""

    def __init__(self, name: str, seed: int, victim: str, lasts_s: float = LASTS_S) -> None:
        self.name = name
        self.seed = seed
        self._victim = victim
        self._lasts_s = lasts_s

    async def start(self, system: System, load: Load) -> str:
        """Drop all packets of a direction that the seed chooses."""
        assert sandbox.is_inside(), "outside the sandbox, the rule would stay when the run is killed"
        port = system.infrastructure.link_ports[self._victim]
        direction = random.Random(self.seed).choice(("dport", "sport"))
        rules = (
            f"table inet {_TABLE} {{ chain cut {{ type filter hook input priority 0; "
            f"tcp {direction} {port} drop; }} }}"
        )
        await asyncio.to_thread(_nft, "-f", "-", rules=rules)
        way = "to the broker" if direction == "dport" else "from the broker"
        return f"{self._victim}: no packet {way} arrives for {self._lasts_s:.0f} s"

    async def stop(self, system: System, load: Load) -> None:
        """Let the packets pass again."""
        await asyncio.sleep(self._lasts_s)
        await asyncio.to_thread(_nft, "delete", "table", "inet", _TABLE)


def _nft(*arguments: str, rules: str = "") -> None:
    subprocess.run(["nft", *arguments], input=rules, text=True, check=True, capture_output=True)
