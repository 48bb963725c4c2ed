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


class Partition:
    """Cuts one direction between one service and the broker."""

    def __init__(self, name: str, seed: int, victim: str, lasts_s: float = LASTS_S) -> None:
        self.name = name
        self.seed = seed
        self._victim = victim
        self._lasts_s = lasts_s
        # Each cut has a table of its own, so that two of them at once do not end each other.
        self._table = f"chaos_{victim}_{seed}"

    async def start(self, system: System, load: Load) -> str:
        """Drop all packets of a direction that the seed chooses."""
        assert sandbox.is_inside(), "outside the sandbox, the rule would stay when the run is killed"
        direction = random.Random(self.seed).choice(("dport", "sport"))
        await asyncio.to_thread(cut, self._table, direction, system.infrastructure.link_ports[self._victim])
        way = "to the broker" if direction == "dport" else "from the broker"
        return f"{self._victim}: no packet {way} arrives for {self._lasts_s:.0f} s"

    async def stop(self, system: System, load: Load) -> None:
        """Let the packets pass again."""
        await asyncio.sleep(self._lasts_s)
        await asyncio.to_thread(mend, self._table)


def cut(table: str, direction: str, port: int) -> None:
    """Drop all packets whose `direction` (dport or sport) is a TCP port."""
    rules = (
        f"table inet {table} {{ chain cut {{ type filter hook input priority 0; tcp {direction} {port} drop; }}; }}\n"
    )
    subprocess.run(["nft", "-f", "-"], input=rules, text=True, check=True, capture_output=True)


def mend(table: str) -> None:
    """Let them pass again. Nothing happens if they were not dropped."""
    subprocess.run(["nft", "delete", "table", "inet", table], check=False, capture_output=True)
