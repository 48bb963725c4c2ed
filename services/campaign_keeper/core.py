"""Pure decisions of the keeper: the moves of a campaign, what an applied file changes, when a quota is met."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from campaign_keeper.model import State

MOVES: Mapping[State, frozenset[State]] = {
    State.DRAFT: frozenset({State.WAITING, State.FINISHED}),
    State.WAITING: frozenset({State.RUNNING, State.DRAFT, State.FINISHED}),
    State.RUNNING: frozenset({State.SUSPENDED, State.FINISHED}),
    State.SUSPENDED: frozenset({State.RUNNING, State.FINISHED}),
    State.FINISHED: frozenset(),
}


def may_move(current: State, wanted: State) -> bool:
    """True when a campaign may go from one state to the other; staying is always allowed."""
    return wanted is current or wanted in MOVES[current]


@dataclass(frozen=True, slots=True)
class Change:
    """What applying a campaign's files would change. Names of triggers, sorted."""

    added: tuple[str, ...]
    changed: tuple[str, ...]
    removed: tuple[str, ...]
    stale: tuple[str, ...]
    """Triggers whose content changed while their version did not rise: refused."""

    @property
    def is_empty(self) -> bool:
        """True when there is nothing to do."""
        return not (self.added or self.changed or self.removed)


def compare(current: Mapping[str, tuple[int, bytes]], wanted: Mapping[str, tuple[int, bytes]]) -> Change:
    """Compares triggers by name; each is (version, content without the version)."""
    changed: list[str] = []
    stale: list[str] = []
    for name in sorted(current.keys() & wanted.keys()):
        (old_version, old), (new_version, new) = current[name], wanted[name]
        if (old_version, old) == (new_version, new):
            continue
        (changed if new_version > old_version else stale).append(name)
    return Change(
        added=tuple(sorted(wanted.keys() - current.keys())),
        changed=tuple(changed),
        removed=tuple(sorted(current.keys() - wanted.keys())),
        stale=tuple(stale),
    )


def quota_is_met(accepted_labels: int, quota_labels: int) -> bool:
    """True when a trigger has earned all that was wanted of it; a quota of 0 is never met."""
    return 0 < quota_labels <= accepted_labels
