"""What the supervisor knows about a service. Any command can be a service."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

Probe = Callable[[float], bool]
"""Called with a time limit in seconds. Returns False, and never raises, if the answer is negative or missing."""


@dataclass(frozen=True, slots=True)
class LivePolicy:
    """A service that was ready and then fails this many liveness probes in a row is killed and restarted.

    The defaults allow half a minute, because training on two cores starves all other processes for a while.
    """

    period_s: float = 5.0
    timeout_s: float = 5.0
    failures: int = 6


@dataclass(frozen=True, slots=True)
class ServiceSpec:
    """One service: its command, its dependencies, and how to probe it."""

    name: str
    command: tuple[str, ...]
    needs: tuple[str, ...] = ()
    """Names of services that must be ready before this one starts."""
    env: Mapping[str, str] = field(default_factory=dict)
    """Variables added to the supervisor's own environment."""
    ready: Probe | None = None
    """Readiness probe. None means ready as soon as it runs, or for a task, once it has exited 0."""
    live: Probe | None = None
    """Liveness probe; None if there is none."""
    task: bool = False
    """True if it runs once, and is ready when it has exited 0."""
    ports: Mapping[str, int] = field(default_factory=dict)
    """Shown by `status`; the supervisor itself does not use them."""
    ready_within_s: float = 120.0
    """Seconds until a service that is not ready is killed and restarted."""
    grace_s: float = 10.0
    """Seconds between SIGTERM and SIGKILL."""
    cwd: Path | None = None
    after_stop: tuple[str, ...] = ()
    """A command that removes what the processes leave behind, such as a container. Idempotent."""


def in_start_order(specs: Sequence[ServiceSpec]) -> tuple[ServiceSpec, ...]:
    """Sort services so that each one follows those that it needs.

    Raises ValueError if a name is used twice, a need is unknown, or services need each other in a cycle.
    """
    by_name = {spec.name: spec for spec in specs}
    if len(by_name) != len(specs):
        raise ValueError("two services have the same name")
    done: dict[str, ServiceSpec] = {}

    def visit(spec: ServiceSpec, path: tuple[str, ...]) -> None:
        if spec.name in done:
            return
        if spec.name in path:
            raise ValueError(f"services need each other in a cycle: {' -> '.join((*path, spec.name))}")
        for need in spec.needs:
            if need not in by_name:
                raise ValueError(f"{spec.name} needs {need}, which is not in the table")
            visit(by_name[need], (*path, spec.name))
        done[spec.name] = spec

    for spec in specs:
        visit(spec, ())
    return tuple(done.values())
