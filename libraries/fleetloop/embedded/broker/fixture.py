"""A broker for as long as a block of code lasts: what tests and benchmarks use."""

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
    """Yields the bootstrap servers of a broker that answers, its files below `folder`; stops it afterwards.

    UserError when there is none to be had; NotReadyError when it does not come up.
    """
    broker = find_broker(folder / "kafka", os.environ if environ is None else environ, random.Random(), bench=bench)
    if broker.spec is None:
        yield broker.bootstrap_servers
        return
    with Supervisor([broker.spec], folder) as supervisor:
        supervisor.wait_ready(120.0)
        yield broker.bootstrap_servers
