"""A broker that runs while a block of code lasts, for tests and benchmarks."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from fleetloop.embedded.broker.choose import find_broker
from fleetloop.supervisor.supervisor import Supervisor


@contextmanager
def running_broker(folder: Path, *, environ: Mapping[str, str] | None = None, bench: bool = False) -> Iterator[str]:
    """Yield the bootstrap servers of a running broker with its files below `folder`, and stop it afterwards.

    Raises UserError if no broker is available, and NotReadyError if it does not become ready.
    """
    broker = find_broker(folder / "kafka", os.environ if environ is None else environ, random.Random(), bench=bench)
    if broker.spec is None:
        yield broker.bootstrap_servers
        return
    with Supervisor([broker.spec], folder) as supervisor:
        supervisor.wait_ready(120.0)
        yield broker.bootstrap_servers
