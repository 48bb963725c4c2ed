"""Pure decisions of the keeper: the moves of a campaign, what applying files changes, when a quota is met."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from campaign_keeper.model import Campaign, Earnings, State, TriggerDefinition

MOVES: Mapping[State, frozenset[State]] = {
    State.DRAFT: frozenset({State.WAITING, State.FINISHED}),
    State.WAITING: frozenset({State.RUNNING, State.DRAFT, State.FINISHED}),
    State.RUNNING: frozenset({State.SUSPENDED, State.FINISHED}),
    State.SUSPENDED: frozenset({State.RUNNING, State.FINISHED}),
    State.FINISHED: frozenset({State.DRAFT}),
}
"""The moves that a person may ask for. The move from WAITING to RUNNING is the approval."""


def may_move(current: State, wanted: State) -> bool:
    """True when a campaign may go from one state to the other; staying is always allowed."""
    return wanted is current or wanted in MOVES[current]


def state_after_apply(
    before: State | None, wanted: State | None, changes: bool, second_person: bool = False
) -> State:
    """The state of a campaign once its files were applied. ``before`` is None for a new one.

    A new campaign runs unless another state is asked for: applying it approves it. Files that change while a campaign
    waits make it a draft, since what was reviewed is not what would run. A finished campaign becomes a draft again.
    Where a second person has to approve, a new campaign waits for one, and so does one that ran and is changed.
    """
    if wanted is not None:
        return wanted
    if before is None:
        return State.WAITING if second_person else State.RUNNING
    if second_person and changes and before in (State.RUNNING, State.SUSPENDED):
        return State.WAITING
    if changes and before in (State.WAITING, State.FINISHED):
        return State.DRAFT
    return before


def authors_after_change(before: Campaign | None, by: str) -> tuple[str, ...]:
    """Who changed a campaign's triggers since it was last approved, once `by` changes them."""
    earlier = authors_of(before) if before is not None and not before.approved_by else ()
    return tuple(sorted({*earlier, by}))


def authors_of(campaign: Campaign) -> tuple[str, ...]:
    """Who changed a campaign's triggers since its last approval. Version 0.1 kept only who made the last change."""
    return campaign.authors or ((campaign.changed_by,) if campaign.changed_by else ())


def may_approve(campaign: Campaign, by: str, second_person: bool) -> bool:
    """True when `by` may approve a campaign: where a second person is needed, none of its authors may."""
    return not second_person or (by != "" and by not in authors_of(campaign))


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


def contents(triggers: Iterable[TriggerDefinition]) -> dict[str, tuple[int, bytes]]:
    """Name -> (version, content without the version), for comparison."""
    return {trigger.name: (trigger.version, trigger.content) for trigger in triggers}


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
    """True when a trigger has all its labels; a quota of 0 is never met.

    ``counted_from`` is the number of labels that it had when it was last resumed.
    """
    return 0 < quota_labels <= accepted_labels - counted_from


def add_drops(earnings: Iterable[Earnings], dropped: Mapping[str, Mapping[str, int]]) -> None:
    """Add the firings that triage dropped (trigger -> reason -> firings) to the newest version of each trigger.

    The router counts drops by trigger, not by version.
    """
    newest: dict[str, Earnings] = {}
    for entry in earnings:
        if entry.trigger not in newest or entry.version > newest[entry.trigger].version:
            newest[entry.trigger] = entry
    for trigger, entry in newest.items():
        entry.dropped.update(dropped.get(trigger, {}))
