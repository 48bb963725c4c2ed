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
    State.FINISHED: frozenset({State.DRAFT}),
}
"""What a person may ask for. Approving is WAITING to RUNNING; what is changed while it waits is a draft again."""


def may_move(current: State, wanted: State) -> bool:
    """True when a campaign may go from one state to the other; staying is always allowed."""
    return wanted is current or wanted in MOVES[current]


def state_after_apply(before: State | None, wanted: State | None, changes: bool) -> State:
    """The state of a campaign once its files were applied. ``before`` is None for a new one.

    A new campaign runs unless another state is asked for: whoever applies it approves it. Files that change while a
    campaign waits make it a draft, since what somebody looked at is not what would run; one that is over begins as
    a draft again.
    """
    if wanted is not None:
        return wanted
    if before is None:
        return State.RUNNING
    if changes and before in (State.WAITING, State.FINISHED):
        return State.DRAFT
    return before


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


def quota_is_met(accepted_labels: int, quota_labels: int, counted_from: int = 0) -> bool:
    """True when a trigger has earned all that was wanted of it; a quota of 0 is never met.

    ``counted_from`` are the labels that it had when a person last started it again.
    """
    return 0 < quota_labels <= accepted_labels - counted_from
