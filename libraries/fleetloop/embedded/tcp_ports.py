"""TCP ports on this machine that stay available to a service while it restarts.

They are below the range that the kernel assigns to outgoing connections (from 32768 on Linux, from 49152 elsewhere).
A port in that range could be assigned to a client while its service is down.
"""

from __future__ import annotations

import json
import random
import socket
from collections.abc import Sequence
from pathlib import Path

FIRST, LAST = 20_000, 32_000


def is_free(port: int) -> bool:
    """Return True if a server could listen on 127.0.0.1:`port` now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def free_ports(count: int, rng: random.Random) -> list[int]:
    """Return `count` different ports on which no process listens. Raises OSError if there are too few."""
    found: dict[int, None] = {}
    for _ in range(200 * count + 1000):
        if len(found) == count:
            return list(found)
        port = rng.randrange(FIRST, LAST)
        if port not in found and is_free(port):
            found[port] = None
    raise OSError(f"no {count} free ports between {FIRST} and {LAST}")


def remembered_ports(path: Path, names: Sequence[str], rng: random.Random) -> dict[str, int]:
    """Return a port per name: that of the last run if it is still free, so that addresses stay, otherwise a new one.

    Args:
        path: JSON file with the ports of the last run; it is updated.
        names: What the ports are for.
        rng: Source of new ports.
    """
    try:
        loaded = json.loads(path.read_text())
    except (OSError, ValueError):
        loaded = {}
    known = loaded if isinstance(loaded, dict) else {}
    ports = {name: known[name] for name in names if isinstance(known.get(name), int) and is_free(known[name])}
    missing = [name for name in names if name not in ports]
    taken = set(ports.values())
    fresh = (port for port in free_ports(len(missing) + len(taken), rng) if port not in taken)
    ports.update(zip(missing, fresh, strict=False))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({**known, **ports}, indent=1) + "\n")
    return {name: ports[name] for name in names}
