"""What the supervisor has to know of a service: a row of a table, so that any command can be a service."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

Probe = Callable[[float], bool]
"""Asked with a time limit in seconds; False, never an exception, when the answer is no or does not come."""


@dataclass(frozen=True, slots=True)
class LivePolicy:
    """A service that was ready and then fails this often in a row is frozen: it is killed and started again.

    The defaults allow half a minute, because two cores that train a model starve everybody for a while.
    """

    period_s: float = 5.0
    timeout_s: float = 5.0
    failures: int = 6


@dataclass(frozen=True, slots=True)
class ServiceSpec:
    name: str
    command: tuple[str, ...]
    needs: tuple[str, ...] = ()
    """Names of services that have to be ready before this one is started."""
    env: Mapping[str, str] = field(default_factory=dict)
    """Added to the supervisor's own environment."""
    ready: Probe | None = None
    """None: ready as soon as it runs (or, for a task, once it has ended well)."""
    live: Probe | None = None
    task: bool = False
    """Runs once, and is ready when it has exited with 0."""
    ports: Mapping[str, int] = field(default_factory=dict)
    """Shown by `status`; the supervisor itself does not use them."""
    ready_within_s: float = 120.0
    grace_s: float = 10.0
    """Between SIGTERM and SIGKILL."""
    cwd: Path | None = None
    after_stop: tuple[str, ...] = ()
    """A command that removes what the processes leave outside of themselves (a container). Safe to repeat."""


def in_start_order(specs: Sequence[ServiceSpec]) -> tuple[ServiceSpec, ...]:
    """`specs` with everybody behind what it needs; ValueError for a name twice, an unknown need, or a circle."""
    by_name = {spec.name: spec for spec in specs}
    if len(by_name) != len(specs):
        raise ValueError("two services have the same name")
    done: dict[str, ServiceSpec] = {}

    def visit(spec: ServiceSpec, path: tuple[str, ...]) -> None:
        if spec.name in done:
            return
        if spec.name in path:
            raise ValueError(f"services need each other in a circle: {' -> '.join((*path, spec.name))}")
        for need in spec.needs:
            if need not in by_name:
                raise ValueError(f"{spec.name} needs {need}, which is not in the table")
            visit(by_name[need], (*path, spec.name))
        done[spec.name] = spec

    for spec in specs:
        visit(spec, ())
    return tuple(done.values())
