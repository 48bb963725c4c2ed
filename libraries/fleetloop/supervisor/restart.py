"""When to start a service again, and when to stop trying.

Pure, because the rule has corners worth testing without processes: a service that ran well for a while has its
past forgiven, one that was killed on purpose is not blamed, and exit 70 ("a dependency is broken, restart me")
is waited out for ever, since the fault lies elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass

from fleetloop.kit.process.exit_codes import EXIT_BROKEN_DEPENDENCY


@dataclass(frozen=True, slots=True)
class RestartPolicy:
    first_delay_s: float = 0.5
    factor: float = 2.0
    longest_delay_s: float = 15.0
    healthy_after_s: float = 10.0
    """Ready for this long, and earlier failures no longer count."""
    loop_exits: int = 5
    """So many failures in a row without having been healthy are a crash loop."""


@dataclass(frozen=True, slots=True)
class History:
    failures: int = 0
    """In a row; sets the delay."""
    blamed: int = 0
    """Those among them that were the service's own fault; sets the verdict."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How one process ended."""

    code: int
    """As `subprocess` has it: negative is the signal."""
    ready_for_s: float | None
    """Seconds since it became ready; None if it never was."""
    wanted: bool = False
    """Somebody asked for its death (a chaos test, `restart`)."""


@dataclass(frozen=True, slots=True)
class StartAgain:
    delay_s: float


@dataclass(frozen=True, slots=True)
class GiveUp:
    """A crash loop: starting again has been tried often enough to know that it does not help."""

    failures: int


def after_exit(policy: RestartPolicy, history: History, ended: Ended) -> tuple[History, StartAgain | GiveUp]:
    """The new history and what to do next."""
    if ended.ready_for_s is not None and ended.ready_for_s >= policy.healthy_after_s:
        history = History()
    if ended.wanted:
        return history, StartAgain(policy.first_delay_s)
    blame = 0 if ended.code == EXIT_BROKEN_DEPENDENCY else 1
    history = History(history.failures + 1, history.blamed + blame)
    if history.blamed >= policy.loop_exits:
        return history, GiveUp(history.failures)
    exponent = min(history.failures - 1, 60)
    return history, StartAgain(min(policy.longest_delay_s, policy.first_delay_s * policy.factor**exponent))
