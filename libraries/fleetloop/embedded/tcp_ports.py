"""Ports on this machine that stay ours while a service restarts.

They are taken from below the range that the kernel hands to outgoing connections (32768 and up on Linux, 49152
elsewhere): a port from that range can be some client's the moment its service is down.
"""

from __future__ import annotations

import json
import random
import socket
from collections.abc import Sequence
from pathlib import Path

FIRST, LAST = 20_000, 32_000


def is_free(port: int) -> bool:
    """Whether a server could listen on 127.0.0.1:`port` now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def free_ports(count: int, chance: random.Random) -> list[int]:
    """`count` different ports that nobody listens on."""
    found: dict[int, None] = {}
    for _ in range(200 * count + 1000):
        if len(found) == count:
            return list(found)
        port = chance.randrange(FIRST, LAST)
        if port not in found and is_free(port):
            found[port] = None
    raise OSError(f"no {count} free ports between {FIRST} and {LAST}")


def remembered_ports(path: Path, names: Sequence[str], chance: random.Random) -> dict[str, int]:
    """A port per name: those of the last run where they are still free, so that addresses stay, else new ones."""
    try:
        loaded = json.loads(path.read_text())
    except (OSError, ValueError):
        loaded = {}
    known = loaded if isinstance(loaded, dict) else {}
    ports = {name: known[name] for name in names if isinstance(known.get(name), int) and is_free(known[name])}
    missing = [name for name in names if name not in ports]
    taken = set(ports.values())
    fresh = (port for port in free_ports(len(missing) + len(taken), chance) if port not in taken)
    ports.update(zip(missing, fresh, strict=False))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({**known, **ports}, indent=1) + "\n")
    return {name: ports[name] for name in names}
