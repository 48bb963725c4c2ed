"""When to restart a service, and when to stop trying.

Pure, because the rule has corner cases worth testing without processes. A service that was healthy for a while starts
with a clean history. A service that was killed on request is not blamed. Exit 70 ("a dependency is broken, restart
me") is retried indefinitely, because the fault is elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass

from fleetloop.kit.process.exit_codes import EXIT_BROKEN_DEPENDENCY


@dataclass(frozen=True, slots=True)
class RestartPolicy:
    """Delays between restarts, and the number of failures that make a crash loop."""

    first_delay_s: float = 0.5
    factor: float = 2.0
    longest_delay_s: float = 15.0
    healthy_after_s: float = 10.0
    """Seconds of readiness after which earlier failures no longer count."""
    loop_exits: int = 5
    """Failures in a row, without having been healthy, that make a crash loop."""


@dataclass(frozen=True, slots=True)
class History:
    """The failures of a service since it was last healthy."""

    failures: int = 0
    """Failures in a row, which determine the delay."""
    blamed: int = 0
    """Those that were the service's own fault, which determine whether it is a crash loop."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How one process ended."""

    code: int
    """Exit code as in `subprocess`: a negative number is the signal."""
    ready_for_s: float | None
    """Seconds since it became ready; None if it never was."""
    requested: bool = False
    """True if its end was requested, by a chaos test or by `restart`."""


@dataclass(frozen=True, slots=True)
class StartAgain:
    """Restart the service after a delay."""

    delay_s: float


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Do not restart the service: it is in a crash loop."""

    failures: int


def after_exit(policy: RestartPolicy, history: History, ended: Ended) -> tuple[History, StartAgain | GiveUp]:
    """Return the new history and the decision after a process has ended."""
    if ended.ready_for_s is not None and ended.ready_for_s >= policy.healthy_after_s:
        history = History()
    if ended.requested:
        return history, StartAgain(policy.first_delay_s)
    blame = 0 if ended.code == EXIT_BROKEN_DEPENDENCY else 1
    history = History(history.failures + 1, history.blamed + blame)
    if history.blamed >= policy.loop_exits:
        return history, GiveUp(history.failures)
    exponent = min(history.failures - 1, 60)
    return history, StartAgain(min(policy.longest_delay_s, policy.first_delay_s * policy.factor**exponent))
